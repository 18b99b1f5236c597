"""Batches are cut with their regions and twins, and other processes make the same ones in the same order."""

import numpy as np

from prost.data.batches import generator_of, load_batches, twins_within
from prost.data.toybox_clips import ToyboxFrames


def frames(steps: range) -> ToyboxFrames:
    return ToyboxFrames(steps, batch_size=6, size=32, seed=0)


def test_other_processes_make_the_same_batches_in_order() -> None:
    alone, dealt = (list(load_batches(frames(range(1, 6)), workers)) for workers in (0, 2))
    assert len(dealt) == 5
    for one, other in zip(alone, dealt, strict=True):
        assert one.captions == other.captions and np.array_equal(one.pixels, other.pixels)


def test_rows_of_a_batch_keep_their_regions() -> None:
    batch = next(iter(frames(range(1))))
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
        assert np.array_equal(part.regions.true, batch.regions.true[np.ix_(kept, kept)])
    assert len(first.regions.sentences) + len(rest.regions.sentences) == len(batch.regions.sentences)


def test_only_whole_pairs_of_twins_stay() -> None:
    twins = np.array([0, 1, 2, 3, 5, 4])
    assert twins_within(twins, 0, 6).tolist() == [0, 1, 2, 3, 5, 4]
    assert twins_within(twins, 1, 6).tolist() == [1, 2, 4, 3]
    assert twins_within(twins, 3, 5).tolist() == []


def test_each_purpose_and_number_has_a_generator_of_its_own() -> None:
    draws = [generator_of(*key).random() for key in ((0, "a", 1), (0, "b", 1), (0, "a", 2), (1, "a", 1))]
    assert len(set(draws)) == 4
    assert generator_of(0, "a", 1).random() == draws[0]
