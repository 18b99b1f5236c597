"""A writer that is killed at any instant loses nothing that was there, keeps nothing twice, and can be run again."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prost.search.library import Library

Paint = Callable[..., Path]

# Kills itself with the n-th flush of a file to the disk: before and after each commit, and within the writing of
# checksums and packs. With a time instead of a number it is killed from outside.
CHILD = """
import os, runpy, signal, sys
root, folder, conftest, operation, instant = sys.argv[1:]
ColourModel = runpy.run_path(conftest)["ColourModel"]
from prost.search.library import Library
library = Library(root, ColourModel())
fsync, flushes = os.fsync, 0
def killing(handle):
    global flushes
    flushes += 1
    if flushes == int(instant):
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = killing
print("ready", flush=True)
if operation == "add":
    library.add(folder)
elif operation == "optimize":
    library.optimize(retrain=True)
else:
    library.remove(os.path.join(folder, "yellow.mp4"))
print("done", flush=True)
"""


@pytest.fixture
def root(library: Library, folder: Path, paint: Paint) -> Path:
    """A library of four videos in several fragments, one of which was removed, so that there are deleted rows."""
    paint(folder / "yellow.mp4", ("yellow", 2))
    paint(folder / "black.mp4", ("black", 2))
    for name in ("red.mp4", "green.mp4", "sea/blue.mp4", "yellow.mp4", "black.mp4"):
        library.add(folder / name)
    library.remove(folder / "black.mp4")
    (folder / "black.mp4").unlink()
    library.optimize()
    library.close()
    return Path(library.path)


def change(folder: Path, paint: Paint, operation: str) -> None:
    """What an `add` has to do: two new files, a changed one, a moved one, and one that was deleted."""
    if operation != "add":
        return
    paint(folder / "white.mp4", ("white", 2))
    paint(folder / "cyan.mp4", ("cyan", 2))
    paint(folder / "green.mp4", ("green", 5))
    (folder / "sea" / "blue.mp4").rename(folder / "navy.mp4")
    (folder / "yellow.mp4").unlink()


def run(root: Path, folder: Path, operation: str, instant: int, seconds: float | None = None) -> int:
    """Run an operation in a process that is killed; its exit status."""
    conftest = Path(__file__).with_name("conftest.py")
    command = [sys.executable, "-c", CHILD, root, folder, conftest, operation, str(instant)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        if seconds is not None:
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
        return child.wait()


def check(root: Path, folder: Path, model, operation: str) -> None:  # type: ignore[no-untyped-def]
    """Nothing is lost or told twice; after the operation is run again all is as if it had never been killed."""
    with Library(root, model) as library:
        rows = {Path(row.path).name: row for row in library.videos()}
        # What no operation touches was reported before and is still there.
        assert Path(library.search("red")[0].path).name == "red.mp4"
        assert {"red.mp4", "green.mp4"} <= rows.keys()
        assert {"blue.mp4", "navy.mp4"} & rows.keys()
        hits = [hit.path for hit in library.search("blue", limit=99)]
        assert len(hits) == len(set(hits))

        if operation == "add":
            library.add(folder)
        elif operation == "optimize":
            library.optimize()
        elif "yellow.mp4" in rows:
            library.remove(folder / "yellow.mp4")
        blue = "navy.mp4" if operation == "add" else "blue.mp4"
        expected = {"red": "red.mp4", "green": "green.mp4", "blue": blue}
        if operation == "add":
            expected |= {"white": "white.mp4", "cyan": "cyan.mp4"}
        elif operation == "optimize":
            expected["yellow"] = "yellow.mp4"
        assert {Path(row.path).name for row in library.videos()} == set(expected.values())
        for colour, name in expected.items():
            assert Path(library.search(colour)[0].path).name == name
            assert Path(library.search(colour, coarse="scan")[0].path).name == name
        assert library.stats().clips == len(expected)
        assert library.verify() == []
    assert list(root.rglob("*.new")) == []


@pytest.mark.parametrize(
    ("operation", "instant"),
    [
        ("add", 2),
        ("add", 9),
        ("optimize", 3),
        ("remove", 4),
        *(
            pytest.param(operation, instant, marks=pytest.mark.slow)
            for operation in ("add", "optimize", "remove")
            for instant in (1, 5, 7, 11, 14, 18, 23, 30)
        ),
    ],
)
def test_killed_at_a_flush(
    root: Path, folder: Path, model, paint: Paint, operation: str, instant: int
) -> None:  # type: ignore[no-untyped-def]
    change(folder, paint, operation)
    status = run(root, folder, operation, instant)
    assert status in (-signal.SIGKILL, 0)
    if instant < 5:
        assert status == -signal.SIGKILL
    check(root, folder, model, operation)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("operation", ["add", "optimize", "remove"])
def test_killed_at_a_random_time(
    root: Path, folder: Path, model, paint: Paint, operation: str, seed: int, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    change(folder, paint, operation)
    copy = tmp_path / "copy.prost"
    shutil.copytree(root, copy)
    run(copy, folder, operation, 10**6, random.Random(seed).uniform(0.0, 1.5))
    check(copy, folder, model, operation)


@pytest.mark.slow
def test_two_writers_one_after_the_other(root: Path, folder: Path, model, paint: Paint) -> None:  # type: ignore[no-untyped-def]
    """Two processes write to one local library; each waits for the other."""
    script = CHILD.replace("library.add(folder)", "library.add(folder, wait=True)")
    others = [folder.parent / f"more{number}" for number in range(2)]
    for number, other in enumerate(others):
        paint(other / f"{number}.mp4", ("white", 2 + number))
    conftest = Path(__file__).with_name("conftest.py")
    children = [
        subprocess.Popen([sys.executable, "-c", script, root, other, conftest, "add", "-1"], text=True)
        for other in others
    ]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    with Library(root, model) as library:
        assert library.stats().videos == 6
        assert library.verify() == []
