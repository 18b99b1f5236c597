"""Candidates: the clips that one pass over a library prefers for a sentence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidates:
    """The clips with the best approximate scores for one sentence, best first; equal ones in the order of their rows.

    Attributes:
        rows: `[N]`, int64.
        scores: approximate similarity `[N]`, float32.
        event: what the event prototypes contribute to the scores `[N]`, float32; None if only the sum is known.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    event: NDArray[np.float32] | None = None

    @classmethod
    def none(cls) -> Candidates:
        """No candidates."""
        return cls(np.empty(0, np.int64), np.empty(0, np.float32))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: slice | NDArray) -> Candidates:
        event = None if self.event is None else self.event[places]
        return Candidates(self.rows[places], self.scores[places], event)

    def parts(self) -> NDArray[np.float64]:
        """The parts of the scores: event and object part `[N, 2]`, or the sum alone `[N, 1]`."""
        scores = self.scores.astype(np.float64)
        if self.event is None:
            return scores[:, None]
        return np.stack([self.event, scores - self.event], axis=1)

    def best(self, count: int) -> Candidates:
        """The best `count`, in order, of candidates in any order."""
        good = self
        if len(self) > count > 0:
            threshold = np.partition(self.scores, len(self) - count)[len(self) - count]
            good = self[self.scores >= threshold]
        return good[np.lexsort((good.rows, -good.scores))[:count]]
