"""AdamW with the paper's schedule: linear warm-up, then a cosine to zero.

The authors' optimiser is an old BertAdam (no bias correction, eps 1e-6, clipping per parameter and globally, LayerNorm
weights decayed, CLIP weights and their moments in fp16). AdamW differs from it: bias correction on, one global clip,
no decay of vectors, moments in float32.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from prost.training.recipe import StageConfig


def make_optimizer(model: nn.Module, stage: StageConfig) -> AdamW:
    """Two learning rates, CLIP's and that of the new parts; only matrices are decayed.

    Args:
        model: parameters under `clip.` belong to the backbone.
        stage: learning rates, weight decay and betas.
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
    """Factor on every learning rate at a step.

    Args:
        step: 0-based.
        steps: of the whole stage.
        warmup: share of the steps with a linear rise.

    >>> [round(learning_rate_factor(step, 10, 0.2), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def make_schedule(optimizer: torch.optim.Optimizer, stage: StageConfig) -> LambdaLR:
    """The schedule of a stage, stepped once after each optimiser step."""
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, stage.steps, stage.warmup))
