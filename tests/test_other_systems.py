"""macOS and Windows lack parts of Linux: every module is imported, and a library written and searched, without them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What Windows lacks, and macOS in part. `sys.platform` stays: the libraries below prost were built for this system.
HIDE = """
import importlib, os, pkgutil, signal, sys
import av, lance, numba, numpy, PIL.Image, pyarrow.parquet, safetensors.torch, scipy.stats, tokenizers, torch, yaml
import asyncio, http.client, multiprocessing, pydantic, rich.progress, subprocess, tempfile, typer, urllib.request
import torch.utils.data
import fastapi, mcp.server.stdio, uvicorn
import fcntl as fcntl_before

for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in (
    "fork", "getloadavg", "getuid", "killpg", "mkfifo", "nice", "pread", "preadv", "register_at_fork",
    "sched_getaffinity", "setsid", "statvfs", "uname",
):
    vars(os).pop(name, None)
for name in ("SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "alarm", "pthread_sigmask", "setitimer", "sigwait"):
    vars(signal).pop(name, None)
"""

# The lock of Windows, by that of this system: a byte that another handle has is an error at once.
STAND_IN = """
import types
def locking(handle, mode, count):
    try:
        fcntl_before.flock(handle, fcntl_before.LOCK_EX | fcntl_before.LOCK_NB)
    except BlockingIOError:
        raise OSError(36, "Resource deadlock avoided") from None
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_LOCK=1, LK_NBLCK=2)
"""

IMPORT = """
import prost
found = [module.name for module in pkgutil.walk_packages(prost.__path__, "prost.")]
names = [name for name in found if not name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""

SEARCH = """
library = prost.Library({library!r}, prost.load({model!r}))
report = library.add({videos!r})
library.optimize()
hits = library.search("a red ball", limit=3)
print(len(report.added), len(hits), [round(hit.score, 5) for hit in hits])
from prost.search.writer_lock import writer_lock
from prost.errors import LibraryBusy
with writer_lock({library!r}):
    try:
        with writer_lock({library!r}):
            print("two writers")
    except LibraryBusy as error:
        print(error)
"""


def run(code: str) -> list[str]:
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def test_every_module_is_imported_without_them() -> None:
    (count,) = run(HIDE + IMPORT)
    assert int(count) > 100


@pytest.mark.slow
def test_a_library_is_written_and_searched_without_them(
    toybox_folder: Path, untrained_folder: Path, tmp_path: Path
) -> None:
    answers = []
    for place, hidden in (("with", "import os, sys"), ("without", HIDE + STAND_IN)):
        library = str(tmp_path / f"{place}.prost")
        search = SEARCH.format(library=library, model=str(untrained_folder), videos=str(toybox_folder))
        answers.append(run(f"{hidden}\nimport prost\n{search}"))
    assert answers[0][0] == answers[1][0] and answers[0][0].startswith("8 3 ")
    for answer in answers:
        (_, busy) = answer
        assert "is being written by process" in busy
