"""Records, splits that are whole or not, captions with the position of their video, held-out parts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prost.data.records import (
    Benchmark,
    VideoRecord,
    captions_of,
    complete_split,
    gallery_size,
    hold_out,
)
from prost.errors import BadAnnotations, MissingVideos, NoVideos, UsageError


def benchmark(records: list[VideoRecord], published: int | None) -> Benchmark:
    return Benchmark(
        name="vatex",
        folder=Path("folder"),
        splits={"test": tuple(records)},
        expected={"test": published},
        notes=(),
        frames=12,
        max_words=32,
    )


def record(name: str, there: bool = True, captions: tuple[str, ...] = ("a dog",)) -> VideoRecord:
    return VideoRecord(name, Path(f"{name}.mp4") if there else None, captions)


@pytest.mark.parametrize("captions", [(), ("",), ("a dog", "  ")])
def test_a_record_has_captions(captions: tuple[str, ...]) -> None:
    with pytest.raises(BadAnnotations, match="'a' has an empty caption or none"):
        VideoRecord("a", None, captions)


@pytest.mark.parametrize(("start", "end"), [(2.0, 2.0), (3.0, 2.0), (None, 0.0)])
def test_a_clip_ends_after_its_start(start: float | None, end: float) -> None:
    with pytest.raises(BadAnnotations, match="an end after the start"):
        VideoRecord("a", None, ("a dog",), start, end)


def test_what_is_there_is_taken_where_nothing_lacks() -> None:
    whole = benchmark([record("a"), record("b")], 2)
    assert complete_split(whole, "test") == whole.splits["test"]
    assert complete_split(benchmark([record("a")], None), "test") == (record("a"),)
    assert gallery_size(whole, "test") == "2 of 2 videos"


@pytest.mark.parametrize(
    ("records", "published", "message"),
    [
        ([record("a"), record("b", there=False)], 2, r"has 1 of 2 videos \(missing: b, ...\)"),
        ([record("a"), record("b", there=False)], None, r"has 1 of 2 videos \(missing: b, ...\)"),
        # A list that was shortened names no missing video, and is still not the published set.
        ([record("a"), record("b")], 1500, r"has 2 of 1,500 videos; expected"),
        ([record("a"), record("b")], 1, r"has 2 of 1 videos"),
    ],
)
def test_another_set_than_the_published_one_is_refused(
    records: list[VideoRecord], published: int | None, message: str
) -> None:
    incomplete = benchmark(records, published)
    with pytest.raises(MissingVideos, match=message):
        complete_split(incomplete, "test")
    present = tuple(record for record in records if record.path)
    assert complete_split(incomplete, "test", allow_missing=True) == present


def test_nothing_there_is_refused_even_when_told_to_go_on() -> None:
    with pytest.raises(NoVideos, match="none of the 1 videos"):
        complete_split(benchmark([record("a", there=False)], 1), "test", allow_missing=True)


def test_a_split_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="has no val split; expected: test"):
        complete_split(benchmark([record("a")], 1), "val")


def test_each_caption_knows_its_video() -> None:
    records = [
        record("a", captions=("1", "2")),
        record("b", captions=("3",)),
        record("c", captions=("4", "5")),
    ]
    captions, video = captions_of(records)
    assert captions == ["1", "2", "3", "4", "5"]
    assert [records[index].video for index in video] == ["a", "a", "b", "c", "c"]


@given(
    files=st.lists(st.integers(0, 6), min_size=2, max_size=20).filter(lambda files: len(set(files)) > 1),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_a_part_kept_apart_shares_no_file_with_the_rest(files: list[int], share: float, seed: int) -> None:
    records = [
        VideoRecord(f"clip{place}", Path(f"{file}.mp4"), ("a dog",)) for place, file in enumerate(files)
    ]
    rest, apart = hold_out(records, share, seed)
    assert rest and apart
    assert not {record.path for record in rest} & {record.path for record in apart}
    assert Counter(rest + apart) == Counter(records)
    assert len({record.path for record in apart}) in (1, round(share * len(set(files))), len(set(files)) - 1)
    assert hold_out(records, share, seed) == (rest, apart)


def test_parts_depend_on_the_seed() -> None:
    records = [record(f"video{number}") for number in range(20)]
    assert hold_out(records, 0.5, seed=0) != hold_out(records, 0.5, seed=1)


@pytest.mark.parametrize(("count", "share"), [(2, 0.0), (2, 1.0), (1, 0.5)])
def test_parts_that_cannot_be(count: int, share: float) -> None:
    with pytest.raises(UsageError):
        hold_out([record(str(number)) for number in range(count)], share)
