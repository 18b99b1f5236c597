"""Files to requests of the reader: what a file is now, what its content is, and whether it must be decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prost.errors import VideoError
from prost.search.records import ClipSettings, VideoRow
from prost.video.files import SeenFile, content_hash, look_at
from prost.video.fit import MIDDLE, Fit, square_places
from prost.video.probe import VideoInfo
from prost.video.reader import ReadRequest
from prost.video.reasons import NOT_THE_FILES_FAULT
from prost.video.sampling import clip_windows, sample_times

STILL_BEING_WRITTEN = "still being written"


@dataclass(frozen=True, kw_only=True)
class KnownContent:
    """A file whose content needs no decoding: the library has it, or an earlier file of this run has."""

    file: SeenFile
    content: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A file that cannot be shown. `content` is None where it could not even be read."""

    file: SeenFile
    content: str | None
    reason: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class FileToRead:
    """The key of a request.

    Attributes:
        file: as it was seen before it was read.
        content: hash of its content.
    """

    file: SeenFile
    content: str


def expect_unchanged(file: SeenFile) -> None:
    """Check that a file is as it was seen.

    Raises:
        VideoError: it changed, or is gone.
    """
    if look_at(file.path) != file:
        raise VideoError(file.path, STILL_BEING_WRITTEN)


def refusal(file: SeenFile, content: str | None, error: VideoError) -> Refused:
    """A file that is broken, unless it changed meanwhile, or the reason is another: then it is tried again."""
    try:
        expect_unchanged(file)
    except VideoError as change:
        return Refused(file=file, content=None, reason=change.reason, detail=change.detail)
    if error.reason in NOT_THE_FILES_FAULT:
        content = None
    return Refused(file=file, content=content, reason=error.reason, detail=error.detail)


def requests(
    files: Iterable[SeenFile],
    known: Callable[[str], bool],
    settings: ClipSettings,
    frames: int,
    content_of: Callable[[str], str] = content_hash,
) -> Iterator[ReadRequest | KnownContent | Refused]:
    """What to read of some files; each content is read once. Hashing happens here, as the iterator advances.

    Args:
        files: in the order in which they are read.
        known: whether a content needs no decoding.
        settings: how videos are cut into clips.
        frames: L.
        content_of: hash of the content at a path; may raise VideoError.
    """
    started: set[str] = set()
    for file in files:
        content = None
        try:
            content = content_of(file.path)
            if content in started or known(content):
                expect_unchanged(file)
                yield KnownContent(file=file, content=content)
                continue
        except VideoError as error:
            yield refusal(file, content, error)
            continue
        started.add(content)
        yield request_for(FileToRead(file=file, content=content), settings, frames)


def request_for(read: FileToRead, settings: ClipSettings, frames: int) -> ReadRequest:
    """The request of all clips of a file, of L frames each."""

    def windows(info: VideoInfo) -> list[NDArray[np.float64]]:
        return [sample_times(*window, frames) for window in windows_of(info, settings)]

    return ReadRequest(path=read.file.path, windows=windows, key=read)


def windows_of(info: VideoInfo, settings: ClipSettings) -> list[tuple[float, float]]:
    """Start and end of the clips of a file, seconds."""
    return clip_windows(info.duration, settings.longest, settings.overlap, info.first_frame)


def places_of(video: VideoRow, fit: Fit) -> list[float]:
    """Where the squares of a video's pictures lie, each of which gave a clip for every window."""
    if video.width is None or video.height is None:  # only a video that was never indexed
        return [MIDDLE]
    return square_places(video.width, video.height, fit)
