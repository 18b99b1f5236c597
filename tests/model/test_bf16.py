"""The vision tower in bfloat16 throughout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from prost.config import TowerDesign
from prost.errors import UsageError
from prost.model.bf16 import with_bf16_vision
from prost.model.checkpoint import load
from prost.model.encoding import VideoEncoder
from prost.model.towers import MLP


def test_the_tower_is_bfloat16_and_everything_else_is_shared(untrained_folder: Path) -> None:
    model = load(untrained_folder, "cpu")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    rounded = with_bf16_vision(model)
    ours = dict(model.named_parameters())
    for name, weight in rounded.named_parameters():
        if name.startswith(("clip.towers.vision_model", "clip.towers.visual_projection")):
            assert weight.dtype == torch.bfloat16
        else:
            assert weight is ours[name]
    assert all(weight.dtype == torch.float32 for weight in ours.values())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_tanh"])
def test_every_activation_stays_the_same_function(untrained_folder: Path, activation: str) -> None:
    model = load(untrained_folder, "cpu")
    torch.manual_seed(0)
    layers = model.clip.towers.vision_model.encoder.layers
    width = layers[0].self_attn.out_proj.in_features
    layers[0].mlp = MLP(width, TowerDesign(activation=activation)).eval()  # type: ignore[arg-type]
    inputs = 3 * torch.randn(5, width)
    with torch.inference_mode():
        expected = layers[0].mlp.double()(inputs.double())
        layers[0].mlp.float()
        found = with_bf16_vision(model).clip.towers.vision_model.encoder.layers[0].mlp(inputs.bfloat16())
    assert 0 < (found.double() - expected).norm() < 0.02 * expected.norm()


def test_it_is_as_close_to_float32_as_autocast_is(untrained_folder: Path) -> None:
    model = load(untrained_folder, "cpu")
    config = model.config
    shape = (2, config.frames, config.image_size, config.image_size, 3)
    clips = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rounded = with_bf16_vision(model)
    expected, cast, ours = (
        encoder.frame_tokens(clips)
        for encoder in (
            VideoEncoder(model),
            VideoEncoder(model, precision="bf16"),
            VideoEncoder(model, below_shift=rounded.below_shift, from_shift=rounded.from_shift),
        )
    )
    assert ours.dtype == torch.float32
    assert 0 < (ours - expected).norm() < 2 * (cast - expected).norm()


def test_a_tower_that_open_clip_runs_is_refused(untrained_folder: Path) -> None:
    model = load(untrained_folder, "cpu")
    model.clip.towers = torch.nn.Identity()
    with pytest.raises(UsageError, match="open_clip"):
        with_bf16_vision(model)
