"""Moments as video files of their own.

Each cut is made in a child process, since a damaged file can end the process that decodes it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prost.errors import UsageError, VideoError
from prost.export.outputs import new_output
from prost.search.hits import Hit, Moment
from prost.video.files import look_at
from prost.video.isolation import environment_of_child
from prost.video.reasons import Reason
from prost.video.remote import address_of, at_hand

METHODS = ("auto", "copy", "encode")
# How far a clip of copied packets may begin before its moment or end after it, seconds. Moments are told by sampled
# frames, which lie about a second apart, so this much is not missed.
TOLERANCE = 0.5
CHANGED = "the file has changed since it was indexed"

CHILD = "from prost.export.cutting import serve; serve()"
MEMORY_LIMIT = 4 << 30
# Seconds that a cut may take: at least, and for each second of the clip.
SHORTEST_LIMIT = 120.0
LIMIT_PER_SECOND = 30.0
# Seconds between two looks at whether the work was cancelled.
LOOK_EVERY = 0.2
CANCELLED = "cancelled"
LONGEST_STEM = 60


@dataclass(frozen=True, kw_only=True)
class CutClip:
    """A clip that was written.

    Attributes:
        output: the file.
        path: the video that it was cut out of.
        start: of its first picture, seconds in that video.
        end: of its last picture, likewise.
        method: `copy` where packets were copied, `encode` where frames were encoded.
        sound: whether it has sound.
    """

    output: Path
    path: str
    start: float
    end: float
    method: str
    sound: bool

    def as_dict(self) -> dict[str, Any]:
        """The clip for programs."""
        return {
            "output": os.fspath(self.output),
            "path": self.path,
            "start": self.start,
            "end": self.end,
            "method": self.method,
            "sound": self.sound,
        }


def clip_name(rank: int, hit: Hit, moment: Moment) -> str:
    """Name of a moment's clip: the rank of its hit, the name of its video, and its start and end in seconds."""
    stem = re.sub(r"[^\w-]+", "_", os.path.splitext(os.path.basename(hit.path))[0], flags=re.ASCII)
    return f"{rank:02d}_{stem[:LONGEST_STEM].strip('_') or 'video'}_{moment.start:.2f}-{moment.end:.2f}.mp4"


def cut_moment(
    hit: Hit,
    moment: Moment,
    output: Path,
    *,
    margin: float = 0.0,
    method: str = "auto",
    tolerance: float = TOLERANCE,
    force: bool = False,
) -> CutClip:
    """Cut a moment of a hit out of its video; for arguments see `cut_clip`.

    Args:
        hit: of a search.
        moment: of the hit.
        output: an MP4 file to write.
        margin: seconds to add before and after the moment.
        method: see `cut_clip`.
        tolerance: see `cut_clip`.
        force: replace a file that is there.

    Raises:
        VideoError: the file is gone or has changed since it was indexed; or see `cut_clip`.
        UsageError: see `cut_clip`.
    """
    seen = look_at(hit.path)
    if (seen.size, seen.modified) != (hit.video.size, hit.video.modified):
        raise VideoError(hit.path, CHANGED)
    start, end = max(0.0, moment.start - margin), moment.end + margin
    if hit.video.duration:
        end = min(end, max(hit.video.duration, moment.end))
    return cut_clip(hit.path, start, end, output, method=method, tolerance=tolerance, force=force)


def cut_clip(
    path: str | os.PathLike[str],
    start: float,
    end: float,
    output: Path,
    *,
    method: str = "auto",
    tolerance: float = TOLERANCE,
    force: bool = False,
    most_height: int | None = None,
    time_limit: float | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> CutClip:
    """Cut a stretch out of a video into an MP4 file, with its sound.

    Encoded clips show exactly the frames that a player shows from `start` to `end`, upright. Copied clips begin at a
    keyframe and may end a few frames later; both lie within `tolerance`.

    Args:
        path: the video, or its address on an object store.
        start: seconds on the player's clock.
        end: likewise.
        output: the file to write.
        method: `copy` the packets, `encode` the frames as H.264, or `auto`: copy where that is exact enough.
        tolerance: seconds that a copied clip may be longer at each end.
        force: replace a file that is there.
        most_height: pixels; taller pictures are scaled down when they are encoded. None keeps their size.
        time_limit: seconds that it may take; None for a limit that grows with the stretch.
        cancelled: asked several times a second; where it returns True, the work is given up with a VideoError.

    Raises:
        UsageError: the times, the method or the output.
        VideoError: the video cannot be read there, or its packets cannot be copied as asked.
        OSError: the disk refuses.
    """
    if method not in METHODS:
        raise UsageError(f"method {method!r}", ", ".join(METHODS))
    if not (0 <= start < end < float("inf")) or not 0 <= tolerance < float("inf"):
        raise UsageError(
            f"a clip from {start:g} to {end:g} s with a tolerance of {tolerance:g} s",
            "0 <= start < end, tolerance 0 or more",
        )
    if output.suffix.lower() != ".mp4":
        raise UsageError(f"output {output}", "a name that ends in .mp4")
    name = address_of(path) or os.path.abspath(os.fspath(path))
    with at_hand(name) as video, new_output(output, force) as temporary:
        reply = _in_child(
            name,
            {
                "path": video,
                "output": os.path.abspath(temporary),
                "start": start,
                "end": end,
                "method": method,
                "tolerance": tolerance,
                "most_height": most_height,
            },
            SHORTEST_LIMIT + LIMIT_PER_SECOND * (end - start) if time_limit is None else time_limit,
            cancelled,
        )
    return CutClip(output=output, path=name, **reply)


def _in_child(
    path: str, request: dict[str, Any], time_limit: float, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment_of_child(),
    )
    # Names that are not UTF-8 travel as JSON escapes of their surrogates.
    told: bytes | None = json.dumps({**request, "memory_limit": MEMORY_LIMIT}).encode("ascii")
    deadline = time.monotonic() + time_limit
    with child:
        try:
            while True:
                try:
                    output, complaints = child.communicate(told, timeout=LOOK_EVERY)
                    break
                except subprocess.TimeoutExpired:
                    told = None  # it was passed on already
                    if cancelled():
                        raise VideoError(path, CANCELLED) from None
                    if time.monotonic() > deadline:
                        raise VideoError(path, Reason.TIMED_OUT, f"{time_limit:g} s") from None
        except BaseException:
            child.kill()
            raise
    try:
        reply = json.loads(output.splitlines()[-1]) if child.returncode == 0 else None
    except (ValueError, IndexError):
        reply = None
    if not isinstance(reply, dict):
        complaint = complaints.decode(errors="replace").strip().splitlines()
        # Windows tells a crash by a number beyond all exit codes.
        crashed = not 0 <= child.returncode < 256
        reason = Reason.CRASHED if crashed else Reason.OUR_ERROR
        raise VideoError(path, reason, complaint[-1] if complaint else f"exit code {child.returncode}")
    if "refusal" in reply:
        raise OSError(reply["refusal"], os.strerror(reply["refusal"]), request["output"])
    if "reason" in reply:
        raise VideoError(path, reply["reason"], reply["detail"])
    return reply
