"""Windows and times: worked numbers, and what must hold for every video."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prost.errors import UsageError
from prost.video.sampling import (
    benchmark_times,
    clip_windows,
    expect_time_within,
    sample_times,
    stretch_within,
)

durations = st.floats(min_value=0.0, max_value=20_000.0, allow_nan=False)


def test_sample_times_are_the_middles_of_equal_parts() -> None:
    assert sample_times(2.0, 8.0, 3).tolist() == [3.0, 5.0, 7.0]


def test_a_window_without_length_repeats_its_one_moment() -> None:
    assert sample_times(1.5, 1.5, 4).tolist() == [1.5] * 4


@given(start=durations, length=durations, frames=st.integers(1, 64))
def test_sample_times_follow_the_formula(start: float, length: float, frames: int) -> None:
    end = start + length
    expected = [start + (i + 0.5) / frames * (end - start) for i in range(frames)]
    np.testing.assert_allclose(sample_times(start, end, frames), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("start", "end", "frames"), [(0, 1, 0), (2, 1, 4), (0, math.inf, 4), (math.nan, 1, 4), (0, 1, -3)]
)
def test_windows_that_cannot_be_are_refused(start: float, end: float, frames: int) -> None:
    with pytest.raises(UsageError):
        sample_times(start, end, frames)


def test_a_stretch_is_cut_to_the_end_of_its_video() -> None:
    assert stretch_within(3.9, 1.0, 3.9004) == (1.0, 3.9)
    assert stretch_within(3.9, 2.0, 2.0) == (2.0, 2.0)
    assert stretch_within(None, 7.0, 9.0) == (7.0, 9.0)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (100, 110, r"a moment that starts at 100 s; expected: a start before the end at 3\.9 s"),
        (3.9, 5, r"a start before the end at 3\.9 s"),
        (2, 1, "a moment from 2 to 1 s; expected: 0 <= start <= end"),
        (-1, 1, "a moment from -1 to 1 s"),
        (math.nan, 1, "a moment from nan to 1 s"),
    ],
)
def test_stretches_that_are_not_in_the_video_are_refused(start: float, end: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        stretch_within(3.9, start, end)


def test_the_last_frame_is_shown_at_the_end_too() -> None:
    for duration, time in ((3.9, 3.9), (3.8996, 3.9), (None, 100.0)):
        expect_time_within(duration, time)
    with pytest.raises(UsageError, match=r"a frame at 100 s; expected: a time up to the end at 3\.9 s"):
        expect_time_within(3.9, 100)


@pytest.mark.parametrize(
    ("duration", "windows"),
    [
        (0.0, [(0.0, 0.0)]),
        (0.4, [(0.0, 0.4)]),
        (12.0, [(0.0, 12.0)]),
        (13.0, [(0.0, 12.0), (1.0, 13.0)]),
        (21.0, [(0.0, 12.0), (9.0, 21.0)]),
        (22.0, [(0.0, 12.0), (9.0, 21.0), (10.0, 22.0)]),
        (30.0, [(0.0, 12.0), (9.0, 21.0), (18.0, 30.0)]),
    ],
)
def test_clip_windows_by_hand(duration: float, windows: list[tuple[float, float]]) -> None:
    assert clip_windows(duration) == windows
    assert clip_windows(duration + 3, start=3) == [(start + 3, end + 3) for start, end in windows]


def test_an_hour_is_four_hundred_clips() -> None:
    assert len(clip_windows(3600.0)) == math.ceil((3600 - 12) / 9) + 1 == 400


@given(
    duration=durations,
    longest=st.floats(min_value=0.5, max_value=600.0),
    overlap=st.floats(min_value=0.0, max_value=0.9),
)
def test_clips_cover_the_video_without_a_stub(duration: float, longest: float, overlap: float) -> None:
    windows = clip_windows(duration, longest, overlap)
    slack = 1e-9 * max(1.0, duration)
    assert windows[0][0] == 0.0
    assert windows[-1][1] == duration
    if duration <= longest:
        assert len(windows) == 1
        return
    for start, end in windows:
        assert math.isclose(end - start, longest, rel_tol=1e-9, abs_tol=slack)
        assert end <= duration + slack
    for (earlier, earlier_end), (later, _) in itertools.pairwise(windows):
        assert earlier < later
        assert earlier_end - later >= longest * overlap - slack, "neighbours overlap by at least the share"


@pytest.mark.parametrize(
    ("duration", "longest", "overlap"),
    [
        (-1, 12, 0.25),
        (math.nan, 12, 0.25),
        (math.inf, 12, 0.25),
        (10, 0, 0.25),
        (10, 12, 1.0),
        (10, 12, -0.1),
    ],
)
def test_clips_that_cannot_be_are_refused(duration: float, longest: float, overlap: float) -> None:
    with pytest.raises(UsageError):
        clip_windows(duration, longest, overlap)


def authors_frame_numbers(frame_count: int, fps: float, frames: int) -> list[int]:
    """The frames that one frame a second, then `linspace`, takes; counted frame by frame."""
    whole_fps = int(fps)
    taken = []
    second = 0
    while second * whole_fps < frame_count:
        taken.append(second * whole_fps)
        second += 1
    if len(taken) <= frames:
        return taken
    return [taken[index] for index in np.linspace(0, len(taken) - 1, num=frames, dtype=int)]


@pytest.mark.parametrize("fps", [1.0, 15.0, 24.0, 25.0, 29.97, 30.0, 59.94])
@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.2, 11.0, 12.0, 13.0, 31.7])
def test_benchmark_times_meet_the_authors_frames(fps: float, seconds: float) -> None:
    frame_count = max(1, round(seconds * fps))
    times = benchmark_times(frame_count / fps, frames=12, fps=fps)
    assert np.rint(times * fps).astype(int).tolist() == authors_frame_numbers(frame_count, fps, 12)
    np.testing.assert_allclose(times * fps, np.rint(times * fps), atol=1e-6)


@pytest.mark.parametrize("fps", [1.0, 10.0, 29.97])
@pytest.mark.parametrize(
    ("start", "end"), [(0, 31), (2.7, 5.2), (3.1, 3.9), (0.5, None), (None, 4.0), (6.9, 30), (6.0, 7.0)]
)
def test_benchmark_times_of_a_window_meet_the_authors_frames(
    fps: float, start: float | None, end: float | None
) -> None:
    frame_count, whole_fps = round(7.4 * fps), int(fps)
    total = -(-frame_count // whole_fps)
    first, last = int(start or 0), total if end is None else min(int(end), total)
    if first == last:
        last += 1
    read = [second * whole_fps for second in range(first, last + 1) if second * whole_fps < frame_count]
    times = benchmark_times(frame_count / fps, frames=12, fps=fps, start=start, end=end)
    assert np.rint(times * fps).astype(int).tolist() == read


def test_benchmark_times_without_a_frame_rate_are_whole_seconds() -> None:
    assert benchmark_times(20.0, frames=3).tolist() == [0.0, 9.0, 19.0]
    assert benchmark_times(0.2, frames=3).tolist() == [0.0]


@pytest.mark.parametrize(("duration", "frames"), [(0.0, 12), (-3.0, 12), (math.nan, 12), (5.0, 0)])
def test_benchmark_times_that_cannot_be_are_refused(duration: float, frames: int) -> None:
    with pytest.raises(UsageError):
        benchmark_times(duration, frames)
