"""Exact scores of the best candidates of the scan, as many as the recall target needs.

A scan orders clips by approximate scores. Once some candidates are scored exactly, a regression on the parts of their
approximate scores tells how likely each of the other candidates is to be among the best clips. The likeliest are scored
next, until fewer than `(1 - recall) * wanted` of the best clips are expected among the rest. A query whose best clips
stand out needs a few dozen exact scores; a query that matches all clips about equally needs many.

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
# Clips of one object slot are read and scored in a tenth of the time of clips of twelve.
FIRST_ROUND, FIRST_ROUND_OF_ONE_SLOT = 64, 256
# Later rounds score as many candidates as the forecast asks for: at least this many, so that the forecast improves, and
# at most as many as were scored before, because a forecast from few errors is uncertain.
SMALLEST_ROUND = 16
# By how much the weight of a part of the approximate scores is expected to differ from 1, before any error is known.
WEIGHT_DEVIATION = 0.4
# Smallest deviation of the errors that is believed: scores are sums of many float32 products. A smaller one would
# also leave the regression without its prior where both parts say the same.
ROUNDING = 1e-5


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
        self._parts = candidates.parts()
        self._scores: list[ClipScores] = []
        self._one_slot = False
        # Places among the candidates: those with an exact score in the order of `_scores`, and those without one.
        self._done = np.empty(0, dtype=np.intp)
        self._left = np.arange(len(candidates))

    @property
    def finished(self) -> bool:
        """Whether every candidate has been scored."""
        return len(self._left) == 0

    def rank(self, wanted: int, recall: float = RECALL) -> Ranking:
        """Score candidates until the expected fraction of the best `wanted` clips that was found reaches `recall`.

        Returns:
            All clips scored so far: at least `wanted` if there are that many candidates.
        """
        while len(places := self._next(wanted, recall)):
            clips = self._read(self._candidates.rows[places])
            self._one_slot = clips.object_codes.shape[2] == 1
            self._scores.append(score(self._text, clips, self._weight))
            self._done = np.concatenate([self._done, places])
            self._left = np.setdiff1d(self._left, places, assume_unique=True)
        return Ranking.of(self._candidates.rows[self._done], ClipScores.joined(self._scores))

    def _next(self, wanted: int, recall: float) -> NDArray[np.intp]:
        """Places of the candidates to score in the next round; none if enough were scored.

        Before anything can be predicted, these are the ones with the highest approximate scores.
        """
        scored = len(self._done)
        first = max(FIRST_ROUND_OF_ONE_SLOT if self._one_slot else FIRST_ROUND, wanted)
        if scored < first:
            return self._left[: first - scored]
        if recall >= 1 or self.finished:
            return self._left
        exact = np.concatenate([part.total for part in self._scores])
        chances = chances_of_best(exact, self._parts[self._done], self._parts[self._left], wanted)
        likeliest = np.argsort(-chances, kind="stable")
        # Expected misses if scoring stops before each [m]. One that is no number does not end the scoring.
        misses = np.cumsum(chances[likeliest][::-1])[::-1]
        needed = int(np.count_nonzero(~(misses <= (1 - recall) * wanted)))
        return self._left[likeliest[: needed and min(max(needed, SMALLEST_ROUND), scored)]]


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
    known_parts: NDArray[np.float64],
    other_parts: NDArray[np.float64],
    wanted: int,
) -> NDArray[np.float64]:
    """Probability of each clip without an exact score to be among the `wanted` best `[m]`.

    The exact score is predicted by a linear regression on the parts of the approximate one, whose weights are expected
    near 1 (Bayesian linear regression with a normal prior, Bishop 2006, section 3.3). The approximate scores of chosen
    candidates are too high on average. Since they are chosen by these same parts, the regression is not biased by that.
    A part that says little gets a small weight: object scores by codes do, beside event scores in 8 bits.

    Args:
        exact: exact scores of some clips `[k]`.
        known_parts: the parts that add up to their approximate scores `[k, P]`.
        other_parts: the parts of the approximate scores of the other clips `[m, P]`.
        wanted: number of best clips that are wanted.

    A clip whose expected score is that of the last wanted clip has an even chance, a far lower one has hardly any:

    >>> exact, parts = np.array([0.9, 0.7, 0.9, 0.7]), np.full((4, 1), 0.8)
    >>> chances_of_best(exact, parts, np.array([[0.9], [-9.0]]), wanted=2).round(2).tolist()
    [0.5, 0.01]
    """
    if len(exact) < wanted:
        return np.ones(len(other_parts))
    threshold = np.partition(exact, len(exact) - wanted)[len(exact) - wanted]
    errors = exact - known_parts.sum(axis=1)
    centre = known_parts.mean(axis=0)
    known, unknown = (
        np.column_stack([np.ones(len(each)), each - centre]) for each in (known_parts, other_parts)
    )
    variance = max(float(errors.var()), ROUNDING**2)
    # The prior is relative to the deviation of the errors, which are known only once the weights are.
    for _ in range(2):
        prior = np.diag([0.0, *(variance / WEIGHT_DEVIATION**2 for _ in centre)])
        inverse = np.linalg.inv(known.T @ known + prior)
        weights = inverse @ (known.T @ errors)
        # A deviation that is known from few errors may be larger than it seems.
        allowance = (1 + 1 / math.sqrt(2 * len(errors))) ** 2
        variance = max(float(np.square(errors - known @ weights).mean()) * allowance, ROUNDING**2)
    expected = other_parts.sum(axis=1) + unknown @ weights
    deviation = np.sqrt(variance * (1 + np.einsum("mi,ij,mj->m", unknown, inverse, unknown)))
    return torch.special.ndtr(torch.from_numpy((expected - threshold) / deviation)).numpy()
