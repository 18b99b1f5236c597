"""Batches of video files: a function of seed and step, sliced by rank, each video at most once, no failure hidden."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.video.conftest import numbers_of

from prost.data.batches import CaptionedVideos, load_batches
from prost.data.records import VideoRecord
from prost.data.video_batches import VideoBatches
from prost.errors import MissingVideos, TrainingStopped, UsageError, VideoError

Records = tuple[VideoRecord, ...]


def batches(
    records: Sequence[VideoRecord], steps: range = range(1), batch_size: int = 2, **more: Any
) -> VideoBatches:
    return VideoBatches(records, steps, batch_size, **{"frames": 2, "size": 16, "seed": 0, **more})


def named(count: int, captions: int = 1) -> Records:
    """Records of files that nobody opens."""
    return tuple(
        VideoRecord(f"v{number}", Path("none.mp4"), tuple(f"v{number} c{place}" for place in range(captions)))
        for number in range(count)
    )


def ids(dataset: VideoBatches, step: int) -> list[str]:
    return [record.video for record, _ in dataset.chosen(step)]


def same(one: CaptionedVideos, other: CaptionedVideos) -> bool:
    return (one.captions, one.videos) == (other.captions, other.videos) and np.array_equal(
        one.pixels, other.pixels
    )


@given(count=st.integers(1, 30), size=st.integers(1, 30), seed=st.integers(0, 3))
def test_an_epoch_shows_each_video_once(count: int, size: int, seed: int) -> None:
    size = min(size, count)
    dataset = batches(named(count), batch_size=size, seed=seed)
    for epoch in range(2):
        first = epoch * dataset.steps_per_epoch
        seen = Counter(
            video for step in range(first, first + dataset.steps_per_epoch) for video in ids(dataset, step)
        )
        assert set(seen.values()) == {1}
        assert count - size < len(seen) <= count


def test_each_caption_has_its_turn() -> None:
    dataset = batches(named(4, captions=3), batch_size=4)
    assert (dataset.steps_per_epoch, dataset.steps_per_caption_epoch) == (1, 3)
    for first in (0, 3):
        told = Counter(caption for step in range(first, first + 3) for _, caption in dataset.chosen(step))
        assert len(told) == 12 and set(told.values()) == {1}
    assert all(caption.startswith(f"{record.video} ") for record, caption in dataset.chosen(1))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    dataset = batches(named(20), batch_size=20)
    assert ids(dataset, 0) != ids(dataset, 1)
    assert ids(dataset, 0) != ids(batches(named(20), batch_size=20, seed=1), 0)


def test_a_resumed_run_sees_what_the_other_saw(five_videos: Records) -> None:
    whole = list(batches(five_videos, range(4), workers=2))
    rest = list(batches(five_videos, range(2, 4)))
    dealt = list(load_batches(batches(five_videos, range(4)), workers=2))
    assert [same(one, other) for one, other in zip(whole[2:], rest, strict=True)] == [True, True]
    assert all(same(one, other) for one, other in zip(whole, dealt, strict=True))
    first = whole[0]
    assert (first.pixels.shape, first.pixels.dtype) == ((2, 2, 16, 16, 3), np.uint8)
    # Pixels, caption and id of a row are of one video.
    for pixels, caption, video in zip(first.pixels, first.captions, first.videos, strict=True):
        assert numbers_of(pixels)[0] == 10 * "abcde".index(video) + 10
        assert caption.startswith(video)


def test_ranks_share_one_batch(five_videos: Records) -> None:
    together = list(batches(five_videos, range(2), batch_size=4))
    ranks = [list(batches(five_videos, range(2), batch_size=4, rank=rank, world=2)) for rank in (0, 1)]
    for step in range(2):
        joined = CaptionedVideos(
            np.concatenate([ranks[0][step].pixels, ranks[1][step].pixels]),
            ranks[0][step].captions + ranks[1][step].captions,
            videos=ranks[0][step].videos + ranks[1][step].videos,
        )
        assert same(joined, together[step])


@pytest.fixture
def two_broken(five_videos: Records, tmp_path: Path) -> Records:
    """Videos a and b cannot be decoded; c, d and e can."""
    broken = tmp_path / "broken.mp4"
    broken.write_text("this is a text")
    return tuple(
        VideoRecord(record.video, broken if record.video in "ab" else record.path, record.captions)
        for record in five_videos
    )


def test_a_failure_ends_the_training_with_the_file_named(two_broken: Records) -> None:
    with pytest.raises(VideoError, match=r"broken.mp4: not a video"):
        list(batches(two_broken, range(2)))


def test_or_another_video_takes_its_place_and_that_is_told(
    two_broken: Records, caplog: pytest.LogCaptureFixture
) -> None:
    steps = range(4)
    with caplog.at_level(logging.WARNING, logger="prost"):
        whole = list(batches(two_broken, steps, replace_failed=True))
    chosen = [ids(batches(two_broken), step) for step in steps]
    replaced = sum(video in "ab" for batch in chosen for video in batch)
    assert replaced and len(caplog.records) == replaced
    assert "broken.mp4: not a video" in caplog.text and "takes its place in step" in caplog.text
    for wanted, batch in zip(chosen, whole, strict=True):
        assert len(set(batch.videos)) == 2 and not set(batch.videos) & {"a", "b"}
        assert all(one == other for one, other in zip(wanted, batch.videos, strict=True) if one in "cde")
    # A rank that knows nothing of the other's failures chooses as one process would.
    rank = list(batches(two_broken, steps, replace_failed=True, rank=1, world=2))
    assert [batch.videos for batch in rank] == [batch.videos[1:] for batch in whole]


def test_when_nobody_can_take_the_place(two_broken: Records) -> None:
    with pytest.raises(TrainingStopped, match="no other video can take its place in step 0"):
        list(batches(two_broken, batch_size=5, replace_failed=True))


@pytest.mark.parametrize(
    ("records", "batch_size", "more", "kind", "message"),
    [
        (named(3), 4, {}, UsageError, "batches of 4 from 3 videos.*batch_size 3 or less"),
        (named(3), 0, {}, UsageError, "batches of 0"),
        (named(3) + named(1), 2, {}, UsageError, "records whose ids repeat"),
        ((*named(2), VideoRecord("gone", None, ("x",))), 2, {}, MissingVideos, r"1 of 3 videos are missing \(gone"),
        (named(4), 3, {"world": 2}, UsageError, "a batch of 3 for rank 0 of 2"),
        (named(4), 2, {"rank": 2, "world": 2}, UsageError, "a batch of 2 for rank 2 of 2"),
    ],
)  # fmt: skip
def test_batches_that_cannot_be(
    records: Records, batch_size: int, more: dict[str, int], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        batches(records, batch_size=batch_size, **more)
