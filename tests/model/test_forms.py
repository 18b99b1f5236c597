from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from prost.errors import FormRefused, UsageError
from prost.model.checkpoint import load_prost
from prost.model.encoding import VideoEncoder
from prost.model.forms import FORMS, Form, form_named, form_of_class, make_encoder
from prost.model.prost import ProST

# Largest difference of a unit prototype's entry from float32.
BOUNDS = {"fp32": 1e-4, "bf16": 0.03, "int8": 0.1}


@pytest.fixture(scope="module")
def model() -> ProST:
    return load_prost("toybox", "cpu")


def clips(model: ProST) -> NDArray[np.uint8]:
    config = model.config
    frames = np.random.default_rng(0).integers(
        0, 256, (3, config.frames, config.image_size, config.image_size, 3), dtype=np.uint8
    )
    frames[1, 2] = frames[0, 0]  # an equal frame passes once
    return frames


def largest_difference(one: Tensor, other: Tensor) -> float:
    return float((normalize(one, dim=-1) - normalize(other, dim=-1)).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [pytest.param(form, marks=[pytest.mark.slow] * (form.name == "compile"), id=form.name) for form in FORMS],
)
def test_a_form_gives_the_prototypes_of_float32_for_any_number_of_clips(form: Form, model: ProST) -> None:
    assert not form.missing
    encoder, frames = make_encoder(form, model), clips(model)
    for some in (frames, frames[:1]):
        expected, found = VideoEncoder(model).encode(some), encoder.encode(some)
        assert largest_difference(expected.object, found.object) <= BOUNDS[form.precision]
        assert largest_difference(expected.event, found.event) <= BOUNDS[form.precision]


def test_the_forms_in_torch_stand_for_their_classes() -> None:
    for precision in ("fp32", "bf16", "int8"):
        form = form_of_class(precision)
        assert form.precision == precision and not form.needs and not form.cpu_only
    assert {form.precision for form in FORMS} == {"fp32", "bf16", "int8"}


def test_an_unknown_form_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(UsageError, match=r"form 'int4'.*auto or one of fp32, bf16, int8, compile, onnx-fp32"):
        form_named("int4")


def test_a_form_whose_package_is_missing_names_it(model: ProST) -> None:
    absent = replace(form_named("onnx-fp32"), needs=("no_such_package",))
    with pytest.raises(
        FormRefused, match="onnx-fp32 needs no_such_package; try: pip install no_such_package"
    ):
        make_encoder(absent, model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx-fp32", "openvino-fp32", "int8"])
def test_a_form_that_computes_something_else_is_refused(name: str, model: ProST) -> None:
    """The form is made of a model in which one layer norm has another scale, as a wrong export would have."""
    form = form_named(name)

    def wrong(given: ProST) -> VideoEncoder:  # type: ignore[type-arg]
        other = load_prost("toybox", "cpu")
        with torch.no_grad():
            other.clip.towers.vision_model.encoder.layers[0].layer_norm1.weight.mul_(-2.0)
        return form.encoder(other)

    with pytest.raises(FormRefused, match=f"the form {name} computes something else than torch"):
        make_encoder(replace(form, encoder=wrong), model)


def test_a_library_that_fails_is_told_in_one_line(model: ProST) -> None:
    def failing(given: ProST) -> VideoEncoder:  # type: ignore[type-arg]
        return VideoEncoder(given, below_shift=lambda frames: frames @ frames)

    with pytest.raises(FormRefused) as caught:
        make_encoder(replace(form_named("compile"), encoder=failing), model)
    assert "\n" not in str(caught.value) and "cannot be made of toybox (RuntimeError: " in str(caught.value)
