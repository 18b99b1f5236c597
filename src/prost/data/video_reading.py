"""Records to pixels: L frames of each video, decoded side by side in isolated processes, in order.

Two ways to choose the frames. `middles` takes the middles of L equal parts, as everywhere in prost. `authors` takes
the frames of the authors' code: one a second, then evenly down to L. Where a video is too short for L, their code
adds grey pictures; here its last frame is repeated, so published numbers that rest on short videos may differ.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from prost.data.records import VideoRecord
from prost.errors import UsageError, VideoError
from prost.video.isolation import IsolatedDecoder
from prost.video.probe import VideoInfo
from prost.video.reasons import Reason
from prost.video.sampling import benchmark_times, sample_times

Sampling = Literal["middles", "authors"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)


@dataclass(frozen=True)
class Reading:
    """What became of a record: pixels, or the reason why there are none.

    Attributes:
        record: which.
        pixels: uint8 `[L, R, R, 3]`, or None.
        failure: None, or why.
    """

    record: VideoRecord
    pixels: npt.NDArray[np.uint8] | None
    failure: VideoError | None


def frame_times(
    record: VideoRecord, info: VideoInfo, frames: int, sampling: Sampling
) -> npt.NDArray[np.float64]:
    """Times [L] of a record's frames, seconds from the start of its file.

    Raises:
        VideoError: the clip begins after the file has ended.
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


class VideoReader:
    """Reads records ahead of who asks for them; to be used in a `with` block.

    Args:
        frames: L.
        size: R.
        sampling: how frames are chosen.
        workers: decoding processes.
        ahead: videos that may wait, decoded, to be asked for.
        time_limit: seconds that the decoding of one video may take.

    Raises:
        UsageError: an unknown sampling, or fewer than one worker.
    """

    def __init__(
        self,
        frames: int,
        size: int,
        sampling: Sampling = "middles",
        workers: int = 1,
        ahead: int = 16,
        time_limit: float = 60.0,
    ) -> None:
        if sampling not in SAMPLINGS:
            raise UsageError(f"sampling {sampling!r}", " or ".join(SAMPLINGS))
        if workers < 1:
            raise UsageError(f"{workers} decoding processes", "1 or more")
        self.frames, self.size, self.sampling = frames, size, sampling
        self._ahead = max(ahead, workers)
        self._decoders = [IsolatedDecoder(time_limit) for _ in range(workers)]
        self._idle: queue.SimpleQueue[IsolatedDecoder] = queue.SimpleQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="prost-reading")
        self._known: dict[str, VideoInfo] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let what is being decoded end, and end the decoding processes."""
        self._threads.shutdown(cancel_futures=True)
        for decoder in self._decoders:
            decoder.close()

    def read(self, records: Iterable[VideoRecord]) -> Iterator[Reading]:
        """What becomes of each record, in order; a failure is told and stops nothing."""
        pending: deque[Future[Reading]] = deque()
        try:
            for record in records:
                pending.append(self._threads.submit(self._read, record))
                if len(pending) > self._ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _read(self, record: VideoRecord) -> Reading:
        if record.path is None:
            return Reading(record, None, VideoError(record.video, Reason.GONE))
        path = str(record.path)
        decoder = self._idle.get()
        try:
            # A file is measured once, whatever the number of its clips and of the epochs.
            info = self._known.get(path) or self._known.setdefault(path, decoder.probe(path))
            times = frame_times(record, info, self.frames, self.sampling)
            return Reading(record, decoder.decode(path, times, self.size).pixels, None)
        except VideoError as failure:
            return Reading(record, None, failure)
        finally:
            self._idle.put(decoder)


def read_records(
    records: Iterable[VideoRecord],
    *,
    frames: int,
    size: int,
    sampling: Sampling = "middles",
    workers: int = 1,
    ahead: int = 16,
) -> Generator[Reading, None, None]:
    """Read records, each once, in order.

    Args:
        records: what to read; they are taken one by one while the reading goes on.
        frames: L.
        size: R.
        sampling: how frames are chosen.
        workers: decoding processes.
        ahead: decoded videos that may wait to be asked for.
    """
    with VideoReader(frames, size, sampling, workers, ahead) as reader:
        yield from reader.read(records)
