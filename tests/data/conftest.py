"""Real videos whose pictures say which frame they are, as records of a benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.training.conftest import make_model as make_model  # models of every architecture
from tests.video.conftest import plain, write_video

from prost.data.records import VideoRecord


@pytest.fixture(scope="session")
def ten_seconds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds, ten frames a second, frame i painted as number i."""
    return write_video(tmp_path_factory.mktemp("reading") / "ten.mp4", frames=100, fps=10).path


@pytest.fixture(scope="session")
def five_videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoRecord, ...]:
    """Videos a to e, each of one second and of one number (10 for a, 20 for b ...), with one to three captions."""
    folder = tmp_path_factory.mktemp("five")
    records = []
    for place, name in enumerate("abcde"):
        path = write_video(
            folder / f"{name}.mp4",
            frames=4,
            fps=4,
            paint=lambda _, width, height, number=10 * place + 10: plain(number, width, height),
        ).path
        captions = tuple(f"{name}{index}" for index in range(1 + place % 3))
        records.append(VideoRecord(name, path, captions))
    return tuple(records)
