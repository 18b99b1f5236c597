"""Kills a writer at a chosen instant and looks at what is left of its library.

Shared by the tests and by `benchmarks/kills.py`. Each writer is a real process that is ended by SIGKILL: either with
its n-th flush of a file to the disk (before and after each commit, within the writing of checksums and packs), or from
outside after some time. A fork server that has imported everything starts them, so that hundreds take minutes.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.search.conftest import ColourModel, paint_video

from prost.errors import ProstError
from prost.search.changing_model import change_model
from prost.search.library import Library

OPERATIONS = ("add", "reindex", "optimize", "remove", "change")
NEVER = 10**6
CHANGED = ColourModel(fingerprint="ne3")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.search.killing"])


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A library and its videos, ready for an operation.

    Attributes:
        operation: one of `OPERATIONS`.
        root: the library; it is copied for each kill.
        folder: the videos, as the operation finds them.
        expected: the video of each colour after the operation.
        before: the videos that must be found at any instant of the operation, by colour.
    """

    operation: str
    root: Path
    folder: Path
    expected: dict[str, str]
    before: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What was wrong after a kill; empty lists where nothing was.

    Attributes:
        lost: what had been reported before and is gone.
        doubled: what is there or is found twice.
        wrong: wrong answers, damage that `verify` finds, leftovers.
    """

    lost: list[str]
    doubled: list[str]
    wrong: list[str]

    @property
    def sound(self) -> bool:
        """Whether nothing was wrong."""
        return not (self.lost or self.doubled or self.wrong)


def prepare(place: Path, operation: str) -> Stage:
    """A library of four videos in several fragments, with a deleted row, and what the operation has to do.

    `add` finds two new files, a changed one, a moved one and a deleted one; `reindex` finds all files changed;
    `change` is a change of the model.
    """
    folder, root = place / "videos", place / "library.prost"
    names = {"red": "red.mp4", "green": "green.mp4", "blue": "sea/blue.mp4", "yellow": "yellow.mp4"}
    with Library(root, ColourModel()) as library:
        for colour, name in {**names, "black": "black.mp4"}.items():
            library.add(paint_video(folder / name, (colour, 2)))
        library.remove(folder / "black.mp4")
        (folder / "black.mp4").unlink()
        library.optimize()
    kept = {"red": "red.mp4", "green": "green.mp4"}  # found by the old content or by the new one
    if operation == "add":
        paint_video(folder / "white.mp4", ("white", 2))
        paint_video(folder / "cyan.mp4", ("cyan", 2))
        paint_video(folder / "green.mp4", ("green", 5))
        (folder / "sea" / "blue.mp4").rename(folder / "navy.mp4")
        (folder / "yellow.mp4").unlink()
        del names["yellow"]
        names |= {"blue": "navy.mp4", "white": "white.mp4", "cyan": "cyan.mp4"}
    elif operation == "reindex":
        for colour, name in names.items():
            paint_video(folder / name, (colour, 3))
        kept = dict(names)
    elif operation in ("optimize", "change"):
        kept = dict(names)
    else:
        del names["yellow"]
        kept = dict(names)
    return Stage(operation=operation, root=root, folder=folder, expected=names, before=kept)


def kill(stage: Stage, root: Path, flush: int = NEVER, seconds: float | None = None) -> int:
    """Run the operation on a copy of the library in a process that is killed; its exit status."""
    shutil.copytree(stage.root, root)
    child = _context.Process(target=_operate, args=(stage.operation, root, stage.folder, flush))
    child.start()
    child.join(seconds)
    if child.is_alive():
        child.kill()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL), child.exitcode
    return child.exitcode


def count_flushes(stage: Stage, root: Path) -> int:
    """How many flushes the whole operation makes."""
    flushes = 0
    while kill(stage, root / f"{flushes}", flush=flushes + 8) != 0:
        flushes += 8
    while kill(stage, root / f"again-{flushes}", flush=flushes + 1) != 0:
        flushes += 1
    shutil.rmtree(root)
    return flushes


def look(stage: Stage, root: Path) -> Remains:
    """Open what is left, run the operation again, and compare with what should be there."""
    lost, doubled, wrong = list[str](), list[str](), list[str]()
    try:
        with _open(root) as library:
            _compare(library, stage, stage.before, lost, doubled, wrong)
            _run(library, stage.operation, stage.folder, again=True)
        with _open(root) as library:
            _compare(library, stage, stage.expected, lost, doubled, wrong)
            names = {os.fspath(stage.folder / name) for name in stage.expected.values()}
            found = [row.path for row in library.videos()]
            lost += sorted(names - set(found))
            wrong += sorted(set(found) - names)
            if library.stats().clips != len(names):
                wrong.append(f"{library.stats().clips} clips of {len(names)} videos")
            wrong += [str(problem) for problem in library.verify()]
    except ProstError as error:
        wrong.append(str(error))
    wrong += [str(path) for path in root.rglob("*.new")]
    return Remains(lost=lost, doubled=doubled, wrong=wrong)


def _open(root: Path) -> Library:
    """The library with the model that made its tables."""
    with Library(root) as library:
        return Library(root, ColourModel(fingerprint=library.description.fingerprint))


def _compare(
    library: Library,
    stage: Stage,
    videos: dict[str, str],
    lost: list[str],
    doubled: list[str],
    wrong: list[str],
) -> None:
    """Whether each video is found first by its colour, in every way to search, and once."""
    ways = (
        (None,) if library.stats().codes_current is None else (None, "scan")
    )  # a new small library has no codes
    rows = [row.path for row in library.videos()]
    doubled += sorted({path for path in rows if rows.count(path) > 1})
    for colour, name in videos.items():
        for coarse in ways:
            hits = [hit.path for hit in library.search(colour, limit=99, coarse=coarse)]
            path = os.fspath(stage.folder / name)
            if path not in hits:
                lost.append(path)
            elif hits[0] != path:
                wrong.append(f"{hits[0]} is found for {colour}")
            doubled += sorted({path for path in hits if hits.count(path) > 1})


def _operate(operation: str, root: Path, folder: Path, flush: int) -> None:
    """What the killed process does."""
    library = Library(root, ColourModel())
    fsync, flushes = os.fsync, 0

    def killing(handle: int) -> None:
        nonlocal flushes
        flushes += 1
        if flushes == flush:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(handle)

    os.fsync = killing  # type: ignore[assignment]
    _run(library, operation, folder)


def _run(library: Library, operation: str, folder: Path, *, again: bool = False) -> None:
    run: dict[str, Callable[[], object]] = {
        "add": lambda: library.add(folder),
        "reindex": lambda: library.add(folder),
        "optimize": lambda: library.optimize(retrain=not again),
        "remove": lambda: library.remove(folder / "yellow.mp4"),
        "change": lambda: change_model(library.path, CHANGED),
    }
    if operation == "change" and library.description.fingerprint == CHANGED.fingerprint:
        return
    if operation == "remove" and all(Path(row.path).name != "yellow.mp4" for row in library.videos()):
        operation = (
            "optimize"  # the killed process had done it; what it left behind goes with the next writing
        )
    run[operation]()
