from __future__ import annotations

import numpy as np
import pytest
import torch

from prost.model.checkpoint import load_prost
from prost.model.encoding import VideoEncoder
from prost.model.forms import FORMS

# Largest difference of a unit prototype's entry from float32.
BOUNDS = {
    "fp32": 0.0,
    "bf16": 0.03,
    "onnx-fp32": 1e-4,
    "onnx-int8": 0.2,
    "openvino-fp32": 1e-4,
    "openvino-bf16": 0.03,
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_gives_the_prototypes_of_float32_for_any_number_of_clips(form):
    assert form.installed
    model = load_prost("toybox", "cpu")
    config = model.config
    frames = np.random.default_rng(0).integers(
        0, 256, (3, config.frames, config.image_size, config.image_size, 3), dtype=np.uint8
    )
    frames[1, 2] = frames[0, 0]  # an equal frame passes once
    encoder = form.encoder(model)
    for clips in (frames, frames[:1]):
        expected, found = VideoEncoder(model).encode(clips), encoder.encode(clips)
        for one, other in ((expected.object, found.object), (expected.event, found.event)):
            difference = torch.nn.functional.normalize(one, dim=-1) - torch.nn.functional.normalize(
                other, dim=-1
            )
            assert difference.abs().max() <= BOUNDS[form.name]
