"""Pictures of videos: the frame at a time, and the most telling frame of a moment."""

from __future__ import annotations

import asyncio
import io
import queue
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prost.apps.server.cache import DiskCache
from prost.apps.server.workers import Workers
from prost.search.records import VideoRow
from prost.video.fit import Fit
from prost.video.isolation import IsolatedDecoder
from prost.video.sampling import sample_times

DECODERS = 2
# Seconds that one picture may take.
TIME_LIMIT = 20.0
JPEG_QUALITY = 82
LONGEST_SIDE = 2048
# Frames of a moment that are compared, and of the whole video where all of those are dark.
CANDIDATES = 5
CANDIDATES_ELSEWHERE = 8
COMPARED_SIDE = 96
# Luminance from 0 to 255: below this mean, or this spread, a frame tells nothing.
DARK = 20.0
FLAT = 6.0


def telling(frame: NDArray[np.uint8]) -> float:
    """How much can be seen in a frame: 0 for a black or empty one, larger for light, contrast and sharp edges.

    Args:
        frame: RGB `[H, W, 3]`.
    """
    grey = frame.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    mean, contrast = float(grey.mean()), float(grey.std())
    light = min(1.0, max(0.0, (mean - DARK / 2) / DARK))
    edges = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    return light * (min(contrast, 60.0) / 60.0 + min(float(edges), 20.0) / 20.0)


def is_empty(frame: NDArray[np.uint8]) -> bool:
    """Whether a frame is black, or all of one brightness."""
    grey = frame.astype(np.float32).mean(axis=-1)
    return float(np.percentile(grey, 90)) < DARK or float(grey.std()) < FLAT


class Pictures:
    """Decodes pictures in a small pool of isolated decoders; equal requests that wait together are one.

    Args:
        cache: of pictures that were made already.
        most: pictures that may wait.
    """

    def __init__(self, cache: DiskCache, most: int) -> None:
        self._cache = cache
        self._workers = Workers("pictures", DECODERS, most)
        self._decoders: queue.SimpleQueue[IsolatedDecoder] = queue.SimpleQueue()
        for _ in range(DECODERS):
            self._decoders.put(IsolatedDecoder(time_limit=TIME_LIMIT))
        self._started: dict[str, asyncio.Future[bytes]] = {}

    async def at(self, identifier: str, row: VideoRow, time: float, height: int) -> bytes:
        """The frame that is shown at a time, as a JPEG; for errors see `IsolatedDecoder.decode`."""
        key = f"frame {identifier} {time:.3f} {height}"

        def draw(decoder: IsolatedDecoder) -> bytes:
            return _whole(decoder, row, time, height)

        return await self._made(key, draw)

    async def seen(
        self, identifier: str, row: VideoRow, time: float, side: int, fit: Fit, place: float
    ) -> bytes:
        """The frame at a time as the model sees it, a square, as a JPEG."""

        def draw(decoder: IsolatedDecoder) -> bytes:
            return _jpeg(decoder.decode(row.path, [time], side, fit=fit, place=place).pixels[0])

        return await self._made(f"seen {identifier} {time:.3f} {side} {fit} {place:g}", draw)

    async def of_moment(
        self, identifier: str, row: VideoRow, start: float, end: float, time: float | None, height: int
    ) -> bytes:
        """The most telling frame of a moment as a JPEG: at `time` if something can be seen there, never a black one.

        Where all of a moment is black, the rest of the video is looked at.
        """
        key = f"moment {identifier} {start:.3f} {end:.3f} {time} {height}"

        def draw(decoder: IsolatedDecoder) -> bytes:
            best = best_time(decoder, row, start, end, time)
            return _whole(decoder, row, best, height)

        return await self._made(key, draw)

    def close(self) -> None:
        """Close the decoders."""
        self._workers.close()
        while not self._decoders.empty():
            self._decoders.get().close()

    async def _made(self, key: str, draw: Callable[[IsolatedDecoder], bytes]) -> bytes:
        if (running := self._started.get(key)) is not None:
            return await asyncio.shield(running)
        task = asyncio.ensure_future(self._workers.run(lambda: self._draw(key, draw)))
        self._started[key] = task

        def done(task: asyncio.Future[bytes]) -> None:
            self._started.pop(key, None)
            if not task.cancelled():
                task.exception()  # all clients may have left, so that nobody else looks at it

        task.add_done_callback(done)
        return await asyncio.shield(task)

    def _draw(self, key: str, draw: Callable[[IsolatedDecoder], bytes]) -> bytes:
        known = self._cache.get(key)
        if known is not None:
            return known
        decoder = self._decoders.get()
        try:
            picture = draw(decoder)
        finally:
            self._decoders.put(decoder)
        self._cache.put(key, picture)
        return picture


def best_time(
    decoder: IsolatedDecoder, row: VideoRow, start: float, end: float, preferred: float | None
) -> float:
    """The time of the most telling frame of a moment; `preferred` if something can be seen there."""
    times = [*([] if preferred is None else [preferred]), *sample_times(start, end, CANDIDATES).tolist()]
    frames = decoder.decode(row.path, times, COMPARED_SIDE).pixels
    if preferred is not None and not is_empty(frames[0]):
        return preferred
    if all(map(is_empty, frames)) and row.duration:
        elsewhere = sample_times(0.0, row.duration, CANDIDATES_ELSEWHERE).tolist()
        others = decoder.decode(row.path, elsewhere, COMPARED_SIDE).pixels
        times, frames = [*times, *elsewhere], np.concatenate([frames, others])
    return times[int(np.argmax([telling(frame) for frame in frames]))]


def _whole(decoder: IsolatedDecoder, row: VideoRow, time: float, height: int) -> bytes:
    """The whole frame at a time in the shape of its video, as a JPEG."""
    width, video_height = row.width or 1, row.height or 1
    shown = max(1, min(round(height * width / video_height), LONGEST_SIDE))
    pixels = decoder.decode(row.path, [time], max(height, shown), fit="stretch").pixels[0]
    return _jpeg(pixels, (shown, height))


def _jpeg(pixels: NDArray[np.uint8], size: tuple[int, int] | None = None) -> bytes:
    content = io.BytesIO()
    picture = Image.fromarray(pixels)
    if size is not None and size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture.save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()
