"""Words in a video: the text tracks of the file, and subtitle files beside it.

FFmpeg splits both into cues; their bytes are decoded and freed of markup here, since FFmpeg's own subtitle decoders
drop text that is not UTF-8. Everything is bounded: subtitle files are as hostile as videos.
"""

from __future__ import annotations

import html
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard

from prost.errors import VideoError
from prost.object_store import is_remote
from prost.video.container import open_video
from prost.video.files import SeenFile
from prost.video.remote import bucket_of, modified_ns, place_of

# FFmpeg's names of the formats of subtitle files.
SIDECARS = {".srt": "srt", ".vtt": "webvtt", ".ass": "ass", ".ssa": "ass"}
TEXT_CODECS = ("subrip", "srt", "webvtt", "mov_text", "ass", "ssa", "text")

LARGEST_SIDECAR = 32 << 20
MOST_CUES = 50_000
MOST_CHARACTERS = 4 << 20
LONGEST_CUE = 2_000
# How long a cue stands that does not say it, seconds.
USUAL_CUE = 4.0

TOO_LARGE = "larger than 32 MiB"
TOO_MANY = "more words than are read of one video; the rest was left out"
UNREADABLE = "cannot be read as subtitles"

_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d+:[\d:.]+>")
_OVERRIDE = re.compile(r"\{\\[^}]*\}")
_DRAWING = re.compile(r"\\p[1-9]")


@dataclass(frozen=True, kw_only=True)
class Cue:
    """Words and when they are shown or spoken.

    Attributes:
        start: seconds on the player's clock.
        end: likewise.
        text: without markup, on one line.
        source: name of the subtitle file, or the number of the track in the video, with its language where it is known.
    """

    start: float
    end: float
    text: str
    source: str


def find_sidecars(videos: Sequence[str]) -> dict[str, list[SeenFile]]:
    """The subtitle files of some videos, by video, sorted by name.

    The subtitles of film.mp4 are film.srt, film.en.srt and film.en.forced.srt, also with .vtt, .ass or .ssa. If there
    is a video film.en.mp4 too, film.en.srt belongs to that one alone.

    Args:
        videos: absolute paths.
    """
    folders: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for video in videos:
        folder, name = os.path.split(video)
        folders[folder][os.path.splitext(name)[0]].append(video)
    found: dict[str, list[SeenFile]] = {video: [] for video in videos}
    for folder, stems in folders.items():
        for name, size, modified in _subtitle_files(folder):
            stem = os.path.splitext(name)[0]
            candidates = [stem.rsplit(".", parts)[0] for parts in range(3)]
            owner = next((each for each in candidates if each in stems), None)
            for video in stems[owner] if owner is not None else ():
                found[video].append(SeenFile(path=os.path.join(folder, name), size=size, modified=modified))
    return found


def _subtitle_files(folder: str) -> list[tuple[str, int, int]]:
    """Name, size and modification time of the subtitle files in a folder; none where it cannot be read."""
    if is_remote(folder):
        return sorted(
            (os.path.basename(found.name), found.size, modified_ns(found))
            for found in bucket_of(folder).directly_in(place_of(folder).name)
            if os.path.splitext(found.name)[1].lower() in SIDECARS
        )
    files = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if os.path.splitext(entry.name)[1].lower() in SIDECARS:
                    try:
                        status = entry.stat()
                    except OSError:  # a link that leads nowhere says nothing about the other files
                        continue
                    if stat.S_ISREG(status.st_mode):
                        files.append((entry.name, status.st_size, status.st_mtime_ns))
    except OSError:
        return []
    return sorted(files)


