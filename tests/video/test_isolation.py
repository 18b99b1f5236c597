"""A decoder that may die: killed by time, by memory, by a signal; and back for the next file."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from tests.video.conftest import MakeVideo, numbers_of
from tests.video.zoo import with_sound

from prost.errors import ProstError, UsageError, VideoError
from prost.video import isolation
from prost.video.decode import decode_frames
from prost.video.fit import Fit
from prost.video.isolation import LEAST_MEMORY, IsolatedDecoder
from prost.video.probe import probe
from prost.video.reasons import Reason

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def decoder() -> Iterator[IsolatedDecoder]:
    with IsolatedDecoder(time_limit=30) as decoder:
        yield decoder


def child_of(decoder: IsolatedDecoder) -> int:
    """The process that works for the decoder."""
    assert decoder._child is not None
    return decoder._child._process.pid


def test_it_answers_as_the_functions_do(make_video: MakeVideo, decoder: IsolatedDecoder) -> None:
    made = make_video("a.mp4", 30)
    assert asdict(decoder.probe(made.path)) == asdict(probe(made.path))
    there, here = decoder.decode(made.path, [2.0, 0.1], 48), decode_frames(made.path, [2.0, 0.1], 48)
    np.testing.assert_array_equal(there.pixels, here.pixels)
    np.testing.assert_array_equal(there.times, here.times)
    there.pixels[0] = 0  # the caller's own, not a read-only view of a message


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_picture_becomes_square_as_in_this_process(
    make_video: MakeVideo, decoder: IsolatedDecoder, fit: Fit
) -> None:
    made = make_video(size=(96, 48))
    there = decoder.decode(made.path, [0.1], 32, fit=fit)
    assert np.array_equal(there.pixels, decode_frames(made.path, [0.1], 32, fit=fit).pixels)


@pytest.mark.parametrize("place", [0.0, 0.3, 1.0])
def test_a_tile_is_cut_as_in_this_process(
    make_video: MakeVideo, decoder: IsolatedDecoder, place: float
) -> None:
    made = make_video(size=(96, 48))
    there = decoder.decode(made.path, [0.1], 32, fit="tiles", place=place)
    assert np.array_equal(there.pixels, decode_frames(made.path, [0.1], 32, fit="tiles", place=place).pixels)
    with pytest.raises(UsageError, match="place -1"):
        decoder.decode(made.path, [0.1], 32, fit="tiles", place=-1)


def test_sound_is_told(make_video: MakeVideo, decoder: IsolatedDecoder, tmp_path: Path) -> None:
    with_sound(tmp_path / "loud.mp4", video_start=0.5)
    assert decoder.has_sound(tmp_path / "loud.mp4")
    assert not decoder.has_sound(make_video("silent.mp4").path)
    with pytest.raises(VideoError, match=Reason.GONE):
        decoder.has_sound(tmp_path / "none.mp4")


def test_one_child_serves_many_files(make_video: MakeVideo, decoder: IsolatedDecoder) -> None:
    first, second = make_video("a.mp4", 5), make_video("b.mkv", 7)
    decoder.probe(first.path)
    pid = child_of(decoder)
    assert decoder.probe(second.path).duration == pytest.approx(0.7)
    assert child_of(decoder) == pid != os.getpid()


def test_a_bad_file_is_a_reason_and_the_child_lives_on(
    make_video: MakeVideo, decoder: IsolatedDecoder, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    os.mkfifo(tmp_path / "pipe.mp4")
    decoder.probe(make_video().path)
    pid = child_of(decoder)
    for name, reason in (
        ("text.mp4", Reason.NOT_A_VIDEO),
        ("pipe.mp4", Reason.NOT_REGULAR),
        ("no", Reason.GONE),
    ):
        with pytest.raises(VideoError) as caught:
            decoder.decode(tmp_path / name, [0.0], 32)
        assert (caught.value.path, caught.value.reason) == (str(tmp_path / name), reason)
    assert child_of(decoder) == pid


def test_questions_without_an_answer_are_refused_before_they_are_asked(decoder: IsolatedDecoder) -> None:
    with pytest.raises(UsageError):
        decoder.decode("any.mp4", [], 32)


def test_relative_paths_are_those_of_the_caller(
    make_video: MakeVideo, decoder: IsolatedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_video("a.mp4", 5)
    decoder.probe(made.path)
    monkeypatch.chdir(made.path.parent)
    assert decoder.probe("a.mp4").path == "a.mp4"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_names_that_are_not_utf8_cross_the_pipe(make_video: MakeVideo, decoder: IsolatedDecoder) -> None:
    made = make_video("plain.mp4", 5)
    raw = os.fsencode(made.path.parent) + b"/caf\xe9.mp4"
    os.rename(made.path, raw)
    assert numbers_of(decoder.decode(os.fsdecode(raw), [0.25], 32).pixels) == [2]


def test_a_child_that_hangs_is_ended_and_replaced(make_video: MakeVideo) -> None:
    made = make_video("a.mp4", 5)
    with IsolatedDecoder(time_limit=0.5) as decoder:
        decoder.probe(made.path)
        hung = child_of(decoder)
        os.kill(hung, signal.SIGSTOP)
        with pytest.raises(VideoError) as caught:
            decoder.probe(made.path)
        assert caught.value.reason == Reason.TIMED_OUT
        with pytest.raises(ProcessLookupError):
            os.kill(hung, 0)
    with IsolatedDecoder(time_limit=30) as decoder:
        assert decoder.probe(made.path).duration == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("ending", "reason"), [(signal.SIGSEGV, Reason.CRASHED), (signal.SIGKILL, Reason.TOO_MUCH_MEMORY)]
)
def test_a_child_that_dies_at_work_is_a_reason_and_replaced(
    make_video: MakeVideo, decoder: IsolatedDecoder, ending: signal.Signals, reason: Reason
) -> None:
    made = make_video("a.mp4", 5)
    decoder.probe(made.path)
    pid = child_of(decoder)
    os.kill(pid, signal.SIGSTOP)  # so that it is surely at work when the signal comes

    def strike() -> None:
        os.kill(pid, ending)
        os.kill(pid, signal.SIGCONT)

    timer = threading.Timer(0.3, strike)
    timer.start()
    with pytest.raises(VideoError) as caught:
        decoder.decode(made.path, [0.0], 32)
    timer.join()
    assert caught.value.reason == reason
    assert decoder.probe(made.path).duration == pytest.approx(0.5)
    assert child_of(decoder) != pid


def test_a_child_that_dies_idle_is_nobodys_fault(make_video: MakeVideo, decoder: IsolatedDecoder) -> None:
    made = make_video("a.mp4", 5)
    decoder.probe(made.path)
    child = decoder._child
    assert child is not None
    child._process.kill()
    child._process.wait()
    assert decoder.probe(made.path).duration == pytest.approx(0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")
def test_a_file_that_needs_too_much_memory_is_a_reason(make_video: MakeVideo) -> None:
    small = make_video("small.mp4", 5)
    large = make_video("large.mov", 1, size=(16_384, 15_872), codec="png", pix_fmt="gray", paint=black)
    with IsolatedDecoder(memory_limit=LEAST_MEMORY) as decoder:
        assert decoder.probe(small.path).duration == pytest.approx(0.5)
        with pytest.raises(VideoError) as caught:
            decoder.probe(large.path)
        assert caught.value.reason == Reason.TOO_MUCH_MEMORY
        assert decoder.probe(small.path).duration == pytest.approx(0.5)


def black(number: int, width: int, height: int) -> np.ndarray:
    """One grey plane."""
    return np.zeros((height, width), dtype=np.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")
@pytest.mark.parametrize("hard_limit", [2 << 30, None])
def test_a_lower_limit_of_the_user_stays(make_video: MakeVideo, hard_limit: int | None) -> None:
    """As `ulimit -v` sets it: the child can lower it, and must not fail because it cannot raise it."""
    made = make_video("a.mp4", 5)
    program = (
        "import resource, sys\n"
        "from prost.video.isolation import IsolatedDecoder\n"
        "limit = int(sys.argv[2])\n"
        "if limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "with IsolatedDecoder() as decoder:\n"
        "    print(decoder.probe(sys.argv[1]).duration)\n"
        "    print(resource.prlimit(decoder._child._process.pid, resource.RLIMIT_AS)[0])\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(made.path), str(hard_limit or 0)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == ["0.5", str(hard_limit or 4 << 30)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked for a limit")
def test_a_refused_memory_limit_is_logged_once_and_decoding_goes_on(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A system that refuses the call, as some containers do: the child's `resource` module refuses here."""
    (tmp_path / "resource.py").write_text(
        "RLIMIT_AS, RLIM_INFINITY = 9, -1\n"
        "def getrlimit(kind): return -1, -1\n"
        "def setrlimit(kind, limits): raise ValueError('not allowed to lower the limit')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(isolation, "_warned", set())
    made = make_video("a.mp4", 5)
    for _ in range(2):
        with IsolatedDecoder() as decoder:
            assert decoder.probe(made.path).duration == pytest.approx(0.5)
    assert [record.message for record in caplog.records] == [
        "decoding runs without a memory limit: not allowed to lower the limit"
    ]


def framed(header: bytes) -> bytes:
    return len(header).to_bytes(4, "big") + header


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ((1 << 31).to_bytes(4, "big"), "a header of 2147483648 bytes"),
        (framed(b"hello"), "a header that cannot be read"),
        (framed(b"[]"), "a header that cannot be read"),
        (framed(b'{"payload_bytes": 99999999}'), "a payload of 99999999 bytes where at most 3080 were"),
        (framed(b'{"payload_bytes": -1}'), "a payload of -1 bytes"),
    ],
)
def test_a_child_that_answers_nonsense_is_ended(
    make_video: MakeVideo, decoder: IsolatedDecoder, message: bytes, complaint: str
) -> None:
    """The parent must not allocate whatever length the child names."""
    made = make_video("a.mp4", 5)
    decoder.probe(made.path)
    child, pid = decoder._child, child_of(decoder)
    assert child is not None
    os.kill(pid, signal.SIGSTOP)
    answers = child._process.stdout
    child._process.stdout = io.BytesIO(message)
    with pytest.raises(VideoError, match=complaint) as caught:
        decoder.decode(made.path, [0.0], 32)
    assert caught.value.reason == Reason.CRASHED
    assert answers is not None
    answers.close()
    assert decoder.probe(made.path).duration == pytest.approx(0.5)
    assert child_of(decoder) != pid


