"""Reading many files ahead: one pass a file, order kept, and every fault confined to its own window."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests.video.conftest import COUNTABLE, Made, MakeVideo, numbers_of
from tests.video.test_decode import damaged, scenery

from prost.errors import UsageError, VideoError
from prost.video import isolation
from prost.video import reader as reader_module
from prost.video.decode import REORDERED_WINDOWS, decode_frames
from prost.video.fit import Fit, square_places
from prost.video.isolation import LEAST_MEMORY, Child
from prost.video.probe import VideoInfo
from prost.video.reader import (
    FailedWindow,
    ReadEnd,
    ReadRequest,
    ReadWindow,
    VideoReader,
    default_workers,
)
from prost.video.reasons import Reason
from prost.video.sampling import clip_windows, sample_times

pytestmark = pytest.mark.timeout(120)

SIZE = 32


def clips(info: VideoInfo) -> list[np.ndarray]:
    return [sample_times(*window, 12) for window in clip_windows(info.duration)]


def at(*windows: list[float]) -> Callable[[VideoInfo], list[np.ndarray]]:
    return lambda info: [np.array(times) for times in windows]


def request(made: Made | Path, windows: Callable[[VideoInfo], list[np.ndarray]] = clips) -> ReadRequest:
    return ReadRequest(path=str(made.path if isinstance(made, Made) else made), windows=windows)


def summary(events: Iterator[Any]) -> list[str]:
    """A letter and an index for each event: w(indow), f(ailed), e(nd)."""
    letters = {ReadWindow: "w", FailedWindow: "f", ReadEnd: "e"}
    return [letters[type(event)] + str(getattr(event, "index", "")) for event in events]


@pytest.fixture
def reader() -> Iterator[VideoReader]:
    with VideoReader(size=SIZE, workers=2) as reader:
        yield reader


def test_windows_come_in_order_and_are_what_a_single_question_gives(
    make_video: MakeVideo, reader: VideoReader
) -> None:
    films = [make_video(f"{index}.mp4", 300 - 40 * index, b_frames=2 * index) for index in range(3)]
    events = list(reader.read(request(film) for film in films))
    assert [event.request.path for event in events] == sorted(event.request.path for event in events)
    for film in films:
        own = [event for event in events if event.request.path == str(film.path)]
        info, end = own[0].info, own[-1]
        assert isinstance(end, ReadEnd)
        assert (end.windows, end.failed, end.failure, end.info) == (len(clips(info)), 0, None, info)
        assert [event.index for event in own[:-1]] == list(range(len(clips(info))))
        for event, times in zip(own, clips(info), strict=False):
            single = decode_frames(film.path, times, SIZE)
            np.testing.assert_array_equal(event.frames.pixels, single.pixels)
            np.testing.assert_array_equal(event.frames.times, single.times)
            event.frames.pixels[0] = 0  # the consumer's own, not a read-only view


def test_other_items_are_handed_through_in_their_place(make_video: MakeVideo, reader: VideoReader) -> None:
    film = request(make_video("a.mp4", 20))
    assert [
        event if isinstance(event, str) else summary([event])[0]
        for event in reader.read(["before", film, "between", film, "after"])
    ] == ["before", "w0", "e", "between", "w0", "e", "after"]


def with_one_keyframe(make_video: MakeVideo) -> Path:
    return make_video("one_keyframe.mp4", 900, gop=10**6, options={"sc_threshold": "0"}).path


def avi_without_index(make_video: MakeVideo) -> Path:
    path = make_video("film.avi", 900, codec="mpeg4").path
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"idx1")])
    return path


def transport_stream(make_video: MakeVideo) -> Path:
    return make_video("film.ts", 900, gop=100).path


def raw_stream(make_video: MakeVideo) -> Path:
    sharp = {"qmin": "1", "qmax": "2"}
    made = make_video("film.m2v", 900, codec="mpeg2video", format="mpeg2video", fps=25, options=sharp)
    return made.path


def joined_parts(make_video: MakeVideo) -> Path:
    """216 frames make the numbers come round, so four of these look like one film."""
    part = make_video("part.ts", COUNTABLE, gop=24).path
    joined = part.with_name("joined.ts")
    joined.write_bytes(part.read_bytes() * 4)
    return joined


ONE_PASS = [joined_parts, raw_stream, with_one_keyframe, avi_without_index, transport_stream]


@pytest.mark.parametrize("film", ONE_PASS, ids=lambda film: film.__name__)
@pytest.mark.parametrize("frames", [3, 12])
def test_all_windows_of_a_film_take_one_pass(
    make_video: MakeVideo, film: Callable[[MakeVideo], Path], frames: int
) -> None:
    """About 900 frames; windows of 4 s, overlapping by a quarter."""
    path = film(make_video)

    def windows(info: VideoInfo) -> list[np.ndarray]:
        return [sample_times(*window, frames) for window in clip_windows(info.duration, longest=4.0)]

    with VideoReader(size=SIZE, workers=1) as reader:
        *read, end = reader.read([request(path, windows)])
    assert isinstance(end, ReadEnd)
    assert len(read) == end.windows >= 12
    assert end.decoded <= 1.05 * round(end.info.duration * end.info.fps)
    for event in read:
        assert isinstance(event, ReadWindow)
        assert numbers_of(event.frames.pixels) == [
            round(event.info.fps * t) % COUNTABLE for t in event.frames.times
        ]


def test_far_windows_are_sought(make_video: MakeVideo) -> None:
    film = make_video("film.mp4", 2000, gop=20)
    with VideoReader(size=SIZE, workers=1) as reader:
        *read, end = reader.read([request(film, at([0.55], [100.55], [199.55]))])
    assert [numbers_of(event.frames.pixels) for event in read] == [[5], [1005 % 216], [1995 % 216]]
    assert end.decoded < 200


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi"])
@pytest.mark.parametrize(("gop", "most"), [(1, 2.0), (5, 5.0), (1000, 10.0)])
def test_frequent_keyframes_are_sought(make_video: MakeVideo, name: str, gop: int, most: float) -> None:
    """One frame a second of ten: with a keyframe twice a second fewer than half of the frames are decoded."""
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    film = make_video(name, 300, gop=gop, codec=codec, options={"qscale": "2"} if codec == "mpeg4" else {})
    asked = list(np.arange(0.05, 30, 1.0))
    with VideoReader(size=SIZE, workers=1) as reader:
        (event, end) = reader.read([request(film, at(asked))])
    assert numbers_of(event.frames.pixels) == [round(10 * time - 0.5) % COUNTABLE for time in asked]
    # One frame beyond each time tells that the one before it is shown then. The probe decodes the first frame as well.
    assert end.decoded <= most * len(asked) + 15


def test_windows_in_any_order_come_back_in_that_order(make_video: MakeVideo, reader: VideoReader) -> None:
    film = make_video("film.mp4", 200)
    order = np.random.default_rng(0).permutation(2 * REORDERED_WINDOWS + 9)
    wanted = [[place / 10, 19.0 - place / 10] for place in order]
    *read, _ = reader.read([request(film, at(*wanted))])
    assert [event.index for event in read] == list(range(len(wanted)))
    np.testing.assert_allclose([event.frames.times for event in read], wanted, atol=1e-6)


def test_damage_costs_its_own_windows_only(make_video: MakeVideo, reader: VideoReader) -> None:
    film = damaged(make_video("a.mp4", 60, gop=10, paint=scenery), 20, 39)
    events = list(reader.read([request(film, at([1.05], [2.55, 3.05], [4.05]))]))
    assert summary(events) == ["w0", "f1", "w2", "e"]
    assert events[1].failure.reason == Reason.DAMAGED_HERE
    assert (events[3].windows, events[3].failed, events[3].failure) == (3, 1, None)


def test_a_file_whose_every_window_fails_fails(make_video: MakeVideo, reader: VideoReader) -> None:
    film = damaged(make_video("a.mp4", 60, gop=10, paint=scenery), 20, 39)
    *_, end = reader.read([request(film, at([2.55], [3.05]))])
    assert (end.failed, end.failure.reason) == (2, Reason.DAMAGED_HERE)


def test_files_that_cannot_be_opened_end_with_their_reason(
    make_video: MakeVideo, reader: VideoReader, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    good = make_video("good.mp4", 10)
    events = list(
        reader.read([request(tmp_path / "text.mp4"), request(tmp_path / "gone.mp4"), request(good)])
    )
    assert summary(events) == ["e", "e", "w0", "e"]
    assert [events[0].failure.reason, events[1].failure.reason] == [Reason.NOT_A_VIDEO, Reason.GONE]
    assert (events[0].info, events[0].windows) == (None, 0)


def test_windows_may_refuse_a_file_or_want_nothing(make_video: MakeVideo, reader: VideoReader) -> None:
    film = make_video("a.mp4", 10)

    def refuse(info: VideoInfo) -> list[np.ndarray]:
        raise VideoError(info.path, Reason.BEYOND_END)

    refused, nothing, window, end = reader.read([request(film, refuse), request(film, at()), request(film)])
    assert refused.failure.reason == Reason.BEYOND_END
    assert refused.info.duration == pytest.approx(1.0)
    assert (nothing.windows, nothing.failure) == (0, None)
    assert summary([window, end]) == ["w0", "e"]


def test_other_errors_reach_the_consumer_in_their_place(make_video: MakeVideo, reader: VideoReader) -> None:
    film = make_video("a.mp4", 10)

    def broken(info: VideoInfo) -> list[np.ndarray]:
        raise ZeroDivisionError("in windows")

    def stops() -> Iterator[ReadRequest]:
        yield request(film)
        raise ZeroDivisionError("in the iterable")

    for requests, place in (
        ([request(film), request(film, broken), request(film)], "in windows"),
        (stops(), "in the iterable"),
    ):
        seen = []
        with pytest.raises(ZeroDivisionError, match=place):
            for event in reader.read(requests):
                seen.append(event)
        assert summary(seen) == ["w0", "e"]
    with pytest.raises(UsageError, match="finite"):
        list(reader.read([request(film, at([np.nan]))]))
    assert summary(reader.read([request(film)])) == ["w0", "e"]


def test_a_window_that_takes_too_long_costs_that_window(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_children(monkeypatch, times=1)
    film = make_video("a.mp4", 60)
    with VideoReader(size=SIZE, workers=1, time_limit=1.0) as reader:
        events = list(reader.read([request(film, at([1.05], [2.05], [3.05]))]))
    assert summary(events) == ["f0", "w1", "w2", "e"]
    assert events[0].failure.reason == Reason.TIMED_OUT
    assert numbers_of(np.concatenate([event.frames.pixels for event in events[1:3]])) == [20, 30]


def test_a_hopeless_file_is_given_up(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = stop_children(monkeypatch, times=100)
    film = make_video("a.mp4", 60)
    with VideoReader(size=SIZE, workers=1, time_limit=0.5) as reader:
        events = list(reader.read([request(film, at(*([1.0] for _ in range(40))))]))
    assert summary(events) == [*(f"f{index}" for index in range(40)), "e"]
    assert len(stopped) == reader_module.LOSSES_IN_A_ROW
    assert events[-1].failure.reason == Reason.TIMED_OUT


def stop_children(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Stop the next children, as if they hung, when they are asked for windows; returns their process ids."""
    send, stopped = Child.send, list[int]()

    def stop_and_send(child: Child, message: dict[str, Any]) -> None:
        if "windows" in message and len(stopped) < times:
            stopped.append(child._process.pid)
            os.kill(child._process.pid, signal.SIGSTOP)
        send(child, message)

    monkeypatch.setattr(Child, "send", stop_and_send)
    return stopped


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")
def test_a_window_that_takes_too_much_memory_costs_that_window(tmp_path: Path) -> None:
    """The picture at five seconds is too large to be decoded."""
    path = tmp_path / "grows.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for second in range(10):
            encoded = io.BytesIO()
            Image.new("RGB", (16_000, 16_000) if second == 5 else (64, 48)).save(encoded, "jpeg")
            packet = av.Packet(encoded.getvalue())
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1), second, second
            packet.is_keyframe = True
            container.mux(packet)
    with VideoReader(size=SIZE, workers=1, memory_limit=LEAST_MEMORY) as reader:
        events = list(reader.read([request(path, at([1.5], [5.5], [8.5]))]))
    assert summary(events) == ["w0", "f1", "w2", "e"]
    assert events[1].failure.reason == Reason.TOO_MUCH_MEMORY


