"""Decoding in a child process, so that a hang, a lack of memory or a crash does not end the program.

The child imports only FFmpeg and NumPy. Parent and child talk through pipes: a JSON header with its length in
front, then the raw bytes of the arrays. The parent unpickles nothing and reads no more bytes than it asked for.

This protects against damaged files, not against attackers: the child is no sandbox. A file made to exploit a
fault in FFmpeg runs code with the rights of the user, including their files and the network.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from prost.errors import ProstError, UsageError, VideoError
from prost.video.container import OpenVideo, open_video
from prost.video.decode import Frames, checked_times, sample_windows
from prost.video.fit import MIDDLE, Fit, checked_fit
from prost.video.probe import VideoInfo, describe, has_sound
from prost.video.reasons import Reason
from prost.video.remote import at_hand
from prost.video.subtitles import MOST_CHARACTERS, MOST_CUES, Cue, read_words

logger = logging.getLogger(__name__)

CHILD = "from prost.video.isolation import serve; serve()"

# Seconds until the child must have imported what it needs, on the slowest machine.
START_LIMIT = 60.0

# Children that wait without work, and for how many seconds: starting one takes nearly half a second.
IDLE_CHILDREN = 2
IDLE_SECONDS = 30.0

# Below this the decoder does not even load, and every file would seem broken.
LEAST_MEMORY = 384 << 20

# Each thread of a numeric library and each malloc arena reserves address space, which the limit counts.
FRUGAL = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}

# Seconds of video decoded, or bytes of packets read, after which a child reports that it moves forward.
REPORTED_SECONDS = 10.0
REPORTED_BYTES = 64 << 20

# Longer headers than this are nonsense, bytes. Times and pixels travel in the payload.
LONGEST_HEADER = 1 << 16

LONGEST_DETAIL = 1_000

# The words of a video are bounded where they are read: by characters, which JSON may escape, and by cues.
MOST_WORD_BYTES = 12 * MOST_CHARACTERS + 1_000 * MOST_CUES


def environment_of_child() -> dict[str, str]:
    """The environment of a process of ours that runs prost: frugal, and with the modules that this one finds."""
    return {**os.environ, **FRUGAL, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


class IsolatedDecoder:
    """`probe` and `decode_frames` in a child process, killed when it takes too long, replaced when it dies.

    The child starts with the first call. One decoder serves one thread at a time; several can live at once.

    Args:
        time_limit: seconds that one call may take or, where much has to be read for it, that each ten seconds of
            video or 64 MiB of the file may take.
        memory_limit: bytes of address space that the child may have; None for no limit. Only Linux
            enforces it.

    Raises:
        UsageError: a limit under which nothing could be decoded.
    """

    def __init__(self, time_limit: float = 60.0, memory_limit: int | None = 4 << 30) -> None:
        check_limits(time_limit, memory_limit)
        self.time_limit = time_limit
        self.memory_limit = memory_limit
        self._child: Child | None = None
        # The child waits for a new task.
        self._at_rest = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the child to whoever decodes next, or end it in the middle of its work; a later call takes another."""
        child, self._child = self._child, None
        if child is None:
            return
        if self._at_rest:
            leave_child(child)
        else:
            child.kill()

    def probe(self, path: str | os.PathLike[str]) -> VideoInfo:
        """As `prost.video.probe.probe`.

        Raises:
            VideoError: the file cannot be shown, or took too long, too much memory, or the decoder's life.
        """
        reply, _ = self._ask(os.fspath(path), {"task": "probe"}, 0)
        return info_of(os.fspath(path), reply)

    def has_sound(self, path: str | os.PathLike[str]) -> bool:
        """As `prost.video.probe.has_sound`, of a file.

        Raises:
            VideoError: the file cannot be shown, or took too long, too much memory, or the decoder's life.
        """
        reply, _ = self._ask(os.fspath(path), {"task": "sound"}, 0)
        return bool(reply["sound"])

    def decode(
        self,
        path: str | os.PathLike[str],
        times: Sequence[float] | np.ndarray,
        size: int,
        *,
        fit: Fit = "crop",
        place: float = MIDDLE,
    ) -> Frames:
        """As `prost.video.decode.decode_frames`.

        Raises:
            VideoError: the file cannot be shown, or took too long, too much memory, or the decoder's life.
            UsageError: times or a size that no decoder can answer, or an unknown fit or place.
        """
        wanted = checked_times(times, size)
        window = {"times": wanted.tolist(), "place": place}
        request = {"task": "decode", "windows": [window], "size": size, "fit": checked_fit(fit, place)}
        _, payload = self._ask(os.fspath(path), request, payload_bytes(len(wanted), size))
        return unpacked_frames(os.fspath(path), payload, len(wanted), size)

    def read_words(
        self, path: str | os.PathLike[str], sidecars: Sequence[str]
    ) -> tuple[list[Cue], list[str]]:
        """As `prost.video.subtitles.read_words`.

        Raises:
            VideoError: it took too long, too much memory, or the decoder's life.
        """
        with ExitStack() as copies:
            files = [copies.enter_context(at_hand(sidecar)) for sidecar in sidecars]
            request = {"task": "words", "sidecars": files}
            _, payload = self._ask(os.fspath(path), request, MOST_WORD_BYTES)
        answer = json.loads(payload)
        return [Cue(**cue) for cue in answer["cues"]], answer["notes"]

    def _ask(self, path: str, request: dict[str, Any], most: int) -> tuple[dict[str, Any], bytearray]:
        with at_hand(path) as file:
            return self._ask_of(path, file, request, most)

    def _ask_of(
        self, path: str, file: str, request: dict[str, Any], most: int
    ) -> tuple[dict[str, Any], bytearray]:
        """Ask the child about a file of this machine; errors name `path`."""
        if self._child is not None and not self._child.alive:
            self.close()
        if self._child is None:
            self._child = take_child(self.time_limit, self.memory_limit)
            self._child.start()
        self._at_rest = False
        try:
            # The child may have been started in another working directory.
            self._child.send({**request, "path": os.path.abspath(file)})
            reply, payload = self._child.receive(most, self.time_limit)
        except ChildDied as death:
            self.close()
            raise VideoError(path, death.reason, death.detail) from None
        except BaseException:
            # Interrupted in the middle of an answer: the pipe now holds half a message.
            self.close()
            raise
        # What a lack of memory left allocated must not count against the next file.
        self._at_rest = reply.get("reason") != Reason.TOO_MUCH_MEMORY
        if "reason" in reply:
            if not self._at_rest:
                self.close()
            raise VideoError(path, reply["reason"], reply["detail"])
        return reply, payload


