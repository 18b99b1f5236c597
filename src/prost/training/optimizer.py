"""AdamW with the paper's schedule: linear warm-up, then a cosine decay to zero.

The authors' optimiser is an old BertAdam (no bias correction, eps 1e-6, clipping per parameter and globally, weight
decay of LayerNorm, CLIP weights and their moments in fp16). AdamW differs: bias correction, one global clip, no decay
of vectors, moments in float32.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from prost.training.recipe import StageConfig


def make_optimizer(model: nn.Module, stage: StageConfig) -> AdamW:
    """Make an optimiser with one learning rate for CLIP and one for the new parts; only matrices are decayed.

    Args:
        model: parameters whose names start with `clip.` belong to the backbone.
        stage: has the learning rates, the weight decay and the betas.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("clip."), parameter.ndim >= 2), []).append(parameter)
    return AdamW(
        [
            {
                "params": parameters,
                "lr": stage.clip_learning_rate if backbone else stage.learning_rate,
                "weight_decay": stage.weight_decay if matrix else 0.0,
            }
            for (backbone, matrix), parameters in groups.items()
        ],
        betas=stage.betas,
        fused=True,
    )


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """The factor of all learning rates at a step.

    Args:
        step: from 0.
        steps: of the whole stage.
        warmup: fraction of the steps with a linear rise.

    >>> [round(learning_rate_factor(step, 10, 0.2), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    rise = warmup_steps(steps, warmup)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def warmup_steps(steps: int, warmup: float) -> int:
    """The number of steps in which the learning rates rise; see `learning_rate_factor`."""
    return max(1, round(steps * warmup))


def make_schedule(optimizer: torch.optim.Optimizer, steps: int, warmup: float) -> LambdaLR:
    """Make the schedule of a stage; call its `step` once after each step of the optimiser.

    Args:
        optimizer: of the stage.
        steps: see `learning_rate_factor`.
        warmup: see `learning_rate_factor`.
    """
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, warmup))
