"""Captioned video files as a fixed set of clips."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from prost.data.batches import CaptionedVideos
from prost.data.clip_sets import CLIPS_AT_ONCE
from prost.data.records import VideoRecord
from prost.data.video_batches import VideoBatches
from prost.data.video_reading import Sampling, read_videos


class RecordClips:
    """Records as a clip set, see `ClipSet`.

    Args:
        records: whose videos are all there.
        sampling: how frames are chosen.
        workers: decoding processes.
        replace_failed: in training, let another video take the place of one that cannot be decoded.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        sampling: Sampling = "middles",
        workers: int = 1,
        replace_failed: bool = False,
    ) -> None:
        self.records = tuple(records)
        self.sampling, self.workers, self.replace_failed = sampling, workers, replace_failed

    @property
    def description(self) -> str:
        """Files by place, size and time of change, and the stretch of each that is a clip."""
        told: list[object] = ["files", self.sampling]
        for record in self.records:
            assert record.path is not None
            status = record.path.stat()
            told.append([str(record.path), record.start, record.end, status.st_size, status.st_mtime_ns])
        return json.dumps(told)

    @property
    def names(self) -> list[str]:
        """Their ids."""
        return [record.video for record in self.records]

    @property
    def twins(self) -> np.ndarray:
        """See `ClipSet`; of files nobody knows twins."""
        return np.full(len(self.records), -1, np.int64)

    def plan(self, batch_size: int, seed: int) -> RecordPlan:
        """See `ClipSet`."""
        return RecordPlan(self._batches(range(0), batch_size, seed, 0, 1, 1, 1))

    def batches(
        self, steps: range, batch_size: int, seed: int, rank: int, world: int, frames: int, size: int
    ) -> Iterator[CaptionedVideos]:
        """See `ClipSet`.

        Raises:
            VideoError: a file that cannot be decoded, unless others may replace it.
        """
        return iter(self._batches(steps, batch_size, seed, rank, world, frames, size))

    def in_order(self, frames: int, size: int) -> Iterator[np.ndarray]:
        """See `ClipSet`.

        Raises:
            VideoError: a file that cannot be decoded.
        """
        readings = read_videos(self.records, frames, size, self.sampling, self.workers)
        while block := list(islice(readings, CLIPS_AT_ONCE)):
            for reading in block:
                if reading.failure is not None:
                    raise reading.failure
            yield np.stack([reading.pixels for reading in block if reading.pixels is not None])

    def _batches(
        self, steps: range, batch_size: int, seed: int, rank: int, world: int, frames: int, size: int
    ) -> VideoBatches:
        return VideoBatches(
            self.records,
            steps,
            batch_size,
            frames,
            size,
            seed,
            self.sampling,
            self.workers,
            self.replace_failed,
            rank,
            world,
        )


class RecordPlan:
    """The choice that `VideoBatches` makes, by places in the set."""

    def __init__(self, batches: VideoBatches) -> None:
        self._batches = batches
        self._place = {record.video: place for place, record in enumerate(batches.records)}

    def of(self, step: int) -> tuple[np.ndarray, list[str]]:
        """See `BatchPlan`."""
        chosen = self._batches.chosen(step)
        return (
            np.array([self._place[record.video] for record, _ in chosen]),
            [caption for _, caption in chosen],
        )
