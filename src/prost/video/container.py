"""One open video file: its stream, its frames in order with their real times, and seeking.

The only file that talks to FFmpeg's demuxers and decoders. It treats every file as hostile: headers are
hints, a damaged packet costs its own frames only, and whatever FFmpeg raises becomes a `VideoError`.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from prost.errors import VideoError
from prost.video.avi_index import HIDDEN, misleading_index
from prost.video.joined_flv import inner_headers
from prost.video.patched_file import PatchedFile
from prost.video.reasons import Reason, reason_not_opened
from prost.video.signature import HEAD_BYTES, starts_like_video

# Decoding threads report damage late, so it would be charged to other frames than its own, and drop good frames
# at a damaged end; they also hold more frames in memory. Many files side by side use the cores as well.
DECODER_THREADS = 1

# FFmpeg gives up looking for the next packet after some tens of kilobytes without one, and may be asked again. Each
# attempt skips more bytes than this, so the number of attempts is limited by the size of the file.
SKIPPED_BYTES = 1_000

# FFmpeg's marks on formats without timestamps (raw streams), and on formats whose clock may restart in mid-file
# (transport and program streams). Live recordings in FLV do so as well.
AVFMT_NOTIMESTAMPS = 0x80
AVFMT_TS_DISCONT = 0x200
ALSO_RESTARTING = ("flv",)

# Steps of the decoding clock, in seconds, that are a restart or a pause of it and no property of the film. FFmpeg's
# own program draws the line at the same places.
LONGEST_STEP_BACK = 0.1
LONGEST_PAUSE = 10.0

# The picture may begin so many seconds after the sound. Less is not seen, more is a broken timestamp.
SHORTEST_DELAY = 0.1
LONGEST_DELAY = 3_600.0

# Files whose keyframes are remembered, so that several questions about one film read its packets once.
REMEMBERED_FILES = 8

# Brands of still pictures that lie in the same kind of file as MP4.
STILL_BRANDS = ("avif", "heic", "heix", "mif1")
ANIMATED_BRAND = "avis"

# Bytes: any packet of a file of this size has room in memory.
SURELY_FITS = 256 << 20

# Demuxers that read still pictures, text art, and lists of other files: FFmpeg would "play" them, nobody would call
# them videos.
OTHER_FORMATS = ("image2", "tty", "_pipe", "concat", "hls", "dash", "sdp")
# Errors of the system that FFmpeg passes on; to most other numbers it gives meanings of its own.
REFUSALS = frozenset((errno.EMFILE, errno.ENFILE, errno.ESTALE))


class Decoded(NamedTuple):
    """What the decoder gave at one moment.

    `time` is in seconds on the player's clock; `frame` is None where the data is damaged.
    """

    time: float
    frame: VideoFrame | None


class Shown(NamedTuple):
    """A clean frame and the time, in seconds on the player's clock, from which on it is shown."""

    time: float
    frame: VideoFrame


@dataclass(frozen=True)
class Keyframe:
    """A place in the file at which decoding can start.

    Attributes:
        stamp: its time on the spliced clock, ticks.
        position: its first byte.
        offset: what the spliced clock adds to the stream's own here, ticks.
    """

    stamp: int
    position: int
    offset: int


@dataclass(frozen=True)
class PacketScan:
    """What reading all packets of a file has told, without decoding any.

    Attributes:
        stamps: time on the spliced clock and duration of every whole packet, ticks, in their order in the file.
        keyframes: in ascending order of time.
    """

    stamps: list[tuple[int, int]]
    keyframes: list[Keyframe]


_scans: OrderedDict[tuple[str, int, int], PacketScan] = OrderedDict()


