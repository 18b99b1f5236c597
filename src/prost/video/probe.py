"""What a video file really holds: measured, where the header could lie."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from av.packet import Packet
from av.video.stream import VideoStream

from prost.video.container import OpenVideo, open_video
from prost.video.display import Orientation, display_size

# A picture that stands longer at the end counts no longer than this, seconds: broken files claim hours.
LONGEST_LAST_FRAME = 10.0

# Fewer bytes a second than this is hardly a video: one wrong timestamp may have stretched it.
SPARSE_BYTES_PER_SECOND = 2_000

# The video ends where nothing new is shown for longer than this, seconds.
LONGEST_GAP = 3_600.0

# A header may claim any frame rate; what lies outside is counted from the packets instead.
SANE_FPS = (0.01, 1000.0)


@dataclass(frozen=True)
class VideoInfo:
    """A video, as a player would show it.

    Attributes:
        path: the file.
        duration: seconds from the first frame that can be shown to the end of the last; measured from the
            packets that are there, so a truncated file is as long as what is left of it. A picture that stands
            still at the end counts for ten seconds at most.
        fps: frames a second, to be shown to people; no sampling relies on it.
        width: pixels of the picture as shown, after rotation and with square pixels.
        height: likewise.
        codec: FFmpeg's name of the codec (`h264`).
        rotation: degrees clockwise by which the stored picture is turned: 0, 90, 180 or 270.
        start: time of the first frame in the container's clock, seconds; times elsewhere count from it.
    """

    path: str
    duration: float
    fps: float
    width: int
    height: int
    codec: str
    rotation: int
    start: float


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Open a file, decode its first frame, and measure the rest by its packets.

    Raises:
        VideoError: the file cannot be shown; `reason` is one of `prost.video.reasons.Reason`.
    """
    with open_video(path) as video:
        return describe(video)


def describe(video: OpenVideo) -> VideoInfo:
    """What `probe` says, of a video that is already open; its position in the file changes.

    Raises:
        VideoError: the file cannot be shown.
    """
    frame = video.first.frame
    width, height = display_size(frame, video.stream.sample_aspect_ratio)
    extent = _measure(video)
    claimed_fps = float(video.stream.average_rate or 0)
    return VideoInfo(
        path=video.path,
        duration=extent.end,
        fps=claimed_fps if SANE_FPS[0] <= claimed_fps <= SANE_FPS[1] else extent.fps,
        width=width,
        height=height,
        codec=video.stream.codec_context.codec.canonical_name,
        rotation=Orientation.of(frame).rotation,
        start=video.start,
    )


@dataclass(frozen=True)
class _Extent:
    end: float
    fps: float


def _measure(video: OpenVideo) -> _Extent:
    """How far the packets reach. The claimed duration only says where to look for the last ones.

    A claim that is too long lands on the last keyframe there is, one that is too short before it; either way
    reading on to the end gives the truth. Where that finds nothing (the index speaks of data that is not
    there, or there is no claim) or something that is hard to believe, all packets are read; none is decoded.
    """
    claimed = _claimed_duration(video)
    if claimed is not None and video.seek(max(0.0, claimed - 1.0)):
        extent = _extent(video, video.packets())
        if extent is not None and extent.end * SPARSE_BYTES_PER_SECOND <= video.container.size:
            return extent
    return _extent(video, video.all_packets()) or _counted_extent(video)


def _claimed_duration(video: OpenVideo) -> float | None:
    if video.stream.duration and video.stream.time_base:
        return float(video.stream.duration * video.stream.time_base)
    if video.container.duration:
        return video.container.duration / 1_000_000
    return None


def _extent(video: OpenVideo, packets: Iterable[Packet[VideoStream]]) -> _Extent | None:
    """End and frame rate by the packets' own times; None where no whole packet has one."""
    time_base = video.stream.time_base
    if time_base is None or not video.has_clock:
        return None
    stamps: list[tuple[int, int]] = []
    for packet in packets:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and not packet.is_corrupt and not packet.is_discard:
            stamps.append((stamp, packet.duration or 0))
    if not stamps:
        return None
    stamps = _before_a_gap(sorted(stamps), LONGEST_GAP / float(time_base))
    first, (last, last_duration) = stamps[0][0], stamps[-1]
    step = float((last - first) * time_base) / (len(stamps) - 1) if len(stamps) > 1 else 0.0
    guessed = float(video.stream.guessed_rate or 0)
    if not step and guessed:
        step = 1 / guessed
    still = min(float(last_duration * time_base) or step, LONGEST_LAST_FRAME)
    end = float(last * time_base) - video.start + still
    return _Extent(end=end, fps=1 / step if step else 0.0) if end > 0 else None


def _before_a_gap(stamps: list[tuple[int, int]], longest: float) -> list[tuple[int, int]]:
    """Sorted timestamps up to the first step that is longer than `longest` ticks."""
    for index, ((earlier, _), (later, _)) in enumerate(pairwise(stamps), start=1):
        if later - earlier > longest:
            return stamps[:index]
    return stamps


def _counted_extent(video: OpenVideo) -> _Extent:
    """For streams without timestamps: as long as the frames in its packets, one in each."""
    rate = float(video.stream.guessed_rate or 25)
    frames = sum(not packet.is_corrupt for packet in video.all_packets())
    return _Extent(end=frames / rate - video.start, fps=rate)
