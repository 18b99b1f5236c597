"""Captioned clips of longer files: their ids, and all captions of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prost.data.records import VideoRecord


@dataclass(frozen=True)
class CaptionedClip:
    """One line of an annotation file: a caption of a file, or of a part of it (in seconds)."""

    video: str
    caption: str
    start: float | None = None
    end: float | None = None

    @property
    def clip(self) -> str:
        """The id of the file, or of the part of it.

        >>> CaptionedClip("a.mp4", "a dog", 3.0, 7.5).clip, CaptionedClip("a.mp4", "a dog").clip
        ('a.mp4@3-7.5', 'a.mp4')
        """
        if self.start is None and self.end is None:
            return self.video
        return f"{self.video}@{self.start or 0.0:g}-{'' if self.end is None else format(self.end, 'g')}"


def gather(lines: Iterable[CaptionedClip], paths: dict[str, Path | None]) -> tuple[VideoRecord, ...]:
    """Records of files or clips, in order of their first line, each with all its captions.

    Args:
        lines: one for each caption.
        paths: the file of each `video`.
    """
    first: dict[str, CaptionedClip] = {}
    captions: dict[str, list[str]] = {}
    for line in lines:
        first.setdefault(line.clip, line)
        captions.setdefault(line.clip, []).append(line.caption)
    return tuple(
        VideoRecord(clip, paths[line.video], tuple(captions[clip]), line.start, line.end)
        for clip, line in first.items()
    )
