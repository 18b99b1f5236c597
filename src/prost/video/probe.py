"""What a video file really holds: measured, where the header could lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise, takewhile
from statistics import median

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc
from av.video.stream import VideoStream

from prost.errors import VideoError
from prost.printable import counted
from prost.video.container import OpenVideo, open_video
from prost.video.display import Orientation, display_size
from prost.video.reasons import Reason

# A picture that stands longer at the end counts no longer than this, seconds: broken files claim hours.
LONGEST_LAST_FRAME = 10.0

# Fewer bytes a second than this is hardly a video: one wrong timestamp may have stretched it.
SPARSE_BYTES_PER_SECOND = 2_000

# The video ends where nothing new is shown for longer than this, seconds.
LONGEST_GAP = 3_600.0

# Transfer curves that want a screen of high dynamic range. The FFmpeg of PyAV's wheel has no filter that maps their
# tones (zscale, libplacebo), so colours come out pale.
HIGH_DYNAMIC_RANGE = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}

# A header may claim any frame rate; what lies outside is counted from the packets instead.
SANE_FPS = (0.01, 1000.0)


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A video, as a player would show it.

    Attributes:
        path: the file.
        duration: seconds on the player's clock until the end of the last frame; measured from the packets that
            are there, so a truncated file is as long as what is left of it. A picture that stands still at the
            end counts for ten seconds at most.
        fps: frames a second, to be shown to people; no sampling relies on it.
        width: pixels of the picture as shown, after rotation and with square pixels.
        height: likewise.
        codec: FFmpeg's name of the codec (`h264`).
        rotation: degrees clockwise by which the stored picture is turned: 0, 90, 180 or 270.
        start: start of the player's clock on the container's own clock, seconds; times elsewhere count from it.
        first_frame: seconds on the player's clock from which on there is a picture. More than 0 where the sound
            begins earlier, or where the beginning of the video is damaged; the first frame stands in until then.
        note: what of the file's material is left out, in words; empty where nothing is.
    """

    path: str
    duration: float
    fps: float
    width: int
    height: int
    codec: str
    rotation: int
    start: float
    first_frame: float = 0.0
    note: str = ""


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
    if video.container.format.name == "gif" and len(list(islice(video.all_packets(), 2))) < 2:
        raise VideoError(video.path, Reason.NOT_A_VIDEO, "a still picture")
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
        first_frame=video.first.time,
        note="; ".join(
            filter(
                None,
                (
                    extent.note,
                    _note_of_end(video),
                    _note_of_streams(video.other_streams),
                    _note_of_range(frame),
                ),
            )
        ),
    )


def has_sound(video: OpenVideo) -> bool:
    """Whether a video that is open has sound of a codec that is known."""
    return any(stream.codec_context is not None for stream in video.container.streams.audio)


def _note_of_end(video: OpenVideo) -> str:
    """Pictures that the index of an MP4 file promises behind its end: the file was cut short."""
    entries = getattr(video.stream, "index_entries", None)  # of recent versions of PyAV
    if not entries or "mp4" not in video.container.format.name.split(","):
        return ""
    missing = sum(
        1 for _ in takewhile(lambda entry: entry.pos + entry.size > video.container.size, reversed(entries))
    )
    pictures = counted(missing, "picture is", "pictures are")
    return f"the file ends early: {pictures} missing of {len(entries):,}" if missing else ""


def _note_of_streams(others: int) -> str:
    return f"{others} other video stream{'s are' if others > 1 else ' is'} left out" if others else ""


def _note_of_range(frame: VideoFrame) -> str:
    curve = HIGH_DYNAMIC_RANGE.get(int(frame.color_trc))
    return f"high dynamic range ({curve}) is shown without tone mapping" if curve else ""


@dataclass(frozen=True)
class _Extent:
    end: float
    fps: float
    note: str = ""


def _measure(video: OpenVideo) -> _Extent:
    """How far the packets reach. The claimed duration only says where to look for the last ones.

    A claim that is too long lands on the last keyframe there is, one that is too short before it; either way
    reading on to the end gives the truth. Where that finds nothing (the index speaks of data that is not
    there, or there is no claim) or something that is hard to believe, all packets are read; none is decoded.
    """
    if video.clock_may_restart:
        # No claim and no timestamp says how long joined parts are together.
        return _extent(video, video.scan().stamps) or _counted_extent(video)
    claimed = _claimed_duration(video)
    if claimed is not None and video.seek(max(0.0, claimed - 1.0)):
        extent = _extent(video, _stamps(video.packets()))
        if extent is not None and extent.end * SPARSE_BYTES_PER_SECOND <= video.container.size:
            return extent
    return _extent(video, _stamps(video.all_packets())) or _counted_extent(video)


def _stamps(packets: Iterable[Packet[VideoStream]]) -> Iterator[tuple[int, int]]:
    """Time and duration of every whole packet, ticks."""
    for packet in packets:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and not packet.is_corrupt and not packet.is_discard:
            yield stamp, packet.duration or 0


def _claimed_duration(video: OpenVideo) -> float | None:
    if video.stream.duration and video.stream.time_base:
        return float(video.stream.duration * video.stream.time_base)
    if video.container.duration:
        return video.container.duration / 1_000_000
    return None


def _extent(video: OpenVideo, packets: Iterable[tuple[int, int]]) -> _Extent | None:
    """End and frame rate by the packets' times and durations, ticks; None where no packet has a time."""
    time_base = video.stream.time_base
    if time_base is None or not video.has_clock:
        return None
    stamps = list(packets)
    if not stamps:
        return None
    stamps, note = _before_a_gap(sorted(stamps), time_base)
    first, (last, last_duration) = stamps[0][0], stamps[-1]
    steps = [later - earlier for (earlier, _), (later, _) in pairwise(stamps) if later > earlier]
    guessed = float(video.stream.guessed_rate or 0)
    # A usual step, since lost packets make long ones.
    step = float(median(steps) * time_base) if steps else 1 / guessed if guessed else 0.0
    fps = (len(stamps) - 1) / float((last - first) * time_base) if steps else guessed
    still = min(float(last_duration * time_base) or step, LONGEST_LAST_FRAME)
    end = float(last * time_base) - video.start + still
    return _Extent(end=end, fps=fps, note=note) if end > 0 else None


def _before_a_gap(stamps: list[tuple[int, int]], time_base: Fraction) -> tuple[list[tuple[int, int]], str]:
    """Sorted timestamps up to the first pause that is too long, and a note of what lies behind it."""
    for index, ((earlier, _), (later, _)) in enumerate(pairwise(stamps), start=1):
        pause = float((later - earlier) * time_base)
        if pause > LONGEST_GAP:
            note = f"{len(stamps) - index} frames after a pause of {pause / 3600:.1f} h are left out"
            return stamps[:index], note
    return stamps, ""


def _counted_extent(video: OpenVideo) -> _Extent:
    """For streams without usable timestamps: as long as the frames in its packets, one in each."""
    rate = float(video.stream.guessed_rate or 0)
    if not SANE_FPS[0] <= rate <= SANE_FPS[1]:
        rate = 25.0
    frames = sum(not packet.is_corrupt for packet in video.all_packets())
    return _Extent(end=video.first.time + max(1, frames) / rate, fps=rate)
