"""A process that was forked from one that used a library gets an error instead of hanging."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prost.search.library import Library

SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[2])
from conftest import ColourModel
from prost.errors import LibraryError
from prost.search.library import Library

before = os.fork()
if before == 0:  # nothing was used yet, so this fork may use the library
    assert len(Library(sys.argv[1], ColourModel()).search("red", coarse="scan")) == 10
    os._exit(0)
assert os.waitpid(before, 0)[1] == 0

library = Library(sys.argv[1], ColourModel())
library.search("red", coarse="scan")
uses = {
    "search": lambda: library.search("red", coarse="scan"),
    "filter": lambda: library.search("red", where="duration < 60"),
    "exact": lambda: library.search("red", coarse="exact"),
    "videos": lambda: library.videos(),
    "stats": lambda: library.stats(),
    "add": lambda: library.add(sys.argv[3]),
    "remove": lambda: library.remove("/videos/content00001.mp4"),
    "optimize": lambda: library.optimize(),
    "open": lambda: Library(sys.argv[1], ColourModel()),
}
child = os.fork()
if child == 0:
    for name, use in uses.items():
        try:
            use()
        except LibraryError as error:
            assert "forked" in str(error) and "spawn" in str(error), str(error)
        else:
            os._exit(1 + list(uses).index(name))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert len(library.search("red", coarse="scan")) == 10
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_every_use_in_a_fork_is_refused(filled: Library, paint) -> None:  # type: ignore[no-untyped-def]
    filled.optimize()
    videos = Path(filled.path).parent / "videos"
    paint(videos / "red.mp4", ("red", 2))
    here = Path(__file__).parent
    subprocess.run(
        [sys.executable, "-c", SCRIPT, filled.path, str(here), str(videos)], check=True, timeout=180
    )
