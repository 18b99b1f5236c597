"""The cache of pictures and previews: bounded, and of no harm where the disk refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prost.apps.server.cache import DiskCache


def test_an_entry_comes_back(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", 1000)
    assert cache.get("a") is None and not (tmp_path / "cache").exists()
    cache.put("a", b"one")
    cache.put("../../b", b"two")
    assert cache.get("a") == b"one" and cache.get("../../b") == b"two"
    assert DiskCache(tmp_path / "cache", 1000).nbytes == cache.nbytes == 6
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}


def test_the_oldest_entries_go(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1000)
    for number in range(30):
        cache.put(str(number), bytes(100))
        os.utime(cache._path(str(number)), (number, number))
        assert cache.nbytes <= 1000
    assert cache.get("29") and cache.get("0") is None
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) == cache.nbytes
    cache.put("huge", bytes(1001))
    assert cache.get("huge") is None and cache.get("29")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = DiskCache(tmp_path / "file" / "cache", 1000)
    cache.put("a", b"one")
    assert cache.get("a") is None and cache.problem


SCRIPT = """
import json, os, pathlib, subprocess, sys, threading
import httpx
place, library, tests = sys.argv[1:4]
disk = pathlib.Path(place, "disk")
disk.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
(disk / "filler").write_bytes(bytes(56 << 10))
sys.path.insert(0, tests)
import prost
from tests.apps.server.conftest import serving
with serving(prost.Library(library, prost.load("toybox")), pathlib.Path(place), disk / "cache") as running:
    video = running.first("0")
    out = {"frames": [], "sizes": []}
    for time in range(8):
        answer = running.client.get(f"/api/videos/{video['id']}/frame?time={time / 4}&height=300")
        out["frames"].append(answer.status_code)
        out["sizes"].append(len(answer.content))
    preview = running.client.get(f"{video['preview']}?start=0&end=1")
    out["preview"] = preview.status_code
    out["ftyp"] = preview.content[4:8].decode()
    out["problem"] = running.get("/api/status")["cache"]["problem"]
    (disk / "filler").unlink()
    out["again"] = running.client.get(f"/api/videos/{video['id']}/frame?time=3&height=100").status_code
    out["solved"] = running.get("/api/status")["cache"]["problem"]
    out["parts"] = [str(path) for path in disk.rglob("*.part")]
print(json.dumps(out))
"""


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path, indexed: Path) -> None:
    """Pictures and previews are sent all the same, the state says why nothing is stored, and no half file stays."""
    kind = ["-m"] if os.geteuid() == 0 else ["-U", "-r", "-m"]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        ["unshare", *kind, sys.executable, "-c", SCRIPT, str(tmp_path), str(indexed), str(root)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["frames"] == [200] * 8 and min(found["sizes"]) > 1000
    assert (found["preview"], found["ftyp"]) == (200, "ftyp")
    assert "space" in found["problem"].lower()
    assert found["again"] == 200 and found["solved"] is None and found["parts"] == []
