"""Linear layers that multiply 8-bit integers, which a processor with the instructions for it does faster than float32.

Weights have one scale per output, computed once. Inputs have one scale per token, computed at each call, so that one
large token does not take the resolution from the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from prost.model.retrieval_model import RetrievalModel
from prost.model.vision_copy import with_vision_copy

LARGEST = 127
SMALLEST_SCALE = 1e-12


class Int8Linear(nn.Module):
    """A linear layer computed in 8-bit integers.

    The products are sums of integers on a CPU; a GPU computes them in float32.

    Args:
        linear: the layer to replace.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(dim=1).clamp_min(SMALLEST_SCALE) / LARGEST
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `[..., inputs]` to `[..., outputs]`."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        scales = rows.abs().amax(dim=1, keepdim=True).clamp_min_(SMALLEST_SCALE).div_(LARGEST)
        integers = (rows / scales).round_()
        if rows.device.type == "cpu":
            products = torch._int_mm(integers.to(torch.int8), self.weight.t()).float()
        else:
            products = integers @ self.weight.t().float()
        outputs = products.mul_(scales).mul_(self.scale)
        if self.bias is not None:
            outputs.add_(self.bias)
        return outputs.reshape(*inputs.shape[:-1], -1)


def with_int8_vision(model: RetrievalModel[Any, Any]) -> RetrievalModel[Any, Any]:
    """A model whose vision blocks compute in 8-bit integers; everything else is shared with the given one.

    Raises:
        UsageError: a model whose vision tower is run by open_clip.
    """
    quantised = with_vision_copy(model)
    _replace_linears(quantised.clip.towers.vision_model.encoder)
    return quantised


def _replace_linears(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear:
            setattr(module, name, Int8Linear(child))
        else:
            _replace_linears(child)
