"""The exact formula on the best candidates of the scan: as many of them as a recall target asks for.

A scan orders clips by approximate scores. How far these are off shows as soon as some candidates are scored
exactly; from the spread of their errors follows how likely each clip that was not scored yet is to belong to the
best. Scoring goes on, best candidates first, until fewer than `(1 - recall) * wanted` of the best are expected
among the rest. A query whose best clips stand out needs a few dozen, one that fits everything alike needs many.

The best are those by the exact formula on the prototypes as the library stores them, in 8 bits: these put clips in
another order than the model's own prototypes do where scores differ by less than some 0.0002 (decision 0024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from prost.model.matching import TextPrototypes
from prost.search.candidates import Candidates
from prost.search.exact import ClipPrototypes, ClipScores, score

RECALL = 0.9995
# What the scan hands over: the expected number of misses is counted among these.
CANDIDATES = 2000
# Candidates of the tables whose events are looked at again, for each one that is handed over.
REFINED_A_CANDIDATE = 2
FIRST_ROUND = 64
# Later rounds score as many as the forecast asks for: no fewer than this, and no more than were scored before them,
# for what a forecast is made from.
LEAST_ROUND = 16


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
        if size <= 0:
            size = self._needed(wanted, recall)
        while size and not self.finished:
            rows = self._candidates.rows[self._done :][:size]
            self._parts.append(score(self._text, self._read(rows), self._weight))
            self._done += len(rows)
            size = self._needed(wanted, recall)
        return Ranking.of(self._candidates.rows[: self._done], ClipScores.joined(self._parts))

    def _needed(self, wanted: int, recall: float) -> int:
        """How many candidates the next round scores; 0 if enough were scored."""
        if recall >= 1:
            return len(self._candidates) - self._done
        exact = np.concatenate([part.total for part in self._parts])
        approximate = self._candidates.scores
        chances = chances_of_best(exact, approximate[: self._done], approximate[self._done :], wanted)
        misses = np.cumsum(chances[::-1])[::-1]  # [m], if scoring went on up to each of the rest
        needed = int(np.count_nonzero(misses > (1 - recall) * wanted))
        return needed and min(max(needed, LEAST_ROUND), self._done)


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


def chances_of_best(
    exact: NDArray[np.float32],
    approximate: NDArray[np.float32],
    remaining: NDArray[np.float32],
    wanted: int,
) -> NDArray[np.float64]:
    """How likely each of the clips not scored exactly yet is to be among the `wanted` best `[m]`.

    Candidates were chosen for high approximate scores, and the higher one is, the more it owes to its error: exact
    minus approximate rises towards the rest, which a line through the errors that are known foresees. About this
    line errors are taken as normal, and their deviation as larger than it seems by as much as it is uncertain.

    Args:
        exact: exact scores of some clips.
        approximate: approximate scores of the same clips.
        remaining: approximate scores of the others `[m]`, none above those.
        wanted: how many of the best are wanted.

    A clip that is expected at the border has an even chance, one far below none:

    >>> exact, approximate = np.array([0.9, 0.7, 0.9, 0.7]), np.array([0.8, 0.8, 0.8, 0.8])
    >>> chances_of_best(exact, approximate, np.array([0.9, -9.0]), wanted=2).round(6).tolist()
    [0.5, 0.0]
    """
    if len(exact) < wanted:
        return np.ones(len(remaining))
    border = np.partition(exact, len(exact) - wanted)[len(exact) - wanted]
    errors = exact.astype(np.float64) - approximate
    centred = approximate.astype(np.float64) - approximate.mean(dtype=np.float64)
    square = float(centred @ centred)
    # Errors that rise with the score are chance: no choice of candidates makes them so.
    slope = min(0.0, float(centred @ errors) / square) if square > 0 else 0.0
    deviation = float((errors - slope * centred).std()) * (1 + 1 / math.sqrt(2 * len(errors)))
    expected = remaining + errors.mean() + slope * (remaining - approximate.mean(dtype=np.float64))
    above = (expected - border) / max(deviation, float(np.finfo(np.float32).eps))
    return torch.special.ndtr(torch.from_numpy(np.asarray(above, dtype=np.float64))).numpy()