class _SplicedClock:
    """Makes a clock that restarts or pauses run on, by changing the packets' timestamps.

    Parts that were joined each bring a clock of their own; players play them one after the other.
    """

    def __init__(self, time_base: Fraction, offset: int) -> None:
        self.offset = offset
        self._longest_step_back = LONGEST_STEP_BACK / time_base
        self._longest_pause = LONGEST_PAUSE / time_base
        self._last: int | None = None
        self._step = 0

    def splice(self, packet: Packet[VideoStream]) -> None:
        # The decoding times ascend, whatever the order in which the pictures are shown.
        stamp = packet.dts if packet.dts is not None or self._last is not None else packet.pts
        if stamp is not None:
            if self._last is not None:
                step = stamp - self._last
                if step > self._longest_pause or step < -self._longest_step_back:
                    self.offset += self._step - step
                elif step > 0:
                    self._step = step
            self._last = stamp
        if self.offset:
            packet.pts = None if packet.pts is None else packet.pts + self.offset
            packet.dts = None if packet.dts is None else packet.dts + self.offset


def regular_file(path: str | os.PathLike[str]) -> os.stat_result:
    """The file's status; raises VideoError where there is no file to read.

    Pipes and devices are refused before they are opened: opening one can block for ever.
    """
    name = os.fspath(path)
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        raise VideoError(name, reason_not_opened(error), detail) from None
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(name, Reason.NOT_REGULAR)
    return status


@contextmanager
def open_video(path: str | os.PathLike[str]) -> Iterator[OpenVideo]:
    """The open video, closed at the end.

    Raises:
        VideoError: nothing in the file can be shown, or FFmpeg gave up while it was in use.
    """
    name = os.fspath(path)
    if regular_file(name).st_size == 0:
        raise VideoError(name, Reason.EMPTY)
    try:
        video = OpenVideo(name)
        try:
            yield video
        finally:
            video.close()
    except PermissionError as error:
        # FFmpeg's decoders say EPERM as well, of data that they refuse.
        refused_data = error.errno == errno.EPERM and os.access(name, os.R_OK)
        reason = Reason.NOTHING_DECODED if refused_data else Reason.NO_PERMISSION
        raise VideoError(name, reason, error.strerror or "") from None
    except FileNotFoundError:
        raise VideoError(name, Reason.GONE) from None
    except MemoryError as error:
        raise VideoError(name, Reason.TOO_MUCH_MEMORY, str(error)) from None
    except FFmpegError as error:
        reason = Reason.NOT_READ if getattr(error, "errno", None) in REFUSALS else Reason.NOTHING_DECODED
        raise VideoError(name, reason, str(error)) from None


