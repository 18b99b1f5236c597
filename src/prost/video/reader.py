"""Many files, read ahead by several isolated processes: one pass over each file, frames in the order asked for.

A worker is a thread with a child process of its own. It takes the next request, has the child open and measure the
file, asks the request which windows it wants, and passes the windows on as the child completes them. The consumer
sees the files in the order of the requests, whichever is finished first.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from prost.errors import UsageError, VideoError
from prost.video.decode import Frames, checked_times
from prost.video.fit import MIDDLE, Fit, checked_fit, square_places
from prost.video.isolation import (
    Child,
    ChildDied,
    check_limits,
    info_of,
    leave_child,
    payload_bytes,
    take_child,
    unpacked_frames,
)
from prost.video.probe import VideoInfo
from prost.video.reasons import Reason
from prost.video.remote import at_hand

Item = TypeVar("Item")

# A file that has cost so many children in a row, or in all, is given up: its other windows fail without being tried,
# so that a hopeless file costs a few time limits and not one for each window.
LOSSES_IN_A_ROW = 3
LOSSES = 8

# Seconds that leaving the reader waits for a worker that is still inside the caller's iterable.
FAREWELL = 0.5


@dataclass(frozen=True, kw_only=True)
class ReadRequest:
    """A file and the windows wanted of it.

    Attributes:
        path: the file, or an address on an object store, of which a copy is read.
        windows: called once, in the parent process, when the file has been measured; returns the times [T] of each
            window, in seconds on the player's clock. May raise VideoError: then the file fails with it.
        key: anything; the events carry the request and so the key.
    """

    path: str
    windows: Callable[[VideoInfo], Sequence[npt.NDArray[np.float64]]]
    key: Any = None


@dataclass(frozen=True, kw_only=True)
class ReadWindow:
    """The frames of one window.

    Attributes:
        request: which file.
        info: what the file is.
        index: which of the request's windows.
        frames: its frames, in the order of its times.
        place: of the squares along the long side of the picture; with the fit `tiles`, a window comes once for each of
            `square_places`, in their order.
    """

    request: ReadRequest
    info: VideoInfo
    index: int
    frames: Frames
    place: float = MIDDLE


@dataclass(frozen=True, kw_only=True)
class FailedWindow:
    """One window that could not be read; the others of the file are not affected.

    Attributes:
        request: which file.
        info: what the file is.
        index: which of the request's windows.
        failure: why.
    """

    request: ReadRequest
    info: VideoInfo
    index: int
    failure: VideoError


@dataclass(frozen=True, kw_only=True)
class ReadEnd:
    """The last event of every request.

    Attributes:
        request: which file.
        info: what the file is; None where it could not be opened.
        windows: number of windows asked for, each counted once for each of its tiles.
        failed: number of them that could not be read.
        decoded: number of pictures that were decoded for all this; about the number of frames in the film where one
            pass was enough.
        failure: why the file as a whole could not be read: it could not be opened, or every window failed.
    """

    request: ReadRequest
    info: VideoInfo | None
    windows: int
    failed: int
    decoded: int
    failure: VideoError | None


Event = ReadWindow | FailedWindow | ReadEnd


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """One worker a core, less one core for the consumer; at least one."""
    return max(1, usable_cores() - 1)


class VideoReader:
    """Reads files ahead of the consumer; to be used in a `with` block.

    Leaving the block, or ending an iteration early, kills the children that are at work at once.

    Damage is confined: a window that is damaged, takes too long or takes too much memory costs that window, and a new
    child goes on with the next one. After three children lost in a row, or eight in all, a file is given up.

    Args:
        size: R, the side of the square frames in pixels.
        fit: how a picture becomes square.
        workers: decoding processes; None for `default_workers()`.
        ahead: windows of each worker that may wait, decoded, for the consumer.
        time_limit: seconds that a window may take or, where much has to be read for it, that each ten seconds of video
            or 64 MiB of the file may take. Waiting for the consumer does not count.
        memory_limit: bytes of address space of each process; None for no limit. Only Linux enforces it.

    Raises:
        UsageError: a size, a number or a limit with which nothing could be read, or an unknown fit.
    """

    def __init__(
        self,
        *,
        size: int,
        fit: Fit = "crop",
        workers: int | None = None,
        ahead: int = 16,
        time_limit: float = 60.0,
        memory_limit: int | None = 4 << 30,
    ) -> None:
        workers = default_workers() if workers is None else workers
        for number, what in (
            (size, "frame size"),
            (workers, "number of workers"),
            (ahead, "number of windows ahead"),
        ):
            if number < 1:
                raise UsageError(f"{what} {number}", "1 or more")
        check_limits(time_limit, memory_limit)
        self._shape = _Shape(size, checked_fit(fit))
        self._ahead, self._workers = ahead, workers
        self._time_limit = time_limit
        self._pool = _Pool(time_limit, memory_limit)
        self._run: _Run | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration in progress and the processes at work; up to two others wait for the next reader."""
        if self._run is not None:
            self._run.stop()
        self._pool.close()

    def read(self, requests: Iterable[ReadRequest | Item]) -> Iterator[Event | Item]:
        """What the requests give, in their order: for each its windows, then one `ReadEnd`.

        Args:
            requests: pulled lazily, one at a time, from the workers' threads. An item that is no ReadRequest is
                handed through in its place.

        Raises:
            UsageError: the reader is reading already, or a request asks for times that no decoder can answer.
            ProstError: no process could be started.
            Exception: whatever the iterable or a request's `windows` raises, in its place.
        """
        if self._run is not None:
            raise UsageError("a second iteration over one reader", "one at a time", "another reader")
        run = self._run = _Run(
            requests, self._pool, self._workers, self._ahead, self._shape, self._time_limit
        )
        try:
            yield from run.events()
        finally:
            run.stop()
            self._run = None


