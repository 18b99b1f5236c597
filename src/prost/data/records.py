"""The common form of all benchmarks: captioned videos in splits, and how many videos were published."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prost.errors import BadAnnotations, MissingVideos, NoVideos, UsageError
from prost.printable import counted


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One captioned video of a benchmark, or a clip of one.

    Attributes:
        video: its id, unique in its split; a clip of a longer file has an id of its own.
        path: the file; None where it is missing.
        captions: at least one, none of them empty.
        start: start of the clip in seconds from the start of the file; None for the start of the file.
        end: end of the clip, likewise; None for the end of the file.
    """

    video: str
    path: Path | None
    captions: tuple[str, ...]
    start: float | None = None
    end: float | None = None

    @property
    def file(self) -> str:
        """Identity of the file: clips of one file share it, and so do spellings of one path."""
        return self.video if self.path is None else os.path.realpath(self.path)

    def __post_init__(self) -> None:
        if not self.captions or not all(caption.strip() for caption in self.captions):
            raise BadAnnotations(f"video {self.video!r} has an empty caption or none", "at least one caption")
        if self.end is not None and not (self.start or 0.0) < self.end:
            raise BadAnnotations(
                f"the clip of {self.video!r} goes from {self.start or 0.0:g} to {self.end:g} s",
                "an end after the start",
            )


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark that was read from a folder.

    Attributes:
        name: the name for `load_benchmark`.
        folder: the folder of its annotations.
        splits: the records of "train", "val" and "test"; a split without annotations is left out.
        expected: published number of videos (or clips) of each split; None where it is unknown. Empty for own pairs.
        notes: printed with every number ("there is no val split: ...").
        frames: L of the paper's setting.
        max_words: words of a text in the paper's setting.
    """

    name: str
    folder: Path
    splits: dict[str, tuple[VideoRecord, ...]]
    expected: dict[str, int | None]
    notes: tuple[str, ...]
    frames: int
    max_words: int

    def split(self, name: str) -> tuple[VideoRecord, ...]:
        """All records of a split, including those whose video is missing.

        Raises:
            UsageError: the benchmark has no such split, or its annotations are not in the folder.
        """
        if name not in self.splits:
            raise UsageError(f"{self.name} in {self.folder} has no {name} split", ", ".join(self.splits))
        return self.splits[name]


def shared_files(one: Sequence[VideoRecord], other: Sequence[VideoRecord]) -> list[str]:
    """Files of `other` that `one` has, too, each by the id of its first record in `other`."""
    files = {record.file for record in one}
    first: dict[str, str] = {}
    for record in other:
        if record.file in files:
            first.setdefault(record.file, record.video)
    return list(first.values())


def complete_split(benchmark: Benchmark, name: str, allow_missing: bool = False) -> tuple[VideoRecord, ...]:
    """The records of a split whose videos exist; an error if this is not the published set.

    A gallery that lacks videos is easier than the published one, so that its numbers must not be compared with papers.

    Args:
        benchmark: from `load_benchmark`.
        name: of the split.
        allow_missing: return the videos that exist; `gallery_size` then states their number with every result.

    Raises:
        MissingVideos: videos are missing, and `allow_missing` is false.
        NoVideos: all videos are missing.
    """
    records = benchmark.split(name)
    present = tuple(record for record in records if record.path is not None)
    if not present:
        raise NoVideos(
            f"none of the {len(records):,} videos of {benchmark.name} {name} was found",
            "files named by their ids",
            "give the folder of the videos",
        )
    wanted = benchmark.expected.get(name) or len(records)
    if (len(present) < len(records) or len(present) != wanted) and not allow_missing:
        absent = next((record.video for record in records if record.path is None), None)
        if not benchmark.expected:  # own pairs, which no paper reports on
            raise MissingVideos(
                f"{counted(len(records) - len(present), 'video')} of {wanted:,} in the {name} split of "
                f"{benchmark.folder} not found ({absent}, ...)",
                "a file for each",
                "the folder of the videos, or --allow-missing to leave them out",
            )
        raise MissingVideos(
            f"{benchmark.name} {name} has {len(present):,} of {wanted:,} videos"
            + (f" (missing: {absent}, ...)" if absent else ""),
            "the published set, for numbers that can be compared with papers",
            f"prost data check {benchmark.name} {benchmark.folder}, or --allow-missing",
        )
    return present


def gallery_size(benchmark: Benchmark, name: str) -> str:
    """How many of the published videos of a split exist, as it is printed beside numbers: "1 of 1,500 videos"."""
    records = benchmark.split(name)
    found = sum(record.path is not None for record in records)
    return f"{found:,} of {benchmark.expected.get(name) or len(records):,} videos"


def captions_of(records: Sequence[VideoRecord]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """All captions, and the position of each caption's video in `records`.

    Returns:
        Q captions, record after record, and int64 [Q].

    >>> records = [VideoRecord("a", None, ("one", "two")), VideoRecord("b", None, ("three",))]
    >>> captions, video = captions_of(records)
    >>> captions, video.tolist()
    (['one', 'two', 'three'], [0, 0, 1])
    """
    captions = [caption for record in records for caption in record.captions]
    counts = [len(record.captions) for record in records]
    return captions, np.repeat(np.arange(len(records), dtype=np.int64), counts)


def hold_out(
    records: Sequence[VideoRecord], fraction: float, seed: int = 0
) -> tuple[tuple[VideoRecord, ...], tuple[VideoRecord, ...]]:
    """Hold out a part of the files, for validation; the clips of one file stay together.

    Args:
        records: of one split.
        fraction: of the files, above 0 and below 1; at least one file is on either side.
        seed: the same seed holds out the same files.

    Returns:
        the rest, and the held-out records, each in the given order.

    Raises:
        UsageError: a fraction out of range, or fewer than two files.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"a fraction of {fraction} to hold out", "more than 0 and less than 1")
    files = list(dict.fromkeys(record.file for record in records))
    if len(files) < 2:
        raise UsageError(f"{len(files)} video, of which a part is to be held out", "at least two videos")
    count = min(max(1, round(fraction * len(files))), len(files) - 1)
    chosen = np.random.default_rng([seed, len(files)]).permutation(len(files))[:count]
    held_out = {files[index] for index in chosen}
    return (
        tuple(record for record in records if record.file not in held_out),
        tuple(record for record in records if record.file in held_out),
    )