def read_words(
    path: str, sidecars: Sequence[str], on_packet: Callable[[int], None] | None = None
) -> tuple[list[Cue], list[str]]:
    """The cues of a video's text tracks and of its subtitle files, in the order of time, and what was left out.

    Subtitle files count time from the start of the film, as players take it; the times of tracks are those of the file.

    Args:
        path: the video; where it cannot be read, the subtitle files are read alone.
        sidecars: subtitle files.
        on_packet: called with the size of each packet that is read.
    """
    cues: list[Cue] = []
    notes: list[str] = []
    budget = _Budget()
    for sidecar in sidecars:
        name = os.path.basename(sidecar)
        try:
            if os.stat(sidecar).st_size > LARGEST_SIDECAR:
                notes.append(f"{name}: {TOO_LARGE}")
                continue
            format = SIDECARS[os.path.splitext(sidecar)[1].lower()]
            with av.open(
                str(Path(sidecar).absolute()), format=format, metadata_errors="replace"
            ) as container:
                cues += _cues(container, 0.0, lambda _, name=name: name, budget, on_packet)  # type: ignore[misc]
        except (OSError, ValueError, FFmpegError):
            notes.append(f"{name}: {UNREADABLE}")
    try:
        cues += _track_cues(path, budget, on_packet)
    except (OSError, ValueError, FFmpegError):
        notes.append(f"text tracks: {UNREADABLE}")
    if budget.exceeded:
        notes.append(TOO_MANY)
    return sorted(cues, key=lambda cue: (cue.start, cue.end)), notes


class _Budget:
    """How much is read of one video."""

    def __init__(self) -> None:
        self._cues, self._characters = MOST_CUES, MOST_CHARACTERS
        self.exceeded = False

    def spend(self, text: str) -> bool:
        """Whether one more cue fits."""
        self._cues -= 1
        self._characters -= len(text)
        self.exceeded |= self._cues < 0 or self._characters < 0
        return not self.exceeded


def _track_cues(path: str, budget: _Budget, on_packet: Callable[[int], None] | None) -> Iterator[Cue]:
    def name(index: int) -> str:
        language = container.streams[index].metadata.get("language", "")
        return f"track {index}" + (f" ({language})" if language not in ("", "und") else "")

    try:
        container = av.open(str(Path(path).absolute()), metadata_errors="replace")
    except (OSError, ValueError, FFmpegError):  # told where its pictures are read
        return
    with container:
        if not any(_is_text(container, stream.index) for stream in container.streams):
            return
        try:
            with open_video(path) as video:
                start = video.start
        except VideoError:  # likewise
            return
        yield from _cues(container, start, name, budget, on_packet)


def _is_text(container: InputContainer, index: int) -> bool:
    stream = container.streams[index]
    return stream.type == "subtitle" and stream.codec_context.name in TEXT_CODECS


def _cues(
    container: InputContainer,
    start: float,
    name: Callable[[int], str],
    budget: _Budget,
    on_packet: Callable[[int], None] | None,
) -> Iterator[Cue]:
    """The cues of all text tracks of a container whose player's clock begins at `start`."""
    streams = [stream for stream in container.streams if _is_text(container, stream.index)]
    for stream in container.streams:
        stream.discard = Discard.default if stream in streams else Discard.all
    names = {stream.index: name(stream.index) for stream in streams}
    codecs = {stream.index: stream.codec_context.name for stream in streams}
    packets = container.demux(*streams)
    while not budget.exceeded:
        try:
            packet = next(packets, None)
        except FFmpegError:
            return  # the data ends here: what came before is good
        if packet is None:
            return
        if on_packet is not None:
            on_packet(packet.size)
        if packet.pts is None or packet.time_base is None or not packet.size:
            continue
        begin = float(packet.pts * packet.time_base) - start
        end = begin + (float(packet.duration * packet.time_base) if packet.duration else USUAL_CUE)
        text = _plain(bytes(packet), codecs[packet.stream.index])
        if text and end > 0 and budget.spend(text):
            yield Cue(start=max(0.0, begin), end=end, text=text, source=names[packet.stream.index])


def _plain(data: bytes, codec: str) -> str:
    """The text of a cue without markup, on one line."""
    if codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    text = _decoded(data[: 4 * LONGEST_CUE])
    if codec in ("ass", "ssa"):
        text = text.split(",", 8)[-1]
        if _DRAWING.search(text):
            return ""
        text = text.replace("\\N", " ").replace("\\n", " ").replace("\\h", " ")
    text = _OVERRIDE.sub("", text)
    if codec not in ("ass", "ssa", "mov_text"):
        text = html.unescape(_TAG.sub("", text))
    return " ".join(text.replace("\0", " ").split())[:LONGEST_CUE]


def _decoded(data: bytes) -> str:
    """Text in UTF-8, in UTF-16 with a mark, or else in the code page of Windows for western Europe."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A cue that was cut off in the middle of a letter is UTF-8 all the same.
        if error.reason == "unexpected end of data":
            return data[: error.start].decode("utf-8-sig")
        return data.decode("cp1252", "replace")
