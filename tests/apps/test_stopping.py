"""A real `prost` process is stopped while it works: at once, with its exit code, and with what is finished kept."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from prost.search.library import Library

from .conftest import write_video

# Far more than a stop takes, far less than the minute that a decoder has for one window.
PATIENCE = 40.0
MANY = 300

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")


def decoders(pid: int) -> list[int]:
    """The decoding processes that a process has started."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError):
            found.extend(map(int, listing.read_text().split()))
    return [child for child in found if "prost.video.isolation" in command_of(child)]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def on_a_terminal(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A `prost` process whose output is a terminal of 300 columns, and the other end of it."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "prost", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "COLUMNS": "300", "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(terminal)
    try:
        yield process, master
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(master)


def read(master: int, patience: float = PATIENCE) -> str:
    """What the terminal receives until the program ends, or for some seconds."""
    shown, end = b"", time.monotonic() + patience
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([master], [], [], left)
        if ready:
            try:
                block = os.read(master, 65536)
            except OSError:  # the program has gone
                break
            if not block:
                break
            shown += block
    return shown.decode("utf-8", "replace")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """More videos than are read ahead and encoded at a time, each of another content."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(MANY):
        write_video(
            folder / f"{number:03d}.mp4", (number % 250, 250 - number % 250, number // 2), seconds=0.3
        )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_stop_while_a_decoder_hangs(videos: Path, library: Path, untrained_folder: Path, name: str) -> None:
    command = ["index", videos, "--library", library, "--model", untrained_folder]
    with on_a_terminal(*command) as (process, master):
        wait_for(lambda: bool(decoders(process.pid)))
        hanging = decoders(process.pid)
        for pid in hanging:
            os.kill(pid, signal.SIGSTOP)
        process.send_signal(getattr(signal, name))
        shown = read(master)
        assert process.wait(PATIENCE) == 128 + getattr(signal, name)
    assert "stopped" in shown and "Traceback" not in shown
    assert not [pid for pid in hanging if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_finished_videos_are_kept(many: Path, library: Path, untrained_folder: Path, name: str) -> None:
    command = ["index", many, "--library", library, "--model", untrained_folder, "--workers", "1"]
    with on_a_terminal(*command) as (process, master):
        wait_for(lambda: bool(re.search(rf"\b[1-9]\d*/{MANY}", read(master, 0.3))))
        for pid in decoders(process.pid):
            os.kill(pid, signal.SIGSTOP)
        process.send_signal(getattr(signal, name))
        read(master)
        assert process.wait(PATIENCE) == 128 + getattr(signal, name)
    assert 0 < len(Library(library).videos()) < MANY


@pytest.mark.slow
def test_hostile_names_cannot_move_the_cursor(videos: Path, library: Path, untrained_folder: Path) -> None:
    hostile = "a\x1b[31mb\n:smile: [bold]c  d\u202e\x9b5A.mp4"
    shown_as = r"a\x1b[31mb\n:smile: [bold]c  d\u202e\u009b5A.mp4"
    (videos / "red.mp4").rename(videos / hostile)
    (videos / "broken.mp4").rename(videos / f"broken {hostile}")
    given = ("--library", library)
    for command, times in (
        (("index", videos, *given, "--model", untrained_folder), 1),
        (("search", "a red ball", *given), 1),
        (("list", *given), 2),
        (("status", *given), 1),
        (("remove", videos / "none" / hostile, *given), 1),
    ):
        with on_a_terminal(*command) as (_, master):
            shown = read(master)
        # Without the sequences by which rich draws tables and bars, and the line ends of a terminal.
        plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown)
        assert plain.count(shown_as) >= times, plain
        assert "\x1b[31m" not in shown and "\x9b" not in shown and "\u202e" not in shown
        assert not re.search(r"^:smile:", plain, re.MULTILINE) and "😄" not in shown


@pytest.mark.slow
def test_training_is_interrupted_after_the_step(untrained_folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "long.yaml"
    recipe.write_text(
        f"start: {untrained_folder}\ntoybox: {{workers: 0}}\nprost: {{steps: 100000, batch_size: 4}}\n"
        "precision: fp32\nvalidation: toybox-8\nevaluate_every: 100000\n"
    )
    with on_a_terminal("train", recipe, "--output", tmp_path / "run") as (process, master):
        wait_for(lambda: "stage prost" in read(master, 0.3))
        process.send_signal(signal.SIGINT)
        shown = read(master)
        assert process.wait(PATIENCE) == 130
    assert "stopped" in shown and "Traceback" not in shown and "error:" not in shown
