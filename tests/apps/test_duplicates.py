"""`prost duplicates`, and `prost search --all`."""

import json
import shutil
from pathlib import Path

import pytest

from prost.apps.cli import main

Capture = pytest.CaptureFixture[str]


def test_equal_files_are_listed(
    tmp_path: Path, toybox_folder: Path, untrained_folder: Path, capsys: Capture
) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(sorted(toybox_folder.glob("*.mp4"))[0], tmp_path / "videos" / name)
    library = str(tmp_path / "l.prost")
    assert (
        main(["index", str(tmp_path / "videos"), "--library", library, "--model", str(untrained_folder)]) == 0
    )
    capsys.readouterr()
    assert main(["duplicates", "--library", library, "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)
    assert [[Path(path).name for path in group] for group in groups] == [["one.mp4", "two.mp4"]]
    assert main(["duplicates", "--library", library]) == 0
    assert "one.mp4" in capsys.readouterr().out
    assert main(["search", "a ball", "--library", library, "--all", "--json"]) == 0
    (hit,) = json.loads(capsys.readouterr().out)
    assert len(hit["copies"]) == 1 and hit["near_duplicates"] == []
    assert main(["search", "a ball", "--library", library, "--all"]) == 0
    said = capsys.readouterr().out
    assert "one.mp4" in said and "two.mp4" in said and "more of it" not in said
    assert main(["search", "a ball", "--library", library]) == 0
    assert "(1 more of it)" in capsys.readouterr().out


def test_no_duplicates_is_said(
    tmp_path: Path, toybox_folder: Path, untrained_folder: Path, capsys: Capture
) -> None:
    library = str(tmp_path / "l.prost")
    film = str(sorted(toybox_folder.glob("*.mp4"))[0])
    assert main(["index", film, "--library", library, "--model", str(untrained_folder)]) == 0
    assert main(["duplicates", "--library", library]) == 0
    assert "no duplicates" in capsys.readouterr().err
