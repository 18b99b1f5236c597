"""Is a benchmark all there: what is listed, what is found, what is missing, and what cannot be decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prost.data.records import Benchmark, VideoRecord
from prost.data.video_reading import read_records
from prost.progress import Advance

# Decoding costs the same whatever the size of the frames; their pixels are not looked at.
SIZE = 32


@dataclass(frozen=True)
class Undecodable:
    """A file that is there and cannot be shown.

    Attributes:
        video: its id.
        path: the file.
        reason: a short stable phrase, see `prost.video.reasons`.
        detail: what the decoder said, if it said anything.
    """

    video: str
    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class SplitCheck:
    """What was found of a split.

    Attributes:
        name: of the split.
        expected: published number of videos (or clips); None where none is known.
        listed: how many the annotations name.
        found: how many of those have a file.
        captions: of all listed.
        missing: ids without a file.
        decoded: how many were decoded to see whether they can be.
        undecodable: which of those cannot.
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
        """Everything published is there, and nothing that was decoded failed."""
        return not self.missing and not self.undecodable and self.expected in (None, self.listed)


@dataclass(frozen=True)
class DataCheck:
    """A benchmark's splits, and what has to be told with its numbers."""

    benchmark: str
    folder: str
    splits: tuple[SplitCheck, ...]
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """All splits are complete."""
        return all(split.complete for split in self.splits)


def check(
    benchmark: Benchmark,
    sample: int | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Advance | None = None,
) -> DataCheck:
    """Count, and decode the paper's number of frames of some videos or of all.

    Args:
        benchmark: as loaded.
        sample: how many videos of each split to decode, drawn by the seed; None for all that are there.
        seed: of the draw.
        workers: decoding processes.
        progress: called after each decoded video with how many are done, how many there are, and the id.
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
        benchmark.name,
        str(benchmark.folder),
        tuple(
            _split_check(benchmark, name, len(chosen[name]), tuple(broken[name])) for name in benchmark.splits
        ),
        benchmark.notes,
    )


def _sample(records: tuple[VideoRecord, ...], sample: int | None, seed: int) -> list[VideoRecord]:
    """Some of the videos that are there, in their order."""
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
