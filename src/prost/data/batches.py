"""Batches of captioned videos, and how they are made ahead of the training.

Every batch is a function of the seed and the step, so that a resumed run sees the batches that the interrupted run
would have seen.
"""

from __future__ import annotations

import signal
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from prost.interruption import SIGNALS


def no_twins() -> np.ndarray:
    """The rows of the twins of a batch that has none."""
    return np.empty(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Regions in the videos of a batch, each with a sentence that describes it.

    Attributes:
        video: the video of the batch that each region lies in, int64 `[R]`.
        boxes: left, top, right, bottom in each frame, as fractions of the picture, float32 `[R, L, 4]`; all zero in a
            frame that the region does not lie in.
        sentences: R sentences.
        true: whether sentence j is true of region i, bool `[R, R]`.
        event: whether the region is the actor of an event, in all frames of the event in which it is seen, and not a
            thing in one frame, bool `[R]`.
    """

    video: np.ndarray
    boxes: np.ndarray
    sentences: list[str]
    true: np.ndarray
    event: np.ndarray

    def within(self, first: int, last: int) -> Regions:
        """The regions of the videos `first` to `last - 1` of the batch; the videos are renumbered from 0."""
        kept = np.flatnonzero((self.video >= first) & (self.video < last))
        return Regions(
            video=self.video[kept] - first,
            boxes=self.boxes[kept],
            sentences=[self.sentences[region] for region in kept],
            true=self.true[np.ix_(kept, kept)],
            event=self.event[kept],
        )


def twins_within(twins: np.ndarray, first: int, last: int) -> np.ndarray:
    """The pairs of twins that lie completely between two rows of a batch; the rows are renumbered from 0."""
    pairs = twins.reshape(-1, 2) - first
    whole = ((pairs >= 0) & (pairs < last - first)).all(axis=1)
    return pairs[whole].reshape(-1)


@dataclass(frozen=True, kw_only=True)
class CaptionedVideos:
    """A batch of videos, each with one caption.

    Attributes:
        pixels: uint8 `[B, L, R, R, 3]`.
        captions: B sentences.
        videos: the names of the videos in messages; empty where each was drawn for this batch alone.
        regions: regions of the videos and their sentences, where the data know them.
        twins: rows of order-swapped pairs, one pair after another, int64 `[2 * P]`.
    """

    pixels: np.ndarray
    captions: list[str]
    videos: tuple[str, ...] = ()
    regions: Regions | None = None
    twins: np.ndarray = field(default_factory=no_twins)

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, rows: slice) -> CaptionedVideos:
        places = range(len(self))[rows]
        regions = None if self.regions is None else self.regions.within(places.start, places.stop)
        return CaptionedVideos(
            pixels=self.pixels[rows],
            captions=self.captions[rows],
            videos=self.videos[rows],
            regions=regions,
            twins=twins_within(self.twins, places.start, places.stop),
        )


def generator_of(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """The random generator for one purpose at one step (or epoch, ...).

    It does not depend on what was drawn before, so that every process can draw the same numbers.
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *numbers])


def load_batches(dataset: IterableDataset[CaptionedVideos], workers: int) -> Iterator[CaptionedVideos]:
    """Make batches in other processes, ahead of the training.

    Args:
        dataset: has `steps`, a range, and yields the batch of each step. The steps are dealt to the workers in turn,
            and the batches come back in order.
        workers: number of processes; 0 makes each batch in this process when it is asked for. They leave signals that
            ask to stop to this process: a terminal and a scheduler send them to the whole process group, and the
            step that is to end first may still need a batch.
    """
    if workers == 0:
        yield from dataset
        return
    unchanged: Callable[[Any], Any] = _unchanged
    yield from DataLoader(
        _Dealt(dataset),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4,
        collate_fn=unchanged,
        worker_init_fn=_ignore_stops,
    )


def _ignore_stops(worker: int) -> None:
    """Leave a stop to the process that asked for the batches: it ends its workers when it ends, however it ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _unchanged(batch: CaptionedVideos) -> CaptionedVideos:
    """A collate function that keeps the loader from turning arrays into tensors."""
    return batch


class _Dealt(IterableDataset[CaptionedVideos]):
    """Gives each of n workers every n-th step, so that the loader, which asks them in turn, restores the order."""

    def __init__(self, dataset: IterableDataset[CaptionedVideos]) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[CaptionedVideos]:
        worker = get_worker_info()
        assert worker is not None
        self.dataset.steps = self.dataset.steps[worker.id :: worker.num_workers]  # type: ignore[attr-defined]
        yield from self.dataset
