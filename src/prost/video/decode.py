"""Times in, pixels out: which frame is shown at a time, scaled and made square as the model expects it.

The rule: at time t a video shows the last frame whose timestamp is not after t, as a player does; before the
first frame it shows the first, past the end the last. So every time has a frame, a video of one frame has one
for each time asked, and variable frame rates need no special case.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from prost.errors import UsageError, VideoError
from prost.video.container import Decoded, OpenVideo, Shown, open_video
from prost.video.display import Orientation, display_size
from prost.video.fit import LONGEST_SHAPE, MIDDLE, PADDING, Fit, checked_fit, scaled_size
from prost.video.reasons import Reason

# Timestamps are exact fractions, times asked for are floats: t = 3/30 must meet the frame at 3/30.
SAME_TIME = 1e-6

# Seconds of decoding that a seek must save. It costs opening the decoder anew and a read elsewhere in the file.
WORTH_A_SEEK = 0.4

# Where the file does not tell its keyframes: closer than this, in seconds, reading on is taken to be cheaper.
NEAR = 2.0

# Windows that are not in the order of time: so many are read in one pass and held until their turn comes.
REORDERED_WINDOWS = 64

# A seek may land after the time asked for (a wrong index, a broken keyframe): step back this far and retry.
STEPS_BACK = (0.0, 2.0, 10.0, 60.0)

# AVColorSpace values that FFmpeg's scaler converts; 2 means "not said".
KNOWN_COLORSPACES = (1, 4, 5, 6, 7, 9)


@dataclass(frozen=True)
class Frames:
    """Frames of one video, in the order asked for.

    Attributes:
        pixels: uint8 [T, R, R, 3], RGB.
        times: float64 [T], seconds on the player's clock at which each frame begins to be shown: the real
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


def decode_frames(
    path: str | os.PathLike[str],
    times: Sequence[float] | np.ndarray,
    size: int,
    *,
    fit: Fit = "crop",
    place: float = MIDDLE,
) -> Frames:
    """The frames shown at `times` (seconds on the player's clock, any order, repeats allowed).

    Each frame is scaled inside FFmpeg (bicubic) and turned as the file says. With `crop` its short side becomes
    `size` and the square in the middle is kept, as CLIP's preprocessing does; with `tiles` another square, whose
    `place` is one of `square_places`. With `pad` its long side becomes `size`, between two bars of mid-grey. With
    `stretch` both sides become `size`. Transparency is dropped, interlaced frames are scaled as they are, high dynamic
    range is not tone-mapped.

    Raises:
        VideoError: the file cannot be shown, or is damaged at every one of the times.
        UsageError: no times, a time that is no finite number, a size below 1, or an unknown fit or place.
    """
    wanted = checked_times(times, size)
    checked_fit(fit, place)
    with open_video(path) as video:
        for _, sampled in sample_windows(video, [wanted], size, fit=fit, places=[place]):
            if isinstance(sampled, VideoError):
                raise sampled
            return sampled
    raise AssertionError("one window gives one answer")


def sample_windows(
    video: OpenVideo,
    windows: Sequence[npt.NDArray[np.float64]],
    size: int,
    *,
    fit: Fit,
    places: Sequence[float],
) -> Iterator[tuple[int, Frames | VideoError]]:
    """The frames of many windows of one video, in as few passes over it as the order of the windows allows.

    Windows come in their order, each as soon as it is complete. Windows that overlap share their decoded frames.
    Windows whose last times ascend take one pass. Where they do not, up to `REORDERED_WINDOWS` of them are read in
    one pass and wait for their turn.

    Args:
        video: the open video.
        windows: times [T] of each window, as `checked_times` returns them.
        size: R.
        fit: how a picture becomes square.
        places: of each window's square along the long side of the picture, see `MIDDLE`.

    Yields:
        The window's index with its frames, or with the VideoError that concerns this window alone.
    """
    sampler = _FrameSampler(video)
    painter = _Painter(video, size, fit)
    for span in _passes([float(times.max()) for times in windows]):
        drafts = {index: _Draft(windows[index], places[index]) for index in span}
        upcoming = span.start
        pending = sorted(
            (float(time), index, position) for index in span for position, time in enumerate(windows[index])
        )
        for time, index, position in pending:
            draft = drafts[index]
            draft.put(position, sampler.at(time), painter)
            while upcoming in drafts and drafts[upcoming].complete:
                yield upcoming, drafts.pop(upcoming).finish(video.path)
                upcoming += 1


