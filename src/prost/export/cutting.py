"""Cutting a stretch out of a video file: the work of a child process that `prost.export.clips` starts.

The packets of the picture are copied where a keyframe lies near enough to the start; otherwise the frames are
decoded and encoded as H.264. The sound is copied or encoded as AAC. Both are placed by the player's clock.
"""

from __future__ import annotations

import errno
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from prost.errors import VideoError
from prost.video.container import OpenVideo, open_video
from prost.video.decode import SAME_TIME, frames_between
from prost.video.display import Orientation
from prost.video.isolation import limit_memory
from prost.video.reasons import Reason

COPY, ENCODE, AUTO = "copy", "encode", "auto"
NO_KEYFRAME = "no keyframe near enough to copy the packets"
CANNOT_BE_CUT = "the clip cannot be written"

# Codecs that players expect in MP4, and PyAV can copy into it.
COPIED_PICTURES = ("h264", "hevc", "av1", "mpeg4", "vp9")
COPIED_SOUNDS = ("aac", "mp3", "ac3", "eac3", "alac")

# What the system says when it does not let a file grow; reading a video never gives these.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

CLOCK = Fraction(1, 90_000)
# Quality of encoded pictures: visually lossless by x264's own scale.
CRF = "18"
# Sound that is off by less than this many seconds continues; more is a gap, or overlaps.
SOUND_JITTER = 0.005
# A copied stretch may need some more packets than were asked for; it is given up beyond so many seconds.
LONGEST_LOOK_AHEAD = 10.0
# No codec lets a picture follow more pictures in the file than these that are shown after it.
MOST_REORDERED = 16


