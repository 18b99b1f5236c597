"""`prost index`: what is taken in, what is refused, and what is left alone."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prost.search.library import Library

Prost = Callable[..., Any]


def names(paths: list[str]) -> list[str]:
    return sorted(Path(path).name for path in paths)


def test_good_files_are_added_and_bad_ones_named(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path
) -> None:
    said = prost("index", videos, "--library", library, "--model", untrained_folder, "--json")
    assert said.code == 0
    assert names(said.json["added"]) == ["blue.mp4", "green.mp4", "red.mp4"]
    assert said.json["unchanged"] == said.json["moved"] == said.json["removed"] == []
    (failed,) = said.json["failed"]
    assert failed["path"] == str(videos / "broken.mp4")
    assert failed["reason"] == "not a video"


def test_the_second_time_nothing_is_new_and_no_model_need_be_named(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(untrained_folder.parent)
    assert prost("index", videos, "--library", library, "--model", untrained_folder.name).code == 0
    monkeypatch.chdir("/")  # the note of the model must hold from any folder
    said = prost("index", videos, "--library", library)
    assert said.code == 0
    assert said.out == "0 added, 3 unchanged, 0 moved, 0 removed, 1 failed\n"
    assert f"failed: {videos / 'broken.mp4'}: not a video" in said.err.splitlines()


def test_the_first_time_the_bundled_model_is_named_as_what_it_is(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prost.apps.cli.options.DEFAULT_MODEL", str(untrained_folder))
    assert "knows only drawn things" in prost("index", videos, "--library", library).err
    assert "note:" not in prost("index", videos, "--library", library).err


def test_files_and_folders_can_be_mixed_and_tagged(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path
) -> None:
    several = (videos / "red.mp4", videos / "blue.mp4")
    said = prost(
        "index", *several, "--library", library, "--model", untrained_folder, "--tag", "warm", "--tag", "cold"
    )
    assert said.out.startswith("2 added")
    assert {row.tags for row in Library(library).videos()} == {("warm", "cold")}


def test_a_mistyped_folder_leaves_no_library_behind(
    prost: Prost, library: Path, untrained_folder: Path
) -> None:
    said = prost("index", "/no/such/folder", "--library", library, "--model", untrained_folder)
    assert said.code == 2
    assert said.err.startswith("error: /no/such/folder ") and said.err.count("\n") == 1
    assert not library.exists()


def test_a_folder_without_videos_is_wrong_use(
    prost: Prost, tmp_path: Path, library: Path, untrained_folder: Path
) -> None:
    (tmp_path / "empty").mkdir()
    said = prost("index", tmp_path / "empty", "--library", library, "--model", untrained_folder)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: no video in ") and said.err.count("\n") == 1


def test_another_model_is_refused_and_nothing_is_lost(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path, tmp_path: Path
) -> None:
    from prost import load
    from prost.model.checkpoint import save

    assert prost("index", videos, "--library", library, "--model", untrained_folder).code == 0
    save(load(untrained_folder, object_phrase_weight=1.0), tmp_path / "other")
    said = prost("index", videos, "--library", library, "--model", tmp_path / "other")
    assert (said.code, said.out) == (1, "")
    assert "was made by model 'untrained'" in said.err and said.err.count("\n") == 1
    assert prost("index", videos, "--library", library).out.startswith("0 added, 3 unchanged")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_place_that_may_not_be_written_is_one_line(
    prost: Prost, videos: Path, tmp_path: Path, untrained_folder: Path
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    said = prost("index", videos, "--library", locked / "a.prost", "--model", untrained_folder)
    assert said.code == 1
    assert "permission" in said.err and said.err.count("\n") == 1


def test_a_library_below_a_file_is_one_line(prost: Prost, videos: Path, untrained_folder: Path) -> None:
    below = videos / "notes.txt" / "a.prost"
    said = prost("index", videos, "--library", below, "--model", untrained_folder)
    assert said.code in (1, 2)
    assert said.err.startswith("error: ") and said.err.count("\n") == 1
    assert "unexpected" not in said.err


def test_weights_that_lack_a_key_are_named(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(untrained_folder, broken)
    weights = load_file(broken / "model.safetensors")
    del weights["event_decoder.queries"]
    save_file(weights, broken / "model.safetensors")
    said = prost("index", videos, "--library", library, "--model", broken)
    assert said.code == 1
    assert "event_decoder.queries" in said.err and said.err.count("\n") == 1
    assert not library.exists()
