"""Hubness: some items stand near the top for many queries that they have nothing to do with, whatever is asked.

Measured as in Radovanovic et al., JMLR 2010: the skewness of the k-occurrence, which is the number of queries that have
an item among their first k.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prost.evaluation.metrics import checked_scores

# The usual k.
FIRST = 10
# Scores per block of queries; a block takes 16 MiB.
SCORES_AT_ONCE = 2**22


def k_occurrence(scores: ArrayLike, k: int = FIRST) -> NDArray[np.float64]:
    """How many queries have each item among their first k.

    Items with equal scores share the places that are left for them, so that the order of the columns does not count.

    Args:
        scores: `[Q, G]`, queries in rows.
        k: places of a query; a smaller gallery has as many places as items.

    Returns:
        `[G]`; the sum is Q x k.

    Raises:
        BadScores: NaN, infinity, or no matrix.

    >>> k_occurrence([[0.9, 0.1, 0.5], [0.8, 0.2, 0.2]], k=2).tolist()
    [2.0, 0.5, 1.5]
    """
    matrix = checked_scores(scores)
    queries, items = matrix.shape
    k = min(k, items)
    counts = np.zeros(items)
    rows = max(1, SCORES_AT_ONCE // items)
    for start in range(0, queries, rows):
        block = matrix[start : start + rows]
        last = np.partition(block, items - k, axis=1)[
            :, items - k, None
        ]  # the k-th highest score of each query
        above, level = block > last, block == last
        share = (k - above.sum(axis=1)) / level.sum(axis=1)
        counts += above.sum(axis=0) + share @ level
    return counts


def hubness(scores: ArrayLike, k: int = FIRST) -> float:
    """The skewness of the k-occurrence: 0 where it is symmetric around its mean, large where a few items are hubs.

    Args:
        scores: `[Q, G]`, queries in rows.
        k: places of a query.

    Raises:
        BadScores: NaN, infinity, or no matrix.

    One of four videos is the first of all queries:

    >>> round(hubness([[0.9, 0.1, 0.2, 0.3], [0.9, 0.3, 0.1, 0.2], [0.9, 0.2, 0.3, 0.1]], k=1), 4)
    1.1547
    """
    counts = k_occurrence(scores, k)
    apart: NDArray[Any] = counts - counts.mean()
    spread = float(np.sqrt(np.mean(apart**2)))
    # Where all items occur equally often, what is left is rounding.
    return float(np.mean(apart**3)) / spread**3 if spread > 1e-9 else 0.0
