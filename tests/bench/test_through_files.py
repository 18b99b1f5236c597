"""The recall through files, index and search counts the hits of a real library."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import prost
from prost.data.toybox import read_captions, write

from .conftest import load_script

through_files = load_script("through_files")


@pytest.mark.slow
def test_a_video_counts_where_it_is_the_first_hit(tmp_path: Path) -> None:
    folder = write(tmp_path / "videos", videos=3, seed=5)
    library = prost.Library(tmp_path / "library.prost", prost.load("toybox"))
    library.add(folder)
    right = [(folder / row["video"], row["captions"][0]) for row in read_captions(folder)]
    shifted = [
        (video, sentence) for (video, _), (_, sentence) in zip(right, right[1:] + right[:1], strict=True)
    ]
    for joint in (True, False):
        assert list(through_files.found_first(library, right, joint=joint)) == [True, True, True]
        assert list(through_files.found_first(library, shifted, joint=joint)) == [False, False, False]


@pytest.mark.slow
def test_the_table_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["through_files.py", "--videos", "3", "--seed", "5"])
    through_files.main()
    said = capsys.readouterr().out
    assert said.startswith("3 videos, seed 5, model toybox: 3 added")
    assert re.findall(r"^\| (.+) \| ([\d.]+) \|$", said, re.MULTILINE) == [
        ("the search", "100.0"),
        ("the score", "100.0"),
    ]
