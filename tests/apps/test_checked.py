"""An empty path is never the working directory, and no number is infinite."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("index", ""), "paths"),
        (("remove", ""), "paths"),
        (("remove", "red.mp4", ""), "paths"),
        (("tag", "", "--tag", "holiday"), "paths"),
        (("toybox", "", "--videos", "1"), "folder"),
        (("export", "a red ball", "--clips="), "--clips"),
        (("explain", "a red ball", "--video", ""), "--video"),
        (("data", "check", "pairs", ""), "folder"),
        (("list", "--library", ""), "--library"),
    ],
)
def test_an_empty_path_is_refused(
    prost,
    videos: Path,
    indexed: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    named: str,
) -> None:
    """As a script gives one whose variable is not set: `prost remove "$OLD"`."""
    monkeypatch.chdir(videos)
    monkeypatch.setenv("PROST_LIBRARY", str(indexed))
    before = sorted(videos.iterdir())
    said = prost(*arguments)
    assert said.code == 2
    assert said.err.startswith(f"error: {named}: an empty path; expected: ") and said.err.count("\n") == 1
    assert len(prost("list", "--json").json) == 4 and sorted(videos.iterdir()) == before


def test_the_working_directory_can_be_given(
    prost, videos: Path, indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(videos)
    assert prost("index", ".", "--library", indexed, "--dry-run", "--json").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "a red ball", "--timeline", "a.fcpxml", "--margin", "inf"),
        ("export", "a red ball", "--timeline", "a.fcpxml", "--rate", "nan"),
        ("export", "a red ball", "--timeline", "a.fcpxml", "--rate", "-inf"),
        ("watch", "videos", "--interval", "inf"),
        ("bench", "matching", "--seconds", "nan"),
        ("eval", "toybox", "toybox-8", "--temperature", "inf"),
        ("finetune", "toybox", "pairs.csv", "--output", "out", "--learning-rate", "nan"),
    ],
)
def test_a_number_is_finite(prost, arguments: tuple[str, ...]) -> None:
    said = prost(*arguments)
    assert said.code == 2
    option, value = arguments[-2:]
    assert said.err == f"error: {option} {value}; expected: a finite number\n"
