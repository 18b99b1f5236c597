"""Clips that are drawn for every step: a function of seed and step, in the fractions that were asked for."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from prost.data.batches import CaptionedVideos
from prost.data.toybox import vocabulary
from prost.data.toybox_clips import ClipMix, DrawnClips, ToyboxFrames

MIX = ClipMix(moments=0.25, twins=0.5, long=0.25)


def frames(steps: range, seed: int = 0) -> Iterable[CaptionedVideos]:
    return ToyboxFrames(steps, batch_size=6, size=32, seed=seed)


def clips(steps: range, seed: int = 0, mix: ClipMix = MIX) -> Iterable[CaptionedVideos]:
    return DrawnClips(steps, batch_size=8, size=32, frames=3, mix=mix, seed=seed)


def same(one: CaptionedVideos, other: CaptionedVideos) -> bool:
    return one.captions == other.captions and np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("make", [frames, clips])
def test_a_batch_depends_on_seed_and_step_alone(make: Any) -> None:
    whole, rest = list(make(range(3))), list(make(range(2, 3)))
    assert same(whole[2], rest[0])  # a resumed run sees what the other saw
    assert not same(whole[1], whole[2])
    assert not same(whole[2], next(iter(make(range(2, 3), seed=1))))


def test_shapes() -> None:
    single, several = next(iter(frames(range(1)))), next(iter(clips(range(1))))
    assert (single.pixels.shape, single.pixels.dtype) == ((6, 1, 32, 32, 3), np.uint8)
    assert (several.pixels.shape, len(several.captions)) == ((8, 3, 32, 32, 3), 8)


def test_counts_fill_the_batch() -> None:
    mix = ClipMix(moments=0.9, twins=0.5, long=0.4)
    for clips in range(2, 40):
        counts = mix.count(clips)
        assert counts.windows + counts.moments + 2 * counts.pairs + counts.stories == clips


def test_all_words_are_in_the_vocabulary() -> None:
    known = set(vocabulary())
    for batch in (next(iter(frames(range(1)))), next(iter(clips(range(1))))):
        for caption in batch.captions:
            assert set(caption.replace(",", " , ").split()) <= known


def test_twins_stand_side_by_side_on_one_background() -> None:
    batch = next(iter(clips(range(1), mix=ClipMix(moments=0.0, twins=1.0, long=0.0))))
    for first in range(0, 8, 2):
        one, twin = batch.pixels[first], batch.pixels[first + 1]
        assert batch.captions[first] != batch.captions[first + 1]
        assert not np.array_equal(one, twin)
        # The same things on the same background: closer than to any other video's first frame.
        others = [
            np.abs(one[0].astype(int) - batch.pixels[i][0]).mean() for i in range(8) if i // 2 != first // 2
        ]
        assert np.abs(one[0].astype(int) - twin[0]).mean() < min(others)


def test_a_sentence_is_true_of_its_own_region() -> None:
    for batch in (next(iter(frames(range(1)))), next(iter(clips(range(1))))):
        assert batch.regions is not None and batch.regions.true.diagonal().all()
