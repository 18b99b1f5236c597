"""The player is started with the file and the time, and no name is taken for anything else."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from prost.errors import MissingPath, UsageError
from prost.export.playing import play

HOSTILE = [
    "a.mp4",
    "-fs.mp4",
    "a b; touch x.mp4",
    "$(touch x).mp4",
    "concat:a|b.mp4",
    "caf\udce9.mp4",
    "a\nb.mp4",
]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(folder: Path, name: str) -> Path:
    """A program that writes its arguments to a file, which is returned."""
    said = folder / f"{name}.json"
    code = f"import json, os, sys; open({str(said)!r} + '.new', 'w').write(json.dumps(sys.argv[1:]))"
    program = folder / name
    program.write_text(f"#!{sys.executable} -I\n{code}; os.rename({str(said)!r} + '.new', {str(said)!r})\n")
    program.chmod(0o755)
    return said


def arguments(said: Path) -> list[str]:
    deadline = time.monotonic() + 30
    while not said.exists():
        assert time.monotonic() < deadline, "the program was not started"
        time.sleep(0.01)
    return json.loads(said.read_text())


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("player", ["mpv", "vlc", "ffplay"])
def test_players_are_told_the_time(programs: Path, tmp_path: Path, player: str, name: str) -> None:
    video = tmp_path / name
    video.touch()
    said = install(programs, player)
    assert player in play(str(video), 12.3456)
    expected = {
        "mpv": ["--start=12.346", "--", str(video)],
        "vlc": ["--start-time=12.346", video.as_uri()],
        "ffplay": ["-ss", "12.346", "-i", f"file:{video}"],
    }
    assert arguments(said) == expected[player]
    assert not (tmp_path / "x").exists()


def test_the_best_player_is_taken(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    install(programs, "ffplay")
    said = install(programs, "mpv")
    assert "with mpv" in play(str(tmp_path / "a.mp4"), 0.0)
    arguments(said)


@pytest.mark.skipif(sys.platform != "linux", reason="the opener of Linux")
def test_without_a_player_the_desktop_opens_the_file_and_the_time_is_said(
    programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").touch()
    said = install(programs, "xdg-open")
    done = play(str(tmp_path / "a.mp4"), 61.0)
    assert "xdg-open" in done and "go to 61.0 s" in done
    assert arguments(said) == [str(tmp_path / "a.mp4")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has another opener")
def test_a_desktop_without_a_program_for_the_file_is_told(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    install(programs, "xdg-open")
    script = programs / "xdg-open"
    script.write_text(script.read_text() + "\nexit 3\n")
    with pytest.raises(
        UsageError, match=r"xdg-open found no program for .*a\.mp4; expected: mpv, vlc or ffplay"
    ):
        play(str(tmp_path / "a.mp4"), 61.0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows always has an opener")
def test_without_any_program_the_error_says_what_to_do(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert shutil.which("mpv") is None
    with pytest.raises(UsageError, match="no video player was found; expected: mpv, vlc or ffplay"):
        play(str(tmp_path / "a.mp4"), 1.0)


def test_a_file_that_is_gone(programs: Path, tmp_path: Path) -> None:
    install(programs, "mpv")
    with pytest.raises(MissingPath, match="is gone"):
        play(str(tmp_path / "a.mp4"), 1.0)
