"""What is there, what is missing, what cannot be decoded: counted on real files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from prost.data.check import check
from prost.data.records import Benchmark, VideoRecord


@pytest.fixture
def benchmark(five_videos: tuple[VideoRecord, ...], tmp_path: Path) -> Benchmark:
    """Train: four good videos, one text, one missing. Test: one good video, as published."""
    broken = tmp_path / "broken.mp4"
    broken.write_text("this is a text")
    train = (
        VideoRecord("broken", broken, ("x", "y")),
        *five_videos[:4],
        VideoRecord("gone", None, ("z",)),
    )
    return Benchmark(
        name="msvd",
        folder=tmp_path,
        splits={"train": train, "test": five_videos[4:]},
        expected={"train": 1200, "test": 1},
        notes=("so",),
        frames=2,
        max_words=32,
    )


def test_all_is_decoded(benchmark: Benchmark) -> None:
    seen: list[tuple[int, int, str]] = []
    report = check(benchmark, workers=2, progress=lambda *at: seen.append(at))
    train, test = report.splits
    assert (train.expected, train.listed, train.found, train.missing) == (1200, 6, 5, ("gone",))
    assert (train.captions, train.decoded) == (2 + (1 + 2 + 3 + 1) + 1, 5)
    (failure,) = train.undecodable
    assert (failure.video, failure.reason) == ("broken", "not a video")
    assert failure.path.endswith("broken.mp4")
    assert test.complete and not train.complete and not report.complete
    assert report.notes == ("so",)
    assert [at[:2] for at in seen] == [(done, 6) for done in range(1, 7)]


def test_a_sample_is_drawn_by_the_seed(benchmark: Benchmark) -> None:
    def decoded(sample: int, seed: int) -> list[str]:
        seen: list[str] = []
        report = check(benchmark, sample, seed, progress=lambda done, total, video: seen.append(video))
        assert [split.decoded for split in report.splits] == [min(sample, 5), min(sample, 1)]
        return seen

    first = decoded(2, seed=0)
    assert decoded(2, seed=0) == first
    assert decoded(2, seed=1) != first
    assert decoded(0, seed=0) == []


def test_a_shortened_list_is_not_whole(benchmark: Benchmark) -> None:
    report = check(
        replace(benchmark, splits={"test": benchmark.splits["test"]}, expected={"test": 670}, notes=())
    )
    (test,) = report.splits
    assert not test.missing and not test.undecodable and not test.complete
