"""Matching of prototypes that are rounded to 8 bits: for inference, where a processor has fast 8-bit products.

Each vector v becomes integers from -127 to 127: its components over a scale of its own, s = |v|_max / 127. A cosine
does not depend on the scale, so it is that of the integers. Its error has a bound: no component of v is off by more
than s / 2, so that the direction of v is off by at most s D^0.5 / |v|, and a cosine by the sum of this for both
vectors; so is a score, a mean of maxima of cosines. For random vectors with D 512 the bound is 0.05, the usual error
0.0005.

The products are exact. Where oneDNN computes them, it rounds to bfloat16 when it divides by the phrase's length; this
adds at most 1/256 of the cosine. torch offers that product for quantised models (decision 0058). Where it does not pay,
the integers are multiplied in float32.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from prost.model.tiles import largest, quickest
from prost.model.vectors import inverse_lengths_of

LEVELS = 127
# Texts of a tile: the maximum over phrases runs along rows of the texts, and fewer fill no vector register.
TEXTS = 64
# Products of a tile: 4 MiB in bfloat16.
TILE = 2**21
# Components that are rounded at once: 1 MiB in float32.
AT_ONCE = 2**18


def rounded(phrase: Tensor, object: Tensor, inverse_lengths: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Prototypes as integers.

    Args:
        phrase: `[A, N_p, D]`.
        object: `[B, L, N_o, D]`; int8 codes stay as they are.
        inverse_lengths: one over the lengths of the codes `[B, L, N_o]`, or None; not used for other objects.

    Returns:
        Phrases, integers in float32; all NaN where one had NaN or infinity. Objects, int8. One over the lengths of the
        objects, float32 `[B, L, N_o]`: 0 for a zero vector, NaN where one had NaN or infinity.
    """
    if object.is_floating_point():
        codes = torch.empty_like(object, dtype=torch.int8)
        inverse_lengths = object.new_empty(object.shape[:3], dtype=torch.float32)
        step = max(1, AT_ONCE // object[0].numel()) if len(object) else 1
        for first in range(0, len(object), step):
            integers = _integers(object[first : first + step])
            inverse_lengths[first : first + step] = inverse_lengths_of(integers)
            codes[first : first + step] = integers.nan_to_num_(0.0)
        object = codes
    elif inverse_lengths is None:
        inverse_lengths = inverse_lengths_of(object.float())
    return _integers(phrase), object, inverse_lengths.float()


def _integers(vectors: Tensor) -> Tensor:
    """Vectors `[..., D]` divided by their scales and rounded; float32."""
    vectors = vectors.float()
    most = torch.maximum(vectors.amax(dim=-1), -vectors.amin(dim=-1)).abs()  # else -0 for a zero vector
    inverse = most.reciprocal().clamp_(max=torch.finfo(torch.float32).max)  # a zero vector stays zero
    # A vector with infinity becomes NaN as a whole, as one with NaN does.
    return (vectors * torch.where(most.isfinite(), inverse, torch.nan)[..., None]).mul_(LEVELS).round_()


def pay(phrase: Tensor, object: Tensor) -> bool:
    """Whether `scores` is faster than float32 for such prototypes, as measured at the first call for their width."""
    return (
        phrase.device.type == "cpu" and len(phrase) >= TEXTS and len(object) > 0 and _faster(phrase.shape[-1])
    )


def scores(phrase: Tensor, object: Tensor, inverse_lengths: Tensor) -> Tensor:
    """Object-phrase scores `[A, B]`, float32, by 8-bit products; the arguments are those that `rounded` returns."""
    count, phrases, width = phrase.shape
    videos, frames, slots, _ = object.shape
    found = torch.empty(count, videos)
    step = max(1, TILE // (TEXTS * phrases * frames * slots))
    texts = [packed(block, step * frames * slots) for block in phrase.split(TEXTS)]
    for first in range(0, videos, step):
        block = object[first : first + step].transpose(0, 1)  # [L, b, N_o, D]
        inverse = inverse_lengths[first : first + step].transpose(0, 1)[..., None]
        codes = block.reshape(-1, width)
        best = torch.empty(len(codes), TEXTS, dtype=torch.bfloat16)
        for place, (weights, factors) in enumerate(texts):
            cosines = product(codes, weights, factors)
            largest(cosines.view(-1, phrases, TEXTS).transpose(0, 1), best)
            slot_scores = (best.view(*block.shape[:3], TEXTS) * inverse).amax(dim=0)  # [b, N_o, TEXTS]
            text = slice(place * TEXTS, (place + 1) * TEXTS)
            found[text, first : first + step] = slot_scores.mean(dim=1).T[: count - text.start]
    return found


def packed(texts: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Phrases of up to `TEXTS` texts as oneDNN wants them, with one over their lengths; missing texts are zero.

    A text with a phrase that is NaN becomes NaN as a whole, which `largest` asks for.
    """
    count, phrases, width = texts.shape
    whole = texts.new_zeros(phrases, TEXTS, width)
    whole[:, :count] = texts.transpose(0, 1)
    inverse = inverse_lengths_of(whole)
    inverse[:, inverse.isnan().any(dim=0)] = torch.nan
    codes = whole.nan_to_num_(0.0).to(torch.int8).view(-1, width)
    return torch.ops.onednn.qlinear_prepack(codes, [rows, width]), inverse.flatten()


def product(codes: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
    """Products of codes `[n, D]` with m packed vectors, each times its factor: bfloat16 `[n, m]`."""
    zero_points = torch.zeros(len(factors), dtype=torch.int32)
    return torch.ops.onednn.qlinear_pointwise(
        codes, 1.0, 0, weights, factors, zero_points, None, 1.0, 0, torch.bfloat16, "none", [], ""
    )


@functools.cache
def _faster(width: int) -> bool:
    """Whether 8-bit products of this width are clearly faster than float32 ones; not where torch has none."""
    rows, phrases = 288, 8
    codes = torch.ones(rows, width, dtype=torch.int8)
    floats = codes.float(), torch.ones(TEXTS * phrases, width)
    try:
        weights = packed(torch.ones(TEXTS, phrases, width), rows)
        right = bool((product(codes, *weights)[0, 0] - width**0.5).abs() < 0.01 * width**0.5)
        return right and 1.2 * quickest(lambda: product(codes, *weights)) < quickest(
            lambda: torch.mm(floats[0], floats[1].T)
        )
    except (AttributeError, NotImplementedError, RuntimeError):
        # torch without oneDNN, for another processor, or older: no such operator, or none for int8.
        return False
