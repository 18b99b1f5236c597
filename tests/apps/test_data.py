"""`prost data check`: which files of a benchmark are there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prost.data.benchmarks import BENCHMARK_NAMES

Prost = Callable[..., Any]


@pytest.fixture
def pairs(videos: Path) -> Path:
    """Three good videos, one that is a text, one that is not there."""
    rows = [("red", "test"), ("green", "train"), ("blue", "train"), ("broken", "train"), ("gone", "train")]
    table = "video,caption,split\n" + "".join(f"{name},{name} all over,{split}\n" for name, split in rows)
    (videos / "pairs.csv").write_text(table)
    return videos


def test_what_is_missing_and_what_cannot_be_decoded(prost: Prost, pairs: Path) -> None:
    said = prost("data", "check", "pairs", pairs, "--json")
    assert said.code == 1 and not said.json["complete"]
    train, test = said.json["splits"]
    assert (train["listed"], train["found"], train["missing"], train["decoded"]) == (4, 3, ["gone"], 3)
    (failure,) = train["undecodable"]
    assert (failure["video"], failure["reason"]) == ("broken", "not a video")
    assert (test["complete"], test["expected"], train["complete"]) == (True, None, False)


def test_for_people(prost: Prost, pairs: Path) -> None:
    said = prost("data", "check", "pairs", pairs)
    assert said.code == 1
    assert "INCOMPLETE" in said.out and "complete" in said.out
    assert "missing in train: gone\n" in said.err
    assert f"cannot be decoded: {pairs / 'broken.mp4'}: not a video" in said.err


def test_a_complete_benchmark_is_no_failure(prost: Prost, pairs: Path, tmp_path: Path) -> None:
    table = tmp_path / "mine.jsonl"
    table.write_text(json.dumps({"video": "red", "caption": "red all over"}))
    said = prost("data", "check", "pairs", table, "--videos", pairs, "--all", "--workers", "2")
    assert (said.code, said.err) == (0, "")
    assert "note: all pairs are train" in said.out
    assert (
        prost("data", "check", "pairs", table, "--videos", pairs, "--sample", "0", "--json").json["splits"][
            0
        ]["decoded"]
        == 0
    )


def test_mistakes_are_one_line(prost: Prost, pairs: Path) -> None:
    for name, folder, told in (
        ("msvdd", pairs, "no benchmark is called 'msvdd'"),
        ("msvd", pairs, "lacks raw-captions.pkl (it contains notes.txt, pairs.csv)"),
        ("msvd", pairs / "none", "is not a folder"),
    ):
        said = prost("data", "check", name, folder)
        assert (said.code, said.out) == (2, "") and told in said.err and said.err.count("\n") == 1


def test_the_help_names_every_benchmark(prost: Prost) -> None:
    words = prost("data", "check", "--help").out.replace(",", " ").split()
    assert set(BENCHMARK_NAMES) <= set(words)