@dataclass(frozen=True)
class _Shape:
    """Side of the square frames, and how a picture becomes square."""

    size: int
    fit: Fit


@dataclass(frozen=True)
class _Wanted:
    """One of the windows that a child is asked for: which of the request's it is, its times, and its squares' place."""

    index: int
    times: npt.NDArray[np.float64]
    place: float


class _Pool:
    """Children of one reader; they outlive an iteration, so that the next one need not start them."""

    def __init__(self, time_limit: float, memory_limit: int | None) -> None:
        self._limits = (time_limit, memory_limit)
        self._idle: list[Child] = []
        self._lock = threading.Lock()

    def take(self) -> Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    return child
                child.kill()
        return take_child(*self._limits)

    def give_back(self, child: Child) -> None:
        with self._lock:
            self._idle.append(child)

    def close(self) -> None:
        with self._lock:
            while self._idle:
                leave_child(self._idle.pop())


class _Stopped(Exception):
    """The consumer is gone."""


class _Mark(Enum):
    END = auto()


@dataclass(frozen=True)
class _Raised:
    """An exception on its way to the consumer."""

    error: BaseException


# What happened for one item: events that take a worker's room, other things that do not, and the mark behind the last.
_Slot = queue.SimpleQueue[Any]


class _Run:
    """One iteration: the iterable, its items' slots in order, and the workers."""

    def __init__(
        self, items: Iterable[Any], pool: _Pool, workers: int, ahead: int, shape: _Shape, time_limit: float
    ) -> None:
        self._items = iter(items)
        self._pulling = threading.Lock()
        self._exhausted = False
        self._slots: queue.SimpleQueue[_Slot | _Mark] = queue.SimpleQueue()
        # Items that bring no frames must not be pulled without end either.
        self._room = threading.Semaphore(ahead * workers)
        self._stopped = threading.Event()
        self._workers = [_Worker(pool, ahead, shape, time_limit, self._stopped) for _ in range(workers)]
        self._threads = [
            threading.Thread(target=self._work, args=(worker,), name="prost-reading", daemon=True)
            for worker in self._workers
        ]

    def events(self) -> Iterator[Any]:
        for thread in self._threads:
            thread.start()
        while (slot := _next_of(self._slots)) is not _Mark.END:
            while (event := _next_of(slot)) is not _Mark.END:
                if isinstance(event, _Raised):
                    raise event.error
                if isinstance(event, _Roomy):
                    event.worker.room.release()
                    event = event.event
                yield event
            self._room.release()

    def stop(self) -> None:
        """End all work; waits for the threads, but not for one that is inside the caller's code."""
        self._stopped.set()
        for worker in self._workers:
            worker.stop()
        self._room.release(len(self._threads))
        deadline = time.monotonic() + FAREWELL
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, worker: _Worker) -> None:
        while (pulled := self._pull()) is not None:
            slot, item = pulled
            try:
                if isinstance(item, ReadRequest):
                    worker.read(item, slot)
                else:
                    slot.put(item)
            except _Stopped:
                return
            except BaseException as error:
                # Raised again where the events are consumed.
                slot.put(_Raised(error))
                return
            slot.put(_Mark.END)

    def _pull(self) -> tuple[_Slot, Any] | None:
        """The next item and its slot; None at the end."""
        self._room.acquire()
        with self._pulling:
            if self._exhausted or self._stopped.is_set():
                self._room.release()
                return None
            slot: _Slot = queue.SimpleQueue()
            try:
                item = next(self._items)
            except StopIteration:
                self._exhausted = True
                self._slots.put(_Mark.END)
                self._room.release()
                return None
            except BaseException as error:
                self._exhausted = True
                slot.put(_Raised(error))
                self._slots.put(slot)
                return None
            self._slots.put(slot)
            return slot, item


