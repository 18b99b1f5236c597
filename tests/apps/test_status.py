"""`prost status`: counts, and the files that need attention."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.apps.conftest import write_video

from prost.search.library import Library

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


def test_copies_moves_and_losses_are_told_apart(prost: Prost, indexed: Path, videos: Path) -> None:
    elsewhere = videos.parent / "elsewhere"
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


def test_every_field_on_a_library_with_a_copy_a_move_a_failure_and_stale_codes(
    prost: Prost, indexed: Path, videos: Path
) -> None:
    assert prost("optimize", "--library", indexed).code == 0
    shutil.copytree(indexed / "packs", videos.parent / "packs before")
    shutil.copy(videos / "green.mp4", videos / "copy.mp4")
    shutil.copy(videos / "red.mp4", videos / "new home.mp4")
    write_video(videos / "long.mp4", (200, 200, 30), seconds=30.0)
    assert prost("index", videos, "--library", indexed).code == 0
    (videos / "red.mp4").unlink()
    values = prost("status", "--library", indexed, "--json").json
    with Library(indexed) as opened:
        rows = {Path(row.path).name: row for row in opened.videos()}
        description = opened.description
    assert set(rows) == {
        "red.mp4", "green.mp4", "blue.mp4", "broken.mp4", "copy.mp4", "new home.mp4", "long.mp4",
    }  # fmt: skip
    assert values["videos"] == 6
    assert values["clips"] == 3 + rows["long.mp4"].clips  # copies share their clips
    assert abs(values["seconds"] - (5 * 2.0 + 30.0)) < 0.5
    (failure,) = values["failed"]
    assert failure == {
        "path": str(videos / "broken.mp4"),
        "reason": "not a video",
        "detail": rows["broken.mp4"].detail,
    }
    assert values["notes"] == []
    assert values["moved"] == [{"from": str(videos / "red.mp4"), "to": str(videos / "new home.mp4")}]
    assert values["missing"] == []
    assert values["duplicates"] == [[str(videos / "copy.mp4"), str(videos / "green.mp4")]]
    assert values["bytes"] == sum(path.stat().st_size for path in indexed.rglob("*") if path.is_file())
    assert (values["model"], values["fingerprint"]) == (description.model, description.fingerprint)
    assert values["codes_current"] is True
    assert values["last_run"]["counts"] == {
        "added": 3,
        "unchanged": 3,
        "moved": 0,
        "removed": 0,
        "failed": 1,
        "missing": 0,
    }
    # A run that was killed after its last commit leaves new clips without codes.
    shutil.rmtree(indexed / "packs")
    shutil.copytree(videos.parent / "packs before", indexed / "packs")
    assert prost("status", "--library", indexed, "--json").json["codes_current"] is False
    assert prost("optimize", "--library", indexed).code == 0
    assert prost("status", "--library", indexed, "--json").json["codes_current"] is True
