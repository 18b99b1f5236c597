"""`prost remove`: files leave the library, whether or not they still exist."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Prost = Callable[..., Any]


def test_one_file_is_removed_and_stays_on_disk(prost: Prost, indexed: Path, videos: Path) -> None:
    said = prost("remove", videos / "red.mp4", "--library", indexed)
    assert (said.code, said.out, said.err) == (0, "1 removed from the library\n", "")
    assert (videos / "red.mp4").is_file()
    assert prost("status", "--library", indexed, "--json").json["videos"] == 2


def test_a_folder_that_is_gone(prost: Prost, indexed: Path, videos: Path) -> None:
    shutil.rmtree(videos)
    refused = prost("index", videos, "--library", indexed)
    assert refused.code == 2
    assert f"prost remove {videos}" in refused.err and refused.err.count("\n") == 1
    said = prost("remove", videos, "--library", indexed, "--json")
    assert said.code == 0 and len(said.json["removed"]) == 4
    assert prost("search", "a ball", "--library", indexed, "--json").json == []


def test_the_last_video(prost: Prost, indexed: Path, videos: Path) -> None:
    for name in ("red", "green", "blue", "broken"):
        assert prost("remove", videos / f"{name}.mp4", "--library", indexed).code == 0
    assert prost("status", "--library", indexed, "--json").json["clips"] == 0


def test_what_the_library_does_not_know_is_wrong_use(prost: Prost, indexed: Path, videos: Path) -> None:
    said = prost("remove", videos / "pink.mp4", "--library", indexed)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {videos / 'pink.mp4'} is not in ") and said.err.count("\n") == 1


def test_no_library(prost: Prost, library: Path, videos: Path) -> None:
    assert prost("remove", videos, "--library", library).code == 2
    assert not library.exists()