class OpenVideo:
    """A video file, opened at its stream and decoded up to its first clean frame; `open_video` makes them.

    All times are seconds on the player's clock: it starts with the first sound or picture of the file. Among several
    video streams the default one is taken, then the largest; cover art is no video.

    Attributes:
        path: the file, as given.
        stream: PyAV's stream.
        start: the start of the player's clock on the container's own clock, seconds.
        first: the first clean frame.
        following: what the decoder gives after `first`, as long as `at_start` is True.
        at_start: nothing has moved the file since it was opened at its start, except for reading `following`.
        has_clock: False for raw streams without timestamps: their times are counted, they cannot be sought.
        decoded: number of pictures that the decoder has given so far.
        keyframe_spacing: the longest stretch known to lie between two keyframes, seconds.
        clock_may_restart: the format allows a clock that restarts; then the file's own clock is spliced, and
            seeking goes by the keyframes' places in the file.
        disorder: how often its timestamps stepped back so far.
        other_streams: number of other video streams, which are not shown.
        on_packet: called with the size of each packet that is read, bytes.
        on_picture: called with the time of each picture that the decoder gives.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.start = 0.0
        self.decoded = 0
        self.keyframe_spacing = 0.0
        self.on_packet: Callable[[int], None] | None = None
        self.on_picture: Callable[[float], None] | None = None
        self._last_keyframe: float | None = None
        self._encrypted = False
        self.disorder = _Disorder()
        self._open()
        format = self.container.format
        self.has_clock = not format.flags & AVFMT_NOTIMESTAMPS and self.stream.time_base is not None
        self.clock_may_restart = self.has_clock and (
            bool(format.flags & AVFMT_TS_DISCONT) or format.name in ALSO_RESTARTING
        )
        try:
            first, self.following = self._first_clean_frame()
            self.start = self._player_start(first.time)
            self.first = Shown(first.time - self.start, first.frame)
            self._last_keyframe = None  # noted before the start was known
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the frames already decoded stay good."""
        self.container.close()

    @property
    def spliced(self) -> bool:
        """Whether the times of the current position no longer are those of the container's clock, which restarted."""
        return self._offset != 0

    def rewind(self) -> None:
        """Go back to the start by opening the file anew: unlike seeking, that works in every format."""
        self.close()
        self._open()
        self.first, self.following = self._first_clean_frame()

    def all_packets(self) -> Iterator[Packet[VideoStream]]:
        """The stream's packets from the very first on."""
        self.close()
        self._open()
        self.at_start = False
        return self.packets()

    def _open(self) -> None:
        self.container = _open_container(self.path)
        try:
            self.stream, self.other_streams = _choose_stream(self.path, self.container)
        except VideoError:
            self.close()
            raise
        for stream in self.container.streams:
            stream.discard = Discard.default if stream.index == self.stream.index else Discard.all
        self.stream.thread_count = DECODER_THREADS
        self.at_start = True
        self._last_keyframe = None
        self._offset = 0

    def _player_start(self, first_frame: float) -> float:
        """Where a player's clock starts, given the first clean frame's time on the container's clock."""
        streams = (*self.container.streams.audio, self.stream) if self.has_clock else ()
        starts = [
            float(stream.start_time * stream.time_base)
            for stream in streams
            if stream.start_time is not None and stream.time_base
        ]
        start = min(starts, default=first_frame)
        return start if SHORTEST_DELAY <= first_frame - start <= LONGEST_DELAY else first_frame

    def _first_clean_frame(self) -> tuple[Shown, Iterator[Decoded]]:
        frames = self.frames()
        for time, frame in frames:
            if frame is not None:
                return Shown(time, frame), frames
            if self._encrypted:
                raise VideoError(self.path, Reason.ENCRYPTED)
        raise VideoError(self.path, Reason.NOTHING_DECODED)

    def keyframe_before(self, time: float) -> float | None:
        """The last keyframe at or before a time that the container's index knows; None where the index does not tell.

        Args:
            time: seconds on the player's clock.

        Returns:
            seconds on the player's clock.
        """
        if self.clock_may_restart or not self.has_clock:
            return None
        index = self.stream.index_entries
        stamp = round((time + self.start) / float(self._time_base))
        # An index that ends before the time, as in a file of fragments, says nothing about what lies between.
        if not len(index) or index[-1].timestamp < stamp:
            return None
        place = index.search_timestamp(stamp, backward=True)
        return None if place < 0 else float(index[place].timestamp * self._time_base) - self.start

    def scan(self) -> PacketScan:
        """Read all packets, or remember what an earlier scan of the unchanged file has told."""
        status = os.stat(self.path)
        key = (os.path.abspath(self.path), status.st_size, status.st_mtime_ns)
        if key not in _scans:
            _scans[key] = self._scan()
            if len(_scans) > REMEMBERED_FILES:
                _scans.popitem(last=False)
        _scans.move_to_end(key)
        return _scans[key]

    def _scan(self) -> PacketScan:
        stamps: list[tuple[int, int]] = []
        keyframes: list[Keyframe] = []
        for packet in self.all_packets():
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None or packet.is_corrupt or packet.is_discard:
                continue
            stamps.append((stamp, packet.duration or 0))
            if packet.is_keyframe and packet.pos is not None and packet.pos >= 0:
                keyframes.append(Keyframe(stamp, packet.pos, self._offset))
        return PacketScan(stamps, sorted(keyframes, key=lambda keyframe: keyframe.stamp))

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """The stream's packets from the current position on, as far as the file can be read."""
        clock = _SplicedClock(self._time_base, self._offset) if self.clock_may_restart else None
        for packet in self._demuxed():
            if self.on_packet is not None:
                self.on_packet(packet.size)
            if clock is not None:
                clock.splice(packet)
                self._offset = clock.offset
            yield packet

    @property
    def _time_base(self) -> Fraction:
        assert self.stream.time_base is not None
        return self.stream.time_base

    def _demuxed(self) -> Iterator[Packet[VideoStream]]:
        attempts = self.container.size // SKIPPED_BYTES + 2
        while attempts:
            try:
                for packet in self.container.demux(self.stream):
                    # An empty packet would tell the decoder that the stream is over.
                    if packet.size:
                        yield packet
                return
            except MemoryError:
                # A packet is no larger than its file: the size that a damaged header claims ends the data.
                if self.container.size > SURELY_FITS:
                    raise
                return
            except BlockingIOError:
                # A stretch without packets (lost sectors in a transport stream): go on after it.
                attempts -= 1
            except IndexError:
                # PyAV does not know a stream that begins later than it looked; its packets are not ours.
                continue
            except FFmpegError:
                # The data ends here (a truncated file): what came before is good.
                return

    def frames(self) -> Iterator[Decoded]:
        """Everything the decoder gives from the current position on, in its order, damage included."""
        decoder = self.stream.codec_context
        clock = _Clock(self)
        packets: Iterator[Packet[VideoStream] | None] = self.packets()
        draining = False
        while not draining:
            packet = next(packets, None)
            draining = packet is None
            if packet is not None and packet.has_sidedata("encryption_info"):
                # The decoder would show what it takes for a picture.
                self._encrypted = True
                yield Decoded(clock.of_packet(packet), None)
                continue
            try:
                pictures = decoder.decode(packet)
            except MemoryError:
                raise
            except EOFError:
                return
            except FFmpegError:
                yield Decoded(clock.of_packet(packet), None)
                continue
            for picture in pictures:
                self.decoded += 1
                time = clock.of_frame(picture)
                if time is None:
                    continue
                if picture.key_frame:
                    self._note_keyframe(time)
                if self.on_picture is not None:
                    self.on_picture(time)
                yield Decoded(time, None if picture.is_corrupt else picture)

    def _note_keyframe(self, time: float) -> None:
        if self._last_keyframe is not None:
            self.keyframe_spacing = max(self.keyframe_spacing, time - self._last_keyframe)
        self._last_keyframe = time

    def seek(self, time: float) -> bool:
        """Go to the last keyframe at or before `time`; False where the format cannot."""
        if not self.has_clock:
            return False
        ticks = int((self.start + time) / self._time_base)
        keyframe = None
        if self.clock_may_restart:
            keyframe = _last_before(self.scan().keyframes, ticks)
            if keyframe is None:
                return False
        self.at_start = False
        self._last_keyframe = None
        try:
            if keyframe is None:
                self.container.seek(ticks, stream=self.stream)
            else:
                self.container.seek(keyframe.position, unsupported_byte_offset=True)
                self._offset = keyframe.offset
        except (FFmpegError, OverflowError):
            return False
        return True


