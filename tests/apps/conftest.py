"""A folder of real files, good and bad, and the command line to look at it with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from prost.apps.cli import main

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 30), "blue": (30, 30, 200)}


@dataclass(frozen=True)
class Said:
    """What a command left: its exit code, its results, and what it told."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def prost(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command line in this process."""

    def run(*arguments: str | Path) -> Said:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return run


@dataclass(frozen=True)
class Made:
    """Videos and a library of them, made once; a library knows its videos by their paths.

    Attributes:
        place: where they were made, and where each test finds them.
        kept: a copy, of which no test knows.
    """

    place: Path
    kept: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, untrained_folder: Path) -> Made:
    made = Made(tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("kept"))
    videos = made.place / "videos"
    videos.mkdir()
    for name, colour in COLOURS.items():
        write_video(videos / f"{name}.mp4", colour)
    (videos / "broken.mp4").write_text("this is a text")
    (videos / "notes.txt").write_text("a text too")
    library = made.place / "a.prost"
    assert main(["index", str(videos), "--library", str(library), "--model", str(untrained_folder)]) == 0
    shutil.copytree(made.place, made.kept, dirs_exist_ok=True)
    return made


@pytest.fixture
def place(made: Made) -> Path:
    """An empty folder, the same one for all tests."""
    shutil.rmtree(made.place)
    made.place.mkdir()
    return made.place


@pytest.fixture
def videos(made: Made, place: Path) -> Path:
    """Three videos of one colour and two seconds each, a file that is no video, and a text that is not looked at."""
    return Path(shutil.copytree(made.kept / "videos", place / "videos"))


def write_video(path: Path, colour: tuple[int, int, int], seconds: float = 2.0) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        picture = np.full((48, 64, 3), colour, dtype=np.uint8)
        for _ in range(round(10 * seconds)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def library(place: Path) -> Path:
    """Where a library can be made."""
    return place / "a.prost"


@pytest.fixture
def indexed(made: Made, videos: Path, library: Path) -> Path:
    """A library of the videos."""
    return Path(shutil.copytree(made.kept / library.name, library))


def add_second_stream(path: Path) -> None:
    """Give a video a second video stream, a copy of its first."""
    two = path.with_suffix(".two.mp4")
    with av.open(str(path)) as source, av.open(str(two), "w") as target:
        streams = [target.add_stream_from_template(source.streams.video[0]) for _ in range(2)]
        for packet in source.demux(video=0):
            if packet.dts is None:
                continue
            payload, pts, dts, key = bytes(packet), packet.pts, packet.dts, packet.is_keyframe
            for stream in streams:
                copy = av.Packet(payload)
                copy.pts, copy.dts, copy.time_base, copy.is_keyframe = pts, dts, packet.time_base, key
                copy.stream = stream
                target.mux(copy)
    two.replace(path)