@pytest.mark.parametrize(
    "limits", [{"memory_limit": 1 << 20}, {"memory_limit": 0}, {"time_limit": 0}, {"time_limit": -1}]
)
def test_limits_under_which_nothing_works_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="limit"):
        IsolatedDecoder(**limits)


def test_a_child_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ProstError, match="the decoding process did not start"):
        IsolatedDecoder().probe(__file__)


def test_several_decoders_live_at_once(make_video: MakeVideo) -> None:
    videos = [make_video(f"{count}.mp4", count) for count in (5, 6, 7)]
    durations: dict[int, float] = {}

    def work(index: int) -> None:
        with IsolatedDecoder() as decoder:
            durations[index] = decoder.probe(videos[index].path).duration

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [durations[index] for index in range(3)] == pytest.approx([0.5, 0.6, 0.7])


class TestIdleChildren:
    def test_the_next_decoder_takes_the_child_of_a_closed_one(self, make_video: MakeVideo) -> None:
        made = make_video("a.mp4", 5)
        with IsolatedDecoder() as first:
            first.probe(made.path)
            pid = child_of(first)
        with IsolatedDecoder() as second, IsolatedDecoder() as third:
            assert second.probe(made.path).duration == pytest.approx(0.5)
            third.probe(made.path)
            assert child_of(second) == pid != child_of(third)

    def test_a_decoder_with_other_limits_does_not(self, make_video: MakeVideo) -> None:
        made = make_video("a.mp4", 5)
        with IsolatedDecoder() as first:
            first.probe(made.path)
            pid = child_of(first)
        with IsolatedDecoder(memory_limit=1 << 30) as second:
            second.probe(made.path)
            assert child_of(second) != pid

    def test_few_wait_and_not_for_long(self, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
        made = make_video("a.mp4", 5)
        decoders = [IsolatedDecoder() for _ in range(isolation.IDLE_CHILDREN + 1)]
        for decoder in decoders:
            decoder.probe(made.path)
        pids = [child_of(decoder) for decoder in decoders]
        for decoder in decoders[:-1]:
            decoder.close()
        assert all(map(runs, pids))
        monkeypatch.setattr(isolation, "IDLE_SECONDS", 0.1)
        decoders[-1].close()
        assert not runs(pids[0]) and runs(pids[1])
        end = time.monotonic() + 30
        while runs(pids[-1]) and time.monotonic() < end:
            time.sleep(0.05)
        assert [runs(pid) for pid in pids] == [False, True, False]
        isolation.end_idle_children()
        assert not any(map(runs, pids))

    def test_one_that_died_while_it_waited_is_not_taken(self, make_video: MakeVideo) -> None:
        made = make_video("a.mp4", 5)
        with IsolatedDecoder() as first:
            first.probe(made.path)
            child = first._child
        assert child is not None and child.alive
        child._process.kill()
        child._process.wait()
        with IsolatedDecoder() as second:
            assert second.probe(made.path).duration == pytest.approx(0.5)

    def test_one_that_was_interrupted_while_it_started_is_not_taken(
        self, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its first answer still is in the pipe."""

        made = make_video("a.mp4", 5)
        with IsolatedDecoder() as first, monkeypatch.context() as patch:
            patch.setattr(isolation.Child, "receive", interrupted)
            with pytest.raises(KeyboardInterrupt):
                first.probe(made.path)
        with IsolatedDecoder() as second:
            assert second.probe(made.path).duration == pytest.approx(0.5)

    def test_one_that_owes_an_answer_is_not_taken(
        self, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A second Ctrl-C can interrupt what the first one began: the decoder is closed with its child at work."""

        made, other = make_video("a.mp4", 5), make_video("b.mp4", 7)
        decoder = IsolatedDecoder()
        decoder.probe(made.path)
        pid = child_of(decoder)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(isolation.Child, "receive", interrupted)
            patch.setattr(decoder, "close", interrupted)
            decoder.probe(made.path)
        decoder.close()
        assert not runs(pid)
        with IsolatedDecoder() as second:
            assert second.probe(other.path).duration == pytest.approx(0.7)

    def test_where_no_thread_can_be_started_none_waits(
        self, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        decoder = IsolatedDecoder()
        decoder.probe(make_video("a.mp4", 5).path)
        pid = child_of(decoder)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Timer, "start", refused)
            decoder.close()
        assert not runs(pid)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
    def test_a_forked_process_leaves_them_alone(self, make_video: MakeVideo) -> None:
        script = (
            "import os, sys\n"
            "from prost.video.isolation import IsolatedDecoder\n"
            "def child():\n"
            "    with IsolatedDecoder() as decoder:\n"
            "        assert decoder.probe(sys.argv[1]).duration > 0\n"
            "        return decoder._child._process.pid\n"
            "first = child()\n"
            "pid = os.fork()\n"
            "if pid == 0:\n"
            "    os._exit(child() == first)\n"
            "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0\n"
            "assert child() == first\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(make_video("a.mp4", 5).path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_child_needs_neither_torch_nor_the_other_packages() -> None:
    modules = subprocess.run(
        [sys.executable, "-c", "import sys, prost.video.isolation; print(*sys.modules)"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"torch", "transformers", "lance", "pydantic", "typer", "numba", "obstore"} & set(modules)
    packages = {name.split(".")[1] for name in modules if name.startswith("prost.")}
    assert packages <= {"errors", "object_store", "places", "printable", "video"}
