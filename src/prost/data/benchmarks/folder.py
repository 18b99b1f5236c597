"""The folder of a benchmark: its annotation files, and its videos by their ids."""

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
    """Finds annotations and videos, and collects notes about them.

    Annotations can be anywhere below the folder; of two files of one name the one nearer to the top is taken.

    Args:
        folder: of the annotations.
        videos: the videos are anywhere below it; None for the same folder.

    Attributes:
        notes: printed with every number.

    Raises:
        MissingPath: a folder does not exist.
    """

    def __init__(self, folder: Path, videos: Path | None = None) -> None:
        self.folder, self.videos = folder.expanduser(), (videos or folder).expanduser()
        self.notes: list[str] = []
        for place in (self.folder, self.videos):
            if not place.is_dir():
                raise MissingPath(f"{place} is not a folder", suggestion="check the path")

    @cached_property
    def _annotations(self) -> dict[str, Path]:
        files: dict[str, Path] = {}
        for entry in files_under(self.folder, set()):
            if os.path.splitext(entry.name)[1].lower() in ANNOTATION_EXTENSIONS:
                # Files nearer to the top come first.
                files.setdefault(entry.name, Path(entry.path))
        return files

    def find(self, *names: str) -> Path | None:
        """The first of some annotation files that exists."""
        return next((self._annotations[name] for name in names if name in self._annotations), None)

    def like(self, pattern: str) -> list[Path]:
        """All annotation files whose names match a pattern, sorted by name."""
        return [self._annotations[name] for name in sorted(self._annotations) if fnmatch(name, pattern)]

    def need(self, *names: str) -> Path:
        """The first of some annotation files that exists.

        Raises:
            MissingPath: none of them exists.
        """
        path = self.find(*names)
        if path is None:
            present = ", ".join(sorted(self._annotations)[:6]) or "no annotation file"
            raise MissingPath(
                f"{self.folder} lacks {names[0]} (it contains {present})",
                " or ".join(names) + ", anywhere below the folder",
                "put the benchmark's annotation files there",
            )
        return path

    @cached_property
    def _videos(self) -> tuple[dict[str, Path], dict[str, Path]]:
        """Files by name, and by name without extension."""
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
        for path in map(Path, found.videos):
            names.setdefault(path.name, path)
            if stems.setdefault(path.stem, path) != path:
                ambiguous.add(path.stem)
        if ambiguous:
            self.notes.append(
                f"{len(ambiguous)} ids have several files ({min(ambiguous)}, ...): the first by path is used"
            )
        return names, stems

    def video(self, video: str) -> Path | None:
        """The file of a video.

        Args:
            video: its id: the file's name with or without extension. The extension of the file may differ from that
                of the id, as it does after re-encoding.
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
            split_file: the file of the ids, for messages.
            captions: by id.
            caption_file: the file of the captions, for messages.

        Raises:
            BadAnnotations: a video without a caption.
        """
        ids = self.each_once(listed, split_file)
        texts = {video: self.stripped(captions.get(video, ()), caption_file) for video in ids}
        if bare := [video for video in ids if not texts[video]]:
            raise BadAnnotations(
                f"{len(bare)} of {len(ids)} videos in {split_file} have no caption in {caption_file} ({bare[0]}, ...)",
                "a list and captions of the same release",
                "download both again",
            )
        return tuple(VideoRecord(video, self.video(video), texts[video]) for video in ids)

    def each_once(self, listed: Sequence[str], split_file: Path) -> list[str]:
        """Ids without repetitions; a note counts those."""
        ids = list(dict.fromkeys(listed))
        if repeated := len(listed) - len(ids):
            self._note(f"{split_file.name} repeats {repeated} ids: each is used once")
        return ids

    def stripped(self, captions: Iterable[str], caption_file: Path) -> tuple[str, ...]:
        """Captions without surrounding spaces; empty ones are left out, and a note says so."""
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
        """The benchmark with the notes that were collected so far."""
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
    """A name without the extension of a video file; other dots belong to the name.

    >>> without_extension("12345@N00_abc.avi"), without_extension("0001_Film_00.00.32.122-00.00.35.459")
    ('12345@N00_abc', '0001_Film_00.00.32.122-00.00.35.459')
    """
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in VIDEO_EXTENSIONS else name
