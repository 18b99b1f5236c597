"""The exact formula on the best candidates of the scan: as many of them as a recall target asks for.

A scan orders clips by approximate scores. How far these are off shows as soon as some candidates are scored
exactly; from the spread of their errors follows how likely each clip that was not scored yet is to belong to the
best. Scoring goes on, best candidates first, until fewer than `(1 - recall) * wanted` of the best are expected
among the rest. A query whose best clips stand out needs a few dozen, one that fits everything alike needs many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from prost.model.matching import TextPrototypes
from prost.search.exact import ClipPrototypes, ClipScores, score
from prost.search.scan import Candidates

RECALL = 0.99
# What the scan hands over: the expected number of misses is counted among these.
CANDIDATES = 1000
# Candidates of the tables whose events are looked at again, for each one that is handed over.
REFINED_A_CANDIDATE = 4
# Each further round doubles what was scored.
FIRST_ROUND = 64


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

    @classmethod
    def joined(cls, parts: Sequence[Ranking]) -> Ranking:
        """Rankings of different clips, as one."""
        none = np.empty(0, dtype=np.int64)
        return cls.of(
            np.concatenate([none, *(part.rows for part in parts)]),
            ClipScores.joined([part.scores for part in parts]),
        )


class Reranking:
    """Exact scores of candidates, as many as are asked for so far.

    Args:
        text: prototypes of one sentence, on the CPU.
        candidates: best first.
        read: gives the prototypes of clips, by their rows.
        object_phrase_weight: of the model's configuration.
    """

    def __init__(
        self,
        text: TextPrototypes,
        candidates: Candidates,
        read: Callable[[NDArray[np.int64]], ClipPrototypes],
        object_phrase_weight: float,
    ) -> None:
        self._text = text
        self._candidates = candidates
        self._read = read
        self._weight = object_phrase_weight
        self._parts: list[ClipScores] = []
        self._done = 0

    @property
    def finished(self) -> bool:
        """Whether every candidate was scored."""
        return self._done == len(self._candidates)

    def rank(self, wanted: int, recall: float = RECALL) -> Ranking:
        """Go on until the best `wanted` clips are expected to be found but for a share of 1 - recall.

        Returns:
            all clips that were scored so far: at least `wanted` where there are so many candidates.
        """
        size = max(FIRST_ROUND, wanted) - self._done
        while not self.finished and (size > 0 or not self._is_enough(wanted, recall)):
            rows = self._candidates.rows[self._done :][: size if size > 0 else self._done]
            self._parts.append(score(self._text, self._read(rows), self._weight))
            self._done += len(rows)
            size = 0
        return Ranking.of(self._candidates.rows[: self._done], ClipScores.joined(self._parts))

    def _is_enough(self, wanted: int, recall: float) -> bool:
        if recall >= 1:
            return False
        exact = np.concatenate([part.total for part in self._parts])
        approximate = self._candidates.scores
        misses = expected_misses(exact, approximate[: self._done], approximate[self._done :], wanted)
        return misses <= (1 - recall) * wanted


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
    return Reranking(text, candidates, read, object_phrase_weight).rank(wanted, recall)


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
