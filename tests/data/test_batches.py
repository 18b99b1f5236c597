"""Batches: a function of seed and step, whoever makes them; every kind of row is what it says."""

import numpy as np
import pytest

from prost.data.batches import CaptionedVideos, ToyboxClips, ToyboxFrames, load_batches
from prost.data.toybox import vocabulary


def frames(steps: range, seed: int = 0) -> ToyboxFrames:
    return ToyboxFrames(steps, batch_size=6, size=32, seed=seed)


def clips(
    steps: range, moments: float = 0.25, twins: float = 0.5, long: float = 0.25, seed: int = 0
) -> ToyboxClips:
    return ToyboxClips(steps, 8, 32, 3, moments=moments, twins=twins, long=long, seed=seed)


def same(one: CaptionedVideos, other: CaptionedVideos) -> bool:
    return one.captions == other.captions and np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("make", [frames, clips])
def test_a_batch_depends_on_seed_and_step_alone(make: type) -> None:
    whole, rest = list(make(range(3))), list(make(range(2, 3)))
    assert same(whole[2], rest[0])  # a resumed run sees what the other saw
    assert not same(whole[1], whole[2])
    assert not same(whole[2], next(iter(make(range(2, 3), seed=1))))


def test_other_processes_make_the_same_batches_in_order() -> None:
    alone, dealt = (list(load_batches(frames(range(1, 6)), workers)) for workers in (0, 2))
    assert len(dealt) == 5
    assert all(same(one, other) for one, other in zip(alone, dealt, strict=True))


def test_shapes() -> None:
    single, several = next(iter(frames(range(1)))), next(iter(clips(range(1))))
    assert (single.pixels.shape, single.pixels.dtype) == ((6, 1, 32, 32, 3), np.uint8)
    assert (several.pixels.shape, len(several.captions)) == ((8, 3, 32, 32, 3), 8)


def test_all_words_are_in_the_vocabulary() -> None:
    known = set(vocabulary())
    for batch in (next(iter(frames(range(1)))), next(iter(clips(range(1))))):
        for caption in batch.captions:
            assert set(caption.replace(",", " , ").split()) <= known


def test_twins_stand_side_by_side_on_one_background() -> None:
    batch = next(iter(clips(range(1), moments=0.0, twins=1.0, long=0.0)))
    for first in range(0, 8, 2):
        one, twin = batch.pixels[first], batch.pixels[first + 1]
        assert batch.captions[first] != batch.captions[first + 1]
        assert not np.array_equal(one, twin)
        # The same things on the same background: closer than to any other video's first frame.
        others = [
            np.abs(one[0].astype(int) - batch.pixels[i][0]).mean() for i in range(8) if i // 2 != first // 2
        ]
        assert np.abs(one[0].astype(int) - twin[0]).mean() < min(others)


@pytest.mark.parametrize("make", [frames, clips])
def test_rows_of_a_batch_keep_their_regions(make: type) -> None:
    batch = next(iter(make(range(1))))
    assert batch.regions is not None
    first, rest = batch[:2], batch[2:]
    assert first.captions + rest.captions == batch.captions
    for part, begin in ((first, 0), (rest, 2)):
        assert part.regions is not None
        assert (part.regions.video >= 0).all() and (part.regions.video < len(part)).all()
        kept = [i for i, video in enumerate(batch.regions.video) if begin <= video < begin + len(part)]
        assert part.regions.sentences == [batch.regions.sentences[i] for i in kept]
        assert np.array_equal(part.regions.boxes, batch.regions.boxes[kept])
        assert np.array_equal(part.regions.video + begin, batch.regions.video[kept])
        assert part.regions.true.shape == (len(kept), len(kept)) and part.regions.true.diagonal().all()
    assert len(first.regions.sentences) + len(rest.regions.sentences) == len(batch.regions.sentences)
