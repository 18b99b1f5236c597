"""Hits made by hand, of files that need not exist."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.video.conftest import Made, MakeVideo, write_video

from prost.search.hits import Hit, Moment
from prost.search.records import VideoRow


def moment(start: float, end: float, score: float = 1.0) -> Moment:
    return Moment(
        start=start,
        end=end,
        score=score,
        object_phrase=0.25,
        event_sentence=0.5,
        frame_time=(start + end) / 2,
        clip="c:0",
        clip_start=0.0,
        clip_end=12.0,
    )


def hit_of(path: str | Path, *moments: Moment, **video: Any) -> Hit:
    """A hit whose row agrees with the file, if there is one."""
    status = os.stat(path) if os.path.exists(path) else None
    values: dict[str, Any] = {
        "size": status.st_size if status else 0,
        "modified": status.st_mtime_ns if status else 0,
        "duration": 10.0,
        "fps": 25.0,
        "width": 64,
        "height": 48,
        "codec": "h264",
        **video,
    }
    row = VideoRow(
        path=os.fspath(path), added="2026-01-01T00:00:00Z", status="indexed", content="c", **values
    )
    return Hit(video=row, moments=moments or (moment(1.0, 2.0),))


@pytest.fixture
def make_hit() -> Callable[..., Hit]:
    return hit_of


@pytest.fixture
def make_moment() -> Callable[..., Moment]:
    return moment


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    def make(name: str = "video.mp4", frames: int = 10, **options: Any) -> Made:
        return write_video(tmp_path / name, frames, **options)

    return make
