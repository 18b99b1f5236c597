"""The exact formula on the best candidates of the scan: as many of them as a recall target asks for.

A scan orders clips by approximate scores. How far these are off shows as soon as some candidates are scored
exactly; from the spread of their errors follows how likely each clip that was not scored yet is to belong to the
best. Scoring goes on, best candidates first, until fewer than `(1 - recall) * wanted` of the best are expected
among the rest. A query whose best clips stand out needs a few dozen, one that fits everything alike needs many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from prost.model.matching import TextPrototypes
from prost.search.exact import ClipPrototypes, ClipScores, score
from prost.search.scan import Candidates

RECALL = 0.99
# What the scan hands over: the expected number of misses is counted among these.
CANDIDATES = 2000
# Candidates of the tables whose events are looked at again, for each one that is handed over.
REFINED_A_CANDIDATE = 4
FIRST_ROUND = 64
ROUND_GROWTH = 2


@dataclass(frozen=True)
class Ranking:
    """Clips scored exactly for one sentence, best first; of equal ones the earlier first.

    Attributes:
        rows: `[N]`.
        scores: of these, in their order.
    """

    rows: NDArray[np.int64]
    scores: ClipScores

    @classmethod
    def of(cls, rows: NDArray[np.int64], scores: ClipScores) -> Ranking:
        """Put clips in order."""
        order = np.lexsort((rows, -scores.total))
        return cls(rows[order], scores[order])


def rerank(
    text: TextPrototypes,
    candidates: Candidates,
    read: Callable[[NDArray[np.int64]], ClipPrototypes],
    object_phrase_weight: float,
    wanted: int,
    recall: float = RECALL,
) -> Ranking:
    """Score candidates exactly, until the recall target is met.

    Args:
        text: prototypes of one sentence, on the CPU.
        candidates: best first.
        read: gives the prototypes of clips, by their rows.
        object_phrase_weight: of the model's configuration.
        wanted: how many of the best clips are wanted.
        recall: expected share of them that is found; 1 scores all candidates.

    Returns:
        all clips that were scored: at least `wanted` where there are so many candidates.
    """
    parts: list[ClipScores] = []
    done, size = 0, max(FIRST_ROUND, wanted)
    while done < len(candidates):
        rows = candidates.rows[done : done + size]
        parts.append(score(text, read(rows), object_phrase_weight))
        done += len(rows)
        size *= ROUND_GROWTH
        exact = np.concatenate([part.total for part in parts])
        misses = expected_misses(exact, candidates.scores[:done], candidates.scores[done:], wanted)
        if misses <= (1 - recall) * wanted:
            break
    return Ranking.of(candidates.rows[:done], ClipScores.joined(parts))


def expected_misses(
    exact: NDArray[np.float32],
    approximate: NDArray[np.float32],
    remaining: NDArray[np.float32],
    wanted: int,
) -> float:
    """How many of the `wanted` best clips are likely to be among those not scored exactly yet.

    The errors of the clips that were scored are taken as a sample of a normal distribution.

    Args:
        exact: exact scores of some clips.
        approximate: approximate scores of the same clips.
        remaining: approximate scores of the others.
        wanted: how many of the best are wanted.

    With errors of mean 0 and deviation 0.1, one clip at the border has an even chance, one far below none:

    >>> exact, approximate = np.array([0.9, 0.7]), np.array([0.8, 0.8])
    >>> round(expected_misses(exact, approximate, np.array([0.9, -9.0]), wanted=1), 6)
    0.5
    """
    if len(remaining) == 0 or len(exact) < wanted:
        return float(len(remaining))
    border = np.partition(exact, len(exact) - wanted)[len(exact) - wanted]
    errors = exact.astype(np.float64) - approximate
    deviation = max(float(errors.std()), float(np.finfo(np.float32).eps))
    above = (remaining + errors.mean() - border) / deviation
    return float(torch.special.ndtr(torch.from_numpy(np.asarray(above, dtype=np.float64))).sum())
