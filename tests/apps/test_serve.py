"""`prost serve`: what it says, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from prost.apps.cli import serve as serve_module


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "0.0.0.0"), "without a token"),
        (("--token", "short"), "5 characters"),
        (("--host", "203.0.113.7", "--token", "a" * 32), "cannot be used"),
        (("--host", "no such host"), "no such host"),
        (("--videos", "/no/such/folder"), "is not a folder"),
        (("--library", "/no/such/library"), "/no/such/library"),
    ],
)
def test_wrong_use_is_one_line(
    prost: Callable[..., Any], indexed: Path, options: tuple[str, ...], words: str
) -> None:
    said = prost("serve", "--library", indexed, "--port", "0", *options)
    assert said.code == 2 and words in said.err, said.err
    assert said.err.startswith("error: ") and said.err.count("\n") == 1


def test_a_port_in_use_is_one_line(prost: Callable[..., Any], indexed: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = prost("serve", "--library", indexed, "--port", port)
    assert said.code == 2 and f"port {port} of 127.0.0.1" in said.err and "in use" in said.err
    assert said.err.count("\n") == 1


def test_a_missing_extra_is_named(
    prost: Callable[..., Any], indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_module, "NEEDED", ("no_such_module",))
    said = prost("serve", "--library", indexed)
    assert said.code == 2 and ".[serve]" in said.err and said.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(indexed: Path, videos: Path, number: signal.Signals) -> None:
    """Also while somebody listens to a stream of events that would go on."""
    command = [
        sys.executable,
        "-m",
        "prost",
        "serve",
        "--library",
        indexed,
        "--port",
        "0",
        "--videos",
        videos,
    ]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith(f"serving {indexed} at http://127.0.0.1:"), line
            address = line.split()[-1]
            assert httpx.get(f"{address}api/search", params={"q": "a ball"}).status_code == 200
            folder = httpx.get(f"{address}api/folders").json()["folders"][0]["id"]
            job = httpx.post(f"{address}api/jobs", json={"folder": folder}).json()
            with httpx.stream("GET", f"{address}api/jobs/{job['id']}/events", timeout=60) as told:
                lines = told.iter_lines()
                next(lines)
                server.send_signal(number)
                list(lines)
            out, err = server.communicate(timeout=60)
        finally:
            server.kill()
    assert (server.returncode, out, err) == (0, "", "stopped\n")
