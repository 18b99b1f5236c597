"""Own pairs: a table (CSV) or one JSON object a line (JSONL) with `video` and `caption`.

`video` is a path, relative to the folder of the videos or of the table, or an id that is looked up as the benchmarks'
ids are. `start` and `end` (seconds) and `split` (train, val, test) are optional; without a split every pair belongs to
train. JSONL may have `captions`, a list, so that a folder of `prost toybox` can be read too.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from prost.data.benchmarks.annotations import captioned_video, read_json_lines, read_table, seconds
from prost.data.benchmarks.clips import CaptionedClip, gather
from prost.data.benchmarks.folder import BenchmarkFolder
from prost.data.records import Benchmark, VideoRecord, shared_files
from prost.errors import BadAnnotations, MissingPath
from prost.printable import counted

FILES = ("pairs.csv", "pairs.jsonl", "captions.csv", "captions.jsonl")
TABLES = (".csv", ".tsv")
SPLIT_ORDER = ("train", "val", "test")
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def pairs(place: Path, videos: Path | None = None) -> Benchmark:
    """Read own pairs.

    Args:
        place: the file, or the folder that contains it.
        videos: the folder of the videos; None for the folder of the file.

    Raises:
        MissingPath: there is no such file.
        BadAnnotations: a line that cannot be read, or a video in two splits.
    """
    file = _file(place.expanduser())
    found = BenchmarkFolder(file.parent, videos)
    lines: dict[str, list[CaptionedClip]] = {}
    for split, line in _read(file):
        lines.setdefault(split, []).append(line)
    paths, spelling = _paths(found, file, itertools.chain.from_iterable(lines.values()))
    lines = {
        split: [replace(line, video=spelling[line.video]) for line in pairs] for split, pairs in lines.items()
    }
    splits = {split: gather(lines[split], paths) for split in sorted(lines, key=SPLIT_ORDER.index)}
    _expect_apart(file, splits)
    if list(splits) == ["train"]:
        found.notes.append("all pairs are train: hold out a part of them, or add a column split")
    return found.benchmark("pairs", splits, {})


def _file(place: Path) -> Path:
    if place.is_file():
        return place
    if not place.is_dir():
        raise MissingPath(
            f"{place} is not there", "a CSV or JSONL file, or a folder with one", "check the path"
        )
    for name in FILES:
        if (place / name).is_file():
            return place / name
    others = sorted(path for path in place.iterdir() if path.suffix.lower() in (*TABLES, ".jsonl"))
    if len(others) == 1:
        return others[0]
    raise MissingPath(
        f"{place} holds {len(others)} tables of pairs", " or ".join(FILES), "name the file itself"
    )


def _read(file: Path) -> Iterator[tuple[str, CaptionedClip]]:
    """The split and the pair of each caption."""
    rows = _table_rows(file) if file.suffix.lower() in TABLES else read_json_lines(file)
    for place, row in rows:
        video, captions = captioned_video(row, place)
        start, end = (seconds(row.get(key), f"{place}, {key}") for key in ("start", "end"))
        if end is not None and end <= (start or 0.0):
            raise BadAnnotations(f"{place} goes from {start or 0.0:g} to {end:g} s", "an end after the start")
        for text in captions:
            yield _split(row, place), CaptionedClip(video, text, start, end)


def _table_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in read_table(file, ("video", "caption")):
        yield f"{file}, line {row['line']}", row


def _split(row: dict[str, Any], place: str) -> str:
    if "split" not in row:
        return "train"
    split = SPLITS.get(str(row["split"]).strip().lower())
    if split is None:
        raise BadAnnotations(f"{place} has the split {row['split']!r}", "train, val, test")
    return split


def _paths(
    found: BenchmarkFolder, file: Path, lines: Iterable[CaptionedClip]
) -> tuple[dict[str, Path | None], dict[str, str]]:
    """The file of each video, and the first spelling of each spelling: `a`, `a.mp4` and `./a.mp4` are one video."""
    paths: dict[str, Path | None] = {}
    spelling: dict[str, str] = {}
    first: dict[str, str] = {}
    for line in lines:
        if line.video not in spelling:
            path = _path(found, file, line.video)
            identity = line.video if path is None else os.path.realpath(path)
            spelling[line.video] = first.setdefault(identity, line.video)
            paths.setdefault(spelling[line.video], path)
    return paths, spelling


def _path(found: BenchmarkFolder, file: Path, video: str) -> Path | None:
    for folder in (found.videos, file.parent):
        path = folder / video  # an absolute path stays as it is
        if path.is_file():
            return path
    return found.video(video)


def _expect_apart(file: Path, splits: dict[str, tuple[VideoRecord, ...]]) -> None:
    """Refuse a video in two splits, because a score on videos that were trained on says nothing.

    Clips of one file count as one video: what is seen in one is seen in the others.
    """
    for one, other in itertools.combinations(splits, 2):
        if shared := shared_files(splits[one], splits[other]):
            videos = counted(len(shared), "video is", "videos are")
            raise BadAnnotations(
                f"{file}: {videos} in {one} and in {other} ({shared[0]}, ...)", "each video in one split"
            )
