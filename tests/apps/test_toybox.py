"""`prost toybox`: the same words give the same folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Prost = Callable[..., Any]


def test_a_folder_of_videos_and_captions(prost: Prost, tmp_path: Path) -> None:
    said = prost("toybox", tmp_path / "a", "--videos", "3", "--seed", "4", "--json")
    assert said.code == 0
    assert said.json == {
        "folder": str(tmp_path / "a"),
        "videos": 3,
        "captions": str(tmp_path / "a" / "captions.jsonl"),
    }
    assert len(list((tmp_path / "a").glob("*.mp4"))) == 3
    assert len((tmp_path / "a" / "captions.jsonl").read_text().splitlines()) == 3
    assert prost("toybox", tmp_path / "b", "--videos", "3", "--seed", "4").out.startswith("3 videos")
    first, second = (tmp_path / name / "captions.jsonl" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_another_split_is_another_world(prost: Prost, tmp_path: Path) -> None:
    for split in ("train", "test"):
        assert prost("toybox", tmp_path / split, "--videos", "2", "--split", split).code == 0
    train, test = ((tmp_path / split / "captions.jsonl").read_text() for split in ("train", "test"))
    assert train != test


def test_wrong_words_are_wrong_use(prost: Prost, tmp_path: Path) -> None:
    for wrong in (["--videos", "0"], ["--split", "exam"], ["--seed", "-1"]):
        said = prost("toybox", tmp_path / "a", *wrong)
        assert said.code == 2 and said.err.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_a_folder_that_is_a_file_is_one_line(prost: Prost, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    said = prost("toybox", tmp_path / "a", "--videos", "1")
    assert said.code in (1, 2)
    assert said.err.startswith("error: ") and "unexpected" not in said.err and said.err.count("\n") == 1
