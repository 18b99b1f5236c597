"""Data and caches lie where the user or the system says."""

from pathlib import Path

import pytest

from prost.places import cache_folder, data_folder

VARIABLES = ("PROST_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA")


@pytest.fixture(autouse=True)
def empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)


@pytest.mark.parametrize(
    ("platform", "data", "cache"),
    [
        ("linux", ".local/share/prost", ".cache/prost"),
        ("darwin", "Library/Application Support/prost", "Library/Caches/prost"),
        ("win32", "AppData/Local/prost", "AppData/Local/prost/cache"),
    ],
)
def test_the_usual_places_of_each_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, data: str, cache: str
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    assert data_folder() == tmp_path / data
    assert cache_folder() == tmp_path / cache


def test_variables_of_the_system_move_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert (data_folder(), cache_folder()) == (tmp_path / "d/prost", tmp_path / "c/prost")
    monkeypatch.setenv("XDG_DATA_HOME", "")  # an empty variable counts as absent
    assert data_folder() == tmp_path / ".local/share/prost"


def test_one_variable_holds_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
    monkeypatch.setenv("PROST_HOME", str(tmp_path / "all"))
    assert (data_folder(), cache_folder()) == (tmp_path / "all", tmp_path / "all/cache")


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROST_HOME", "here")
    assert data_folder() == tmp_path / "here"
