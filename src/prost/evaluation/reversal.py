"""Reversed accuracy: whether a model scores a video above the same video played backwards, for a sentence about it.

The two have the same frames. A model that is blind to their order gives both the same score, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prost.evaluation.bootstrap import confidence_interval
from prost.evaluation.metrics import Metric, checked_scores

# Scores are sums of cosines in float32; another order of the frames changes them by about 1e-6.
ROUNDING = 1e-5


@dataclass(frozen=True, kw_only=True)
class ReversedAccuracy:
    """How often the right direction of playing wins.

    Attributes:
        accuracy: percent of sentences that score their video above the video backwards; a tie counts half.
        interval: 95% bootstrap interval over videos.
        videos: number of videos.
    """

    accuracy: float
    interval: tuple[float, float]
    videos: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "accuracy": self.accuracy,
            "interval": [round(bound, 2) for bound in self.interval],
            "videos": self.videos,
        }

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> ReversedAccuracy:
        """What `to_dict` gave."""
        low, high = values["interval"]
        return cls(accuracy=values["accuracy"], interval=(low, high), videos=values["videos"])


def reversed_accuracy(
    forwards: NDArray[np.floating[Any]],
    backwards: NDArray[np.floating[Any]],
    *,
    videos: NDArray[np.integer[Any]] | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> ReversedAccuracy:
    """Compare the scores of N sentences with their videos, and with these videos played backwards.

    Args:
        forwards: `[N]`.
        backwards: `[N]`.
        videos: what the bootstrap draws, see `Row.videos` `[N]`; None where each sentence has a video of its own.
        samples: number of times that the bootstrap draws the videos.
        seed: of the draws.

    Raises:
        BadScores: NaN, infinity, or no score.

    One wins, one loses, two are equal up to rounding:

    >>> reversed_accuracy(np.array([0.9, 0.1, 0.5, 0.5]), np.array([0.2, 0.3, 0.5, 0.500001])).accuracy
    50.0
    """
    margins = checked_scores(np.stack([forwards, backwards]).astype(np.float64))
    difference = margins[0] - margins[1]
    won = np.where(np.abs(difference) <= ROUNDING, 0.5, difference > 0).astype(np.float64)
    accuracy = float(100 * won.mean())
    # Where all are won, or none, resamples cannot differ, and the exact binomial interval takes their place.
    metric = Metric(
        lambda values: 100 * values.mean(axis=-1), higher_is_better=True, recall=accuracy in (0.0, 100.0)
    )
    interval = confidence_interval(won, metric, samples=samples, seed=seed, videos=videos)
    return ReversedAccuracy(accuracy=accuracy, interval=interval, videos=len(won))
