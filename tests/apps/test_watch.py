"""`prost watch`: a real process that is stopped by a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
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
    command += ["--library", library, "--model", untrained_folder, "--fit", "stretch"]
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
    assert Library(library).description.clips.fit == "stretch"


@pytest.mark.slow
def test_a_slow_copy_many_files_at_once_and_a_restart(
    videos: Path, library: Path, untrained_folder: Path, tmp_path: Path
) -> None:
    """As one JSON object a line: a growing file comes once it is whole; a new start does nothing twice."""
    folder = tmp_path / "watched"
    folder.mkdir()
    command = [
        sys.executable,
        "-m",
        "prost",
        "watch",
        folder,
        "--interval",
        "0.3",
        "--workers",
        "1",
        "--json",
    ]
    command += ["--library", library, "--model", untrained_folder, "--tag", "sea"]
    content = (videos / "red.mp4").read_bytes()

    def run(changes: Callable[[], None], videos: int) -> list[dict[str, Any]]:
        """Watch until the library holds so many videos; what was told meanwhile."""
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stderr is not None
            try:
                assert process.stderr.readline().startswith("watching")
                changes()
                deadline = time.monotonic() + 120
                while Library(library).stats().videos < videos and time.monotonic() < deadline:
                    time.sleep(0.3)
                time.sleep(1)
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            finally:
                process.kill()
            return [json.loads(line) for line in process.stdout]

    def copy_slowly() -> None:
        with open(folder / "slow.mp4", "wb") as file:
            for part in range(0, len(content), len(content) // 10):
                file.write(content[part : part + len(content) // 10])
                file.flush()
                time.sleep(0.15)

    slow = run(copy_slowly, 1)
    assert {(event["event"], event["path"]) for event in slow} <= {("added", str(folder / "slow.mp4"))}
    assert all(datetime.fromisoformat(event["time"]).tzinfo is not None for event in slow)

    def drop_many() -> None:
        for number in range(90):  # more than one batch; a comment makes each content another
            (folder / f"{number:02d}.mp4").write_bytes(
                content + bytes([0, 0, 0, 9]) + b"free" + bytes([number])
            )

    # Stopped in the middle of a batch, which is told when it ends: some files are never told of, but none twice.
    told = [*run(drop_many, 10), *run(lambda: None, 91)]
    assert {event["event"] for event in told} <= {"added"}
    paths = [event["path"] for event in told]
    assert len(paths) == len(set(paths))
    with Library(library) as opened:
        assert {row.path for row in opened.videos()} == {
            str(folder / name) for name in ("slow.mp4", *(f"{number:02d}.mp4" for number in range(90)))
        }
        assert {row.tags for row in opened.videos()} == {("sea",)}


def test_a_file_is_no_folder(prost: Prost, videos: Path, library: Path) -> None:
    said = prost("watch", videos / "red.mp4", "--library", library)
    assert said.code == 2 and "red.mp4 is not a folder" in said.err
    assert not library.exists()


def test_a_form_that_does_not_exist_is_refused_before_a_library_is_made(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path
) -> None:
    refused = prost("watch", videos, "--library", library, "--model", untrained_folder, "--form", "int4")
    assert refused.code == 2 and "form 'int4'" in refused.err and not library.exists()
