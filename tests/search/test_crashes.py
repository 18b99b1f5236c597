"""A writer that is killed at any instant loses nothing that was there, keeps nothing twice, and can be run again.

`benchmarks/kills.py` does the same at hundreds of instants.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tests.search.conftest import ColourModel, paint_video
from tests.search.killing import OPERATIONS, Stage, kill, look, prepare

from prost.search.library import Library

WRITER = """
import runpy, sys
root, folder, conftest = sys.argv[1:]
ColourModel = runpy.run_path(conftest)["ColourModel"]
from prost.search.library import Library
Library(root, ColourModel()).add(folder, wait=True)
"""


@pytest.fixture(scope="module")
def stage_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Stage]:
    return cache(lambda operation: prepare(tmp_path_factory.mktemp(operation), operation))


@pytest.mark.slow
@pytest.mark.parametrize("flush", (1, 2, 3, 5, 7, 9, 11, 14, 18, 23, 30))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_a_flush(
    stage_of: Callable[[str], Stage], tmp_path: Path, operation: str, flush: int
) -> None:
    stage, copy = stage_of(operation), tmp_path / "copy.prost"
    status = kill(stage, copy, flush=flush)
    if flush < 5:
        assert status == -signal.SIGKILL
    remains = look(stage, copy)
    assert remains.sound, remains


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_a_random_time(
    stage_of: Callable[[str], Stage], tmp_path: Path, operation: str, seed: int
) -> None:
    stage, copy = stage_of(operation), tmp_path / "copy.prost"
    kill(stage, copy, seconds=random.Random(seed).uniform(0.1, 1.5))
    remains = look(stage, copy)
    assert remains.sound, remains


def test_what_is_lost_and_what_is_wrong_is_noticed(stage_of: Callable[[str], Stage], tmp_path: Path) -> None:
    """The comparison itself can fail."""
    stage = stage_of("optimize")
    copy = tmp_path / "copy.prost"
    kill(stage, copy, flush=1)
    with Library(copy, ColourModel()) as library:
        library.remove(stage.folder / "red.mp4")
    remains = look(stage, copy)
    assert any(path.endswith("red.mp4") for path in remains.lost) and not remains.doubled


@pytest.mark.slow
def test_three_writers_one_after_the_other(tmp_path: Path) -> None:
    """Three processes write to one local library; each waits for the others."""
    root, conftest = tmp_path / "library.prost", Path(__file__).with_name("conftest.py")
    with Library(root, ColourModel()) as library:
        library.add(paint_video(tmp_path / "red.mp4", ("red", 2)))
    others = [tmp_path / f"more{number}" for number in range(3)]
    for number, other in enumerate(others):
        paint_video(other / f"{number}.mp4", ("white", 2 + number))
        paint_video(other / f"{number}-blue.mp4", ("blue", 2 + number))
    children = [
        subprocess.Popen([sys.executable, "-c", WRITER, root, other, conftest], text=True) for other in others
    ]
    assert [child.wait(timeout=200) for child in children] == [0, 0, 0]
    with Library(root, ColourModel()) as library:
        assert library.stats().videos == 7
        assert len({hit.path for hit in library.search("white", limit=3, all_duplicates=True)}) == 3
        assert library.verify() == []