def children() -> set[int]:
    """Process ids of the children of this process that are alive."""
    listed = Path("/proc/self/task").glob("*/children")
    return {int(pid) for file in listed for pid in file.read_text().split()}


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_leaving_ends_every_child_at_work(make_video: MakeVideo) -> None:
    film = make_video("film.mp4", 900)
    before = children()

    def endless() -> Iterator[ReadRequest]:
        while True:
            yield request(film)

    with VideoReader(size=SIZE, workers=2) as reader:
        for count, _ in enumerate(reader.read(endless())):
            if count == 30:
                assert len(children() - before) >= 2
                break
    idle = {child._process.pid for child in isolation._idle._timers}
    assert len(idle) <= isolation.IDLE_CHILDREN and not children() - before - idle
    isolation.end_idle_children()
    assert not children() - before


def test_little_is_read_ahead(make_video: MakeVideo) -> None:
    film = make_video("film.mp4", 20)
    pulled = 0

    def counting() -> Iterator[ReadRequest | int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled if pulled % 2 else request(film)

    with VideoReader(size=SIZE, workers=1, ahead=3) as reader:
        events = reader.read(counting())
        for _ in range(4):
            next(events)
        time.sleep(0.5)
        assert pulled <= 10
        events.close()


def test_ctrl_c_ends_the_program_and_its_children(make_video: MakeVideo) -> None:
    film = make_video("film.mp4", 900)
    program = (
        "import itertools, sys\n"
        "from prost.video.reader import ReadRequest, VideoReader\n"
        "request = ReadRequest(path=sys.argv[1], windows=lambda info: [[1.0], [50.0]] * 20)\n"
        "with VideoReader(size=32, workers=2) as reader:\n"
        "    for number, _ in enumerate(reader.read(itertools.repeat(request))):\n"
        "        if number == 20:\n"
        "            print('reading', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(film.path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    os.killpg(process.pid, signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in complaints
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_one_iteration_at_a_time(make_video: MakeVideo, reader: VideoReader) -> None:
    film = make_video("film.mp4", 20)
    first = reader.read([request(film)])
    next(first)
    with pytest.raises(UsageError, match="a second iteration"):
        next(reader.read([request(film)]))
    first.close()
    assert summary(reader.read([request(film)])) == ["w0", "e"]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_every_window_becomes_square_as_asked_for(make_video: MakeVideo, fit: Fit) -> None:
    made = make_video("wide.mp4", 20, size=(96, 48))
    times = np.array([0.1, 0.5])
    wanted = ReadRequest(path=str(made.path), windows=lambda info: [times, times + 0.3])
    with VideoReader(size=SIZE, fit=fit, workers=1) as reader:
        windows = [event for event in reader.read([wanted]) if isinstance(event, ReadWindow)]
    assert len(windows) == 2
    for event, shift in zip(windows, (0.0, 0.3), strict=True):
        assert np.array_equal(
            event.frames.pixels, decode_frames(made.path, times + shift, SIZE, fit=fit).pixels
        )


@pytest.mark.parametrize("size", [(96, 48), (48, 96), (48, 48), (150, 48)])
def test_a_window_comes_once_for_each_tile(make_video: MakeVideo, size: tuple[int, int]) -> None:
    """In one pass: a frame is decoded once for all its tiles."""
    made = make_video("wide.mp4", 20, size=size)
    windows = [np.array([0.1, 0.5]), np.array([0.6, 0.9])]
    wanted = ReadRequest(path=str(made.path), windows=lambda info: windows)
    with VideoReader(size=SIZE, fit="tiles", workers=1) as reader:
        *tiles, end = reader.read([wanted])
    with VideoReader(size=SIZE, workers=1) as reader:
        *_, of_the_middle = reader.read([wanted])
    places = square_places(*size, "tiles")
    assert [(each.index, each.place) for each in tiles] == [(n, place) for n in (0, 1) for place in places]
    assert (end.windows, end.failed) == (2 * len(places), 0)
    assert end.decoded == of_the_middle.decoded
    for each in tiles:
        alone = decode_frames(made.path, windows[each.index], SIZE, fit="tiles", place=each.place)
        assert np.array_equal(each.frames.pixels, alone.pixels)
        assert np.array_equal(each.frames.times, alone.times)


def test_a_lost_child_costs_one_tile(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_video("wide.mp4", 20, size=(96, 48))
    windows = [np.array([0.1, 0.5]), np.array([0.6, 0.9])]
    wanted = ReadRequest(path=str(made.path), windows=lambda info: windows)
    stop_children(monkeypatch, times=1)
    with VideoReader(size=SIZE, fit="tiles", workers=1, time_limit=3) as reader:
        lost, *others, end = reader.read([wanted])
    assert isinstance(lost, FailedWindow) and lost.index == 0
    assert [(each.index, each.place) for each in others] == [(0, 1.0), (1, 0.0), (1, 1.0)]
    for each in others:
        alone = decode_frames(made.path, windows[each.index], SIZE, fit="tiles", place=each.place)
        assert np.array_equal(each.frames.pixels, alone.pixels)
    assert (end.windows, end.failed) == (4, 1)


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"fit": "squash"}, {"workers": 0}, {"ahead": 0}, {"time_limit": 0}, {"memory_limit": 1}],
    ids=lambda options: next(iter(options)),
)
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        VideoReader(**{"size": SIZE, **options})


def test_a_core_is_left_to_the_consumer() -> None:
    assert 1 <= default_workers() <= max(1, (os.cpu_count() or 1) - 1)
