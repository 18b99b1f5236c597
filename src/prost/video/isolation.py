"""Decoding in a child process that may hang, eat the memory or crash without taking the program along.

The child imports only FFmpeg and NumPy. Parent and child talk through pipes: a JSON header with its length in
front, then the raw bytes of the arrays. Nothing is unpickled: a hostile file that takes the child over still
cannot make the parent run code.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from prost.errors import ProstError, UsageError, VideoError
from prost.video.decode import Frames, checked_times, decode_frames
from prost.video.probe import VideoInfo, probe
from prost.video.reasons import Reason

CHILD = "from prost.video.isolation import serve; serve()"

# Seconds until the child must have imported what it needs, on the slowest machine.
START_LIMIT = 60.0

# Below this the decoder does not even load, and every file would seem broken.
LEAST_MEMORY = 384 << 20

# Each thread of a numeric library and each malloc arena reserves address space, which the limit counts.
FRUGAL = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


class IsolatedDecoder:
    """`probe` and `decode_frames` in a child process, killed when it takes too long, replaced when it dies.

    The child starts with the first call. One decoder serves one thread at a time; several can live at once.

    Args:
        time_limit: seconds that one call may take.
        memory_limit: bytes of address space that the child may have; None for no limit. Only Linux
            enforces it.

    Raises:
        UsageError: a limit under which nothing could be decoded.
    """

    def __init__(self, time_limit: float = 60.0, memory_limit: int | None = 4 << 30) -> None:
        if not time_limit > 0:
            raise UsageError(f"a time limit of {time_limit} s", "more than 0 s")
        if memory_limit is not None and memory_limit < LEAST_MEMORY:
            raise UsageError(f"a memory limit of {memory_limit} bytes", f"{LEAST_MEMORY} bytes or more")
        self.time_limit = time_limit
        self.memory_limit = memory_limit
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child; a later call would start another."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def probe(self, path: str | os.PathLike[str]) -> VideoInfo:
        """As `prost.video.probe.probe`.

        Raises:
            VideoError: the file cannot be shown, or took too long, too much memory, or the decoder's life.
        """
        reply, _ = self._ask(os.fspath(path), {"task": "probe"})
        return VideoInfo(path=os.fspath(path), **reply)

    def decode(self, path: str | os.PathLike[str], times: Sequence[float] | np.ndarray, size: int) -> Frames:
        """As `prost.video.decode.decode_frames`.

        Raises:
            VideoError: the file cannot be shown, or took too long, too much memory, or the decoder's life.
            UsageError: times or a size that no decoder can answer.
        """
        wanted = checked_times(times, size)
        reply, pixels = self._ask(os.fspath(path), {"task": "decode", "times": wanted.tolist(), "size": size})
        return Frames(pixels.reshape(len(wanted), size, size, 3), np.array(reply["times"]))

    def _ask(self, path: str, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
        if self._child is not None and not self._child.alive:
            self.close()
        if self._child is None:
            self._child = _Child(self.time_limit, self.memory_limit)
        try:
            # The child may have been started in another working directory.
            reply, payload = self._child.ask({**request, "path": os.path.abspath(path)}, self.time_limit)
        except _ChildDied as death:
            self.close()
            raise VideoError(path, death.reason, death.detail) from None
        except BaseException:
            # Interrupted in mid-answer: the pipe now holds half a message.
            self.close()
            raise
        if "reason" in reply:
            if reply["reason"] == Reason.TOO_MUCH_MEMORY:
                self.close()  # what the failed attempt left allocated must not count against the next file
            raise VideoError(path, reply["reason"], reply["detail"])
        return reply, payload


class _ChildDied(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail


class _Child:
    """One child process and the two pipes to it."""

    def __init__(self, time_limit: float, memory_limit: int | None) -> None:
        self._timed_out = False
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, **FRUGAL, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        )
        hello = {"time_limit": time_limit, "memory_limit": memory_limit}
        try:
            self.ask(hello, START_LIMIT)
        except _ChildDied as death:
            complaint = self._last_complaint()
            self.kill()
            raise ProstError(
                f"the decoding process did not start ({complaint or death.detail})",
                suggestion=f"{sys.executable} -c 'import prost.video'",
            ) from None

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], time_limit: float) -> tuple[dict[str, Any], np.ndarray]:
        """Send a request and wait for its answer, for `time_limit` seconds at most."""
        assert self._process.stdin is not None and self._process.stdout is not None
        watchdog = threading.Timer(time_limit, self._expire)
        watchdog.daemon = True
        watchdog.start()
        try:
            _send(self._process.stdin, request)
            return _receive(self._process.stdout)
        except (EOFError, BrokenPipeError):
            raise self._death(time_limit) from None
        finally:
            watchdog.cancel()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._complaints):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a request that nobody will read
                    pipe.close()

    def _expire(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _death(self, time_limit: float) -> _ChildDied:
        code = self._process.wait()
        if self._timed_out:
            return _ChildDied(Reason.TIMED_OUT, f"{time_limit:g} s")
        if sys.platform != "win32" and code == -signal.SIGKILL:
            # Nobody here sent it: the system did, as it does when memory runs out.
            return _ChildDied(Reason.TOO_MUCH_MEMORY, "ended by the system")
        if code < 0:
            return _ChildDied(Reason.CRASHED, signal.strsignal(-code) or f"signal {-code}")
        return _ChildDied(Reason.CRASHED, self._last_complaint())

    def _last_complaint(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def serve() -> None:
    """The child's life: answer requests from standard input until it closes."""
    requests = sys.stdin.buffer
    # A library that prints must not print into an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    hello, _ = _receive(requests)
    _limit_memory(hello["memory_limit"])
    _send(answers, {})
    while True:
        try:
            request, _ = _receive(requests)
        except EOFError:
            return
        _arm_alarm(hello["time_limit"])
        _send(answers, *_answer(request))
        _arm_alarm(0)


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
    path = request["path"]
    try:
        if request["task"] == "probe":
            info = asdict(probe(path))
            del info["path"]
            return info, None
        frames = decode_frames(path, request["times"], request["size"])
        return {"times": frames.times.tolist()}, frames.pixels
    except VideoError as error:
        return {"reason": error.reason, "detail": error.detail}, None
    except MemoryError:
        return {"reason": Reason.TOO_MUCH_MEMORY, "detail": ""}, None
    except Exception as error:
        return {"reason": Reason.CRASHED, "detail": f"{type(error).__name__}: {error}"}, None