def _next_of(entries: queue.SimpleQueue[Any]) -> Any:
    """The next entry, waited for in short steps, since Windows delivers Ctrl-C only between them."""
    while True:
        with suppress(queue.Empty):
            return entries.get(timeout=0.2)


@dataclass(frozen=True)
class _Roomy:
    """An event that takes room until the consumer has it."""

    worker: _Worker
    event: Event


class _Worker:
    """Reads one request at a time with a child of its own.

    Attributes:
        room: how many more windows may wait for the consumer.
    """

    def __init__(
        self, pool: _Pool, ahead: int, shape: _Shape, time_limit: float, stopped: threading.Event
    ) -> None:
        self._pool, self._ahead, self._shape, self._time_limit = pool, ahead, shape, time_limit
        self._stopped = stopped
        self._lock = threading.Lock()
        self._child: Child | None = None
        # The child waits for a new task.
        self._at_rest = True
        # The file of this machine with the video that is read.
        self._file = ""
        self.room = threading.Semaphore(ahead)

    def stop(self) -> None:
        """End the child in the middle of its work; called from another thread."""
        with self._lock:
            if self._child is not None:
                self._child.stop()
        self.room.release(self._ahead)

    def read(self, request: ReadRequest, slot: _Slot) -> None:
        """Put all events of a request into its slot.

        Raises:
            _Stopped: the consumer is gone.
        """
        try:
            for event in self._events(request):
                if isinstance(event, ReadEnd):
                    slot.put(event)
                else:
                    self.room.acquire()
                    slot.put(_Roomy(self, event))
                if self._stopped.is_set():
                    raise _Stopped
        finally:
            self._release_child()

    def _events(self, request: ReadRequest) -> Iterator[Event]:
        with ExitStack() as copies:
            try:
                self._file = copies.enter_context(at_hand(request.path))
            except VideoError as failure:
                yield ReadEnd(request=request, info=None, windows=0, failed=0, decoded=0, failure=failure)
                return
            yield from self._events_of_file(request)

    def _events_of_file(self, request: ReadRequest) -> Iterator[Event]:
        info: VideoInfo | None = None
        try:
            info = info_of(request.path, self._open(request.path, measured=False))
            places = square_places(info.width, info.height, self._shape.fit)
            windows = [
                _Wanted(index, checked_times(times, self._shape.size), place)
                for index, times in enumerate(request.windows(info))
                for place in places
            ]
            self._tell_windows(windows, request.path)
        except VideoError as failure:
            yield ReadEnd(request=request, info=info, windows=0, failed=0, decoded=0, failure=failure)
            return
        failures: list[VideoError] = []
        decoded = before = lost = lost_in_a_row = 0
        talking = True
        for position, wanted in enumerate(windows):
            frames: Frames | VideoError
            try:
                if lost_in_a_row >= LOSSES_IN_A_ROW or lost >= LOSSES:
                    raise failures[-1]
                if not talking:
                    self._open(request.path, measured=True)
                    self._tell_windows(windows[position:], request.path)
                    talking, before = True, decoded
                frames, count = self._next_window(request.path, len(wanted.times))
                decoded, lost_in_a_row = before + count, 0
            except VideoError as failure:
                frames, talking = failure, False
                lost, lost_in_a_row = lost + 1, lost_in_a_row + 1
            if isinstance(frames, Frames):
                yield ReadWindow(
                    request=request, info=info, index=wanted.index, frames=frames, place=wanted.place
                )
            else:
                failures.append(frames)
                yield FailedWindow(request=request, info=info, index=wanted.index, failure=frames)
        if talking:
            with suppress(VideoError):  # all windows are here; a fault in closing the file changes nothing
                self._receive(request.path, 0)
                self._at_rest = True
        yield ReadEnd(
            request=request,
            info=info,
            windows=len(windows),
            failed=len(failures),
            decoded=decoded,
            failure=failures[0] if windows and len(failures) == len(windows) else None,
        )

    def _open(self, path: str, *, measured: bool) -> dict[str, Any]:
        """Have the child open a file and measure it, unless that is done already."""
        self._take_child()
        task = {
            "task": "read",
            "path": os.path.abspath(self._file),
            "size": self._shape.size,
            "fit": self._shape.fit,
            "measured": measured,
        }
        self._tell(task, path)
        return self._receive(path, 0)[0]

    def _tell_windows(self, windows: Sequence[_Wanted], path: str) -> None:
        listed = [{"times": window.times.tolist(), "place": window.place} for window in windows]
        self._tell({"windows": listed}, path)

    def _next_window(self, path: str, count: int) -> tuple[Frames | VideoError, int]:
        """The next window's frames, or why there are none, and how many pictures were decoded so far.

        Raises:
            VideoError: no other window will come.
        """
        header, payload = self._receive(path, payload_bytes(count, self._shape.size))
        if "reason" in header:
            return VideoError(path, header["reason"], header["detail"]), header["decoded"]
        return unpacked_frames(path, payload, count, self._shape.size), header["decoded"]

    def _tell(self, request: dict[str, Any], path: str) -> None:
        assert self._child is not None
        self._at_rest = False
        try:
            self._child.send(request)
        except ChildDied as death:
            raise self._failure(path, death) from None

    def _receive(self, path: str, most: int) -> tuple[dict[str, Any], bytearray]:
        """The child's next answer.

        Raises:
            VideoError: the child is gone, or has given up the file.
        """
        assert self._child is not None
        try:
            header, payload = self._child.receive(most, self._time_limit)
        except ChildDied as death:
            raise self._failure(path, death) from None
        if "reason" in header and "decoded" not in header:
            # What a lack of memory left allocated must not count against what comes next.
            self._at_rest = header["reason"] != Reason.TOO_MUCH_MEMORY
            self._release_child()
            raise VideoError(path, header["reason"], header["detail"])
        return header, payload

    def _failure(self, path: str, death: ChildDied) -> VideoError:
        self._release_child()
        if self._stopped.is_set():
            raise _Stopped
        return VideoError(path, death.reason, death.detail)

    def _take_child(self) -> None:
        with self._lock:
            if self._stopped.is_set():
                raise _Stopped
            self._child = self._pool.take()
        self._at_rest = False
        self._child.start()
        self._at_rest = True

    def _release_child(self) -> None:
        with self._lock:
            child, self._child = self._child, None
            if child is None:
                return
            if self._at_rest and child.alive and not self._stopped.is_set():
                self._pool.give_back(child)
            else:
                child.kill()
