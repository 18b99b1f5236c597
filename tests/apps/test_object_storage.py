"""Commands on a library that lies on a real S3 server, as a shell starts them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.search.bucket_server import BUCKET
from tests.search.conftest import environment, server  # noqa: F401

from prost.object_store import ObjectStore
from prost.search.description import library_top
from prost.search.generations import other_generations
from prost.search.library import Library

Prost = Callable[..., Any]
QUERY = "a red ball"

pytestmark = pytest.mark.slow


@pytest.fixture
def films(environment: Any, videos: Path, request: pytest.FixtureRequest) -> str:  # noqa: F811
    """A folder of the bucket with the good videos."""
    address = f"s3://{BUCKET}/{request.node.name}"
    for path in videos.glob("*.mp4"):
        if path.name != "broken.mp4":
            ObjectStore(address).write(path.name, path.read_bytes())
    return address


@pytest.fixture
def remote(prost: Prost, films: str, untrained_folder: Path) -> str:
    """A library of them, in the same bucket."""
    library = f"{films}.prost"
    assert prost("index", films, "--library", library, "--model", untrained_folder).code == 0
    return library


def test_explain_takes_an_address(prost: Prost, films: str, remote: str, tmp_path: Path) -> None:
    figure = tmp_path / "why.png"
    said = prost(
        "explain", QUERY, "--video", f"{films}/red.mp4", "--library", remote, "--json", "--figure", figure
    )
    assert said.code == 0, said.err
    assert said.json["video"] == f"{films}/red.mp4" and figure.stat().st_size > 5000
    gone = prost("explain", QUERY, "--video", f"{films}/none.mp4", "--library", remote)
    assert gone.code == 2 and f"{films}/none.mp4 does not exist" in gone.err


def test_search_plays_a_copy(
    prost: Prost, films: str, remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, played = tmp_path / "programs", tmp_path / "played"
    programs.mkdir()
    os.mkfifo(played)
    player = programs / "mpv"
    player.write_text(f"#!{sys.executable} -I\nimport sys\nopen({str(played)!r}, 'w').write(sys.argv[-1])\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    said = prost("search", QUERY, "--library", remote, "--open", "--json")
    assert said.code == 0
    best = said.json[0]["path"]
    assert best.startswith(f"{films}/") and f"playing {best} from" in said.err
    with open(played, encoding="utf-8") as told:
        copy = Path(told.read())
    stored = ObjectStore(films).read(Path(best).name)
    assert stored is not None and copy.read_bytes() == stored.data


def test_everything_is_exported(prost: Prost, films: str, remote: str, tmp_path: Path) -> None:
    hits, clips = tmp_path / "hits.csv", tmp_path / "clips"
    timeline, prototypes = tmp_path / "a.fcpxml", tmp_path / "a.npz"
    said = prost(
        *("export", QUERY, "--library", remote, "--hits", hits, "--clips", clips),
        *("--timeline", timeline, "--prototypes", prototypes, "--json"),
    )
    assert said.code == 0, said.err
    assert said.json["prototypes"]["clips"] == 3 and not said.json["failed"]
    assert all(Path(clip["output"]).stat().st_size > 500 for clip in said.json["clips"])
    with open(hits, encoding="utf-8", newline="") as file:
        names = {row["path"] for row in csv.DictReader(file)}
    assert names == {f"{films}/{colour}.mp4" for colour in ("red", "green", "blue")}
    assert f'src="{films}/red.mp4"' in timeline.read_text(encoding="utf-8")


def test_doctor_verifies_and_repairs(prost: Prost, remote: str) -> None:
    def of_files(*options: str) -> tuple[int, str]:
        said = prost("doctor", "--library", remote, "--workers", "1", "--json", *options)
        return said.code, next(each["detail"] for each in said.json if each["name"] == "library files")

    assert of_files("--verify") == (0, "all files are sound")
    objects = ObjectStore(remote)
    objects.remove([next(each.name for each in objects.below("clips.lance/data"))])
    assert of_files("--verify")[0] == 1
    code, told = of_files("--repair")
    assert code == 0 and "0 left; 3 videos encoded again" in told
    assert of_files("--verify") == (0, "all files are sound")


@pytest.mark.slow
def test_watch_follows_the_bucket_until_a_signal(
    films: str, videos: Path, remote: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "prost", "watch", films, "--interval", "0.3", "--json"]
    command += ["--library", remote, "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            assert process.stderr.readline().startswith(f"watching {films} ")
            ObjectStore(films).write("broken.mp4", (videos / "broken.mp4").read_bytes())
            ObjectStore(films).remove(["red.mp4"])
            told = [json.loads(process.stdout.readline()) for _ in range(2)]
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert {(each["event"], each["path"]) for each in told} == {
        ("failed", f"{films}/broken.mp4"),
        ("removed", f"{films}/red.mp4"),
    }
    assert sorted(Path(row.path).stem for row in Library(remote).videos() if row.indexed) == ["blue", "green"]


@pytest.mark.slow
def test_the_model_changes_in_spite_of_an_interruption(prost: Prost, films: str, remote: str) -> None:
    """Begun, interrupted, gone on with, switched; then the former tables are removed."""
    first = prost("search", QUERY, "--library", remote, "--json").json
    command = [sys.executable, "-m", "prost", "index", films, "--library", remote, "--model", "toybox"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert "indexed again by toybox beside it" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
    assert prost("search", QUERY, "--library", remote, "--json").json == first
    said = prost("index", films, "--library", remote, "--model", "toybox")
    assert said.code == 0 and "searches use toybox now" in said.out
    assert Library(remote).description.model == "toybox"
    assert other_generations(library_top(remote)) == [remote]
    said = prost("index", films, "--library", remote, "--remove-old")
    assert said.code == 0 and f"removed the tables in {remote}" in said.err
    assert other_generations(library_top(remote)) == []
    assert {hit["path"] for hit in prost("search", QUERY, "--library", remote, "--json").json} == {
        f"{films}/{colour}.mp4" for colour in ("red", "green", "blue")
    }
