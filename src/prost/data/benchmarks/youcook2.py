"""YouCook2: steps of cooking videos, each a clip with one sentence; the official validation videos are the test.

Two sources are in use, which differ in the columns of their tables. MIL-NCE's has `video_id,task,start,end,text`, one
clip per row. UniVL's has `video_id,feature_file`, one video per row, and a pickle with `start`, `end` and `text` by id,
three lists of equal length. They do not contain the same clips, so that a note names the source.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from prost.data.benchmarks.annotations import caption_of, read_headings, read_table, seconds
from prost.data.benchmarks.clips import CaptionedClip
from prost.data.benchmarks.folder import BenchmarkFolder
from prost.data.benchmarks.plain_pickle import read_plain_pickle
from prost.data.records import Benchmark, VideoRecord
from prost.errors import BadAnnotations

MIL_NCE, UNIVL = "MIL-NCE's", "UniVL's"
EXPECTED: dict[str, dict[str, int | None]] = {
    MIL_NCE: {"train": 9586, "test": 3350},
    UNIVL: {"train": 9776, "test": 3369},
}
MARK = {MIL_NCE: "task", UNIVL: "feature_file"}


def youcook2(found: BenchmarkFolder) -> Benchmark:
    """Read test, and train if it exists."""
    source, test = _test_table(found)
    tables = {"test": test}
    train = next((path for path in found.like("*train*.csv") if _source(path) == source), None)
    if train is not None:
        tables = {"train": train, "test": test}
    splits = {}
    for split, path in tables.items():
        clips = _of_rows(path) if source == MIL_NCE else _of_pickle(path, _pickle(found))
        splits[split] = _records(found, clips, path)
    found.notes.append(f"the source is {source}; test is the official validation split, one query a clip")
    return found.benchmark("youcook2", splits, EXPECTED[source])


def _test_table(found: BenchmarkFolder) -> tuple[str, Path]:
    """The source and the table of the test split."""
    for path in found.like("*val*.csv"):
        source = _source(path)
        if source is not None:
            return source, path
    path = found.need("validation_youcook.csv", "youcookii_val.csv")
    raise BadAnnotations(
        f"{path} is from no known source", "video_id,task,start,end,text, or video_id,feature_file"
    )


def _source(path: Path) -> str | None:
    """The source of a table; None for a table of another benchmark."""
    headings = read_headings(path)
    return next(
        (source for source, mark in MARK.items() if mark in headings and "video_id" in headings), None
    )


def _of_rows(path: Path) -> list[CaptionedClip]:
    return [
        CaptionedClip(
            row["video_id"],
            row["text"],
            seconds(row["start"], f"{path}, line {row['line']}, start"),
            seconds(row["end"], f"{path}, line {row['line']}, end"),
        )
        for row in read_table(path, ("video_id", "start", "end", "text"))
    ]


def _pickle(found: BenchmarkFolder) -> Path:
    """UniVL's captions; the other pickle of its package contains features."""
    for path in (*found.like("*.pickle"), *found.like("*.pkl")):
        if "feature" not in path.name:
            return path
    return found.need("youcookii_data.no_transcript.pickle")


def _of_pickle(path: Path, captions: Path) -> list[CaptionedClip]:
    content: Any = read_plain_pickle(captions)
    clips = []
    for row in read_table(path, ("video_id",)):
        video = row["video_id"]
        try:
            columns = content[video]
            steps = list(zip(columns["start"], columns["end"], columns["text"], strict=True))
        except (KeyError, TypeError, ValueError, IndexError):
            raise BadAnnotations(
                f"video {video!r} of {path} has no start, end and text of equal length in {captions}",
                "a table and a pickle of the same release",
            ) from None
        for start, end, text in steps:
            times = (seconds(start, f"{captions}, {video}, start"), seconds(end, f"{captions}, {video}, end"))
            clips.append(CaptionedClip(video, caption_of(text, f"{captions}: {video}"), *times))
    return clips


def _records(found: BenchmarkFolder, clips: list[CaptionedClip], path: Path) -> tuple[VideoRecord, ...]:
    """One record per line: two lines about one clip are two queries and two entries of the gallery, as in papers."""
    records = []
    seen: Counter[str] = Counter()
    for clip in clips:
        if captions := found.stripped([clip.caption], path):
            seen[clip.clip] += 1
            again = f"#{seen[clip.clip]}" if seen[clip.clip] > 1 else ""
            file = found.video(clip.video)
            records.append(VideoRecord(clip.clip + again, file, captions, clip.start, clip.end))
    return tuple(records)