def _last_before(keyframes: list[Keyframe], ticks: int) -> Keyframe | None:
    place = bisect_right(keyframes, ticks, key=lambda keyframe: keyframe.stamp)
    return keyframes[place - 1] if place else None


@dataclass
class _Disorder:
    """How often the two kinds of timestamps stepped back so far."""

    shown: int = 0
    decoded: int = 0


class _Clock:
    """Gives every picture its time; counts where the stream says nothing.

    Some files store times in the order of decoding only (H.264 in AVI), and what FFmpeg makes of them for showing runs
    back and forth. The rule is that of FFmpeg's "best effort": whichever kind of timestamp has stepped back less often
    is taken.
    """

    def __init__(self, video: OpenVideo) -> None:
        self._video = video
        self._disorder = video.disorder
        self._time_base = video.stream.time_base if video.has_clock else None
        rate = video.stream.guessed_rate
        self._step = float(1 / rate) if rate else 0.04
        # In the container's clock: the video's start is only known once its first frame has a time.
        self._last = None if video.has_clock else -self._step
        self._last_shown: int | None = None
        self._last_decoded: int | None = None

    def of_frame(self, frame: VideoFrame) -> float | None:
        """Seconds on the player's clock; None for a frame that nothing places in time."""
        stamp = self._stamp(frame)
        if stamp is not None and self._time_base is not None:
            self._last = float(stamp * self._time_base)
        elif self._last is not None:
            self._last += self._step
        return None if self._last is None else self._last - self._video.start

    def _stamp(self, frame: VideoFrame) -> int | None:
        shown, decoded = frame.pts, frame.dts
        if shown is not None:
            self._disorder.shown += self._last_shown is not None and shown <= self._last_shown
            self._last_shown = shown
        if decoded is not None:
            self._disorder.decoded += self._last_decoded is not None and decoded <= self._last_decoded
            self._last_decoded = decoded
        if shown is not None and (decoded is None or self._disorder.shown <= self._disorder.decoded):
            return shown
        return decoded

    def of_packet(self, packet: Packet[VideoStream] | None) -> float:
        """The time at which a packet that could not be decoded would have been shown, as far as known."""
        if packet is None or packet.pts is None or self._time_base is None:
            return (self._last or 0.0) - self._video.start
        return float(packet.pts * self._time_base) - self._video.start


