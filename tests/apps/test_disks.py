"""Whole runs on disks that are full, read-only or unplugged: one line says so, and nothing that was stored is lost.

Each script runs in a mount namespace of its own, so that file systems can be mounted that nobody else sees.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prost.data.toybox import write

pytestmark = pytest.mark.slow

# Defines `prost(*arguments)`, which runs the command line as a process, and `sh(command)`.
PRELUDE = """
import json, os, pathlib, subprocess, sys
place, videos = map(pathlib.Path, sys.argv[1:3])
def prost(*arguments):
    done = subprocess.run([sys.executable, "-m", "prost", *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, [line for line in done.stderr.splitlines() if not line.startswith("indexing")]
def sh(command):
    subprocess.run(command, shell=True, check=True)
def paths(library):
    return [row["path"] for row in json.loads(prost("list", "--library", library, "--json")[1])]
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("videos"), videos=24, seed=3)
    (folder / "captions.jsonl").unlink()
    return folder


def run(script: str, place: Path, videos: Path) -> Any:
    """Run Python in a mount namespace; what it prints last, read as JSON."""
    # Without root a user namespace gives the right to mount.
    kind = ["-m"] if os.geteuid() == 0 else ["-U", "-r", "-m"]
    done = subprocess.run(
        ["unshare", *kind, sys.executable, "-c", PRELUDE + script, str(place), str(videos)],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path, videos: Path) -> None:
    """The library needs more than the disk has; after space was made the same command ends the work."""
    script = """
sh(f"mount -t tmpfs -o size=64m tmpfs {place}")
library = place / "a.prost"
first = sorted(videos.glob("*.mp4"))[:4]
out = {"small": prost("index", *first, "--library", library, "--model", "toybox")}
out["before"] = paths(library)
disk = os.statvfs(place)
used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
sh(f"mount -o remount,size={used + 150_000} {place}")
out["full"] = prost("index", videos, "--library", library)
out["after"] = paths(library)
out["search"] = prost("search", "a red ball", "--library", library, "--json")
out["verify"] = prost("doctor", "--library", library, "--verify")
sh(f"mount -o remount,size=64m {place}")
out["again"] = prost("index", videos, "--library", library)
out["end"] = paths(library)
out["verified"] = prost("doctor", "--library", library, "--verify")
print(json.dumps(out))
"""
    found = run(script, tmp_path, videos)
    assert found["small"][0] == 0, found["small"]
    code, _, err = found["full"]
    assert code == 1, found["full"]
    assert len(err) == 1 and err[0].startswith("error: ") and "free some space" in err[0], err
    assert set(found["before"]) <= set(found["after"])
    assert found["search"][0] == 0 and {hit["path"] for hit in json.loads(found["search"][1])} <= set(
        found["after"]
    )
    assert found["verify"][0] == 0, found["verify"]
    assert found["again"][0] == 0, found["again"]
    assert len(found["end"]) == 24
    assert found["verified"][0] == 0, found["verified"]


def test_a_read_only_disk_is_searched_and_not_written(tmp_path: Path, videos: Path) -> None:
    script = """
sh(f"mount -t tmpfs -o size=64m tmpfs {place}")
library = place / "a.prost"
first = sorted(videos.glob("*.mp4"))[:3]
prost("index", *first, "--library", library, "--model", "toybox")
before = paths(library)
sh(f"mount -o remount,ro {place}")
commands = {
    "index": [videos], "remove": [first[0]], "optimize": [], "tag": [first[0], "--tag", "sea"],
    "search": ["a red ball"], "status": [],
}
out = {command: prost(command, *more, "--library", library) for command, more in commands.items()}
out["same"] = paths(library) == before
print(json.dumps(out))
"""
    found = run(script, tmp_path, videos)
    for command in ("index", "remove", "optimize", "tag"):
        code, _, err = found[command]
        assert code == 1, (command, found[command])
        assert len(err) == 1 and err[0].startswith("error: ") and "read-only" in err[0].lower(), (
            command,
            err,
        )
    assert found["search"][0] == 0 and found["status"][0] == 0
    assert found["same"]


def test_videos_on_a_read_only_disk_are_indexed(tmp_path: Path, videos: Path) -> None:
    script = """
(place / "there").mkdir()
sh(f"mount --bind {videos} {place / 'there'} && mount -o remount,ro,bind {place / 'there'}")
out = {"index": prost("index", place / "there", "--library", place / "a.prost", "--model", "toybox")}
out["paths"] = paths(place / "a.prost")
print(json.dumps(out))
"""
    found = run(script, tmp_path, videos)
    assert found["index"][0] == 0, found["index"]
    assert len(found["paths"]) == 24


def test_an_unplugged_disk_is_no_deletion(tmp_path: Path, videos: Path) -> None:
    """Its videos stay in the library, are marked as gone in hits, and are unchanged when it is back."""
    drive = tmp_path / "drive"
    drive.mkdir()
    for video in sorted(videos.glob("*.mp4"))[:3]:
        shutil.copy(video, drive)
    script = """
drive, there, library = place / "drive", place / "media" / "stick", place / "a.prost"
there.mkdir(parents=True)
sh(f"mount --bind {drive} {there}")
prost("index", place / "media", "--library", library, "--model", "toybox")
out = {"before": paths(library)}
sh(f"umount {there}")
out["unplugged"] = prost("index", place / "media", "--library", library, "--json")
out["kept"] = paths(library)
out["hits"] = prost("search", "a red ball", "--library", library, "--json")
there.rmdir()
out["vanished"] = prost("index", place / "media", "--library", library, "--json")
out["kept_too"] = paths(library)
there.mkdir()
sh(f"mount --bind {drive} {there}")
out["back"] = prost("index", place / "media", "--library", library, "--json")
print(json.dumps(out))
"""
    found = run(script, tmp_path, videos)
    assert len(found["before"]) == 3
    assert found["kept"] == found["before"], found["unplugged"]
    assert all(hit["missing"] for hit in json.loads(found["hits"][1]))
    assert found["kept_too"] == found["before"], found["vanished"]
    assert found["back"][0] == 0
    report = json.loads(found["back"][1])
    assert len(report["unchanged"]) == 3 and not report["added"]
