"""Exact matching with 8-bit codes by 8-bit products: each phrase becomes the sum of three vectors of integers.

Object prototypes of a library are integers from -127 to 127. A product with a phrase in float32 needs them converted
first, which takes half as long as the product. Here the phrases are converted instead, which are few:

    phrase = scale (a + b / 254 + c / 254^2),   a, b and c of integers from -127 to 127, scale = |phrase|_max / 127

What is left over is below 2^-23 of the phrase's largest component, about as much as float32 leaves out. The three
products are exact sums of integers, and are put together in float32. On a processor with 8-bit products (AMX, VNNI)
this takes less than half the time at D 512, for one sentence (decision 0064).
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from prost.model.tiles import quickest
from prost.model.vectors import unit

LEVELS = 127
PARTS = 3
# The rest after a part is at most a half: so many times the rest is at most LEVELS again.
FINER = 2 * LEVELS
# Integers of the products of a tile: with their copy in float32 1 MiB, a half of the second-level cache.
TILE = 2**17
# With more phrases the conversion of the objects no longer counts, and three products take longer than one.
MOST_PHRASES = 64
# Fewer prototypes (videos times frames times slots) do not pay for the conversion of the phrases.
FEWEST_OBJECTS = 512


def pay(phrase: Tensor, object: Tensor) -> bool:
    """Whether `scores` takes these prototypes and is faster, as measured at the first call for their width."""
    return (
        object.dtype == torch.int8
        and phrase.dtype == torch.float32
        and phrase.device.type == object.device.type == "cpu"
        and 0 < phrase.shape[:2].numel() <= MOST_PHRASES
        and object.shape[:3].numel() >= FEWEST_OBJECTS
        and _faster(phrase.shape[-1])
    )


def scores(phrase: Tensor, object: Tensor, inverse_lengths: Tensor) -> Tensor:
    """Object-phrase scores, see `prost.model.object_phrase`.

    Args:
        phrase: `[A, N_p, D]`, float32 of any length; a text with NaN or infinity scores NaN.
        object: int8 codes `[B, L, N_o, D]`.
        inverse_lengths: one over the length of each code vector `[B, L, N_o]`, 0 for a zero vector.

    Returns:
        `[A, B]`, float32.
    """
    count, phrases, _ = phrase.shape
    videos, frames, slots, width = object.shape
    parts, scales = _split(phrase)
    rows, columns = len(parts), frames * slots
    at_once = max(1, min(videos, TILE // (rows * columns)))
    # One buffer each for all tiles: fresh memory would cost as much as the product.
    integers = torch.empty(rows * at_once * columns, dtype=torch.int32)
    numbers = torch.empty(rows * at_once * columns)
    maximum = torch.empty(count * at_once * columns)
    found = torch.empty(count, videos)
    for first in range(0, videos, at_once):
        block = object[first : first + at_once]
        size = len(block) * columns
        product = integers[: rows * size].view(rows, size)
        torch._int_mm(parts, block.reshape(-1, width).T, out=product)
        by_part = numbers[: rows * size].view(PARTS, -1, size)
        by_part.copy_(product.view(by_part.shape))
        cosines = by_part[0].add_(by_part[1], alpha=1 / FINER).add_(by_part[2], alpha=1 / FINER**2)
        cosines *= scales
        best = maximum[: count * size]
        torch.amax(cosines.view(phrases, -1), dim=0, out=best)
        # Lengths are positive: the best phrase is the same before and after dividing by them.
        best = best.view(count, *block.shape[:3]) * inverse_lengths[first : first + at_once]
        found[:, first : first + at_once] = best.amax(dim=2).mean(dim=2)
    return found


def _split(phrase: Tensor) -> tuple[Tensor, Tensor]:
    """Directions of phrases `[A, N_p, D]` as integers `[3 * N_p * A, D]`, part after part, and scales `[N_p * A, 1]`.

    Phrases lead, so that the maximum over them runs along contiguous rows. The scales of a text with NaN are NaN.
    """
    directions = unit(phrase.transpose(0, 1).contiguous())
    largest = directions.abs().amax(dim=2)  # [N_p, A]; NaN where a component is
    bad = largest.isnan().any(dim=0)
    rest = (directions * (LEVELS / largest)[..., None]).nan_to_num_(0.0).view(-1, phrase.shape[-1])
    parts = torch.empty(PARTS, *rest.shape, dtype=torch.int8)
    for part in parts:
        whole = rest.round()
        part.copy_(whole)
        rest = rest.sub_(whole).mul_(FINER)
    return parts.flatten(0, 1), (largest / LEVELS).masked_fill_(bad, torch.nan).view(-1, 1)


@functools.cache
def _faster(width: int) -> bool:
    """Whether integer products of this width are clearly faster than float32 ones after a conversion."""
    codes, phrases = torch.ones(1024, width, dtype=torch.int8), torch.ones(24, width)
    parts = torch.ones(PARTS * len(phrases), width, dtype=torch.int8)
    try:
        right = bool((torch._int_mm(parts, codes.T) == width).all())
        return right and 1.2 * quickest(lambda: torch._int_mm(parts, codes.T)) < quickest(
            lambda: torch.mm(phrases, codes.float().T)
        )
    except (AttributeError, NotImplementedError, RuntimeError):
        # torch has no such product for this processor, or none of this width.
        return False
