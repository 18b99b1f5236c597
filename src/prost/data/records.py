"""What every benchmark becomes: captioned videos in splits, and how many of them there should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prost.errors import BadAnnotations, MissingVideos, NoVideos, UsageError


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One captioned video of a benchmark, or a clip of one.

    Attributes:
        video: its id, unique in its split; a clip of a longer file has an id of its own.
        path: the file; None where it is missing.
        captions: one or more, never empty.
        start: seconds in the file at which the clip begins; None for the whole file.
        end: likewise, where it ends.
    """

    video: str
    path: Path | None
    captions: tuple[str, ...]
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        if not self.captions or not all(caption.strip() for caption in self.captions):
            raise BadAnnotations(f"video {self.video!r} has an empty caption or none", "one caption or more")
        if self.end is not None and not (self.start or 0.0) < self.end:
            raise BadAnnotations(
                f"the clip of {self.video!r} goes from {self.start or 0.0:g} to {self.end:g} s",
                "an end after the start",
            )


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as found in a folder.

    Attributes:
        name: as given to `load_benchmark`.
        folder: where its annotations lie.
        splits: the records of "train", "val" and "test", as far as their annotations are there.
        expected: published number of videos (or clips) of each split; None where there is none, and nothing at all
            for one's own pairs.
        notes: what has to be printed with every number ("no val split is there: ...").
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
        """All records of a split, missing videos included.

        Raises:
            UsageError: the benchmark has no such split, or its annotations are not in the folder.
        """
        if name not in self.splits:
            raise UsageError(f"{self.name} in {self.folder} has no {name} split", ", ".join(self.splits))
        return self.splits[name]


def complete_split(benchmark: Benchmark, name: str, allow_missing: bool = False) -> tuple[VideoRecord, ...]:
    """The records of a split whose videos are there; refused where that is not the published set.

    A gallery that lacks videos is easier than the paper's, so its numbers must not pass for the paper's.

    Args:
        benchmark: where from.
        name: of the split.
        allow_missing: take what is there; `gallery_size` then says with every number how much that is.

    Raises:
        MissingVideos: videos are missing, and `allow_missing` was not asked for.
        NoVideos: not one is there.
    """
    records = benchmark.split(name)
    present = tuple(record for record in records if record.path is not None)
    if not present:
        raise NoVideos(
            f"not one of the {len(records):,} videos of {benchmark.name} {name} is there",
            "files named by their ids",
            "name the folder of the videos",
        )
    wanted = benchmark.expected.get(name) or len(records)
    if (len(present) < len(records) or len(present) != wanted) and not allow_missing:
        absent = next((record.video for record in records if record.path is None), None)
        raise MissingVideos(
            f"{benchmark.name} {name} has {len(present):,} of {wanted:,} videos"
            + (f" (missing: {absent}, ...)" if absent else ""),
            "the published set, for numbers that stand beside a paper's",
            f"prost data check {benchmark.name} {benchmark.folder}, or go on with what is there",
        )
    return present


def gallery_size(benchmark: Benchmark, name: str) -> str:
    """How many videos of a split are there, as it is printed beside numbers.

    >>> record = VideoRecord("video1", Path("video1.mp4"), ("a dog",))
    >>> gallery_size(Benchmark("vatex", Path(), {"test": (record,)}, {"test": 1500}, (), 12, 32), "test")
    '1 of 1,500 videos'
    """
    records = benchmark.split(name)
    found = sum(record.path is not None for record in records)
    return f"{found:,} of {benchmark.expected.get(name) or len(records):,} videos"


def captions_of(records: Sequence[VideoRecord]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """All captions, and for each the position of its video in `records`.

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
    records: Sequence[VideoRecord], share: float, seed: int = 0
) -> tuple[tuple[VideoRecord, ...], tuple[VideoRecord, ...]]:
    """Keep a part of the files apart, for validation; clips of one file stay on one side.

    Args:
        records: of one split.
        share: of the files, above 0 and below 1; at least one file is on either side.
        seed: the same seed keeps the same files apart.

    Returns:
        the rest, and what is kept apart, each in the given order.

    Raises:
        UsageError: a share out of range, or fewer than two files.
    """
    if not 0 < share < 1:
        raise UsageError(f"a share of {share} kept apart", "more than 0 and less than 1")
    files = list(dict.fromkeys(_file_of(record) for record in records))
    if len(files) < 2:
        raise UsageError(f"{len(files)} video to keep a part of apart", "two videos or more")
    count = min(max(1, round(share * len(files))), len(files) - 1)
    chosen = np.random.default_rng([seed, len(files)]).permutation(len(files))[:count]
    apart = {files[index] for index in chosen}
    return (
        tuple(record for record in records if _file_of(record) not in apart),
        tuple(record for record in records if _file_of(record) in apart),
    )


def _file_of(record: VideoRecord) -> str:
    return record.video if record.path is None else str(record.path)
