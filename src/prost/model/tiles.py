"""Cosines of texts and videos tile by tile: a matrix product small enough for the cache, and at once its maximum.

The phrases are the leading dimension of a tile, so the maximum over them runs along contiguous rows and costs little
beside the product (decisions 0027, 0051, 0058).
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from prost.model.vectors import LONGEST, SHORTEST, inverse_lengths_of, unit

log = logging.getLogger("prost")

# Cosines of one tile, and components of the object prototypes that it is computed from: 8 MiB each in float32 on a
# processor, where they should stay in the cache, and 256 MiB on an accelerator, where few large products are best.
CPU_TILE, ACCELERATOR_TILE = 2**21, 2**26
# An accelerator that cannot hold a tile of this many cosines can do nothing useful.
SMALLEST_TILE = 2**14
# Half precision on a processor: a tile of this many times the numbers, and so many times as high as a square, since
# oneDNN packs the side of the videos; and numbers of columns that it multiplies 1.4 times as fast as others.
HALF_SIZE, HALF_HEIGHT, HALF_COLUMNS = 4, 5, 32
HALF = (torch.float16, torch.bfloat16)

# Runs of which the quickest counts.
RUNS = 6

Result = TypeVar("Result")
_shrunk: dict[torch.device, int] = {}


def tile_size(device: torch.device) -> int:
    """Numbers of a block that is worked on at once."""
    size = CPU_TILE if device.type == "cpu" else ACCELERATOR_TILE
    return size // _shrunk.get(device, 1)


def in_blocks_that_fit(run: Callable[[], Result], device: torch.device) -> Result:
    """Do work in blocks of `tile_size`; if the accelerator's memory does not suffice, again and in smaller ones.

    The smaller size is remembered for the device, and told once.
    """
    while True:
        try:
            return run()
        except torch.OutOfMemoryError:
            if tile_size(device) // 4 < SMALLEST_TILE:
                raise
        # Not within the except clause, whose traceback keeps the tensors of the failed attempt.
        if device not in _shrunk:
            log.warning("matching on %s: its memory does not suffice; it goes on in smaller blocks", device)
        _shrunk[device] = 4 * _shrunk.get(device, 1)


class Tile(NamedTuple):
    """Some texts against some videos; the tensors are overwritten by the next tile.

    Attributes:
        texts, videos: slices of the a texts and b videos.
        cosines: with every phrase `[N_p, a, L, b, N_o]`; of floats, not divided yet by the lengths of the
            object prototypes.
        best: cosine with the best phrase `[a, L, b, N_o]`.
    """

    texts: slice
    videos: slice
    cosines: Tensor
    best: Tensor


@torch.no_grad()
def tiles(phrase: Tensor, object: Tensor, inverse_lengths: Tensor | None) -> Iterator[Tile]:
    """Cosines of all texts and videos and their maximum over phrases, tile by tile.

    Args:
        phrase: `[A, N_p, D]`.
        object: `[B, L, N_o, D]`.
        inverse_lengths: one over the lengths of the objects `[B, L, N_o]`; None to compute them.
    """
    count, phrases, width = phrase.shape
    videos, frames, slots, _ = object.shape
    if not count or not videos:
        return
    dtype = product_dtype(phrase, object)
    tile_texts, tile_videos = _tile_shape(phrase, object, dtype)
    columns = frames * slots
    text_blocks = [_directions(block, dtype) for block in phrase.split(tile_texts)]
    # One buffer each for all tiles: fresh memory would cost as much as the product.
    product = phrase.new_empty(phrases * tile_texts * tile_videos * columns, dtype=dtype)
    maximum = phrase.new_empty(tile_texts * tile_videos * columns, dtype=dtype)
    converted = phrase.new_empty(tile_videos * columns * width, dtype=dtype)
    for first_video in range(0, videos, tile_videos):
        block = object[first_video : first_video + tile_videos].transpose(0, 1)  # [L, b, N_o, D]
        inverse = None
        if inverse_lengths is not None:
            inverse = inverse_lengths[first_video : first_video + tile_videos].transpose(0, 1)
        vectors = converted[: block.numel()].view(block.shape)
        inverse = _fill(vectors, block, inverse)
        vectors = vectors.view(-1, width)
        for text_block, first_text in zip(text_blocks, range(0, count, tile_texts), strict=True):
            rows = len(text_block)
            cosines = product[: rows * len(vectors)].view(rows, len(vectors))
            # With `out`, autocast leaves the precision alone.
            torch.mm(text_block, vectors.T, out=cosines)
            raw = maximum[: rows // phrases * len(vectors)]
            largest(cosines.view(phrases, -1), raw)
            best = raw.view(-1, *block.shape[:3])
            if inverse is not None:
                # Lengths are positive: the best phrase is the same before and after dividing by them.
                best.mul_(inverse)
            yield Tile(
                slice(first_text, first_text + len(best)),
                slice(first_video, first_video + block.shape[1]),
                cosines.view(phrases, *best.shape),
                best,
            )


def largest(values: Tensor, out: Tensor) -> Tensor:
    """The maximum over the first dimension, into `out`.

    torch's own maximum in half precision works number by number on a processor. Floating point numbers are ordered as
    the integers of the same bits, from zero up: a maximum of these is ten times as fast. Below zero the order is the
    reverse. Where every number is negative the smallest integer is therefore right.

    Args:
        values: `[n, ...]`. Where one of the n is NaN, all have to be.
        out: `[...]`, of the same type.
    """
    if values.dtype not in HALF or values.device.type != "cpu":
        return torch.amax(values, dim=0, out=out)
    bits, found = values.view(torch.int16), out.view(torch.int16)
    torch.amax(bits, dim=0, out=found)
    if found.amin() < 0:
        found.copy_(torch.where(found < 0, bits.amin(dim=0), found))
    return out


def _directions(texts: Tensor, dtype: torch.dtype) -> Tensor:
    """Directions of the phrases of some texts `[N_p * a, D]`; all NaN for a text with a NaN or infinity."""
    # [N_p, a, D]: phrases lead, so that the maximum over them runs along contiguous rows.
    texts = texts.transpose(0, 1)
    if dtype in HALF:
        exact = texts.float()
        directions = (exact * inverse_lengths_of(exact)[..., None]).to(dtype)
    else:
        directions = unit(texts.to(dtype))
    bad = directions[..., 0].isnan().any(dim=0)  # a direction is NaN as a whole or not at all
    if bad.any():
        directions[:, bad] = torch.nan
    return directions.reshape(-1, texts.shape[-1])


def _fill(vectors: Tensor, objects: Tensor, inverse_lengths: Tensor | None) -> Tensor | None:
    """Copy the objects of some videos `[L, b, N_o, D]` into vectors of the product's type.

    In half precision they become directions, all NaN for a video with a NaN or infinity, so that `largest` may follow.

    Returns:
        What the maxima of the products with these vectors are to be multiplied by `[L, b, N_o]`; None for nothing.
    """
    if vectors.dtype in HALF:
        exact = objects.float()
        inverse = inverse_lengths_of(exact) if inverse_lengths is None else inverse_lengths.float()
        bad = inverse.isnan().any(dim=2).any(dim=0)
        vectors.copy_(exact.mul_(inverse.masked_fill(bad[:, None], torch.nan)[..., None]))
        return None
    vectors.copy_(objects)
    return _divide_later(vectors) if inverse_lengths is None else inverse_lengths.to(vectors.dtype)


def _divide_later(vectors: Tensor) -> Tensor:
    """One over the length of each vector `[..., D]`, by which the maxima of its products are to be multiplied.

    This takes one pass over the vectors, where `unit` takes several. Vectors whose square or whose products could leave
    the range of the type are replaced, in place, by their directions; so are zero vectors and those with NaN or
    infinity.

    Returns:
        `[...]`; 1 for a vector that was replaced.
    """
    lengths = torch.linalg.vector_norm(vectors, dim=-1)
    usual = (lengths > SHORTEST) & (lengths < LONGEST)
    if not usual.all():
        vectors[~usual] = unit(vectors[~usual])
    return torch.where(usual, lengths, 1.0).reciprocal_()


def _tile_shape(phrase: Tensor, object: Tensor, dtype: torch.dtype) -> tuple[int, int]:
    """Texts and videos of a tile: about as many rows as columns, and no more of either than fit."""
    videos, frames, slots, width = object.shape
    texts, phrases = phrase.shape[:2]
    size = tile_size(phrase.device)
    columns = frames * slots
    half = dtype in HALF and phrase.device.type == "cpu"
    if half:
        size *= HALF_SIZE
    tile_texts = _clamp(round(math.sqrt(size) * (HALF_HEIGHT if half else 1) / phrases), texts)
    tile_videos = _clamp(min(size // (tile_texts * phrases * columns), size // (columns * width)), videos)
    if half:
        whole = HALF_COLUMNS // math.gcd(columns, HALF_COLUMNS)
        tile_videos -= tile_videos % whole if tile_videos > whole else 0
    # Long videos, or few of them, leave room for more texts.
    tile_texts = _clamp(size // (tile_videos * phrases * columns), texts)
    return tile_texts, tile_videos


def _clamp(size: int, largest: int) -> int:
    return max(1, min(size, largest))


def product_dtype(phrase: Tensor, object: Tensor) -> torch.dtype:
    """The type in which cosines are computed: float32 unless the prototypes are float64, or half and best left so."""
    if not object.is_floating_point():
        return torch.float64 if phrase.dtype == torch.float64 else torch.float32
    dtype = torch.promote_types(phrase.dtype, object.dtype)
    if phrase.device.type != "cpu" or dtype in (torch.float32, torch.float64):
        return dtype
    if dtype == torch.bfloat16 and bfloat16_is_faster():
        return dtype
    return torch.float32


def result_dtype(phrase: Tensor, object: Tensor) -> torch.dtype:
    """The type of scores: float64 if a prototype is float64, else float32."""
    return torch.float64 if torch.float64 in (phrase.dtype, object.dtype) else torch.float32


def winner_dtype(places: int) -> torch.dtype:
    """The type of the number of one of so many places, a phrase at a frame."""
    return torch.int16 if places <= torch.iinfo(torch.int16).max else torch.int32


@functools.cache
def bfloat16_is_faster() -> bool:
    """Whether this processor multiplies bfloat16 matrices clearly faster than float32 ones, as measured now.

    Its instruction set does not tell: with AVX-512 alone bfloat16 can be slower than float32, and without any support
    for it, 60 times slower.
    """
    one, other = (torch.ones(384, 384, dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    return 1.2 * quickest(lambda: torch.mm(one, one)) < quickest(lambda: torch.mm(other, other))


def quickest(run: Callable[[], object]) -> float:
    """Seconds of the quickest of a few runs."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
