"""`prost watch`: a real process that is stopped by a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prost.search.library import Library

Prost = Callable[..., Any]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_changes_are_printed_until_a_signal_and_kept(
    videos: Path, library: Path, untrained_folder: Path, name: str
) -> None:
    command = [sys.executable, "-m", "prost", "watch", videos, "--interval", "0.2", "--workers", "1"]
    command += ["--library", library, "--model", untrained_folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            lines = [process.stdout.readline() for _ in range(4)]
            os.kill(process.pid, getattr(signal, name))
            assert process.wait(60) == 0
        finally:
            process.kill()
        told = process.stderr.read()
    assert sorted(lines) == [
        *(f"added: {videos / colour}.mp4\n" for colour in ("blue", "green", "red")),
        f"failed: {videos / 'broken.mp4'}: not a video\n",
    ]
    assert "stopped; what is finished is kept\n" in told and "Traceback" not in told
    assert sum(row.indexed for row in Library(library).videos()) == 3


def test_a_file_is_no_folder(prost: Prost, videos: Path, library: Path) -> None:
    said = prost("watch", videos / "red.mp4", "--library", library)
    assert said.code == 2 and "red.mp4 is not a folder" in said.err
    assert not library.exists()
