"""Times in, pixels out: which frame is shown at a time, scaled and cropped as CLIP expects it.

The rule: at time t a video shows the last frame whose timestamp is not after t, as a player does; before the
first frame it shows the first, past the end the last. So every time has a frame, a video of one frame has one
for each time asked, and variable frame rates need no special case.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from prost.errors import UsageError, VideoError
from prost.video.container import Decoded, OpenVideo, Shown, open_video
from prost.video.display import Orientation, display_size, size_with_short_side
from prost.video.reasons import Reason

# Timestamps are exact fractions, times asked for are floats: t = 3/30 must meet the frame at 3/30.
SAME_TIME = 1e-6

# Closer than this, reading on is cheaper than seeking. Grows for a video whose keyframes are farther apart.
NEAR = 2.0

# A seek may land after the time asked for (a wrong index, a broken keyframe): step back this far and retry.
STEPS_BACK = (0.0, 2.0, 10.0, 60.0)

# Beyond this shape the square in the middle is a few pixels blown up, and scaling would fill the memory.
LONGEST_SHAPE = 64

# AVColorSpace values that FFmpeg's scaler converts; 2 means "not said".
KNOWN_COLORSPACES = (1, 4, 5, 6, 7, 9)


@dataclass(frozen=True)
class Frames:
    """Frames of one video, in the order asked for.

    Attributes:
        pixels: uint8 [T, R, R, 3], RGB.
        times: float64 [T], seconds from the video's start at which each frame begins to be shown: the real
            timestamps, not the times asked for.
    """

    pixels: npt.NDArray[np.uint8]
    times: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.times)
        if self.pixels.ndim != 4 or self.pixels.shape[0] != count or self.pixels.shape[3] != 3:
            raise UsageError(
                f"pixels {list(self.pixels.shape)} with {count} times", "uint8 [T, R, R, 3] and float64 [T]"
            )

    def __repr__(self) -> str:
        return f"Frames(pixels={list(self.pixels.shape)}, times={np.array2string(self.times, precision=3)})"


def decode_frames(path: str | os.PathLike[str], times: Sequence[float] | np.ndarray, size: int) -> Frames:
    """The frames shown at `times` (seconds from the video's start, any order, repeats allowed).

    Each frame is scaled inside FFmpeg (bicubic) so that its short side is `size`, turned and stretched as the
    file says, and cropped to the square in the middle. Transparency is dropped, interlaced frames are scaled
    as they are, high dynamic range is not tone-mapped.

    Raises:
        VideoError: the file cannot be shown, or is damaged at every one of the times.
        UsageError: no times, a time that is no finite number, or a size below 1.
    """
    wanted = checked_times(times, size)
    pixels = np.empty((len(wanted), size, size, 3), dtype=np.uint8)  # [T, R, R, 3]
    shown_times = np.empty(len(wanted), dtype=np.float64)
    order = np.argsort(wanted, kind="stable")
    with open_video(path) as video:
        painter = _Painter(video, size)
        covered = False
        for place, shown in zip(order, _shown_at(video, wanted[order]), strict=True):
            pixels[place] = painter.square(shown.frame)
            shown_times[place] = shown.time
            covered |= not shown.stale
    if not covered:
        raise VideoError(os.fspath(path), Reason.DAMAGED_HERE)
    return Frames(pixels, shown_times)


def checked_times(times: Sequence[float] | np.ndarray, size: int) -> npt.NDArray[np.float64]:
    """The times as float64 [T]; raises UsageError for what no decoder can answer."""
    wanted = np.asarray(times, dtype=np.float64)
    if wanted.ndim != 1 or not len(wanted) or not np.isfinite(wanted).all():
        raise UsageError(f"times {wanted.tolist()}", "a list of one or more finite numbers of seconds")
    if size < 1:
        raise UsageError(f"frame size {size}", "1 pixel or more")
    return wanted


@dataclass(frozen=True)
class _ShownAt:
    """The frame for one time; `stale` where damage lies between the frame and the time."""

    time: float
    frame: VideoFrame
    stale: bool


def _shown_at(video: OpenVideo, ascending: npt.NDArray[np.float64]) -> Iterator[_ShownAt]:
    """For each of the ascending times the frame that is shown then."""
    shown, frames = video.first, video.following
    upcoming = next(frames, None)
    damaged = False
    near = NEAR
    for time in ascending:
        if time - shown.time > near:
            before = shown.time
            shown, frames = _land_before(video, time)
            upcoming = next(frames, None)
            damaged = False
            if shown.time <= before:
                # Keyframes are so far apart (or the data ends so early) that the seek led back: read on.
                near = max(near, 2 * (time - shown.time))
        while upcoming is not None and upcoming.time <= time + SAME_TIME:
            if upcoming.frame is None:
                damaged = True
            # Timestamps that run backwards would make the video jump: such frames are passed over.
            elif upcoming.time >= shown.time:
                shown, damaged = Shown(upcoming.time, upcoming.frame), False
            upcoming = next(frames, None)
        yield _ShownAt(shown.time, shown.frame, stale=damaged)


def _land_before(video: OpenVideo, time: float) -> tuple[Shown, Iterator[Decoded]]:
    """Seek so that decoding starts with a clean frame at or before `time`; from the start at worst."""
    for back in STEPS_BACK:
        if time - back <= 0 or not video.seek(time - back):
            break
        frames = video.frames()
        for picture in frames:
            if picture.time > time + SAME_TIME:
                break
            if picture.frame is not None:
                return Shown(picture.time, picture.frame), frames
    video.rewind()
    return video.first, video.following


class _Painter:
    """Turns decoded frames of one video into RGB squares of one size."""

    def __init__(self, video: OpenVideo, size: int) -> None:
        self._path = video.path
        self._size = size
        self._pixel_aspect = video.stream.sample_aspect_ratio
        self._scaler = VideoReformatter()
        self._last: tuple[VideoFrame, np.ndarray] | None = None

    def square(self, frame: VideoFrame) -> np.ndarray:
        """uint8 [R, R, 3] of a frame; each frame may have its own size and orientation."""
        if self._last is None or self._last[0] is not frame:
            self._last = (frame, self._paint(frame))
        return self._last[1]

    def _paint(self, frame: VideoFrame) -> np.ndarray:
        shape = display_size(frame, self._pixel_aspect)
        if max(shape) > LONGEST_SHAPE * min(shape):
            raise VideoError(self._path, Reason.ABSURD_SHAPE, f"{shape[0]} x {shape[1]} pixels")
        width, height = size_with_short_side(*shape, self._size)
        orientation = Orientation.of(frame)
        stored_width, stored_height = (height, width) if orientation.transposed else (width, height)
        scaled = self._scaler.reformat(
            frame,
            width=stored_width,
            height=stored_height,
            format="rgb24",
            src_colorspace=_colorspace(frame),
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
            threads=1,
        )
        pixels = orientation.apply(scaled.to_ndarray())  # [height, width, 3]
        top, left = (height - self._size) // 2, (width - self._size) // 2
        return pixels[top : top + self._size, left : left + self._size]


def _colorspace(frame: VideoFrame) -> int:
    """What the file says; where it says nothing, BT.709 for HD and BT.601 below, as players do."""
    if frame.colorspace in KNOWN_COLORSPACES:
        return frame.colorspace
    return Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
