"""Check whether a benchmark is complete: what is listed, found and missing, and what cannot be decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prost.data.records import Benchmark, VideoRecord
from prost.data.video_reading import read_records
from prost.progress import Advance

SIZE = 32
"""Pixels. The decoding takes the same time for every size, and the pixels are not used."""


@dataclass(frozen=True, kw_only=True)
class Undecodable:
    """A file that exists but cannot be decoded.

    Attributes:
        video: its id.
        path: the file.
        reason: a short stable phrase, see `prost.video.reasons`.
        detail: the decoder's own message, if there is one.
    """

    video: str
    path: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class SplitCheck:
    """The result for one split.

    Attributes:
        name: of the split.
        expected: published number of videos (or clips); None where it is unknown.
        listed: number of videos in the annotations.
        found: number of those that have a file.
        captions: number of captions of all listed videos.
        missing: ids without a file.
        decoded: number of videos that were decoded as a test.
        undecodable: those that could not be decoded.
    """

    name: str
    expected: int | None
    listed: int
    found: int
    captions: int
    missing: tuple[str, ...]
    decoded: int
    undecodable: tuple[Undecodable, ...]

    @property
    def complete(self) -> bool:
        """Whether all published videos have a file, and none of those that were decoded failed."""
        return not self.missing and not self.undecodable and self.expected in (None, self.listed)


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """The result for a benchmark: its splits, and notes that belong to its numbers."""

    benchmark: str
    folder: str
    splits: tuple[SplitCheck, ...]
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether all splits are complete."""
        return all(split.complete for split in self.splits)


def check(
    benchmark: Benchmark,
    sample: int | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Advance | None = None,
) -> DataCheck:
    """Count the videos, and decode the paper's number of frames of some or all of them.

    Args:
        benchmark: from `load_benchmark`.
        sample: number of videos of each split to decode, drawn at random; None for all.
        seed: of the draw.
        workers: decoding processes.
        progress: called after each decoded video with the number done, the total, and the id.
    """
    chosen = {name: _sample(records, sample, seed) for name, records in benchmark.splits.items()}
    broken: dict[str, list[Undecodable]] = {name: [] for name in chosen}
    queue = [(name, record) for name, records in chosen.items() for record in records]
    readings = read_records(
        (record for _, record in queue), frames=benchmark.frames, size=SIZE, workers=workers
    )
    for done, ((name, record), reading) in enumerate(zip(queue, readings, strict=True), start=1):
        if reading.failure is not None:
            failure = reading.failure
            broken[name].append(
                Undecodable(
                    video=record.video,
                    path=str(record.path),
                    reason=str(failure.reason),
                    detail=failure.detail,
                )
            )
        if progress is not None:
            progress(done, len(queue), record.video)
    return DataCheck(
        benchmark=benchmark.name,
        folder=str(benchmark.folder),
        splits=tuple(
            _split_check(benchmark, name, len(chosen[name]), tuple(broken[name])) for name in benchmark.splits
        ),
        notes=benchmark.notes,
    )


def _sample(records: tuple[VideoRecord, ...], sample: int | None, seed: int) -> list[VideoRecord]:
    """Random videos that have a file, in their order."""
    present = [record for record in records if record.path is not None]
    if sample is None or sample >= len(present):
        return present
    chosen = np.random.default_rng(seed).choice(len(present), size=sample, replace=False)
    return [present[index] for index in sorted(chosen)]


def _split_check(
    benchmark: Benchmark, name: str, decoded: int, undecodable: tuple[Undecodable, ...]
) -> SplitCheck:
    records = benchmark.split(name)
    missing = tuple(record.video for record in records if record.path is None)
    return SplitCheck(
        name=name,
        expected=benchmark.expected.get(name),
        listed=len(records),
        found=len(records) - len(missing),
        captions=sum(len(record.captions) for record in records),
        missing=missing,
        decoded=decoded,
        undecodable=undecodable,
    )
