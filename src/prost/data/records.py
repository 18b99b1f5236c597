"""What every benchmark becomes: captioned videos in splits, and how many of them there should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as found in a folder.

    Attributes:
        name: as given to `load_benchmark`.
        folder: where its annotations lie.
        splits: the records of "train", "val" and "test", as far as their annotations are there.
        expected: published number of videos (or clips) of each split; None where there is none.
        notes: what has to be printed with every number ("val is the test split").
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
