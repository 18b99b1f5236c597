"""Fixed sets of clips: plans without repeats, batches as planned, rows dealt to processes, no failure hidden."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.video.conftest import numbers_of

from prost.data.batches import CaptionedVideos
from prost.data.clip_sets import ClipSet, RecordClips, ToyboxClipSet
from prost.data.records import VideoRecord
from prost.data.toybox import gallery
from prost.data.toybox_clips import ClipMix
from prost.errors import BadConfig, MissingVideos, TrainingStopped, UsageError, VideoError

Records = tuple[VideoRecord, ...]
MIX = ClipMix(moments=0.3, twins=0.5, long=0.2)
ALL = slice(None)


@pytest.fixture(scope="module")
def clips() -> ToyboxClipSet:
    return ToyboxClipSet.drawn(13, MIX)


def named(count: int, captions: int = 1) -> RecordClips:
    """Records of files that nobody opens."""
    return with_captions([captions] * count)


def with_captions(counts: list[int]) -> RecordClips:
    """Records of files that nobody opens, with as many captions as are said."""
    return RecordClips(
        [
            VideoRecord(f"v{number}", Path("none.mp4"), tuple(f"v{number} c{i}" for i in range(count)))
            for number, count in enumerate(counts)
        ]
    )


def batches(
    of: ClipSet, steps: range = range(1), *, batch_size: int = 2, seed: int = 0, rows: slice = ALL
) -> Iterator[CaptionedVideos]:
    return of.batches(steps, of.plan(batch_size, seed), rows, frames=2, size=32)


def same(one: CaptionedVideos, other: CaptionedVideos) -> bool:
    names = (one.captions, one.videos) == (other.captions, other.videos)
    return names and np.array_equal(one.pixels, other.pixels)


@given(count=st.integers(1, 30), size=st.integers(1, 30), seed=st.integers(0, 3))
def test_an_epoch_shows_each_clip_once(count: int, size: int, seed: int) -> None:
    size = min(size, count)
    plan = named(count).plan(size, seed)
    for epoch in range(2):
        first = epoch * plan.steps_per_epoch
        seen = Counter(
            chain.from_iterable(
                plan.batch(step)[0].tolist() for step in range(first, first + plan.steps_per_epoch)
            )
        )
        assert set(seen.values()) == {1}
        assert count - size < len(seen) <= count


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    size=st.integers(1, 12),
    seed=st.integers(0, 3),
)
def test_an_epoch_of_captions_shows_each_caption_once(counts: list[int], size: int, seed: int) -> None:
    size = min(size, len(counts))
    plan = with_captions(counts).plan(size, seed, "captions")
    for epoch in range(2):
        told: Counter[str] = Counter()
        for step in range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch):
            places, captions = plan.batch(step)
            assert len(set(places.tolist())) == len(captions) == size
            assert all(
                caption.startswith(f"v{place} ") for place, caption in zip(places, captions, strict=True)
            )
            told.update(captions)
        assert set(told.values()) == {1}
    # No other plan has one batch more: a video fills at most one row of each.
    most = plan.steps_per_epoch + 1
    assert sum(min(count, most) for count in counts) < most * size


def test_an_epoch_of_captions_has_the_steps_of_the_authors() -> None:
    plan = with_captions([20] * 900).plan(128, 0, "captions")  # a tenth of MSR-VTT
    assert plan.steps_per_epoch == 900 * 20 // 128
    places = [plan.batch(step)[0] for step in range(plan.steps_per_epoch)]
    # Videos meet at random: each video has nearly all others as negatives in an epoch.
    met = set(np.concatenate([batch for batch in places if 7 in batch]).tolist())
    assert len(met) > 800


def test_a_plan_of_captions_depends_on_seed_and_step_alone() -> None:
    records = with_captions([1, 5, 3, 2, 8, 1, 1])
    plan = records.plan(3, 1, "captions")
    in_order = [plan.batch(step) for step in range(3 * plan.steps_per_epoch)]
    for step in (len(in_order) - 1, 2, 9, 0):
        for fresh in (records.plan(3, 1, "captions"), plan.again(), plan):
            places, captions = fresh.batch(step)
            assert (places.tolist(), captions) == (in_order[step][0].tolist(), in_order[step][1])
    assert [batch[1] for batch in in_order[: plan.steps_per_epoch]] != [
        batch[1] for batch in in_order[plan.steps_per_epoch : 2 * plan.steps_per_epoch]
    ]


def test_toybox_has_no_epochs_of_captions(clips: ToyboxClipSet) -> None:
    with pytest.raises(
        BadConfig, match=r"epoch: captions, with captions that are made anew .*; expected: epoch: videos"
    ):
        clips.plan(4, 0, "captions")


@pytest.mark.parametrize("kind", ["toybox", "records"])
def test_epochs_and_seeds_have_orders_of_their_own(clips: ToyboxClipSet, kind: str) -> None:
    chosen = clips if kind == "toybox" else named(13)
    plan = chosen.plan(4, seed=0)
    steps = [plan.batch(step)[0].tolist() for step in range(6)]
    assert sorted(chain.from_iterable(steps[:3])) != list(chain.from_iterable(steps[:3]))
    assert steps[:3] != steps[3:]
    assert chosen.plan(4, seed=1).batch(0)[0].tolist() != steps[0]
    assert chosen.plan(4, seed=0).batch(4)[0].tolist() == steps[4]  # whatever was asked before


@pytest.mark.parametrize("batch_size", [0, 14])
def test_a_batch_that_the_set_cannot_fill(clips: ToyboxClipSet, batch_size: int) -> None:
    for chosen in (clips, named(13)):
        with pytest.raises(BadConfig, match=f"batch_size {batch_size} with 13 clips .*; expected: 1 to 13"):
            chosen.plan(batch_size, 0)


class TestToyboxClipSet:
    def test_the_same_set_each_time(self, clips: ToyboxClipSet) -> None:
        again = ToyboxClipSet.drawn(13, MIX)
        assert again.clips == clips.clips and again.description == clips.description
        assert ToyboxClipSet.drawn(12, MIX).description != clips.description

    def test_twins_follow_each_other(self, clips: ToyboxClipSet) -> None:
        order = clips.plan(13, seed=2).batch(0)[0].tolist()
        pairs = [group for group in clips.groups if len(group) == 2]
        assert len(pairs) == 3
        for one, other in pairs:
            assert order.index(other) == order.index(one) + 1
            assert clips.clips[one].scene.objects == clips.clips[other].scene.objects
            assert clips.twins[one] == other and clips.twins[other] == one

    def test_a_batch_knows_its_twins(self, clips: ToyboxClipSet) -> None:
        (batch,) = batches(clips, batch_size=13, seed=2)
        pairs = {tuple(pair) for pair in batch.twins.reshape(-1, 2).tolist()}
        found = [{clips.names.index(batch.videos[row]) for row in pair} for pair in pairs]
        assert sorted(map(sorted, found)) == sorted(sorted(pair) for pair in clips.groups if len(pair) == 2)
        first = min(pairs)
        cut = batch[first[0] + 1 :]  # one of the first pair is left out, and so is the pair
        assert len(cut.twins) == len(batch.twins) - 2
        assert (cut.twins < len(cut)).all()

    def test_captions_use_other_words_in_each_step(self, clips: ToyboxClipSet) -> None:
        plan = clips.plan(13, seed=0)
        told = []
        for step in (0, 1, 0):
            places, captions = plan.batch(step)
            told.append(dict(zip(places.tolist(), captions, strict=True)))
        assert told[0] == told[2] != told[1]

    def test_each_process_renders_its_rows(self, clips: ToyboxClipSet) -> None:
        (whole,) = batches(clips, range(1, 2), batch_size=4)
        halves = [
            next(batches(clips, range(1, 2), batch_size=4, rows=rows)) for rows in (slice(2), slice(2, 4))
        ]
        assert np.array_equal(np.concatenate([half.pixels for half in halves]), whole.pixels)
        assert halves[0].captions + halves[1].captions == whole.captions
        assert halves[0].videos + halves[1].videos == whole.videos
        assert whole.videos[0] in clips.names

    def test_blocks_are_all_clips_in_order(self, clips: ToyboxClipSet) -> None:
        ((places, pixels),) = clips.blocks(frames=2, size=32)
        assert places.tolist() == list(range(13)) and pixels.shape == (13, 2, 32, 32, 3)
        assert np.array_equal(pixels[5], clips.clips[5].show(2, 32))

    def test_a_gallery_is_its_scenes(self) -> None:
        shown = gallery("toybox-4", split="val")
        whole = ToyboxClipSet.of_gallery(shown, "val")
        assert [clip.scene for clip in whole.clips] == list(shown.scenes)
        assert whole.description != ToyboxClipSet.of_gallery(shown, "test").description


class TestRecordClips:
    def test_each_caption_has_its_turn(self) -> None:
        plan = named(4, captions=3).plan(4, seed=0)
        for first in (0, 3):
            told = Counter(caption for step in range(first, first + 3) for caption in plan.batch(step)[1])
            assert len(told) == 12 and set(told.values()) == {1}
        places, captions = plan.batch(1)
        assert all(caption.startswith(f"v{place} ") for place, caption in zip(places, captions, strict=True))

    def test_a_resumed_run_sees_what_the_other_saw(self, five_videos: Records) -> None:
        whole = list(batches(RecordClips(five_videos, workers=2), range(4)))
        rest = list(batches(RecordClips(five_videos), range(2, 4)))
        assert [same(one, other) for one, other in zip(whole[2:], rest, strict=True)] == [True, True]
        first = whole[0]
        assert (first.pixels.shape, first.pixels.dtype) == ((2, 2, 32, 32, 3), np.uint8)
        # Pixels, caption and id of a row are of one video.
        for pixels, caption, video in zip(first.pixels, first.captions, first.videos, strict=True):
            assert numbers_of(pixels)[0] == 10 * "abcde".index(video) + 10
            assert caption.startswith(video)

    def test_processes_share_one_batch(self, five_videos: Records) -> None:
        chosen = RecordClips(five_videos)
        together = list(batches(chosen, range(2), batch_size=4))
        parts = [list(batches(chosen, range(2), batch_size=4, rows=rows)) for rows in (slice(2), slice(2, 4))]
        for step in range(2):
            joined = CaptionedVideos(
                pixels=np.concatenate([parts[0][step].pixels, parts[1][step].pixels]),
                captions=parts[0][step].captions + parts[1][step].captions,
                videos=parts[0][step].videos + parts[1][step].videos,
            )
            assert same(joined, together[step])

    def test_batches_are_what_the_plan_says(self, five_videos: Records) -> None:
        chosen = RecordClips(five_videos)
        places, captions = chosen.plan(2, seed=4).batch(3)
        (batch,) = batches(chosen, range(3, 4), seed=4)
        assert batch.captions == captions
        assert list(batch.videos) == [chosen.names[place] for place in places]
        ((order, everything),) = chosen.blocks(frames=2, size=32)
        assert order.tolist() == list(range(5)) and everything.shape == (5, 2, 32, 32, 3)
        assert np.array_equal(batch.pixels, everything[places])

    def test_blocks_read_the_clips_of_one_file_together(
        self, ten_seconds: Path, five_videos: Records
    ) -> None:
        early, late = (
            VideoRecord(f"at {start}", ten_seconds, ("x",), start, start + 1.0) for start in (2.0, 7.0)
        )
        ((places, pixels),) = RecordClips([early, five_videos[0], late]).blocks(frames=1, size=32)
        assert places.tolist() == [0, 2, 1]
        assert [numbers_of(clip)[0] for clip in pixels] == [25, 75, 10]

    def test_other_files_are_another_set(self, five_videos: Records) -> None:
        others = [
            RecordClips(five_videos),
            RecordClips(five_videos[1:]),
            RecordClips(five_videos, sampling="authors"),
            RecordClips([VideoRecord(r.video, r.path, r.captions, 0.25, 0.5) for r in five_videos]),
        ]
        assert len({clips.description for clips in others}) == 4
        assert RecordClips(five_videos).description == others[0].description

    @pytest.mark.parametrize(
        ("records", "kind", "message"),
        [
            ([*named(3).records, *named(1).records], UsageError, "records whose ids repeat"),
            ([*named(2).records, VideoRecord("gone", None, ("x",))], MissingVideos,
             r"1 of 3 videos are missing \(gone"),
        ],
    )  # fmt: skip
    def test_sets_that_cannot_be(
        self, records: list[VideoRecord], kind: type[Exception], message: str
    ) -> None:
        with pytest.raises(kind, match=message):
            RecordClips(records)


class TestFilesThatCannotBeDecoded:
    @pytest.fixture
    def two_broken(self, five_videos: Records, tmp_path: Path) -> Records:
        """Videos a and b cannot be decoded; c, d and e can."""
        broken = tmp_path / "broken.mp4"
        broken.write_text("this is a text")
        return tuple(
            VideoRecord(record.video, broken if record.video in "ab" else record.path, record.captions)
            for record in five_videos
        )

    def test_one_ends_the_training_and_is_named(self, two_broken: Records) -> None:
        with pytest.raises(VideoError, match=r"broken.mp4: not a video"):
            list(batches(RecordClips(two_broken), range(2)))
        with pytest.raises(VideoError, match=r"broken.mp4: not a video"):
            list(RecordClips(two_broken).blocks(frames=2, size=32))

    def test_or_another_video_replaces_it_with_a_warning(
        self, two_broken: Records, caplog: pytest.LogCaptureFixture
    ) -> None:
        steps = range(4)
        chosen = RecordClips(two_broken, replace_failed=True)
        with caplog.at_level(logging.WARNING, logger="prost"):
            whole = list(batches(chosen, steps))
        plan = chosen.plan(2, 0)
        planned = [[chosen.names[place] for place in plan.batch(step)[0]] for step in steps]
        replaced = sum(video in "ab" for batch in planned for video in batch)
        assert replaced and len(caplog.records) == replaced
        seen = {video for batch in planned for video in batch if video in "ab"}
        assert chosen.replaced == dict.fromkeys(seen, "not a video")
        assert "broken.mp4: not a video" in caplog.text and "replaces it in step" in caplog.text
        for wanted, batch in zip(planned, whole, strict=True):
            assert len(set(batch.videos)) == 2 and not set(batch.videos) & {"a", "b"}
            assert all(one == other for one, other in zip(wanted, batch.videos, strict=True) if one in "cde")
        # A process that knows nothing of the other's failures chooses as one process would.
        second = list(batches(chosen, steps, rows=slice(1, 2)))
        assert [batch.videos for batch in second] == [batch.videos[1:] for batch in whole]

    def test_when_none_can_replace_it(self, two_broken: Records) -> None:
        with pytest.raises(TrainingStopped, match="no other video can replace it in step 0"):
            list(batches(RecordClips(two_broken, replace_failed=True), batch_size=5))


def test_some_clips_are_read_in_the_order_given(clips: ToyboxClipSet) -> None:
    read = list(clips.read([4, 1], frames=3, size=32))
    for place, frames in zip((4, 1), read, strict=True):
        clip = clips.clips[place]
        assert frames.pixels is not None and np.array_equal(frames.pixels, clip.show(3, 32))
        assert frames.times is not None and np.array_equal(frames.times, clip.times(3))
        assert (frames.path, frames.failure) == (None, None)


def test_a_file_that_has_gone_gives_its_reason_and_ends_nothing(toybox_folder: Path, tmp_path: Path) -> None:
    there = sorted(toybox_folder.glob("*.mp4"))[0]
    records = [
        VideoRecord("gone", tmp_path / "gone.mp4", ("a ball",)),
        VideoRecord("there", there, ("a ball",), start=0.5, end=1.5),
    ]
    gone, shown = RecordClips(records).read([0, 1], frames=3, size=32)
    assert gone.pixels is None and gone.times is None and gone.failure is not None
    assert gone.failure.reason and gone.path == tmp_path / "gone.mp4"
    assert shown.failure is None and shown.path == there
    assert shown.pixels is not None and shown.pixels.shape == (3, 32, 32, 3)
    assert shown.times is not None and np.all((shown.times > 0.4) & (shown.times < 1.5))
