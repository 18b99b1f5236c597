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
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def none(cls) -> Candidates:
        """No candidates."""
        return cls(np.empty(0, np.int64), np.empty(0, np.float32))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: slice | NDArray) -> Candidates:
        return Candidates(self.rows[places], self.scores[places])

    @classmethod
    def best(cls, rows: NDArray[np.int64], scores: NDArray[np.float32], count: int) -> Candidates:
        """The best `count` of some clips, in order."""
        if len(rows) > count > 0:
            threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
            good = scores >= threshold
            rows, scores = rows[good], scores[good]
        order = np.lexsort((rows, -scores))[:count]
        return cls(rows[order], scores[order])
