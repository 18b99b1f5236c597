"""Fixed sets of Toybox clips: the same for all seeds of a training, epochs without repeats, twins together."""

from itertools import chain

import numpy as np
import pytest

from prost.data.toybox import gallery
from prost.data.toybox_clip_set import ToyboxClipSet
from prost.data.toybox_clips import ClipShares
from prost.errors import BadConfig


@pytest.fixture(scope="module")
def clips() -> ToyboxClipSet:
    return ToyboxClipSet.drawn(13, moments=0.3, twins=0.5, long=0.2)


def test_shares_fill_the_set() -> None:
    for count in range(2, 40):
        shares = ClipShares.of(count, 0.9, 0.5, 0.4)
        assert shares.windows + shares.moments + 2 * shares.pairs + shares.stories == count


def test_the_same_set_each_time(clips: ToyboxClipSet) -> None:
    again = ToyboxClipSet.drawn(13, moments=0.3, twins=0.5, long=0.2)
    assert again.clips == clips.clips and again.description == clips.description
    assert ToyboxClipSet.drawn(12, 0.3, 0.5, 0.2).description != clips.description


def test_an_epoch_shows_no_clip_twice_and_the_next_is_another(clips: ToyboxClipSet) -> None:
    plan = clips.plan(4, seed=0)
    steps = [plan.of(step)[0].tolist() for step in range(6)]
    for epoch in (steps[:3], steps[3:]):
        seen = list(chain.from_iterable(epoch))
        assert len(set(seen)) == len(seen) == 12
    assert sorted(chain.from_iterable(steps[:3])) != list(chain.from_iterable(steps[:3]))
    assert steps[:3] != steps[3:]
    assert clips.plan(4, seed=1).of(0)[0].tolist() != steps[0]
    assert clips.plan(4, seed=0).of(4)[0].tolist() == steps[4]  # whatever was asked before


def test_twins_follow_each_other(clips: ToyboxClipSet) -> None:
    order = list(chain.from_iterable(clips.plan(13, seed=2).of(0)[0].reshape(-1, 1).tolist()))
    pairs = [group for group in clips.groups if len(group) == 2]
    assert len(pairs) == 3
    for one, other in pairs:
        assert order.index(other) == order.index(one) + 1
        assert clips.clips[one].scene.objects == clips.clips[other].scene.objects


def test_a_batch_knows_its_twins(clips: ToyboxClipSet) -> None:
    (batch,) = clips.batches(range(1), 13, 2, 0, 1, 2, 32)
    pairs = {tuple(pair) for pair in batch.twins.reshape(-1, 2).tolist()}
    named = [{clips.names.index(batch.videos[row]) for row in pair} for pair in pairs]
    assert sorted(map(sorted, named)) == sorted(sorted(group) for group in clips.groups if len(group) == 2)
    first = min(pairs)
    cut = batch[first[0] + 1 :]  # one of the first pair is left out, and so is the pair
    assert len(cut.twins) == len(batch.twins) - 2
    assert (cut.twins < len(cut)).all()


def test_captions_are_told_anew(clips: ToyboxClipSet) -> None:
    plan = clips.plan(13, seed=0)
    told = [dict(zip(*(part.tolist() if isinstance(part, np.ndarray) else part for part in plan.of(step)), strict=True))
            for step in (0, 1, 0)]  # fmt: skip
    assert told[0] == told[2] != told[1]


def test_each_process_renders_its_rows(clips: ToyboxClipSet) -> None:
    (whole,) = clips.batches(range(1, 2), 4, 0, 0, 1, 2, 32)
    halves = [next(clips.batches(range(1, 2), 4, 0, rank, 2, 2, 32)) for rank in (0, 1)]
    assert np.array_equal(np.concatenate([half.pixels for half in halves]), whole.pixels)
    assert halves[0].captions + halves[1].captions == whole.captions
    assert halves[0].videos + halves[1].videos == whole.videos
    assert whole.videos[0] in clips.names


def test_in_order(clips: ToyboxClipSet) -> None:
    (pixels,) = clips.in_order(2, 32)
    assert pixels.shape == (13, 2, 32, 32, 3)
    assert np.array_equal(pixels[5], clips.clips[5].show(2, 32))


def test_a_gallery_is_its_scenes() -> None:
    shown = gallery("toybox-4", split="val")
    clips = ToyboxClipSet.of_gallery(shown, "val")
    assert [clip.scene for clip in clips.clips] == list(shown.scenes)


def test_a_batch_larger_than_the_set(clips: ToyboxClipSet) -> None:
    with pytest.raises(BadConfig, match=r"batch_size 14 with 13 training clips; expected: at most 13"):
        clips.plan(14, 0)
