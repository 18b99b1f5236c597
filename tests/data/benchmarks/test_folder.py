"""Annotation files and videos are found wherever they lie, and what is odd about them is told."""

from pathlib import Path

import pytest
from tests.data.benchmarks.conftest import Miniature

from prost.data.benchmarks.folder import BenchmarkFolder
from prost.errors import MissingPath


def test_of_two_annotation_files_the_nearer_one_is_taken(mini: Miniature) -> None:
    mini.lines("a/deep/list.txt", "far")
    near = mini.lines("z/list.txt", "near")
    found = BenchmarkFolder(mini.folder)
    assert found.find("none.txt", "list.txt") == found.need("list.txt") == near
    assert found.like("l*.txt") == [near]


def test_videos_by_name_by_id_and_by_another_extension(mini: Miniature) -> None:
    mini.videos("v/one.mp4", "v/two.AVI", "v/film.00.32.122.mkv", "v/notes.txt")
    found = BenchmarkFolder(mini.folder)

    def name(video: str) -> str | None:
        path = found.video(video)
        return path and path.name

    assert name("one") == name("one.mp4") == name("one.mov") == "one.mp4"
    assert name("two") == "two.AVI"
    assert name("film.00.32.122") == "film.00.32.122.mkv"
    assert name("film.00.32") is None
    assert name("notes") is None


def test_an_id_with_two_files_is_told(mini: Miniature) -> None:
    mini.videos("a/one.mp4", "b/one.webm")
    found = BenchmarkFolder(mini.folder)
    assert found.video("one") == mini.folder / "a" / "one.mp4"
    assert found.video("one.webm") == mini.folder / "b" / "one.webm"
    assert found.notes == ["1 ids have several files (one, ...): the first by path is used"]


def test_videos_may_lie_elsewhere_or_nowhere(mini: Miniature, tmp_path: Path) -> None:
    mini.videos("one.mp4")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert BenchmarkFolder(empty, mini.folder).video("one") == mini.folder / "one.mp4"
    assert BenchmarkFolder(mini.folder, empty).video("one") is None


def test_folders_that_are_not_there(mini: Miniature, tmp_path: Path) -> None:
    for folder, videos in ((tmp_path / "none", None), (mini.folder, tmp_path / "none")):
        with pytest.raises(MissingPath, match="none is not a folder"):
            BenchmarkFolder(folder, videos)
