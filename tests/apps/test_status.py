"""`prost status`: counts, and the files that need attention."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Prost = Callable[..., Any]


def test_a_healthy_library_with_one_bad_file(prost: Prost, indexed: Path, videos: Path) -> None:
    values = prost("status", "--library", indexed, "--json").json
    assert (values["videos"], values["clips"], values["model"]) == (3, 3, "untrained")
    assert values["library"] == str(indexed)
    (failure,) = values["failed"]
    assert (failure["path"], failure["reason"]) == (str(videos / "broken.mp4"), "not a video")
    assert failure["detail"]
    assert values["moved"] == values["missing"] == values["duplicates"] == []
    assert values["bytes"] > 10_000 and values["codes_current"] is None


def test_copies_moves_and_losses_are_told_apart(
    prost: Prost, indexed: Path, videos: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("red", "green"):
        shutil.copy(videos / f"{name}.mp4", elsewhere)
    assert prost("index", elsewhere, "--library", indexed).code == 0
    (videos / "red.mp4").unlink()
    (videos / "blue.mp4").unlink()
    values = prost("status", "--library", indexed, "--json").json
    assert values["duplicates"] == [[str(elsewhere / "green.mp4"), str(videos / "green.mp4")]]
    assert values["moved"] == [{"from": str(videos / "red.mp4"), "to": str(elsewhere / "red.mp4")}]
    assert values["missing"] == [str(videos / "blue.mp4")]


def test_codes_are_current_until_one_is_lost(prost: Prost, indexed: Path) -> None:
    assert prost("optimize", "--library", indexed).code == 0
    assert prost("status", "--library", indexed, "--json").json["codes_current"] is True
    (pack,) = indexed.rglob("*.pack")
    pack.unlink()
    assert prost("status", "--library", indexed, "--json").json["codes_current"] is False
    assert "prost optimize" in prost("status", "--library", indexed).out


def test_for_people(prost: Prost, indexed: Path, videos: Path) -> None:
    said = prost("status", "--library", indexed)
    assert said.code == 0 and "untrained" in said.out
    assert f"failed: {videos / 'broken.mp4'}: not a video (" in said.out


def test_the_last_run_is_shown(prost: Prost, indexed: Path, videos: Path) -> None:
    (videos / "red.mp4").unlink()
    assert prost("index", videos, "--library", indexed).code == 0
    run = prost("status", "--library", indexed, "--json").json["last_run"]
    assert run["counts"] == {
        "added": 0,
        "unchanged": 2,
        "moved": 0,
        "removed": 1,
        "failed": 1,
        "missing": 0,
    }
    said = prost("status", "--library", indexed).out
    assert f"{run['ended']} (2 unchanged, 1 removed, 1 failed)" in said
    (indexed / "last_run.json").write_text("{")
    assert prost("status", "--library", indexed, "--json").json["last_run"] is None
    assert "unknown" in prost("status", "--library", indexed).out
