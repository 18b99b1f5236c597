"""A vision tower whose weights and tokens are bfloat16 from one end to the other.

Autocast rounds every weight again at each call. Here they are rounded once. Layer norms and softmax still add up in
float32 inside.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import silu

from prost.model.retrieval_model import RetrievalModel
from prost.model.towers import MLP, QUICK_GELU_SLOPE, quick_gelu
from prost.model.vision_copy import with_vision_copy


def with_bf16_vision(model: RetrievalModel[Any, Any]) -> RetrievalModel[Any, Any]:
    """A model whose vision tower computes in bfloat16; everything else is shared with the given one.

    Raises:
        UsageError: a model whose vision tower is run by open_clip.
    """
    copied = with_vision_copy(model)
    for part in (copied.clip.towers.vision_model, copied.clip.towers.visual_projection):
        for module in part.modules():
            if isinstance(module, MLP) and module.activation is quick_gelu:
                _fold_slope(module)
        for module in part.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                _put(module, name, weight.to(torch.bfloat16))
    return copied


def _fold_slope(mlp: MLP) -> None:
    """Let the layers around a quick GELU multiply by its slope, since `quick_gelu(x) = silu(s x) / s`.

    SiLU is one pass over the widest tokens of the tower, and the sigmoid with two products is three.
    """
    _put(mlp.fc1, "weight", mlp.fc1.weight * QUICK_GELU_SLOPE)
    _put(mlp.fc1, "bias", mlp.fc1.bias * QUICK_GELU_SLOPE)
    _put(mlp.fc2, "weight", mlp.fc2.weight / QUICK_GELU_SLOPE)
    mlp.activation = partial(silu, inplace=True)


def _put(module: nn.Module, name: str, values: torch.Tensor) -> None:
    """Replace a parameter; the old one stays as it is, since the given model holds it, too."""
    setattr(module, name, nn.Parameter(values.detach(), requires_grad=False))
