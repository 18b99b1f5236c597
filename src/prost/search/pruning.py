"""Which clips a scan can leave out, estimated from a sample of all clips (decision 0023)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# How many standard deviations more good clips than expected the sample may hold before the whole scan is repeated.
SPREAD = 3.0
# Smallest fraction of the sample that the event threshold must exclude. A smaller fraction proves little and saves
# little.
LEAST_EXCLUDED = 0.25
# Added to the largest object-phrase scores of the sample, in standard deviations of these scores.
MARGIN = 0.3
# Rounding error of sums of cosines in float32.
ROUNDING = 1e-6


@dataclass(frozen=True)
class PruningThresholds:
    """The scores that a clip needs to be among the best, for each of Q sentences.

    Attributes:
        total: smallest approximate similarity `[Q]`.
        event: smallest event-sentence score by codes `[Q]`. The object codes of a clip below it are not read.
    """

    total: NDArray[np.float32]
    event: NDArray[np.float32]

    @classmethod
    def open(cls, queries: int) -> PruningThresholds:
        """Thresholds that every clip passes."""
        return cls(np.full(queries, -np.inf, np.float32), np.full(queries, -np.inf, np.float32))

    @classmethod
    def from_sample(
        cls, object: NDArray[np.float32], event: NDArray[np.float32], count: int, clips: int
    ) -> PruningThresholds:
        """Estimate the thresholds for the best `count` clips from m sampled ones.

        The two scores of a clip correlate, so a clip with a low event score rarely has an object-phrase score that
        makes up for it. The largest object-phrase score expected beside a given event score is the largest one among
        the sampled clips whose event score is not larger, plus a margin.

        Args:
            object: weighted object-phrase scores of the sampled clips `[Q, m]`.
            event: event-sentence scores of the sampled clips `[Q, m]`.
            count: number of clips wanted.
            clips: number of all clips.
        """
        sampled = object.shape[1]
        expected = count * sampled / clips
        rank = math.ceil(expected + SPREAD * math.sqrt(expected))
        if rank > sampled:
            return cls.open(len(object))
        total = np.partition(object + event, sampled - rank, axis=1)[:, sampled - rank]
        reach = object + (MARGIN * object.std(axis=1, keepdims=True) + np.float32(ROUNDING))
        least = np.maximum(event, total[:, None] - reach).min(axis=1)
        excluded = (event < least[:, None]).mean(axis=1)
        return cls(total, np.where(excluded < LEAST_EXCLUDED, np.float32(-np.inf), least))

    def __getitem__(self, queries: NDArray[np.intp]) -> PruningThresholds:
        return PruningThresholds(self.total[queries], self.event[queries])
