"""Records become the frames that the two ways of sampling choose, in order; failures are told, never painted over."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.video.conftest import numbers_of

from prost.data.records import VideoRecord
from prost.data.video_reading import frame_times, read_records
from prost.errors import UsageError, VideoError
from prost.video.probe import VideoInfo
from prost.video.reader import ReadEnd, VideoReader
from prost.video.reasons import Reason

DOG = ("a dog",)


def info(duration: float, fps: float = 10.0) -> VideoInfo:
    return VideoInfo(
        path="video.mp4",
        duration=duration,
        fps=fps,
        width=64,
        height=48,
        codec="h264",
        rotation=0,
        start=0.0,
    )


def times(start: float | None, end: float | None, duration: float, frames: int, sampling: str) -> list[float]:
    record = VideoRecord("a", Path("video.mp4"), DOG, start, end)
    return frame_times(record, info(duration), frames, sampling).tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "end", "duration", "frames", "middles", "authors"),
    [
        (None, None, 8.0, 4, [1, 3, 5, 7], [0, 2, 4, 7]),
        # Three seconds, four frames: one a second, and the last of them once more.
        (None, None, 3.0, 4, [0.375, 1.125, 1.875, 2.625], [0, 1, 2, 2]),
        # A window of whole seconds: the authors read both its ends.
        (2.0, 6.0, 8.0, 4, [2.5, 3.5, 4.5, 5.5], [2, 3, 4, 6]),
        # DiDeMo's window is longer than its videos are.
        (0.0, 31.0, 8.0, 4, [1, 3, 5, 7], [0, 2, 4, 7]),
        (6.0, None, 8.0, 2, [6.5, 7.5], [6, 7]),
        (None, 2.0, 8.0, 2, [0.5, 1.5], [0, 2]),
        # A clip within one second: the authors read it as if it reached the next.
        (2.2, 2.6, 8.0, 2, [2.3, 2.5], [2, 3]),
    ],
)
def test_which_times(
    start: float | None,
    end: float | None,
    duration: float,
    frames: int,
    middles: list[float],
    authors: list[float],
) -> None:
    np.testing.assert_allclose(times(start, end, duration, frames, "middles"), middles)
    assert times(start, end, duration, frames, "authors") == authors


@pytest.mark.parametrize("sampling", ["middles", "authors"])
def test_a_clip_after_the_end_of_its_file(sampling: str) -> None:
    with pytest.raises(
        VideoError, match=r"video.mp4: clip lies beyond the file's end \(it starts at 9 s of 8.0 s"
    ):
        times(9.0, 12.0, 8.0, 4, sampling)


def test_pixels_are_those_of_the_times(ten_seconds: Path) -> None:
    records = [VideoRecord("whole", ten_seconds, DOG), VideoRecord("clip", ten_seconds, DOG, 2.0, 4.0)]
    whole, clip = (reading.pixels for reading in read_records(records, frames=5, size=32))
    assert whole is not None and clip is not None
    assert (whole.shape, whole.dtype) == ((5, 32, 32, 3), np.uint8)
    assert numbers_of(whole) == [10, 30, 50, 70, 90]
    assert numbers_of(clip) == [22, 26, 30, 34, 38]
    (authors,) = read_records(records[1:], frames=5, size=32, sampling="authors")
    assert authors.pixels is not None
    assert numbers_of(authors.pixels) == [20, 30, 40, 40, 40]


@pytest.mark.parametrize("workers", [1, 3])
def test_order_and_failures(five_videos: tuple[VideoRecord, ...], tmp_path: Path, workers: int) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("this is a text")
    a, b, c, *_ = five_videos
    wrong = VideoRecord("wrong", broken, DOG)
    missing = VideoRecord("missing", None, DOG)
    beyond = VideoRecord("beyond", a.path, DOG, 50.0, 60.0)
    given = [a, wrong, b, missing, c, beyond, a]
    readings = list(read_records(iter(given), frames=2, size=32, workers=workers, ahead=2))
    assert [reading.record for reading in readings] == given
    reasons = [reading.failure and reading.failure.reason for reading in readings]
    assert reasons == [None, Reason.NOT_A_VIDEO, None, Reason.GONE, None, Reason.BEYOND_END, None]
    shown = [numbers_of(reading.pixels) for reading in readings if reading.pixels is not None]
    assert shown == [[10, 10], [20, 20], [30, 30], [10, 10]]


def test_neighbouring_clips_of_a_file_are_read_in_one_pass(
    ten_seconds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[int] = []
    pass_through = VideoReader.read

    def read(self: VideoReader, items: Any) -> Any:
        for event in pass_through(self, items):
            if isinstance(event, ReadEnd):
                requests.append(event.windows)
            yield event

    monkeypatch.setattr(VideoReader, "read", read)
    beyond = VideoRecord("beyond", ten_seconds, DOG, 50.0, 60.0)
    clips = [VideoRecord(f"{start}", ten_seconds, DOG, start, start + 1.0) for start in (7.0, 2.0, 4.0)]
    readings = list(read_records([beyond, *clips, beyond], frames=1, size=32))
    assert requests == [3]
    assert [reading.record for reading in readings] == [beyond, *clips, beyond]
    assert [reading.failure and reading.failure.reason for reading in readings] == [
        Reason.BEYOND_END, None, None, None, Reason.BEYOND_END
    ]  # fmt: skip
    shown = [numbers_of(reading.pixels) for reading in readings if reading.pixels is not None]
    assert shown == [[75], [25], [45]]


def test_records_are_taken_while_the_reading_goes_on(five_videos: tuple[VideoRecord, ...]) -> None:
    taken: list[str] = []

    def endless() -> Iterator[VideoRecord]:
        for record in itertools.cycle(five_videos):
            taken.append(record.video)
            yield record

    readings = read_records(endless(), frames=1, size=16, ahead=2)
    for _ in range(3):
        next(readings)
    readings.close()
    assert 3 <= len(taken) < 12


def test_choices_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="sampling 'even'; expected: middles or authors"):
        next(read_records([], frames=4, size=32, sampling="even"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="number of workers 0"):
        next(read_records([], frames=4, size=32, workers=0))