class OutputRefused(Exception):
    """The system does not let the output be written.

    Args:
        number: the system's error number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, kw_only=True)
class CutRequest:
    """What to cut.

    Attributes:
        path: the video.
        output: an MP4 file to write.
        start: seconds on the player's clock.
        end: likewise.
        method: `copy` the packets, `encode` the frames, or `auto`: copy where that is exact enough.
        tolerance: how far the start and the end of copied packets may lie outside, seconds.
        most_height: pixels; taller pictures are scaled down when they are encoded. None keeps their size.
    """

    path: str
    output: str
    start: float
    end: float
    method: str
    tolerance: float
    most_height: int | None


@dataclass(frozen=True, kw_only=True)
class CutReport:
    """What was cut.

    Attributes:
        start: of the first picture, seconds on the player's clock.
        end: of the last picture, likewise.
        method: `copy` or `encode`.
        sound: whether there is sound.
    """

    start: float
    end: float
    method: str
    sound: bool


@dataclass(frozen=True, kw_only=True)
class _Copied:
    """Packets of the picture that can be decoded by themselves, in their order in the file, and their time."""

    packets: Sequence[Packet[VideoStream]]
    start: float
    end: float


def cut(request: CutRequest) -> CutReport:
    """Cut a stretch out of a video.

    Raises:
        VideoError: the video cannot be read there, or its packets cannot be copied as asked.
        OutputRefused: a full disk, no permission, or the like.
    """
    with open_video(request.path) as video:
        copied = None if request.method == ENCODE else _copyable(video, request)
        if copied is None and request.method == COPY:
            raise VideoError(request.path, NO_KEYFRAME, f"within {request.tolerance:g} s")
        # Sound is placed by the container's clock. Where that is spliced, the two no longer agree.
        start, end = (request.start, request.end) if copied is None else (copied.start, copied.end)
        try:
            with (
                av.open(request.output, "w", format="mp4", options={"movflags": "+faststart"}) as output,
                av.open(request.path, metadata_errors="replace") as source,
            ):
                if copied is None:
                    pictures, start, end = _encoded(video, output, start, end, request.most_height)
                else:
                    pictures = _restamped(video, output, copied)
                sound: list[Packet[Any]] = []
                if not video.spliced:
                    copy = copied is not None
                    sound = _sound(source, output, video.start + start, video.start + end, copy=copy)
                packets = [*pictures, *sound]
                for packet in sorted(packets, key=_decoding_time):
                    output.mux(packet)
        except FFmpegError as error:
            if error.errno in NO_ROOM:
                raise OutputRefused(error.errno) from None
            raise
    return CutReport(start=start, end=end, method=ENCODE if copied is None else COPY, sound=bool(sound))


def _decoding_time(packet: Packet[Any]) -> float:
    stamp = packet.dts if packet.dts is not None else packet.pts
    return float((stamp or 0) * packet.time_base)


# The picture ---------------------------------------------------------------------------------------


def _copyable(video: OpenVideo, request: CutRequest) -> _Copied | None:
    """The packets that show the stretch; None where they cannot be copied, or not exactly enough."""
    stream = video.stream
    if stream.codec_context.name not in COPIED_PICTURES or not video.has_clock or video.clock_may_restart:
        return None
    if stream.time_base is None or not video.seek(max(0.0, request.start)):
        return None
    base = stream.time_base
    first = math.floor((request.start + video.start + SAME_TIME) / base)
    last = math.ceil((request.end + video.start - SAME_TIME) / base) - 1
    packets: list[Packet[VideoStream]] = []
    later = 0  # packets in a row that are shown after everything that is needed
    latest = last
    for packet in video.packets():
        if packet.pts is None or packet.is_corrupt or packet.pts > last + LONGEST_LOOK_AHEAD / base:
            return None
        if packet.is_keyframe and packet.pts <= first:
            packets = []
        packets.append(packet)
        later = later + 1 if packet.pts > latest else 0
        if later > MOST_REORDERED:
            needed = packets[: _last_needed(packets, last) + 1]
            latest = max(each.pts or 0 for each in needed)
            if all((each.pts or 0) > latest for each in packets[-MOST_REORDERED:]):
                break
    if not packets or not packets[0].is_keyframe:
        return None
    needed = packets[: _last_needed(packets, last) + 1]
    origin = packets[0].pts or 0
    # Pictures before the keyframe that follow it in the file are built on what is left out.
    kept = [packet for packet in needed if (packet.pts or 0) >= origin]
    start = float(origin * base) - video.start
    end = _end_of(packets, needed, base) - video.start
    inside = (
        -SAME_TIME <= request.start - start <= request.tolerance and end - request.end <= request.tolerance
    )
    return _Copied(packets=kept, start=start, end=end) if inside else None


def _last_needed(packets: Sequence[Packet[VideoStream]], last: int) -> int:
    """Index of the last packet in the file's order without which a picture up to the time stamp `last` is missing.

    A packet that is needed may itself be shown later. Then the pictures shown before it are needed as well.
    """
    while True:
        index = max((place for place, packet in enumerate(packets) if (packet.pts or 0) <= last), default=0)
        latest = max(packet.pts or 0 for packet in packets[: index + 1])
        if latest <= last:
            return index
        last = latest


def _end_of(
    packets: Sequence[Packet[VideoStream]], needed: Sequence[Packet[VideoStream]], base: Fraction
) -> float:
    """When the last of the needed pictures ends, seconds on the container's clock."""
    latest = max(needed, key=lambda packet: packet.pts or 0)
    later = [packet.pts for packet in packets if packet.pts is not None and packet.pts > (latest.pts or 0)]
    stamp = min(later) if later else (latest.pts or 0) + (latest.duration or 0)
    return float(stamp * base)


def _restamped(video: OpenVideo, output: OutputContainer, copied: _Copied) -> list[Packet[Any]]:
    """The packets, with times that count from the first picture. Not every container stores decoding times."""
    stream = output.add_stream_from_template(video.stream)
    origin = copied.packets[0].pts or 0
    shown = [(packet.pts or 0) - origin for packet in copied.packets]
    decoded = sorted(shown)
    delay = max(late - stamp for late, stamp in zip(decoded, shown, strict=True))
    for packet, stamp, late in zip(copied.packets, shown, decoded, strict=True):
        packet.pts, packet.dts = stamp, late - delay
        packet.stream = stream
    return list(copied.packets)


