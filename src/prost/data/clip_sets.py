"""Fixed sets of captioned clips: what a training needs to know of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from prost.data.batches import CaptionedVideos

# While all clips of a set are gone through.
CLIPS_AT_ONCE = 32


def twin_rows(places: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """Rows of a batch that hold both of a pair of twins, one pair after another.

    Args:
        places: of the batch's clips in their set `[B]`.
        twins: as of `ClipSet`.

    Returns:
        int64 `[2 * P]`.

    >>> twin_rows(np.array([5, 2, 3, 0]), np.array([-1, -1, 3, 2, -1, 4]))
    array([1, 2])
    """
    row_of = {int(place): row for row, place in enumerate(places)}
    pairs = [(row, row_of.get(int(twins[place]), -1)) for place, row in row_of.items()]
    return np.array([pair for pair in pairs if pair[0] < pair[1]], np.int64).reshape(-1)


class BatchPlan(Protocol):
    """Which clips a step sees, and how each is told: a function of the step and of what it was made with."""

    def of(self, step: int) -> tuple[np.ndarray, list[str]]:
        """The places of B different clips, int64 `[B]`, and a caption for each."""


class ClipSet(Protocol):
    """A fixed set of captioned clips."""

    @property
    def description(self) -> str:
        """All that the pixels depend on, but for frames and size; sets of one description show the same."""

    @property
    def names(self) -> Sequence[str]:
        """What messages call the clips, one each."""

    @property
    def twins(self) -> np.ndarray:
        """The place of each clip's order-swapped twin, -1 where there is none; int64 `[N]`."""

    def plan(self, batch_size: int, seed: int) -> BatchPlan:
        """Epochs of batches; each clip comes once an epoch, and at most once a batch.

        Raises:
            UsageError: fewer clips than a batch holds.
        """

    def batches(
        self, steps: range, batch_size: int, seed: int, rank: int, world: int, frames: int, size: int
    ) -> Iterator[CaptionedVideos]:
        """Make the batches of some steps, as `plan` says.

        Args:
            steps: which.
            batch_size: B, of all processes together.
            seed: of the whole run.
            rank: whose part of each batch is wanted.
            world: how many processes share a batch.
            frames: L.
            size: R.
        """

    def in_order(self, frames: int, size: int) -> Iterator[np.ndarray]:
        """The pixels of all clips, `CLIPS_AT_ONCE` at a time: uint8 `[b, L, R, R, 3]`."""
