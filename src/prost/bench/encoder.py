"""Encodes generated clips in the form in which a library stores and scans them: 8-bit prototypes and codes.

Comparing 144 million vectors with 16,384 centroids each would take hours. A generated vector lies between two real
ones, and its centroid is usually close to theirs. So the search starts at the centroids of both and of the previous
frame, and walks to better neighbours until there is none. `CodingQuality` measures, on clips of every build, how often
the walk ends at the nearest centroid and how much cosine is lost otherwise, beside the same figures for the library's
own coding. The loss makes the scan's candidates worse, never better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from prost.bench.generator import ClipBlock, Generator, turn
from prost.search.codebook import Codebook
from prost.search.quantise import LARGEST_CODE

# Neighbours of each centroid that a walk may step to. With 32 of 16,384 the walk ends at the nearest centroid for nine
# vectors in ten, after about 65 comparisons.
NEIGHBOURS = 32
COSINES_AT_ONCE = 2**24


@dataclass(frozen=True, kw_only=True)
class EncodedBlock:
    """Stored form of n clips.

    Attributes:
        object_codes: 8-bit object prototypes `[n, L, N_o, D]`.
        object_scales: `[n, L, N_o]`.
        centroids: nearest centroid of each object prototype `[n, L, N_o]`, uint16; 0 for a zero vector.
        event: unit event prototypes `[n, N_e, D]`.
    """

    object_codes: NDArray[np.int8]
    object_scales: NDArray[np.float32]
    centroids: NDArray[np.uint16]
    event: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CodingQuality:
    """Quality of two ways to find a centroid, compared with a search through all centroids.

    Attributes:
        cosine: mean cosine of a vector with its nearest centroid.
        agreement: fraction of vectors for which the walk ends at the nearest centroid.
        lost_cosine: mean cosine lost by the walk.
        library_agreement: fraction of vectors to which a library assigns the nearest centroid (`Codebook.assign`).
        library_lost_cosine: mean cosine lost by a library.
    """

    cosine: float
    agreement: float
    lost_cosine: float
    library_agreement: float
    library_lost_cosine: float


class BlockEncoder:
    """Encodes recipes of clips.

    Args:
        generator: generator of the clips.
        codebook: codebook of the object prototypes.
    """

    def __init__(self, generator: Generator, codebook: Codebook) -> None:
        self._generator = generator
        self._codebook = codebook
        self._centroids = codebook.centroids.numpy()
        self._neighbours = nearest_centroids(
            self._centroids, self._centroids, NEIGHBOURS + 1
        )  # one is itself
        width = generator.tracks.shape[-1]
        real, _ = codebook.assign(torch.from_numpy(generator.tracks).view(-1, width))
        self._real_centroids = (
            real.numpy().astype(np.uint16).reshape(generator.tracks.shape[:-1])
        )  # [V, N_o, L]

    def encode(self, block: ClipBlock) -> EncodedBlock:
        """Encode the clips of a block."""
        generator, recipe = self._generator, block.object
        clips, slots, frames = recipe.angle.shape
        codes = np.empty((clips, frames, slots, generator.tracks.shape[-1]), np.int8)
        scales = np.empty((clips, frames, slots), np.float32)
        nearest = np.empty((clips, frames, slots), np.uint16)
        _encode(
            generator.tracks,
            generator.track_means,
            recipe.own,
            recipe.partner,
            recipe.angle,
            self._real_centroids,
            self._neighbours,
            self._centroids,
            codes,
            scales,
            nearest,
        )
        return EncodedBlock(
            object_codes=codes,
            object_scales=scales,
            centroids=nearest,
            event=generator.materialise_events(block),
        )

    def quality(self, block: ClipBlock) -> CodingQuality:
        """Compare the walk and the library's coding with the full search on one block."""
        walked = self.encode(block).centroids.transpose(0, 2, 1).reshape(-1).astype(np.int64)
        vectors = self._generator.materialise(block).object.reshape(-1, self._centroids.shape[1])
        alive = vectors.any(axis=1)
        vectors, walked = vectors[alive], walked[alive]
        best = nearest_centroids(vectors, self._centroids, 1)[:, 0].astype(np.int64)
        library = self._codebook.assign(torch.from_numpy(vectors))[0].numpy()
        cosine, walked_cosine, library_cosine = (
            float(np.einsum("nd,nd->n", vectors, self._centroids[codes]).mean())
            for codes in (best, walked, library)
        )
        return CodingQuality(
            cosine=cosine,
            agreement=float((walked == best).mean()),
            lost_cosine=cosine - walked_cosine,
            library_agreement=float((library == best).mean()),
            library_lost_cosine=cosine - library_cosine,
        )


