"""Globs of the caller and of ignore files, in a real walk."""

from pathlib import Path

import pytest

from prost.video.files import find_videos


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.mp4", "raw.mp4", "2020/a.mp4", "2020/raw/b.mp4", "2021/raw.mp4", "2021/deep/a.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def found(path: Path, tree: Path, *exclude: str) -> list[str]:
    return [str(video.relative_to(tree)) for video in find_videos(path, exclude=exclude).videos]


def test_a_glob_without_a_slash_matches_names(tree: Path) -> None:
    assert found(tree, tree, "raw*") == ["2020/a.mp4", "2021/deep/a.mp4", "a.mp4"]
    assert find_videos(tree, exclude=["raw*"]).excluded == 3
    assert found(tree, tree, "[!a]*.mp4", "2021") == ["2020/a.mp4", "a.mp4"]


def test_a_glob_with_a_slash_matches_paths_below_the_folder(tree: Path) -> None:
    assert found(tree, tree, "2020/*", "/raw.mp4") == ["2021/deep/a.mp4", "2021/raw.mp4", "a.mp4"]
    assert found(tree / "2021", tree, "2021/*") == ["2021/deep/a.mp4", "2021/raw.mp4"]


def test_a_slash_at_the_end_means_folders_only(tree: Path) -> None:
    assert found(tree, tree, "raw.mp4/", "raw/", "deep/") == [
        "2020/a.mp4",
        "2021/raw.mp4",
        "a.mp4",
        "raw.mp4",
    ]


def test_an_ignore_file_applies_to_its_folder_and_below(tree: Path) -> None:
    (tree / "2021" / ".prostignore").write_text("# not these\n\n  raw*  \ndeep/a.*\n")
    assert found(tree, tree) == ["2020/a.mp4", "2020/raw/b.mp4", "a.mp4", "raw.mp4"]


def test_an_ignore_file_above_the_folder_applies_and_named_paths_are_taken(tree: Path) -> None:
    (tree / ".prostignore").write_text("raw*\n2020\n")
    assert found(tree / "2020", tree) == ["2020/a.mp4"]
    assert found(tree / "2021" / "raw.mp4", tree) == ["2021/raw.mp4"]


def test_a_folder_whose_ignore_file_cannot_be_read_counts_as_unreadable(tree: Path) -> None:
    (tree / "2020" / ".prostignore").mkdir()
    assert find_videos(tree).unreadable == [tree / "2020"]
    assert found(tree, tree) == ["2021/deep/a.mp4", "2021/raw.mp4", "a.mp4", "raw.mp4"]
