"""A benchmark's folder: its annotation files, and its videos by their ids."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from prost.data.records import Benchmark, VideoRecord
from prost.errors import BadAnnotations, MissingPath, NoVideos
from prost.video.files import VIDEO_EXTENSIONS, files_under, find_videos

ANNOTATION_EXTENSIONS = frozenset((".csv", ".json", ".jsonl", ".txt", ".tsv", ".pkl", ".pickle"))


class BenchmarkFolder:
    """Where annotations and videos are looked for, and what is worth telling about them.

    Annotations may lie anywhere below the folder; of two files of one name the one nearer to the top is taken.

    Args:
        folder: of the annotations.
        videos: of the videos, which may lie anywhere below it; None for the same folder.

    Attributes:
        notes: what has to be told with every number.

    Raises:
        MissingPath: a folder that is not there.
    """

    def __init__(self, folder: Path, videos: Path | None = None) -> None:
        self.folder, self.videos = folder.expanduser(), (videos or folder).expanduser()
        self.notes: list[str] = []
        for place in (self.folder, self.videos):
            if not place.is_dir():
                raise MissingPath(f"{place} is no folder that is there", suggestion="check the path")

    @cached_property
    def _annotations(self) -> dict[str, Path]:
        files: dict[str, Path] = {}
        for entry in files_under(self.folder, set()):
            if os.path.splitext(entry.name)[1].lower() in ANNOTATION_EXTENSIONS:
                # Files nearer to the top come first.
                files.setdefault(entry.name, Path(entry.path))
        return files

    def find(self, *names: str) -> Path | None:
        """The first of some annotation files that is there."""
        return next((self._annotations[name] for name in names if name in self._annotations), None)

    def like(self, pattern: str) -> list[Path]:
        """All annotation files whose names match a pattern, by name."""
        return [self._annotations[name] for name in sorted(self._annotations) if fnmatch(name, pattern)]

    def need(self, *names: str) -> Path:
        """The first of some annotation files that is there.

        Raises:
            MissingPath: none is.
        """
        path = self.find(*names)
        if path is None:
            there = ", ".join(sorted(self._annotations)[:6]) or "no annotation file at all"
            raise MissingPath(
                f"{self.folder} lacks {names[0]} (there is {there})",
                " or ".join(names) + ", anywhere below the folder",
                "put the benchmark's annotation files there",
            )
        return path

    @cached_property
    def _videos(self) -> tuple[dict[str, Path], dict[str, Path]]:
        """Files by their names, and by their names without extension."""
        try:
            found = find_videos(self.videos)
        except NoVideos:
            return {}, {}
        if found.unreadable:
            self.notes.append(
                f"{len(found.unreadable)} folders could not be read ({found.unreadable[0]}, ...)"
            )
        names: dict[str, Path] = {}
        stems: dict[str, Path] = {}
        ambiguous: set[str] = set()
        for path in found.videos:
            names.setdefault(path.name, path)
            if stems.setdefault(path.stem, path) != path:
                ambiguous.add(path.stem)
        if ambiguous:
            self.notes.append(
                f"{len(ambiguous)} ids have more than one file ({min(ambiguous)}, ...): the first by path is taken"
            )
        return names, stems

    def video(self, video: str) -> Path | None:
        """The file of a video.

        Args:
            video: its id: the file's name without extension, or with one. The file may have another extension
                than the id, as it has after being encoded anew.
        """
        names, stems = self._videos
        return names.get(video) or stems.get(video) or stems.get(without_extension(video))

    def records(
        self,
        listed: Sequence[str],
        split_file: Path,
        captions: Mapping[str, Sequence[str]],
        caption_file: Path,
    ) -> tuple[VideoRecord, ...]:
        """Records of whole files: the videos of a list with their captions.

        Args:
            listed: ids, in order.
            split_file: where they stand.
            captions: by id.
            caption_file: where those stand.

        Raises:
            BadAnnotations: a video without a caption.
        """
        ids = self.each_once(listed, split_file)
        texts = {video: self.told(captions.get(video, ()), caption_file) for video in ids}
        if bare := [video for video in ids if not texts[video]]:
            raise BadAnnotations(
                f"{len(bare)} of {len(ids)} videos in {split_file} have no caption in {caption_file} ({bare[0]}, ...)",
                "a list and captions of the same release",
                "fetch both anew",
            )
        return tuple(VideoRecord(video, self.video(video), texts[video]) for video in ids)

    def each_once(self, listed: Sequence[str], split_file: Path) -> list[str]:
        """Ids without their repetitions, which are told."""
        ids = list(dict.fromkeys(listed))
        if repeated := len(listed) - len(ids):
            self._note(f"{split_file.name} repeats {repeated} ids: each is taken once")
        return ids

    def told(self, captions: Iterable[str], caption_file: Path) -> tuple[str, ...]:
        """Captions as they are, but for spaces around them; empty ones are left out, which is told."""
        stripped = [caption.strip() for caption in captions]
        if not all(stripped):
            self._note(f"{caption_file.name} holds empty captions: they are left out")
        return tuple(caption for caption in stripped if caption)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def benchmark(
        self,
        name: str,
        splits: dict[str, tuple[VideoRecord, ...]],
        expected: dict[str, int | None],
        frames: int = 12,
        max_words: int = 32,
    ) -> Benchmark:
        """All that was found, under a name; notes on it so far come along."""
        return Benchmark(
            name=name,
            folder=self.folder,
            splits=splits,
            expected={split: expected[split] for split in splits if split in expected},
            notes=tuple(self.notes),
            frames=frames,
            max_words=max_words,
        )


def without_extension(name: str) -> str:
    """A name without the extension of a video file; other dots are part of the name.

    >>> without_extension("12345@N00_abc.avi"), without_extension("0001_Film_00.00.32.122-00.00.35.459")
    ('12345@N00_abc', '0001_Film_00.00.32.122-00.00.35.459')
    """
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in VIDEO_EXTENSIONS else name
