"""Vectors: their directions, and a check of the shapes in which they come."""

from __future__ import annotations

import torch
from torch import Tensor

from prost.errors import UsageError

# Lengths whose squares, and products with a direction, are well within the range of float32.
SHORTEST, LONGEST = 1e-15, 1e15


def expect(name: str, tensor: Tensor, dimensions: int, form: str) -> None:
    """Raise a UsageError unless a tensor has this number of dimensions; `form` tells the expected shape."""
    if tensor.ndim != dimensions:
        raise UsageError(f"{name} of shape {list(tensor.shape)}", form)


def unit(vectors: Tensor) -> Tensor:
    """Scale vectors to length one; a zero vector stays zero and receives a zero gradient.

    Vectors of any length are scaled right, also where the square of the length exceeds the range of the type. A vector
    with NaN or infinity becomes NaN.

    Args:
        vectors: `[..., D]`, of a floating type.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    wide = vectors.float() if vectors.dtype in (torch.float16, torch.bfloat16) else vectors
    # Dividing by the largest component first keeps the square of the length within range. The result does not depend
    # on that divisor, so no gradient flows through it.
    constant = wide.detach()
    largest = torch.maximum(constant.amax(dim=-1, keepdim=True), -constant.amin(dim=-1, keepdim=True))
    scaled = wide / torch.where(largest == 0, 1.0, largest)
    length = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    zero = length == 0
    inverse = torch.where(zero, 0.0, 1 / torch.where(zero, 1.0, length))
    return (scaled * inverse).to(vectors.dtype)


def inverse_lengths_of(vectors: Tensor) -> Tensor:
    """One over the length of each vector; 0 for a zero vector.

    Args:
        vectors: `[..., D]`, float32 or float64; of any length whose inverse is within the range of the type.

    >>> inverse_lengths_of(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [0.20000000298023224, 0.0]
    """
    lengths = torch.linalg.vector_norm(vectors, dim=-1)
    odd = ~((lengths > SHORTEST) & (lengths < LONGEST))
    if odd.any():
        # Dividing by the largest component first keeps the square of the length within range.
        few = vectors[odd]
        largest = torch.linalg.vector_norm(few, ord=torch.inf, dim=-1)
        scaled = few / torch.where(largest == 0, 1.0, largest)[..., None]
        lengths[odd] = largest * torch.linalg.vector_norm(scaled, dim=-1)
    return torch.where(lengths == 0, 0.0, lengths.reciprocal().clamp_(max=torch.finfo(lengths.dtype).max))