def check_limits(time_limit: float, memory_limit: int | None) -> None:
    """Raise UsageError for limits under which nothing could be decoded."""
    if not time_limit > 0:
        raise UsageError(f"a time limit of {time_limit} s", "more than 0 s")
    if memory_limit is not None and memory_limit < LEAST_MEMORY:
        raise UsageError(f"a memory limit of {memory_limit} bytes", f"{LEAST_MEMORY} bytes or more")


class ChildDied(Exception):
    """The child ended, or was ended, before it answered."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail


class Child:
    """One decoding process and the pipes to it.

    Attributes:
        limits: what it was started with.

    Args:
        time_limit: seconds after which the child ends itself (at twice the limit) where its parent is gone.
        memory_limit: bytes of address space, or None.
    """

    def __init__(self, time_limit: float, memory_limit: int | None) -> None:
        self.limits = (time_limit, memory_limit)
        self._hello = {"time_limit": time_limit, "memory_limit": memory_limit}
        self._started = False
        self._timed_out = False
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=environment_of_child(),
        )

    def start(self) -> None:
        """Wait until the child is ready, unless it is.

        Raises:
            ProstError: it did not start.
        """
        if self._started:
            return
        try:
            self.send(self._hello)
            reply, _ = self.receive(0, START_LIMIT)
        except ChildDied as death:
            complaint = self._last_complaint()
            self.kill()
            raise ProstError(
                f"the decoding process did not start ({complaint or death.detail})",
                suggestion=f"{sys.executable} -c 'import prost.video'",
            ) from None
        self._started = True
        if reply["memory_limit_refused"]:
            _warn_once(f"decoding runs without a memory limit: {reply['memory_limit_refused']}")

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it runs and was not interrupted while it started."""
        return self._started and self.alive

    def send(self, request: dict[str, Any]) -> None:
        """Send a request; raises ChildDied where nobody can read it."""
        assert self._process.stdin is not None
        try:
            _send(self._process.stdin, request)
        except BrokenPipeError:
            raise self._death(0.0) from None

    def receive(self, most: int, time_limit: float) -> tuple[dict[str, Any], bytearray]:
        """The next answer.

        Args:
            most: the most bytes that the payload may have.
            time_limit: seconds that the child may take, or may go on without moving forward in the file; then it is
                killed.

        Returns:
            The header and the payload.

        Raises:
            ChildDied: the child died, was killed by the time limit, or sent something that is no answer.
        """
        while True:
            header, payload = self._receive_one(most, time_limit)
            if "moving" not in header:
                return header, payload

    def _receive_one(self, most: int, time_limit: float) -> tuple[dict[str, Any], bytearray]:
        assert self._process.stdout is not None
        watchdog = threading.Timer(time_limit, self._expire)
        watchdog.daemon = True
        watchdog.start()
        try:
            return _receive(self._process.stdout, LONGEST_HEADER, most)
        except EOFError:
            raise self._death(time_limit) from None
        except _Nonsense as nonsense:
            self._process.kill()
            raise ChildDied(Reason.CRASHED, f"the decoding process sent {nonsense}") from None
        finally:
            watchdog.cancel()

    def stop(self) -> None:
        """End the process; safe while another thread waits for an answer, which then raises ChildDied."""
        self._process.kill()

    def kill(self) -> None:
        """End the process and close the pipes."""
        self._process.kill()
        self._process.wait()
        self.close_pipes()

    def close_pipes(self) -> None:
        """Close this side of the pipes."""
        for pipe in (self._process.stdin, self._process.stdout, self._complaints):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a request that nobody will read
                    pipe.close()

    def _expire(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _death(self, time_limit: float) -> ChildDied:
        code = self._process.wait()
        if self._timed_out:
            return ChildDied(Reason.TIMED_OUT, f"{time_limit:g} s")
        if sys.platform != "win32" and code == -signal.SIGKILL:
            # Nobody here sent it: the system did, as it does when memory runs out.
            return ChildDied(Reason.TOO_MUCH_MEMORY, "ended by the system")
        if code < 0:
            return ChildDied(Reason.CRASHED, signal.strsignal(-code) or f"signal {-code}")
        return ChildDied(Reason.CRASHED, self._last_complaint())

    def _last_complaint(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


class _IdleChildren:
    """Children without work, for a while: the next decoder with their limits takes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timers: dict[Child, threading.Timer] = {}  # the one that has waited longest first

    def forget(self) -> None:
        """In a forked process: they belong to the one that started them, and must see when that one is gone."""
        for child in self._timers:
            child.close_pipes()
        self._lock = threading.Lock()
        self._timers = {}

    def take(self, time_limit: float, memory_limit: int | None) -> Child:
        """A child that waits, or else a new one."""
        limits = (time_limit, memory_limit)
        with self._lock:
            fitting = next((child for child in reversed(self._timers) if child.limits == limits), None)
            if fitting is not None:
                self._timers.pop(fitting).cancel()
        if fitting is not None:
            if fitting.alive:
                return fitting
            fitting.kill()
        return Child(time_limit, memory_limit)

    def leave(self, child: Child) -> None:
        """Let a child wait, unless it is not ready for another request; too many, and the first of them ends."""
        if not child.ready:
            child.kill()
            return
        timer = threading.Timer(IDLE_SECONDS, self._end, [child])
        timer.daemon = True
        with self._lock:
            self._timers[child] = timer
            surplus = list(self._timers)[:-IDLE_CHILDREN]
        try:
            timer.start()
        except RuntimeError:  # no thread can be started, as when Python is about to end
            surplus.append(child)
        for each in surplus:
            self._end(each)

    def end(self) -> None:
        """End all that wait."""
        with self._lock:
            waiting = list(self._timers)
        for child in waiting:
            self._end(child)

    def _end(self, child: Child) -> None:
        with self._lock:
            timer = self._timers.pop(child, None)
        if timer is not None:  # nobody has taken it
            timer.cancel()
            child.kill()


_idle = _IdleChildren()
take_child, leave_child, end_idle_children = _idle.take, _idle.leave, _idle.end
atexit.register(end_idle_children)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.forget)


_warned: set[str] = set()


def _warn_once(warning: str) -> None:
    if warning not in _warned:
        _warned.add(warning)
        logger.warning(warning)


# What the child does -------------------------------------------------------------------------------


def serve() -> None:
    """Answer requests from standard input until it closes: the whole life of a child."""
    # A library that prints must not print into an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    hello, _ = _receive(sys.stdin.buffer)
    _send(answers, {"memory_limit_refused": limit_memory(hello["memory_limit"])})
    conversation = _Conversation(sys.stdin.buffer, answers, hello["time_limit"])
    # Both ends say that the parent has closed the pipes or is gone.
    with suppress(EOFError, BrokenPipeError):
        while True:
            conversation.answer(conversation.next_request())


class _Conversation:
    """The child's side: requests in, answers out, and an alarm while it works.

    Should the parent die while the decoder hangs, nobody else would end this process: so the alarm does. It is
    off while the child waits for the parent, which may take as long as it likes.
    """

    def __init__(self, requests: IO[bytes], answers: IO[bytes], time_limit: float) -> None:
        self._requests, self._answers, self._time_limit = requests, answers, time_limit

    def next_request(self) -> dict[str, Any]:
        _arm_alarm(0)
        request, _ = _receive(self._requests)
        _arm_alarm(2 * self._time_limit)
        return request

    def send(self, header: dict[str, Any], *payload: np.ndarray) -> None:
        _arm_alarm(0)
        _send(self._answers, header, *payload)
        _arm_alarm(2 * self._time_limit)

    def answer(self, request: dict[str, Any]) -> None:
        with self._failures_told():
            if request["task"] == "words":
                self._send_words(request["path"], request["sidecars"])
                return
            answers: list[tuple[Any, ...]]
            with open_video(request["path"]) as video:
                progress = _Heartbeat(lambda: self.send({"moving": True}))
                video.on_picture, video.on_packet = progress.note_picture, progress.note_packet
                if request["task"] == "probe":
                    answers = [(_packed_info(describe(video)),)]
                elif request["task"] == "sound":
                    answers = [({"sound": has_sound(video)},)]
                elif request["task"] == "decode":
                    answers = list(_windows(video, request["windows"], request))
                else:
                    self.send({} if request["measured"] else _packed_info(describe(video)))
                    for window in _windows(video, self.next_request()["windows"], request):
                        self.send(*window)
                    answers = [({"done": True},)]
            # The last answer follows when the file is closed, because the caller may delete it then.
            for answer in answers:
                self.send(*answer)

    def _send_words(self, path: str, sidecars: Sequence[str]) -> None:
        progress = _Heartbeat(lambda: self.send({"moving": True}))
        cues, notes = read_words(path, sidecars, progress.note_packet)
        answer = json.dumps({"cues": [asdict(cue) for cue in cues], "notes": notes}).encode("ascii")
        self.send({}, np.frombuffer(answer, dtype=np.uint8))

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except VideoError as error:
            self.send(_packed_failure(error.reason, error.detail))
        except MemoryError:
            self.send(_packed_failure(Reason.TOO_MUCH_MEMORY, ""))
        except Exception as error:  # a bug of ours must not end the child, nor be taken for damage
            self.send(_packed_failure(Reason.OUR_ERROR, f"{type(error).__name__}: {error}"))


def _windows(
    video: OpenVideo, windows: list[dict[str, Any]], request: dict[str, Any]
) -> Iterator[tuple[Any, ...]]:
    """A header for each window, and its times and pixels if it could be read."""
    if not windows:
        return
    times = [np.array(window["times"]) for window in windows]
    places = [window["place"] for window in windows]
    for _, sampled in sample_windows(video, times, request["size"], fit=request["fit"], places=places):
        counted = {"decoded": video.decoded}
        if isinstance(sampled, VideoError):
            yield ({**_packed_failure(sampled.reason, sampled.detail), **counted},)
        else:
            yield counted, sampled.times, sampled.pixels


class _Heartbeat:
    """Calls `report` after every `REPORTED_SECONDS` of video and every `REPORTED_BYTES`, wherever in the file."""

    def __init__(self, report: Callable[[], None]) -> None:
        self._report = report
        self._last: float | None = None
        self._seconds, self._bytes = 0.0, 0

    def note_picture(self, time: float) -> None:
        # A jump is no progress, so one picture counts for a second at most.
        self._seconds += 0.0 if self._last is None else min(max(time - self._last, 0.0), 1.0)
        self._last = time
        self._report_if_due()

    def note_packet(self, size: int) -> None:
        self._bytes += size
        self._report_if_due()

    def _report_if_due(self) -> None:
        if self._seconds >= REPORTED_SECONDS or self._bytes >= REPORTED_BYTES:
            self._seconds, self._bytes = 0.0, 0
            self._report()


def _packed_failure(reason: str, detail: str) -> dict[str, Any]:
    return {"reason": reason, "detail": detail[:LONGEST_DETAIL]}


def _packed_info(info: VideoInfo) -> dict[str, Any]:
    packed = asdict(info)
    del packed["path"]
    return packed


def info_of(path: str, reply: dict[str, Any]) -> VideoInfo:
    """The VideoInfo that a child sent."""
    return VideoInfo(path=path, **reply)


def limit_memory(limit: int | None) -> str:
    """Limit this process's address space; returns why that was refused, else an empty text.

    Only on Linux: macOS refuses the call. A lower limit that the user has set stays.
    """
    if limit is None or sys.platform != "linux":
        return ""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _arm_alarm(seconds: float) -> None:
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


# The messages --------------------------------------------------------------------------------------


class _Nonsense(Exception):
    """Bytes that are no message."""


def payload_bytes(count: int, size: int) -> int:
    """Bytes of `count` frames and their times."""
    return count * (8 + size * size * 3)


def unpacked_frames(path: str, payload: bytearray, count: int, size: int) -> Frames:
    """The frames that a child sent; the caller may write to them.

    Raises:
        VideoError: the payload has another length.
    """
    if len(payload) != payload_bytes(count, size):
        detail = f"the decoding process sent {len(payload)} bytes for {count} frames"
        raise VideoError(path, Reason.CRASHED, detail)
    times = np.frombuffer(payload, dtype=np.float64, count=count)
    return Frames(
        np.frombuffer(payload, dtype=np.uint8, offset=8 * count).reshape(count, size, size, 3), times
    )


def _send(pipe: IO[bytes], header: dict[str, Any], *payload: np.ndarray) -> None:
    size = sum(part.nbytes for part in payload)
    # Names that are not UTF-8 travel as JSON escapes of their surrogates.
    text = json.dumps({**header, "payload_bytes": size}).encode("ascii")
    pipe.write(len(text).to_bytes(4, "big") + text)
    for part in payload:
        pipe.write(np.ascontiguousarray(part).data.cast("B"))
    pipe.flush()


def _receive(
    pipe: IO[bytes], longest_header: int = 1 << 32, most: int = 0
) -> tuple[dict[str, Any], bytearray]:
    """A header and its payload.

    Raises:
        EOFError: the other side is gone.
        _Nonsense: a header or a payload that is longer than allowed, or no header.
    """
    length = int.from_bytes(_read(pipe, 4), "big")
    if length > longest_header:
        raise _Nonsense(f"a header of {length} bytes")
    try:
        header = json.loads(_read(pipe, length))
        size = header.pop("payload_bytes")
    except (ValueError, AttributeError, KeyError, TypeError):
        raise _Nonsense("a header that cannot be read") from None
    if not isinstance(size, int) or not 0 <= size <= most:
        raise _Nonsense(f"a payload of {size} bytes where at most {most} were expected")
    return header, _read(pipe, size)


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
