"""Freezing by name and by number; what is frozen does not move, and mistakes are named."""

from collections.abc import Callable
from typing import Any

import pytest

from prost.errors import BadConfig
from prost.model.retrieval_model import VISION_TOWER, RetrievalModel
from prost.training.freezing import freeze, trained_parameters, vision_is_frozen

MakeModel = Callable[..., RetrievalModel[Any, Any]]


def frozen(model: RetrievalModel[Any, Any]) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def test_a_name_means_all_that_is_in_it(make_model: MakeModel) -> None:
    model = make_model("prost")
    freeze(model, VISION_TOWER)
    names = {name for name, _ in model.named_parameters()}
    assert frozen(model) == {name for name in names if "vision_model" in name or "visual_projection" in name}
    assert vision_is_frozen(model)
    assert trained_parameters(model) == sum(
        p.numel() for name, p in model.named_parameters() if name not in frozen(model)
    )


def test_patterns(make_model: MakeModel) -> None:
    model = make_model("prost")
    freeze(model, ("frame_decoder.layers.[0]", "*.bias"))
    assert "frame_decoder.layers.0.norm_out.weight" in frozen(model)
    assert "frame_decoder.layers.1.norm_out.weight" not in frozen(model)
    assert all(name in frozen(model) for name, _ in model.named_parameters() if name.endswith(".bias"))
    assert not vision_is_frozen(model)


def test_a_number_means_the_first_blocks_of_both_towers(make_model: MakeModel) -> None:
    model = make_model("meanP")
    freeze(model, 1)
    assert "clip.towers.vision_model.embeddings.class_embedding" in frozen(model)
    assert "clip.towers.vision_model.pre_layrnorm.weight" in frozen(model)
    assert "clip.towers.text_model.encoder.layers.0.mlp.fc1.weight" in frozen(model)
    assert "clip.towers.vision_model.encoder.layers.1.mlp.fc1.weight" not in frozen(model)
    assert "clip.towers.visual_projection.weight" not in frozen(model)
    assert "clip.towers.logit_scale" not in frozen(model)


def test_a_later_stage_frees_again(make_model: MakeModel) -> None:
    model = make_model("prost")
    freeze(model, VISION_TOWER)
    freeze(model, ())
    assert not frozen(model)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (("clip.towers.vison_model",), r"no weight is called 'clip.towers.vison_model'; try: '.*\.vision_model'"),
        (9, r"9 blocks; expected: at most 2"),
        (("*",), "no weight is left to train"),
    ],
)  # fmt: skip
def test_mistakes(make_model: MakeModel, chosen: Any, said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        freeze(make_model("prost"), chosen)
