"""Does anything fit? How often a sentence that has nothing to do with the library scores as high as a hit.

A search always finds a best clip. Unrelated sentences show how high the best clip of a sentence scores that fits
nothing. Short sentences claim less than long ones and are matched more easily by chance, and some sentences score high
everywhere. So the best score that is expected of a sentence depends on its length and on its own scores over the
library: a linear regression over the unrelated sentences predicts it from the logarithm of the number of words, and
from the mean and the upper twentieth of the scores. What decides is by how much a hit exceeds the prediction. Where all
this says nothing about the best score, the regression finds that too, and the plain score decides. Best scores of short
and of long sentences also spread differently, so only the half of the unrelated sentences that is closest in length
takes part.

The fraction of unrelated sentences that exceed their prediction by as much is the false alarm rate. An unrelated
sentence is predicted from the others, as a hit is, because a regression comes too close to the sentences that it was
fitted to. Beyond the highest twentieth, where few are left to count, an exponential tail continues the fraction (the
peaks-over-threshold method with shape 0: the mean excess over the threshold is its only parameter).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prost.errors import BadScores

Level = Literal["good", "possible", "none"]

# Largest false alarm rates of the levels.
GOOD, POSSIBLE = 0.05, 0.25
# Fraction of the unrelated sentences whose excess makes the tail. A longer one fits badly at rates about 5 %.
TAIL = 0.05
# The scores of fewer clips say little about a sentence, because a clip that fits is a large part of them.
FEWEST_CLIPS = 64
# Fraction of the unrelated sentences that a sentence is compared with: those of the most similar length.
SIMILAR = 0.5
# Fraction of the clips that score above the upper score of a profile.
UPPER = 0.05
# The tail is not continued beyond this part of what one sentence stands for.
BEYOND = 10
# A sentence with less weight in its prediction than this, of all others together, has no prediction without itself.
LEAST_OF_OTHERS = 1e-6
# Excesses that differ by less are equal: where all sentences score alike, a regression leaves errors of rounding.
DECIMALS = 9
# Standard deviations within which 95 of 100 values of a normal distribution lie.
TWO_SIDED_95 = 1.96
# Japanese and Chinese characters stand for about a word each; other scripts leave spaces between words.
_WORD = re.compile("[\u3040-\u30ff\u3400-\u9fff]|[^\\W\u3040-\u30ff\u3400-\u9fff]+")


def number_of_words(sentence: str) -> int:
    """How many words a sentence has, at least 1; unlike a model's `count_words`, without the tokens around them.

    >>> number_of_words("a dog catches a frisbee")
    5
    """
    return max(1, len(words_in(sentence)))


def words_in(sentence: str) -> list[str]:
    """The words of a sentence, without punctuation.

    >>> words_in("A dog, a frisbee!")
    ['A', 'dog', 'a', 'frisbee']
    """
    found: list[str] = _WORD.findall(sentence)
    return found


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Whether a hit fits, as a rate.

    Attributes:
        false_alarm_rate: how often a sentence that has nothing to do with the library scores as high, from 0 to 1.
        interval: of the rate, at 95 %: it is estimated from a limited number of sentences.
        of_best: whether the hit is the best one, so that the statement is about all that was searched.
        filtered: whether only the videos that a filter leaves were searched; it matters for the best hit alone.
        partly: whether a part of the library could not be searched; likewise.
    """

    false_alarm_rate: float
    interval: tuple[float, float]
    of_best: bool = False
    filtered: bool = False
    partly: bool = False

    @property
    def level(self) -> Level:
        """The rate in words: `good` up to 5 %, `possible` up to 25 %, otherwise `none`."""
        if self.false_alarm_rate <= GOOD:
            return "good"
        return "possible" if self.false_alarm_rate <= POSSIBLE else "none"

    @property
    def statement(self) -> str:
        """One plain sentence.

        >>> Confidence(false_alarm_rate=0.02, interval=(0.01, 0.04)).statement
        'This fits well: 1 in 50 unrelated sentences scores as high.'
        >>> Confidence(false_alarm_rate=0.4, interval=(0.35, 0.45), of_best=True).statement
        'Nothing in this library fits well: 4 in 10 unrelated sentences score as high.'
        """
        nothing = "This does not fit well"
        if self.of_best:
            searched = "among the filtered videos" if self.filtered else "in this library"
            if self.partly:
                searched = "in the part that was searched"
            nothing = f"Nothing {searched} fits well"
        begin = {"good": "This fits well", "possible": "This may fit", "none": nothing}[self.level]
        return f"{begin}: {_often(self.false_alarm_rate)} as high."

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "level": self.level,
            "false_alarm_rate": self.false_alarm_rate,
            "interval": list(self.interval),
            "statement": self.statement,
        }


