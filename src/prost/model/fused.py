"""The object-phrase score on a GPU by one Triton kernel, where that is faster than tiles.

A tile is written to memory and read back for its maximum. The kernel takes the maxima of each block of cosines while it
is in registers, so that only scores leave it, and winners for the gradient. The gradient itself is that of the tiles: a
gather and a scatter through the winners.

The kernel is tested in Triton's interpreter. Its speed has not been measured: no GPU was at hand. It is therefore never
taken on trust, but timed beside the tiles at the first call for a kind of prototypes (`is_faster`).
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import subprocess

import torch
from torch import Tensor

from prost.model.tiles import HALF, product_dtype, quickest, tiles, winner_dtype
from prost.model.vectors import LONGEST, SHORTEST, unit

log = logging.getLogger("prost")

# Rows and columns of the block of cosines that one program keeps in registers, and the most phrases or slots that fit.
BLOCK, MOST = 128, 128
# The least rows, columns and depth of a block that tensor cores multiply.
LEAST = 16
# Groups of 32 threads that share a block: 64 of its numbers a thread.
WARPS = 8
# Texts and videos of the comparison with tiles.
COMPARED = 64


def is_faster(phrase: Tensor, object: Tensor) -> bool:
    """Whether the kernel can score these prototypes and did so faster than tiles when it was measured.

    The first call for a device, a type and numbers of phrases, frames, slots and components measures, which takes about
    a second, most of it for compiling.
    """
    if phrase.device.type != "cuda" or not len(phrase) or not len(object):
        return False
    dtype = product_dtype(phrase, object)
    sizes = phrase.shape[1], *object.shape[1:]
    if dtype == torch.float64 or sizes[0] > MOST or sizes[2] > MOST or not _triton_is_here():
        return False
    return _won(phrase.device, dtype, object.dtype, sizes)


@functools.cache
def _triton_is_here() -> bool:
    return importlib.util.find_spec("triton") is not None


@functools.cache
def _won(
    device: torch.device, dtype: torch.dtype, object_dtype: torch.dtype, sizes: tuple[int, int, int, int]
) -> bool:
    phrases, frames, slots, width = sizes
    phrase = torch.ones(COMPARED, phrases, width, dtype=dtype, device=device)
    object = torch.ones(COMPARED, frames, slots, width, dtype=object_dtype, device=device)

    def kernel() -> None:
        scores(phrase, object, None)
        torch.cuda.synchronize(device)

    def blocks() -> None:
        for _ in tiles(phrase, object, None):
            pass
        torch.cuda.synchronize(device)

    try:
        kernel()
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        # No C compiler, an unknown GPU, not enough registers: Triton has no class for all of these.
        log.warning("matching on %s: no fused kernel (%s)", device, str(error).partition("\n")[0])
        return False
    return quickest(kernel) < quickest(blocks)


@torch.no_grad()
def scores(
    phrase: Tensor, object: Tensor, inverse_lengths: Tensor | None, *, with_winners: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Object-phrase scores and winners as tiles give them, to rounding; neither texts nor videos may be missing.

    Args:
        phrase: `[A, N_p, D]`, not float64.
        object: `[B, L, N_o, D]`, or int8 codes.
        inverse_lengths: one over the lengths of the objects `[B, L, N_o]`, or None.
        with_winners: also return who won each slot, `[A, B, N_o]`: number of the frame, times N_p, plus that of the
            phrase.

    Returns:
        Scores, float32 `[A, B]`; winners or None.
    """
    from prost.model.fused_kernel import best_of_slots

    count, phrases, width = phrase.shape
    videos, frames, slots, _ = object.shape
    dtype = product_dtype(phrase, object)
    directions = unit(phrase.to(torch.promote_types(phrase.dtype, dtype))).to(dtype).contiguous()
    if inverse_lengths is None or object.is_floating_point():
        object, inverse_lengths = _usual(object)
    inverse_lengths = inverse_lengths.float().contiguous()
    # The maxima of the kernel pass over NaN. It is kept away from it, and put into the scores of its text or video.
    bad_texts = directions.isnan().flatten(1).any(dim=1)
    bad_videos = inverse_lengths.isnan().flatten(1).any(dim=1)
    directions, inverse_lengths = directions.nan_to_num(0.0), inverse_lengths.nan_to_num(0.0)
    found = torch.empty(count, videos, device=phrase.device)
    # Triton wants a tensor here in any case.
    winners = torch.empty(
        (count, videos, slots) if with_winners else (1,),
        dtype=winner_dtype(frames * phrases),
        device=phrase.device,
    )
    rows, columns = _power_of_two(phrases), _power_of_two(slots)
    texts = max(1, BLOCK // rows)
    at_once = max(LEAST // columns, min(_power_of_two(frames), BLOCK // columns), 1)
    best_of_slots[(-(-count // texts) * videos,)](
        directions, object.contiguous(), inverse_lengths, found, winners,
        count, videos, phrases, frames, slots, width,
        TEXTS=texts, PHRASES=rows, FRAMES=at_once, SLOTS=columns,
        DEPTH=64 if dtype in HALF else 32, WITH_WINNERS=with_winners,
        num_warps=WARPS,
    )  # fmt: skip
    found[bad_texts], found[:, bad_videos] = torch.nan, torch.nan
    return found, winners if with_winners else None


def _usual(object: Tensor) -> tuple[Tensor, Tensor]:
    """Objects that the kernel can multiply, and one over their lengths; NaN for one with NaN or infinity.

    Objects of unusual lengths, whose products could leave the range of their type, come back as directions.
    """
    shortest, longest = (0.1, 3e4) if object.dtype == torch.float16 else (SHORTEST, LONGEST)
    exact = object if object.is_floating_point() else object.float()
    lengths = torch.linalg.vector_norm(exact, dim=-1, dtype=torch.float32)
    if bool(((lengths > shortest) & (lengths < longest)).all()):
        return object, lengths.reciprocal()
    directions = unit(exact)
    return directions.nan_to_num(0.0), torch.where(directions[..., 0].isnan(), torch.nan, 1.0)


def _power_of_two(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << (number - 1).bit_length()