def frames_between(video: OpenVideo, start: float, end: float) -> Iterator[Shown]:
    """The frames that a player shows from `start` to `end`, in their order.

    The first is the one that is shown at `start`, so its time may lie before. Damaged frames are left out.

    Args:
        video: the open video.
        start: seconds on the player's clock.
        end: likewise; a frame that begins here is left out.
    """
    sampler = _FrameSampler(video)
    first = sampler.at(start)
    yield Shown(first.time, first.frame)
    yield from sampler.rest_before(end)


def _passes(ends: Sequence[float]) -> Iterator[range]:
    """Consecutive windows to be read in one pass each, given the last time of each window."""
    first, latest = 0, -math.inf
    for index, end in enumerate(ends):
        if end < latest and index - first >= REORDERED_WINDOWS:
            yield range(first, index)
            first, latest = index, end
        latest = max(latest, end)
    yield range(first, len(ends))


class _Draft:
    """A window of which some frames may still be missing."""

    def __init__(self, times: npt.NDArray[np.float64], place: float) -> None:
        self._place = place
        # Squares are shared between windows until the window is complete.
        self._squares: list[np.ndarray | None] = [None] * len(times)
        self._times = np.empty(len(times), dtype=np.float64)
        self._missing = len(times)
        self._covered = False
        self._failure: VideoError | None = None

    @property
    def complete(self) -> bool:
        return not self._missing

    def put(self, position: int, shown: _ShownAt, painter: _Painter) -> None:
        self._missing -= 1
        self._times[position] = shown.time
        self._covered |= not shown.stale
        try:
            self._squares[position] = painter.square(shown.frame, self._place)
        except VideoError as failure:
            self._failure = failure

    def finish(self, path: str) -> Frames | VideoError:
        if self._failure is not None:
            return self._failure
        if not self._covered:
            return VideoError(path, Reason.DAMAGED_HERE)
        return Frames(np.stack([square for square in self._squares if square is not None]), self._times)


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