def nearest_centroids(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32], count: int
) -> NDArray[np.uint16]:
    """The `count` nearest centroids of each vector `[..., D]`, unordered: `[..., count]`.

    Centroid 0, the zero vector, is never among them. If there are fewer centroids than `count`, all are returned.
    """
    width = vectors.shape[-1]
    table = torch.from_numpy(centroids[1:]).T
    count = min(count, int(table.shape[1]))
    flat = torch.from_numpy(vectors).reshape(-1, width)
    nearest = np.empty((len(flat), count), np.uint16)
    step = max(1, COSINES_AT_ONCE // int(table.shape[1]))
    for first in range(0, len(flat), step):
        _largest((flat[first : first + step] @ table).numpy(), nearest[first : first + step])
    nearest += 1
    return nearest.reshape(*vectors.shape[:-1], count)


@numba.njit(nogil=True, parallel=True)
def _largest(values, places):  # type: ignore[no-untyped-def]
    """Columns of the largest values of each row, unordered."""
    rows, count = places.shape
    for row in numba.prange(rows):
        best = np.full(count, -np.inf, np.float32)
        worst = 0
        for column in range(values.shape[1]):
            value = values[row, column]
            if value > best[worst]:
                best[worst] = value
                places[row, worst] = column
                worst = int(np.argmin(best))


@numba.njit(nogil=True, fastmath=True)
def _walk(vector, start, neighbours, centroids):  # type: ignore[no-untyped-def]
    """Step to the best neighbour until none is better; returns the last centroid."""
    here, best = start, _dot(vector, centroids[start])
    while True:
        found = here
        for neighbour in neighbours[here]:
            product = _dot(vector, centroids[neighbour])
            if product > best:
                best, found = product, np.int64(neighbour)
        if found == here:
            return here
        here = found


@numba.njit(nogil=True, fastmath=True)
def _dot(one, other):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for d in range(len(one)):
        total += one[d] * other[d]
    return total


@numba.njit(nogil=True, parallel=True, fastmath=True)
def _encode(  # type: ignore[no-untyped-def]
    tracks, means, own, partner, angle, real_centroids, neighbours, centroids, codes, scales, nearest
):
    clips, slots, frames = angle.shape
    width = tracks.shape[-1]
    for clip in numba.prange(clips):
        vector = np.empty(width, np.float32)
        for slot in range(slots):
            mine, other = own[clip, slot], partner[clip, slot]
            before = np.int64(0)
            for frame in range(frames):
                scale = turn(
                    means[slot],
                    tracks[mine, slot, frame],
                    tracks[other, slot, frame],
                    angle[clip, slot, frame],
                    vector,
                )
                largest = np.float32(0)
                for d in range(width):
                    largest = max(largest, abs(vector[d]))
                if scale == 0 or largest == 0:
                    codes[clip, frame, slot] = 0
                    scales[clip, frame, slot] = 0
                    nearest[clip, frame, slot] = 0
                    continue
                shrink = np.float32(LARGEST_CODE) / largest
                for d in range(width):
                    codes[clip, frame, slot, d] = np.int8(np.rint(vector[d] * shrink))
                scales[clip, frame, slot] = scale / shrink
                start = np.int64(real_centroids[mine, slot, frame])
                best = _dot(vector, centroids[start])
                for centroid in (np.int64(real_centroids[other, slot, frame]), before):
                    if centroid > 0:
                        product = _dot(vector, centroids[centroid])
                        if product > best:
                            best, start = product, centroid
                before = _walk(vector, start, neighbours, centroids)
                nearest[clip, frame, slot] = before
