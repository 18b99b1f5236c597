"""Which moments of a video are looked at: clips (windows of time) and the times within a clip."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from prost.errors import UsageError

# Times in addresses and on pages have three decimals.
ROUNDING = 0.001


def sample_times(start: float, end: float, frames: int) -> npt.NDArray[np.float64]:
    """Times [L], in seconds, of the middles of a window's L equal parts: (i + 0.5) / L of the way through it.

    >>> sample_times(0.0, 12.0, 4).tolist()
    [1.5, 4.5, 7.5, 10.5]
    """
    if frames < 1:
        raise UsageError(f"{frames} frames", "1 frame or more")
    if not (math.isfinite(start) and math.isfinite(end) and end >= start):
        raise UsageError(f"a window from {start} to {end} s", "an end that is not before the start")
    return start + (np.arange(frames) + 0.5) / frames * (end - start)


def stretch_within(duration: float | None, start: float, end: float) -> tuple[float, float]:
    """Start and end of a stretch of a video, cut to the video's end.

    Args:
        duration: of the video, seconds; None where it is not known, so that nothing is cut.
        start: seconds; 0 or more, and before the end of the video.
        end: seconds; not before the start.

    Raises:
        UsageError: the stretch ends before it starts, or nothing of it lies in the video.

    >>> stretch_within(3.9, 1.0, 4.0)
    (1.0, 3.9)
    """
    if not 0 <= start <= end:
        raise UsageError(f"a moment from {start:g} to {end:g} s", "0 <= start <= end")
    if not duration:
        return start, end
    if start >= duration:
        raise UsageError(
            f"a moment that starts at {start:g} s", f"a start before the end at {_shown(duration)} s"
        )
    return start, min(end, duration)


def expect_time_within(duration: float | None, time: float) -> None:
    """Check that a video shows a frame at a time, of which the last is shown at its end, too.

    Args:
        duration: of the video, seconds; None where it is not known.
        time: seconds.

    Raises:
        UsageError: the video has ended by then.
    """
    if duration and time > duration + ROUNDING:
        raise UsageError(f"a frame at {time:g} s", f"a time up to the end at {_shown(duration)} s")


def _shown(seconds: float) -> str:
    return f"{round(seconds, 2):.12g}"


def evenly(count: int, most: int) -> list[int]:
    """Which of some frames to show: at most `most` of them, evenly spread from the first to the last.

    >>> evenly(12, 4), evenly(3, 6)
    ([0, 4, 7, 11], [0, 1, 2])
    """
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()))


def clip_windows(
    duration: float, longest: float = 12.0, overlap: float = 0.25, start: float = 0.0
) -> list[tuple[float, float]]:
    """Start and end (seconds) of the clips that cover a video.

    A video that is not longer than `longest` is one clip. Else all clips are `longest` seconds long and start
    `longest * (1 - overlap)` after one another; the last is moved back to end with the video, so that no stub
    of a clip is left over.

    Args:
        duration: where the video ends.
        longest: seconds of a clip.
        overlap: fraction of a clip that the next one shares.
        start: where the video's first frame begins.

    >>> clip_windows(25.0)
    [(0.0, 12.0), (9.0, 21.0), (13.0, 25.0)]
    >>> clip_windows(10.0, start=3.0)
    [(3.0, 10.0)]
    """
    if not (math.isfinite(duration) and 0 <= start <= duration):
        raise UsageError(f"a video from {start} to {duration} s", "an end that is not before the start")
    if not (longest > 0 and 0 <= overlap < 1):
        raise UsageError(
            f"clips of {longest} s overlapping by {overlap}", "more than 0 s, an overlap from 0 to below 1"
        )
    if duration - start <= longest:
        return [(float(start), float(duration))]
    stride = longest * (1 - overlap)
    last_start = duration - longest
    starts = [start + step * stride for step in range(math.ceil((last_start - start) / stride))]
    return [(first, first + longest) for first in starts] + [(last_start, float(duration))]


def benchmark_times(
    duration: float,
    frames: int,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
) -> npt.NDArray[np.float64]:
    """Times [at most L] that the authors' code looks at: one frame a second, then evenly down to L.

    A video of fewer seconds gives fewer times; their code pads the rest with grey pictures, so the length of
    the result is the number of valid frames. With `fps` the second is theirs: they count `int(fps)` frames as
    one second, so a video of 29.97 frames a second is read every 29 / 29.97 s. A window (`start`, `end`) is cut to
    whole seconds, of which both ends are read.

    >>> benchmark_times(2.5, frames=12).tolist()
    [0.0, 1.0, 2.0]
    >>> benchmark_times(10.0, frames=4).tolist()
    [0.0, 3.0, 6.0, 9.0]
    >>> benchmark_times(10.0, frames=12, start=2.7, end=5.2).tolist()
    [2.0, 3.0, 4.0, 5.0]
    """
    if frames < 1:
        raise UsageError(f"{frames} frames", "1 frame or more")
    if not (math.isfinite(duration) and duration > 0):
        raise UsageError(f"a duration of {duration} s", "more than 0 s")
    second = max(1, int(fps)) / fps if fps else 1.0
    last = math.ceil(duration / second) - 1
    # A window in the file's last instant still shows its last second.
    first = min(int(start or 0.0), last)
    if end is not None:
        # Theirs: a window within one second is read as if it reached the next.
        last = min(last, int(end) if int(end) > first else first + 1)
    count = last - first + 1
    # linspace to whole numbers rounds down, as theirs does.
    chosen = np.arange(count) if count <= frames else np.linspace(0, count - 1, num=frames, dtype=int)
    return (first + chosen).astype(np.float64) * second