def _encoded(
    video: OpenVideo, output: OutputContainer, start: float, end: float, most_height: int | None
) -> tuple[list[Packet[Any]], float, float]:
    """The frames of a stretch as packets of H.264, upright; and the stretch, cut to what the video holds."""
    start = max(0.0, start)
    packets: list[Packet[Any]] = []
    stream: VideoStream | None = None
    previous: VideoFrame | None = None
    for time, frame in frames_between(video, start, end):
        if previous is None and time > start:
            start = time  # nothing is shown before the first frame
        size = None if stream is None else (stream.width, stream.height)
        upright = _upright(frame, size, most_height)
        if stream is None:
            stream = _h264(video, output, upright, frame)
        upright.time_base = CLOCK
        upright.pts = max(0, round((time - start) / CLOCK))
        if previous is not None:
            assert previous.pts is not None
            if upright.pts <= previous.pts:
                continue
            previous.duration = upright.pts - previous.pts
            packets += stream.encode(previous)
        previous = upright
    assert stream is not None and previous is not None and previous.pts is not None
    length = _length_of_last(video, start + float(previous.pts * CLOCK), end)
    previous.duration = max(1, round(length / CLOCK))
    packets += stream.encode(previous)
    packets += stream.encode(None)
    return packets, start, start + float((previous.pts + previous.duration) * CLOCK)


def _length_of_last(video: OpenVideo, time: float, end: float) -> float:
    """How long the last frame stands: to the end of the stretch, or as one frame where the video ends earlier."""
    rate = video.stream.guessed_rate
    usual = float(1 / rate) if rate else 0.04
    known = float(video.container.duration or 0) / av.time_base
    video_end = max(time + usual, known) if known else time + usual
    return min(end, video_end) - time if end > time else usual


def _h264(video: OpenVideo, output: OutputContainer, upright: VideoFrame, stored: VideoFrame) -> VideoStream:
    rate = video.stream.guessed_rate or Fraction(25)
    stream = output.add_stream("libx264", rate=rate)
    stream.width, stream.height, stream.pix_fmt = upright.width, upright.height, "yuv420p"
    context = stream.codec_context
    context.time_base = CLOCK
    context.colorspace, context.color_range = upright.colorspace, upright.color_range
    aspect = video.stream.sample_aspect_ratio
    if aspect:
        context.sample_aspect_ratio = 1 / aspect if Orientation.of(stored).transposed else aspect
    stream.options = {"crf": CRF}
    return stream


