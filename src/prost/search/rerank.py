"""Exact scores of the best candidates of the scan, as many as the recall target needs.

A scan orders clips by approximate scores. Once some candidates are scored exactly, the spread of the errors tells how
likely each of the other candidates is to be among the best clips. The best candidates are scored first, until fewer
than `(1 - recall) * wanted` of the best clips are expected among the rest. A query whose best clips stand out needs a
few dozen exact scores; a query that matches all clips about equally needs many.

The best clips are defined by the exact formula on the stored 8-bit prototypes. Their order can differ from that of the
model's own prototypes where scores differ by less than about 0.0002 (decision 0024).
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
# Candidates that the scan returns; the expected number of misses is counted among these.
CANDIDATES = 2000
# Candidates of the tables whose event scores are refined, for each candidate that the scan returns.
REFINED_PER_CANDIDATE = 2
FIRST_ROUND = 64
# Later rounds score as many candidates as the forecast asks for: at least this many, so that the forecast improves, and
# at most as many as were scored before, because a forecast from few errors is uncertain.
SMALLEST_ROUND = 16


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Clips scored exactly for one sentence, best first; among equal scores the earlier row first.

    Attributes:
        rows: rows of the clips `[N]`.
        scores: scores of the clips, in the same order.
    """

    rows: NDArray[np.int64]
    scores: ClipScores

    @classmethod
    def of(cls, rows: NDArray[np.int64], scores: ClipScores) -> Ranking:
        """Sort clips by their scores."""
        order = np.lexsort((rows, -scores.total))
        return cls(rows=rows[order], scores=scores[order])

    @classmethod
    def joined(cls, parts: Sequence[Ranking]) -> Ranking:
        """Merge rankings of different clips."""
        none = np.empty(0, dtype=np.int64)
        return cls.of(
            np.concatenate([none, *(part.rows for part in parts)]),
            ClipScores.joined([part.scores for part in parts]),
        )


class Reranking:
    """Exact scores of candidates, continued on demand.

    Args:
        text: prototypes of one sentence, on the CPU.
        candidates: candidates of the scan, best first.
        read: reads the prototypes of clips, given their rows.
        object_phrase_weight: from the model's configuration.
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
        """Whether every candidate has been scored."""
        return self._done == len(self._candidates)

    def rank(self, wanted: int, recall: float = RECALL) -> Ranking:
        """Score candidates until the expected fraction of the best `wanted` clips that was found reaches `recall`.

        Returns:
            All clips scored so far: at least `wanted` if there are that many candidates.
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
        """Number of candidates to score in the next round; 0 if enough were scored."""
        if recall >= 1:
            return len(self._candidates) - self._done
        exact = np.concatenate([part.total for part in self._parts])
        approximate = self._candidates.scores
        chances = chances_of_best(exact, approximate[: self._done], approximate[self._done :], wanted)
        misses = np.cumsum(chances[::-1])[::-1]  # [m]: expected misses if scoring stops before each
        needed = int(np.count_nonzero(misses > (1 - recall) * wanted))
        return needed and min(max(needed, SMALLEST_ROUND), self._done)


def rerank(
    text: TextPrototypes,
    candidates: Candidates,
    read: Callable[[NDArray[np.int64]], ClipPrototypes],
    object_phrase_weight: float,
    wanted: int,
    recall: float = RECALL,
) -> Ranking:
    """Score candidates exactly until the recall target is met.

    Args:
        text: prototypes of one sentence, on the CPU.
        candidates: candidates of the scan, best first.
        read: reads the prototypes of clips, given their rows.
        object_phrase_weight: from the model's configuration.
        wanted: number of best clips that are wanted.
        recall: expected fraction of them that is found; 1 scores all candidates.

    Returns:
        All clips that were scored: at least `wanted` if there are that many candidates.
    """
    return Reranking(text, candidates, read, object_phrase_weight).rank(wanted, recall)


def chances_of_best(
    exact: NDArray[np.float32],
    approximate: NDArray[np.float32],
    remaining: NDArray[np.float32],
    wanted: int,
) -> NDArray[np.float64]:
    """Probability of each clip without an exact score to be among the `wanted` best `[m]`.

    Candidates were selected for high approximate scores, so the highest ones tend to be overestimated: exact minus
    approximate rises towards lower scores. A line fitted to the known errors predicts this rise. Errors around the line
    are taken as normal, with a deviation enlarged by its own uncertainty.

    Args:
        exact: exact scores of some clips.
        approximate: approximate scores of the same clips.
        remaining: approximate scores of the others `[m]`, none higher than `approximate`.
        wanted: number of best clips that are wanted.

    A clip whose expected score is that of the last wanted clip has an even chance, a far lower one has none:

    >>> exact, approximate = np.array([0.9, 0.7, 0.9, 0.7]), np.array([0.8, 0.8, 0.8, 0.8])
    >>> chances_of_best(exact, approximate, np.array([0.9, -9.0]), wanted=2).round(6).tolist()
    [0.5, 0.0]
    """
    if len(exact) < wanted:
        return np.ones(len(remaining))
    threshold = np.partition(exact, len(exact) - wanted)[len(exact) - wanted]
    errors = exact.astype(np.float64) - approximate
    centred = approximate.astype(np.float64) - approximate.mean(dtype=np.float64)
    square = float(centred @ centred)
    # Selection only makes errors fall with the score. A rise is chance, so it is ignored.
    slope = min(0.0, float(centred @ errors) / square) if square > 0 else 0.0
    deviation = float((errors - slope * centred).std()) * (1 + 1 / math.sqrt(2 * len(errors)))
    expected = remaining + errors.mean() + slope * (remaining - approximate.mean(dtype=np.float64))
    above = (expected - threshold) / max(deviation, float(np.finfo(np.float32).eps))
    return torch.special.ndtr(torch.from_numpy(np.asarray(above, dtype=np.float64))).numpy()
