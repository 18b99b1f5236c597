"""The schedule by worked numbers; which parameter gets which rate and decay."""

from itertools import pairwise
from typing import Any

import pytest

from prost.config import ModelConfig
from prost.model.prost import ProST
from prost.training.optimizer import learning_rate_factor, make_optimizer, make_schedule
from prost.training.recipe import StageConfig

TINY: dict[str, Any] = {
    "clip": {
        "image_size": 32, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64, "text_layers": 1,
        "vocabulary": 5, "text_positions": 8,
    },
    "width": 16, "frames": 2, "max_words": 8, "token_shift_blocks": [],
}  # fmt: skip


def test_the_factor_rises_then_falls_to_almost_nothing() -> None:
    factors = [learning_rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert all(after <= before for before, after in pairwise(factors[10:]))
    assert 0 < factors[-1] < 1e-3


def test_no_warm_up_and_one_step() -> None:
    assert learning_rate_factor(0, 10, 0.0) == 1.0
    assert learning_rate_factor(0, 1, 0.1) == 1.0


def test_groups() -> None:
    stage = StageConfig(steps=10, learning_rate=1e-3, clip_learning_rate=1e-5, weight_decay=0.2)
    model = ProST(ModelConfig.parse(TINY))
    optimizer = make_optimizer(model, stage)
    settings = {
        parameter: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(settings) == len(list(model.parameters()))
    assert settings[model.clip.towers.visual_projection.weight] == (1e-5, 0.2)
    assert settings[model.clip.towers.logit_scale] == (1e-5, 0.0)
    assert settings[model.event_decoder.queries] == (1e-3, 0.2)
    assert settings[model.frame_decoder.norm.weight] == (1e-3, 0.0)
    assert optimizer.defaults["betas"] == (0.9, 0.98)


def test_frozen_parameters_are_left_out_and_the_schedule_reaches_all_groups() -> None:
    stage = StageConfig(steps=10, warmup=0.5)
    model = ProST(ModelConfig.parse(TINY))
    model.clip.requires_grad_(False)
    optimizer = make_optimizer(model, stage)
    assert sum(len(group["params"]) for group in optimizer.param_groups) < len(list(model.parameters()))
    schedule = make_schedule(optimizer, 10, stage.warmup)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2e-5, 2e-5])
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([4e-5, 4e-5])