def _limit_memory(limit: int | None) -> None:
    if limit is not None and sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _arm_alarm(seconds: float) -> None:
    """Should the parent die while the decoder hangs, nobody else would end this process."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, 2 * seconds)


def _send(pipe: IO[bytes], header: dict[str, Any], payload: np.ndarray | None = None) -> None:
    size = 0 if payload is None else payload.nbytes
    # Names that are not UTF-8 travel as JSON escapes of their surrogates.
    text = json.dumps({**header, "payload_bytes": size}).encode("ascii")
    pipe.write(len(text).to_bytes(4, "big") + text)
    if payload is not None:
        pipe.write(np.ascontiguousarray(payload).data.cast("B"))
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[dict[str, Any], np.ndarray]:
    """A header, and its payload as uint8 [bytes]; raises EOFError where the other side is gone."""
    header = json.loads(_read(pipe, int.from_bytes(_read(pipe, 4), "big")))
    payload = _read(pipe, header.pop("payload_bytes"))
    return header, np.frombuffer(payload, dtype=np.uint8)


def _read(pipe: IO[bytes], count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    filled = 0
    while filled < count:
        got = pipe.readinto(view[filled:])  # type: ignore[attr-defined]  # pipes are buffered readers
        if not got:
            raise EOFError
        filled += got
    return data