def _upright(frame: VideoFrame, size: tuple[int, int] | None, most_height: int | None) -> VideoFrame:
    """A frame as it is shown, with 8 bits and an even width and height, as H.264 players expect."""
    orientation = Orientation.of(frame)
    shown_height = frame.width if orientation.transposed else frame.height
    scale = 1.0 if most_height is None else min(1.0, most_height / shown_height)
    width, height = (max(2, round(scale * side) // 2 * 2) for side in (frame.width, frame.height))
    if size is not None:
        width, height = reversed(size) if orientation.transposed else size
    plain = frame.reformat(width=width, height=height, format="yuv420p")
    if orientation == Orientation():
        # A copy without the side data, which would turn the picture again.
        turned = plain.to_ndarray()
    else:
        planes = plain.to_ndarray().reshape(-1)
        full, half = width * height, (width // 2) * (height // 2)
        shapes = ((0, height, width), (full, height // 2, width // 2), (full + half, height // 2, width // 2))
        parts = [planes[at : at + rows * columns].reshape(rows, columns) for at, rows, columns in shapes]
        if orientation.transposed:
            width, height = height, width
        turned = np.concatenate([np.ascontiguousarray(orientation.apply(part)).reshape(-1) for part in parts])
        turned = turned.reshape(height * 3 // 2, width)
    result = VideoFrame.from_ndarray(turned, format="yuv420p")
    result.colorspace, result.color_range = plain.colorspace, plain.color_range
    return result


# The sound -----------------------------------------------------------------------------------------


def _sound(
    source: InputContainer, output: OutputContainer, start: float, end: float, *, copy: bool
) -> list[Packet[Any]]:
    """Packets of the sound of a stretch; none where the file has no sound that can be decoded.

    Args:
        source: the file.
        output: gets a stream for them.
        start: seconds on the container's clock.
        end: likewise.
        copy: copy the packets where MP4 can hold them.
    """
    stream = source.streams.best("audio")
    if not isinstance(stream, AudioStream) or stream.time_base is None:
        return []
    try:
        # Decoders of sound need some packets before they give what was encoded.
        source.seek(max(stream.start_time or 0, int((start - 1.0) / stream.time_base)), stream=stream)
        if copy and stream.codec_context.name in COPIED_SOUNDS:
            return _copied_sound(source, stream, output, start, end)
        return _encoded_sound(source, stream, output, start, end)
    except (FFmpegError, OverflowError):
        return []


def _copied_sound(
    source: InputContainer, stream: AudioStream, output: OutputContainer, start: float, end: float
) -> list[Packet[Any]]:
    base = cast(Fraction, stream.time_base)
    origin = round(start / base)
    packets: list[Packet[Any]] = []
    for packet in source.demux(stream):
        if packet.pts is None or packet.pts < origin or not packet.size:
            continue
        if packet.pts * base >= end:
            break
        packets.append(packet)
    if packets:
        copied = output.add_stream_from_template(stream)
        for packet in packets:
            packet.pts = packet.dts = cast(int, packet.pts) - origin
            packet.stream = copied
    return packets


def _encoded_sound(
    source: InputContainer, stream: AudioStream, output: OutputContainer, start: float, end: float
) -> list[Packet[Any]]:
    rate = stream.rate
    layout = "mono" if stream.channels == 1 else "stereo"
    target: AudioStream | None = None
    packets: list[Packet[Any]] = []
    written = 0
    for samples in _samples(source, stream, layout, start, end):
        if target is None:
            target = output.add_stream("aac", rate=rate, layout=layout)
        frame = AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), written
        written += samples.shape[1]
        packets += target.encode(frame)
    return packets if target is None else [*packets, *target.encode(None)]


def _samples(
    source: InputContainer, stream: AudioStream, layout: str, start: float, end: float
) -> Iterator[np.ndarray]:
    """Sound from `start` to `end` without gaps, float32 `[channels, samples]`: silence stands where there is none."""
    rate = stream.rate
    total, written = round((end - start) * rate), 0
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    for time, samples in _decoded_sound(source, stream, resampler):
        place = round((time - start) * rate)
        if abs(place - written) < SOUND_JITTER * rate:
            place = written
        samples = samples[:, max(0, written - place) :]
        place = max(place, written)
        if place >= total:
            break
        if not samples.shape[1]:
            continue
        if place > written:
            yield np.zeros((samples.shape[0], place - written), dtype=np.float32)
        samples = samples[:, : total - place]
        yield np.ascontiguousarray(samples)
        written = place + samples.shape[1]


def _decoded_sound(
    source: InputContainer, stream: AudioStream, resampler: av.AudioResampler
) -> Iterator[tuple[float, np.ndarray]]:
    """Time on the container's clock and samples of each frame of sound; damaged packets are passed over."""
    for packet in source.demux(stream):
        try:
            frames = stream.codec_context.decode(packet)
        except (EOFError, FFmpegError):
            continue
        for frame in frames:
            if frame.pts is None or frame.time_base is None:
                continue
            time = float(frame.pts * frame.time_base)
            frame.pts = None  # the times are kept here
            for resampled in resampler.resample(frame):
                yield time, resampled.to_ndarray()


# The process ---------------------------------------------------------------------------------------


def serve() -> None:
    """Read a request from standard input, cut, and print what was done or why not: the whole life of a child."""
    asked = json.load(sys.stdin)
    limit_memory(asked.pop("memory_limit"))
    try:
        reply = asdict(cut(CutRequest(**asked)))
    except VideoError as error:
        reply = {"reason": error.reason, "detail": error.detail}
    except MemoryError as error:
        reply = {"reason": Reason.TOO_MUCH_MEMORY, "detail": str(error)}
    except OutputRefused as error:
        reply = {"refusal": error.number}
    except FFmpegError as error:
        reply = {"reason": CANNOT_BE_CUT, "detail": str(error)}
    sys.stdout.write(json.dumps(reply) + "\n")