class _FrameSampler:
    """Which frame a video shows at a time.

    Ascending times take one pass. It seeks only where that saves decoding.
    """

    def __init__(self, video: OpenVideo) -> None:
        self._video = video
        self._shown: Shown | None = None
        self._frames: Iterator[Decoded] = iter(())
        self._upcoming: Decoded | None = None
        self._damaged = False
        self._seeking_helps = True
        if video.at_start:
            self._go_on(video.first, video.following)

    def at(self, time: float) -> _ShownAt:
        """The last clean frame that begins at or before a time; the first frame before the first one."""
        before = self._shown
        if before is None or time < before.time - SAME_TIME:
            if before is None or before.time > self._video.first.time:
                self._land_before(time)
            return self._read_up_to(time)
        if self._seeking_helps and self._seeking_saves(before.time, time):
            landed = self._land_before(time)
            if landed <= before.time:
                # No keyframe lies between: a seek that leads back costs decoding.
                self._video.keyframe_spacing = max(self._video.keyframe_spacing, time - landed)
        shown = self._read_up_to(time)
        if shown.time >= before.time:
            return shown
        # In a damaged file less may be decoded after a seek than before it: a frame that was shown already is later.
        self._shown, self._damaged, self._seeking_helps = before, True, False
        return _ShownAt(before.time, before.frame, stale=True)

    def rest_before(self, end: float) -> Iterator[Shown]:
        """The clean frames after the one that `at` returned last, as far as they begin before `end`."""
        assert self._shown is not None
        latest = self._shown.time
        while self._upcoming is not None and self._upcoming.time < end - SAME_TIME:
            time, frame = self._upcoming
            if frame is not None and time > latest:
                latest = time
                yield Shown(time, frame)
            self._upcoming = next(self._frames, None)

    def _seeking_saves(self, shown: float, time: float) -> bool:
        """Whether a seek to `time` skips frames that reading on would decode."""
        keyframe = self._video.keyframe_before(time)
        if keyframe is not None:
            return keyframe - shown > WORTH_A_SEEK
        return time - shown > max(NEAR, self._video.keyframe_spacing)

    def _go_on(self, shown: Shown, frames: Iterator[Decoded]) -> None:
        self._shown, self._frames, self._damaged = shown, frames, False
        self._upcoming = next(frames, None)

    def _read_up_to(self, time: float) -> _ShownAt:
        assert self._shown is not None
        while self._upcoming is not None and self._upcoming.time <= time + SAME_TIME:
            if self._upcoming.frame is None:
                self._damaged = True
            # Timestamps that run backwards would make the video jump: such frames are passed over.
            elif self._upcoming.time >= self._shown.time:
                self._shown, self._damaged = Shown(self._upcoming.time, self._upcoming.frame), False
            self._upcoming = next(self._frames, None)
        return _ShownAt(self._shown.time, self._shown.frame, stale=self._damaged)

    def _land_before(self, time: float) -> float:
        """Go on from a clean frame at or before `time`, and return its time: by a seek, else from the start."""
        for back in STEPS_BACK:
            if time - back <= self._video.first.time:
                break
            if not self._video.seek(time - back):
                self._seeking_helps = False
                if self._shown is not None and self._shown.time <= time and not self._video.has_clock:
                    return self._shown.time
                break
            frames = self._video.frames()
            for picture in frames:
                if picture.time > time + SAME_TIME:
                    break
                if picture.frame is not None:
                    self._go_on(Shown(picture.time, picture.frame), frames)
                    return picture.time
        else:
            # Every seek led past the time, or into damage: what follows is read without seeking.
            self._seeking_helps = False
        self._video.rewind()
        self._go_on(self._video.first, self._video.following)
        return self._video.first.time


class _Painter:
    """Turns decoded frames of one video into RGB squares of one size."""

    def __init__(self, video: OpenVideo, size: int, fit: Fit) -> None:
        self._path = video.path
        self._size, self._fit = size, fit
        self._pixel_aspect = video.stream.sample_aspect_ratio
        self._scaler = VideoReformatter()
        self._last: tuple[VideoFrame, np.ndarray] | None = None

    def square(self, frame: VideoFrame, place: float) -> np.ndarray:
        """uint8 [R, R, 3] of a frame; each frame may have its own size and orientation."""
        if self._last is None or self._last[0] is not frame:
            self._last = (frame, self._paint(frame))
        picture = self._last[1]
        top, left = (int(place * (side - self._size)) for side in picture.shape[:2])
        return picture[top : top + self._size, left : left + self._size]

    def _paint(self, frame: VideoFrame) -> np.ndarray:
        """A frame, scaled and upright: uint8 [R, W, 3] or [H, R, 3], where W and H are at least R."""
        shape = display_size(frame, self._pixel_aspect)
        if max(shape) > LONGEST_SHAPE * min(shape):
            raise VideoError(self._path, Reason.ABSURD_SHAPE, f"{shape[0]} x {shape[1]} pixels")
        width, height = scaled_size(*shape, self._size, self._fit)
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
        if self._fit == "pad":
            square = np.full((self._size, self._size, 3), PADDING, dtype=np.uint8)
            top, left = (self._size - height) // 2, (self._size - width) // 2
            square[top : top + height, left : left + width] = pixels
            return square
        return pixels


def _colorspace(frame: VideoFrame) -> int:
    """What the file says; where it says nothing, BT.709 for HD and BT.601 below, as players do."""
    if frame.colorspace in KNOWN_COLORSPACES:
        return frame.colorspace
    return Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
