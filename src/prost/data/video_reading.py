"""Records to pixels: L frames of each video or clip, read in order by `prost.video.reader`.

There are two ways to choose the frames. `middles` takes the middles of L equal parts, as everywhere in prost. `authors`
takes the frames of the authors' code: one a second, then evenly down to L. Where a video is too short for L frames,
their code adds grey pictures; here the last frame is repeated, so published numbers that depend on short videos may
differ.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from prost.data.records import VideoRecord
from prost.errors import UsageError, VideoError
from prost.video.decode import Frames
from prost.video.probe import VideoInfo
from prost.video.reader import FailedWindow, ReadEnd, ReadRequest, ReadWindow, VideoReader
from prost.video.reasons import Reason
from prost.video.sampling import benchmark_times, sample_times

Sampling = Literal["middles", "authors"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The result of reading a record: its pixels, or the reason why there are none.

    Attributes:
        record: the record.
        pixels: uint8 `[L, R, R, 3]`, or None.
        times: of the frames `[L]`, seconds from the start of the file; None where there are no pixels.
        failure: the reason, or None.
    """

    record: VideoRecord
    pixels: npt.NDArray[np.uint8] | None = None
    times: npt.NDArray[np.float64] | None = None
    failure: VideoError | None = None


def frame_times(
    record: VideoRecord, info: VideoInfo, frames: int, sampling: Sampling
) -> npt.NDArray[np.float64]:
    """Times [L] of a record's frames, seconds from the start of its file.

    Raises:
        VideoError: the clip begins after the end of the file.
    """
    start, end = record.start or 0.0, min(record.end or info.duration, info.duration)
    if start >= info.duration:
        raise VideoError(
            info.path,
            Reason.BEYOND_END,
            f"it starts at {start:g} s of {info.duration:.1f} s ({record.video})",
        )
    if sampling == "middles":
        return sample_times(start, end, frames)
    times = benchmark_times(info.duration, frames, info.fps, record.start, record.end)
    return np.pad(times, (0, frames - len(times)), mode="edge")


def read_records(
    records: Iterable[VideoRecord],
    *,
    frames: int,
    size: int,
    sampling: Sampling = "middles",
    workers: int = 1,
    ahead: int = 16,
) -> Generator[Reading, None, None]:
    """Read records, each once, in order. Records of one file that follow each other are read in one pass.

    Args:
        records: taken one by one while the reading goes on.
        frames: L.
        size: R.
        sampling: how frames are chosen.
        workers: decoding processes.
        ahead: decoded videos of each process that may wait to be asked for.

    Raises:
        UsageError: an unknown sampling, or numbers below 1.
    """
    if sampling not in SAMPLINGS:
        raise UsageError(f"sampling {sampling!r}", " or ".join(SAMPLINGS))
    with VideoReader(size=size, workers=workers, ahead=ahead) as reader:
        for event in reader.read(_requests(records, frames, sampling)):
            if isinstance(event, VideoRecord):
                yield Reading(record=event, failure=VideoError(event.video, Reason.GONE))
                continue
            clips: _FileClips = event.request.key
            if isinstance(event, ReadWindow):
                yield from clips.readings(event.index, event.frames, None)
            elif isinstance(event, FailedWindow):
                yield from clips.readings(event.index, None, event.failure)
            else:
                yield from clips.rest(event)


def _requests(
    records: Iterable[VideoRecord], frames: int, sampling: Sampling
) -> Iterator[ReadRequest | VideoRecord]:
    """One request for neighbouring records of one file; a record without a file as it is."""
    for path, group in groupby(records, key=attrgetter("path")):
        if path is None:
            yield from group
            continue
        clips = _FileClips(records=list(group), frames=frames, sampling=sampling)
        yield ReadRequest(path=str(path), windows=clips.windows, key=clips)


@dataclass(kw_only=True)
class _FileClips:
    """The records of one request, and which of them is next.

    A record whose clip lies beyond the end of the file has no window, and does not hinder the others.
    """

    records: list[VideoRecord]
    frames: int
    sampling: Sampling
    beyond_end: dict[int, VideoError] = field(default_factory=dict)
    of_window: list[int] = field(default_factory=list)
    next: int = 0

    def windows(self, info: VideoInfo) -> list[npt.NDArray[np.float64]]:
        windows = []
        for place, record in enumerate(self.records):
            try:
                windows.append(frame_times(record, info, self.frames, self.sampling))
            except VideoError as failure:
                self.beyond_end[place] = failure
            else:
                self.of_window.append(place)
        return windows

    def readings(self, window: int, frames: Frames | None, failure: VideoError | None) -> Iterator[Reading]:
        """The reading of a window, after those of the records before it that have no window."""
        place = self.of_window[window]
        yield from self._without_window(place)
        yield Reading(
            record=self.records[place],
            pixels=None if frames is None else frames.pixels,
            times=None if frames is None else frames.times,
            failure=failure,
        )
        self.next = place + 1

    def rest(self, end: ReadEnd) -> Iterator[Reading]:
        """The readings of the records that had no window, or whose file could not be opened."""
        if self.of_window or self.beyond_end:
            yield from self._without_window(len(self.records))
        else:
            assert end.failure is not None
            for record in self.records:
                yield Reading(record=record, failure=end.failure)

    def _without_window(self, last: int) -> Iterator[Reading]:
        for place in range(self.next, last):
            yield Reading(record=self.records[place], failure=self.beyond_end[place])
        self.next = last