def _often(rate: float) -> str:
    tenths = round(10 * rate)
    if tenths > 9:
        return "almost every unrelated sentence scores"
    if tenths >= 3:
        return f"{tenths} in 10 unrelated sentences score"
    return f"1 in {round(1 / rate):,} unrelated sentences scores"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The scores of one sentence over the library, or over a sample of its clips.

    Attributes:
        mean: of all scores.
        upper: the score that one clip in twenty exceeds.
    """

    mean: float
    upper: float

    @classmethod
    def of(cls, scores: NDArray[np.float32]) -> Profile | None:
        """Summarise scores `[n]`; None where there are too few."""
        if len(scores) < FEWEST_CLIPS:
            return None
        return cls(mean=float(scores.mean(dtype=np.float64)), upper=float(np.quantile(scores, 1 - UPPER)))


@dataclass(frozen=True, kw_only=True, eq=False)
class FalseAlarms:
    """How high the best clip scores for sentences that fit nothing.

    Attributes:
        best: best scores of m unrelated sentences `[m]`.
        words: their numbers of words `[m]`.
        profiles: mean and upper score of each `[m, 2]`; None in a library of few clips.
    """

    best: NDArray[np.float64]
    words: NDArray[np.int64]
    profiles: NDArray[np.float64] | None
    _similar: dict[tuple[int, bool], FalseAlarms] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not len(self.best):
            raise BadScores("scores of no unrelated sentences", "one or more")
        for values in (self.best, self.profiles):
            if values is not None and not np.isfinite(values).all():
                raise BadScores("scores of unrelated sentences with NaN or infinity", "finite numbers")

    def confidence(self, score: float, words: int, profile: Profile | None) -> Confidence:
        """The confidence of a hit; it never falls with the score.

        Args:
            score: of the hit, on the scale of `best`.
            words: of its sentence, see `number_of_words`.
            profile: of its sentence; None where the library has few clips. Then only its length is taken into account.

        Raises:
            BadScores: the score is NaN or infinite.
        """
        if not math.isfinite(score):
            raise BadScores(f"a score of {score}", "a finite number")
        key = words, profile is not None
        if key not in self._similar:
            self._similar[key] = self._of_length(*key)
        return self._similar[key]._confidence(score, words, profile)

    def _of_length(self, words: int, profiled: bool) -> FalseAlarms:
        """The sentences of the most similar length; those that are equally similar are all in or all out."""
        distances = np.abs(np.log(self.words) - math.log(words))
        chosen = distances <= np.quantile(distances, SIMILAR, method="lower")
        profiles = self.profiles if profiled else None
        return FalseAlarms(
            best=self.best[chosen],
            words=self.words[chosen],
            profiles=None if profiles is None else profiles[chosen],
        )

    def _confidence(self, score: float, words: int, profile: Profile | None) -> Confidence:
        excess = round(score - self._expected(words, profile), DECIMALS)
        excesses, count = self._excesses, len(self.best)
        if excess <= self._threshold:
            # Interpolated between the sentences, so that a small change of the score is a small change of the rate.
            rate = float(np.interp(excess, excesses, self._rates))
            return Confidence(false_alarm_rate=rate, interval=_wilson(rate, count))
        tail = float(np.interp(self._threshold, excesses, self._rates))
        steps = (excess - self._threshold) / self._mean_excess if self._mean_excess > 0 else math.inf
        least = 1 / (BEYOND * count)
        rate = max(tail * math.exp(-steps), least)
        # Errors of the fraction above the threshold and of the mean excess, both relative.
        above = max(1.0, tail * count)
        spread = TWO_SIDED_95 * math.sqrt(
            (1 - tail) / above + min(steps, math.log(tail / rate) + 1) ** 2 / above
        )
        return Confidence(
            false_alarm_rate=rate, interval=(rate * math.exp(-spread), min(1.0, rate * math.exp(spread)))
        )

    def _expected(self, words: int, profile: Profile | None) -> float:
        """The best score expected of a sentence that fits nothing."""
        # Scores of a sentence that nothing here can be compared with are left out.
        scores = () if profile is None or self.profiles is None else (profile.mean, profile.upper)
        return float(self._coefficients @ (1.0, math.log(words), *scores))

    @cached_property
    def _design(self) -> NDArray[np.float64]:
        """What the best score is predicted from: 1, length, mean and upper score `[m, 2 or 4]`."""
        scores = [] if self.profiles is None else [self.profiles]
        return np.column_stack([np.ones(len(self.best)), np.log(self.words), *scores])

    @cached_property
    def _coefficients(self) -> NDArray[np.float64]:
        """Of the regression of the best score."""
        return np.asarray(np.linalg.lstsq(self._design, self.best, rcond=None)[0], dtype=np.float64)

    @cached_property
    def _excesses(self) -> NDArray[np.float64]:
        """By how much each sentence exceeds what a regression over the others predicts, ascending `[m]`.

        That is its residual divided by one minus its leverage; no regression is repeated.
        """
        residuals: NDArray[np.float64] = self.best - self._design @ self._coefficients
        others = 1 - self._leverages
        excesses = np.divide(residuals, others, out=residuals, where=others > LEAST_OF_OTHERS)
        return np.sort(np.round(excesses, DECIMALS))

    @cached_property
    def _leverages(self) -> NDArray[np.float64]:
        """How much each sentence weighs in the prediction of itself `[m]`: the diagonal of the hat matrix."""
        directions, sizes, _ = np.linalg.svd(self._design, full_matrices=False)
        # The limit of lstsq, so that the same directions count.
        kept = sizes > sizes[0] * np.finfo(np.float64).eps * max(self._design.shape)
        return np.square(directions[:, kept]).sum(axis=1)

    @cached_property
    def _rates(self) -> NDArray[np.float64]:
        """Fraction of the sentences whose excess is at least that of each one `[m]`, with the hit's own counted."""
        count = len(self.best)
        # Equal excesses count together, as the first of them.
        first = np.searchsorted(self._excesses, self._excesses, side="left")
        return np.asarray((count - first + 1) / (count + 1), dtype=np.float64)

    @cached_property
    def _threshold(self) -> float:
        return float(np.quantile(self._excesses, 1 - TAIL))

    @cached_property
    def _mean_excess(self) -> float:
        """Mean excess over the threshold of those above it."""
        above = self._excesses[self._excesses > self._threshold]
        return float((above - self._threshold).mean()) if len(above) else 0.0


def _wilson(rate: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate out of `count`."""
    square = TWO_SIDED_95**2 / count
    middle = (rate + square / 2) / (1 + square)
    half = math.sqrt(square * (rate * (1 - rate) + square / 4)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
