"""Real video files, made by PyAV, whose pictures say which frame they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest

from prost.video.isolation import end_idle_children

LEVELS = 6
STEP = 43
COUNTABLE = LEVELS**3


def number_colour(number: int) -> tuple[int, int, int]:
    """One of 216 colours, so far apart that no codec confuses them."""
    red, green, blue = (number // LEVELS**place % LEVELS for place in range(3))
    return 20 + STEP * red, 20 + STEP * green, 20 + STEP * blue


def number_of(picture: np.ndarray) -> int:
    """The number that a picture [H, W, 3] is painted with; fails where its colour is none of the 216."""
    colour = picture.reshape(-1, 3).mean(axis=0)
    levels = np.rint((colour - 20) / STEP).astype(int)
    assert np.abs(colour - (20 + STEP * levels)).max() < 16, f"{colour} is no frame number's colour"
    return int(sum(level * LEVELS**place for place, level in enumerate(levels)))


def numbers_of(pictures: np.ndarray) -> list[int]:
    return [number_of(picture) for picture in pictures]


def plain(number: int, width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), number_colour(number), dtype=np.uint8)


@dataclass(frozen=True)
class Made:
    """A video file and the seconds (from its start) at which its frames are shown."""

    path: Path
    times: list[float]


class MakeVideo(Protocol):
    def __call__(self, name: str = ..., frames: int = ..., **options: Any) -> Made: ...


def write_video(
    path: Path,
    frames: int = 10,
    *,
    fps: float | Fraction = 10,
    times: Sequence[float] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
    gop: int = 12,
    b_frames: int = 0,
    start: float = 0.0,
    rotation: int | None = None,
    flip: bool = False,
    pixel_aspect: Fraction | None = None,
    paint: Callable[[int, int, int], np.ndarray] = plain,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    format: str | None = None,
    title: str = "",
) -> Made:
    """Write `frames` painted frames, at a constant rate or at the given times (seconds)."""
    clock = Fraction(1, 90_000)
    shown_at = [i / Fraction(fps) for i in range(frames)] if times is None else [Fraction(t) for t in times]
    width, height = size
    with av.open(str(path), "w", format=format, container_options=container_options or {}) as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(100_000))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        exact_clock = codec not in ("mpeg4", "mpeg2video", "mpeg1video", "h263", "wmv2")
        stream.codec_context.time_base = clock if exact_clock else 1 / Fraction(fps)
        stream.gop_size = gop
        stream.max_b_frames = b_frames
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if options:
            stream.options = options
        if rotation is not None or flip:
            stream.set_display_rotation(rotation or 0, hflip=flip)
        for index, time in enumerate(shown_at):
            picture = paint(index % COUNTABLE, width, height)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24" if picture.ndim == 3 else "gray")
            frame = frame.reformat(format=pix_fmt, dst_colorspace="itu601")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round((time + Fraction(start)) / stream.codec_context.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Made(path, [float(t - shown_at[0]) for t in shown_at])


@pytest.fixture(autouse=True)
def _no_idle_children() -> None:
    """Each test starts its own children."""
    end_idle_children()


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """`make_video(name, frames, ...)` writes a video into the test's folder; see `write_video`."""

    def make(name: str = "video.mp4", frames: int = 10, **options: Any) -> Made:
        return write_video(tmp_path / name, frames, **options)

    return make