def _open_container(path: str) -> InputContainer:
    # An absolute path cannot be taken for a protocol ("concat:a.mp4|b.mp4" is a good file name).
    # What a playlist in disguise names is not fetched: FFmpeg lets local files open only local files.
    source = str(Path(path).absolute())
    try:
        container = av.open(source, mode="r", metadata_errors="replace")
        if (patched := _patched(path, container.format.name)) is not None:
            format = container.format.name
            container.close()
            container = av.open(patched, mode="r", metadata_errors="replace", format=format)
    except FileNotFoundError:
        if os.path.exists(path):
            raise VideoError(path, Reason.NOT_A_VIDEO, "a list of other files, which are gone") from None
        raise
    except (MemoryError, PermissionError):
        raise
    except (FFmpegError, ValueError) as error:
        if getattr(error, "errno", None) in REFUSALS:
            raise
        reason = Reason.INCOMPLETE if _starts_like_a_video(path) else Reason.NOT_A_VIDEO
        raise VideoError(path, reason, getattr(error, "strerror", None) or str(error)) from None
    if any(name in container.format.name for name in OTHER_FORMATS):
        container.close()
        raise VideoError(path, Reason.NOT_A_VIDEO, f"FFmpeg reads it as {container.format.name}")
    if container.metadata.get("major_brand", "").strip() in STILL_BRANDS:
        container.close()
        raise VideoError(path, Reason.NOT_A_VIDEO, "a still picture (AVIF or HEIF)")
    return container


def _patched(path: str, format: str) -> PatchedFile | None:
    """The file without what misleads FFmpeg; None where nothing does."""
    if format == "avi" and (index := misleading_index(path)) is not None:
        return PatchedFile(path, replaced={index: HIDDEN})
    if format == "flv" and (headers := inner_headers(path)):
        return PatchedFile(path, omitted=headers)
    return None


def _starts_like_a_video(path: str) -> bool:
    """Whether a file that does not open is a video that is not all there: still being copied, or never finished."""
    try:
        with open(path, "rb") as file:
            return starts_like_video(file.read(HEAD_BYTES))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise
        return False


def _choose_stream(path: str, container: InputContainer) -> tuple[VideoStream, int]:
    """The stream to be shown, and the number of other streams that could be shown."""
    moving = [
        stream
        for stream in container.streams.video
        if not stream.disposition & (Disposition.attached_pic | Disposition.still_image)
    ]
    if not moving:
        raise VideoError(path, Reason.NO_VIDEO_STREAM)
    known = [stream for stream in moving if stream.codec_context is not None]
    if not known:
        raise VideoError(path, Reason.UNKNOWN_CODEC)
    # The still picture of an animated AVIF is a stream of one frame, and the default one.
    animated = container.metadata.get("major_brand", "").strip() == ANIMATED_BRAND
    chosen = max(
        known,
        key=lambda stream: (
            stream.frames if animated else 0,
            bool(stream.disposition & Disposition.default),
            stream.width * stream.height,
            -stream.index,
        ),
    )
    return chosen, 0 if animated else len(known) - 1
