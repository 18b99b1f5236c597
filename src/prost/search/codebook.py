"""A codebook: a few thousand directions that stand for all prototypes of a library.

Matching uses only cosines, so a prototype is replaced by the centroid at the smallest angle. The centroids come from
spherical k-means (Dhillon & Modha 2001). Centroid 0 is the zero vector. It is the code of a dead slot, and its cosine
with every phrase is exactly 0, as in the formula of matching.

Comparing every prototype of a large library with every centroid would take hours. The centroids are therefore
grouped into cells of neighbours, and a prototype is compared with the centroids of the few cells that are nearest
to it (an inverted file: Jégou, Douze & Schmid 2011, section IV).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prost.model.vectors import unit

# A table of this many float32 cosines takes 64 KiB, an eighth of the second-level cache of a common core.
LARGEST_CODEBOOK = 2**14
SMALLEST_CODEBOOK = 2**8
# Smaller codebooks have one cell, so every centroid is compared and codes are exact.
ONE_CELL = 2**9
CELLS_COMPARED = 8
SAMPLES_A_CENTROID = 24

ITERATIONS = 8
REFINEMENTS = 3
ROWS_AT_ONCE = 2**15


def codebook_size(prototypes: int) -> int:
    """Number of centroids for a library: a power of two near four times the square root of its prototypes.

    >>> [codebook_size(144 * clips) for clips in (100, 10_000, 1_000_000)]
    [256, 4096, 16384]
    """
    power = int(math.log2(4 * math.sqrt(max(1, prototypes))))
    return min(max(2**power, SMALLEST_CODEBOOK), LARGEST_CODEBOOK)


@dataclass(frozen=True)
class Codebook:
    """Centroids, grouped into cells so that the nearest one is found quickly.

    Attributes:
        centroids: `[K, D]` of length one, ordered by cell; row 0 is the zero vector.
        cells: directions of the cells `[C, D]`.
        starts: row of the first centroid of each cell, and K at the end `[C + 1]`.
        error: mean of 1 - cosine between the prototypes that it was trained on and their centroids.
    """

    centroids: Tensor
    cells: Tensor
    starts: NDArray[np.int64]
    error: float

    def __len__(self) -> int:
        return len(self.centroids)

    def assign(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Code vectors by their centroids.

        Args:
            vectors: `[n, D]` of any length, so 8-bit codes do not need their scales.

        Returns:
            codes `[n]`, int64, 0 for a zero vector; and the cosine of each vector with its centroid `[n]`. The cosine
            of a zero vector is given as 1, because its code loses nothing.
        """
        codes, cosines = [], []
        for block in vectors.split(ROWS_AT_ONCE):
            directions = unit(block.float())
            best, code = self._nearest(directions)
            dead = ~directions.any(dim=1)
            codes.append(code.masked_fill_(dead, 0))
            cosines.append(best.masked_fill_(dead, 1.0))
        if not codes:
            return torch.empty(0, dtype=torch.int64), torch.empty(0)
        return torch.cat(codes), torch.cat(cosines)

    def _nearest(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        if len(self) == 1:  # trained on zero vectors alone
            return torch.zeros(len(directions)), torch.zeros(len(directions), dtype=torch.int64)
        if len(self.cells) == 1:
            best, code = (directions @ self.centroids[1:].T).max(dim=1)
            return best, code + 1
        compared = min(CELLS_COMPARED, len(self.cells))
        near = (directions @ self.cells.T).topk(compared, dim=1, sorted=False).indices  # [n, compared]
        by_cell, order = near.flatten().sort()
        bounds = torch.searchsorted(by_cell, torch.arange(len(self.cells) + 1)).tolist()
        best = torch.full((len(directions),), -math.inf)
        code = torch.zeros(len(directions), dtype=torch.int64)
        for cell, (first, last) in enumerate(pairwise(bounds)):
            if first == last:
                continue
            rows = order[first:last] // compared
            start, end = int(self.starts[cell]), int(self.starts[cell + 1])
            cosine, nearest = (directions[rows] @ self.centroids[start:end].T).max(dim=1)
            better = cosine > best[rows]
            best[rows[better]] = cosine[better]
            code[rows[better]] = nearest[better] + start
        return best, code

    def best_cosines(self, queries: Tensor) -> Tensor:
        """The look-up tables of the scan: the best cosine of each centroid with a query's vectors.

        Args:
            queries: `[Q, P, D]`, of any length: phrase prototypes, or a sentence prototype with P = 1.

        Returns:
            `[Q, K]`; 0 for centroid 0.
        """
        count, vectors, width = queries.shape
        cosines = unit(queries).reshape(-1, width) @ self.centroids.T  # [Q*P, K]
        return cosines.view(count, vectors, -1).amax(dim=1)


def train_codebook(vectors: Tensor, size: int, seed: int = 0) -> Codebook:
    """Spherical k-means in two levels: cells, centroids within each cell, then all centroids together.

    Equal vectors count once, so still pictures do not use up the centroids. If there are fewer different vectors than
    centroids, the vectors become the centroids, and codes lose nothing.

    Args:
        vectors: a sample of a library's prototypes `[n, D]`, of any length; zero vectors are left out.
        size: K at most, including the zero vector.
        seed: of the first centroids.
    """
    directions = unit(vectors.float())
    alive = directions[directions.any(dim=1)]
    points = torch.from_numpy(_different(alive.numpy()))
    width, wanted = vectors.shape[1], size - 1
    generator = torch.Generator().manual_seed(seed)
    if len(points) <= wanted:
        return _in_cells([points], width, error=0.0)
    if wanted < ONE_CELL:
        return _refined(_in_cells([_k_means(points, wanted, generator)], width), points, ITERATIONS)
    cells = _k_means(points, 2 ** round(math.log2(size) / 2), generator)
    member = _nearest_of(points, cells)
    counts = torch.bincount(member, minlength=len(cells))
    shares = _shares(counts, wanted)
    groups = [
        _k_means(points[member == cell], share, generator)
        for cell, share in enumerate(shares.tolist())
        if share > 0
    ]
    return _refined(_in_cells(groups, width), points, REFINEMENTS)


def _different(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The different rows, each once, in the order of their first appearance."""
    if not len(rows):
        return rows
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))
    first = np.unique(whole.ravel(), return_index=True)[1]
    return rows[np.sort(first)]


def _shares(counts: Tensor, total: int) -> Tensor:
    """Number of centroids of each cell, in proportion to its points.

    The numbers sum to `total`, by largest remainders (Hamilton), unless a cell has fewer points than that.
    """
    exact = counts.double() * total / counts.sum()
    shares = exact.floor().long()
    missing = total - int(shares.sum())
    shares[(exact - shares).argsort(descending=True, stable=True)[:missing]] += 1
    return shares.minimum(counts)


def _k_means(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Plain spherical k-means: `count` directions for `points` `[n, D]` of length one."""
    centroids = points[torch.randperm(len(points), generator=generator)[:count]]
    for _ in range(ITERATIONS):
        centroids = _means(points, _nearest_of(points, centroids), centroids)
    return centroids


def _nearest_of(points: Tensor, centroids: Tensor) -> Tensor:
    return torch.cat([(block @ centroids.T).argmax(dim=1) for block in points.split(ROWS_AT_ONCE)])


def _means(points: Tensor, member: Tensor, centroids: Tensor) -> Tensor:
    """Directions of the sums of each centroid's points; a centroid without points stays the same."""
    sums = torch.zeros_like(centroids).index_add_(0, member, points)
    means = unit(sums)
    return torch.where(means.any(dim=1, keepdim=True), means, centroids)


def _in_cells(groups: list[Tensor], width: int, error: float = math.nan) -> Codebook:
    """A codebook of grouped centroids."""
    centroids = torch.cat([torch.zeros(1, width), *groups])
    starts = np.cumsum([1, *(len(group) for group in groups)], dtype=np.int64)
    cells = unit(torch.stack([group.sum(dim=0) for group in groups]))
    return Codebook(centroids, cells, starts, error)


def _refined(codebook: Codebook, points: Tensor, iterations: int) -> Codebook:
    """Move all centroids together; centroids without points move to the points with the largest errors."""
    for _ in range(iterations):
        codes, cosines = codebook.assign(points)
        centroids = _means(points, codes, codebook.centroids)
        idle = (
            (torch.bincount(codes, minlength=len(codebook)) == 0).nonzero().flatten()[1:]
        )  # 0 is the zero vector
        worst = cosines.argsort()[: len(idle)]
        centroids[idle[: len(worst)]] = points[worst]
        owner = _nearest_of(centroids[1:], codebook.cells)
        groups = [centroids[1:][owner == cell] for cell in range(len(codebook.cells))]
        codebook = _in_cells([group for group in groups if len(group)], points.shape[1])
    error = float(1 - codebook.assign(points)[1].mean())
    return Codebook(codebook.centroids, codebook.cells, codebook.starts, error)
