"""Pruning thresholds, worked by hand."""

import numpy as np
import pytest

from prost.search.pruning import PruningThresholds


def test_both_thresholds() -> None:
    # Four of 400 clips were sampled. The best 50 should then include half a sampled clip, and at most 2.6 of them, so
    # the third best total, 1.2, is the threshold. The clip with an event score of 0.6 reaches it. A clip with a lower
    # event score would need a larger object-phrase score than the fourth clip has, even with the margin of 0.3
    # standard deviations.
    object = np.array([[0.9, 0.7, 0.6, 0.1]], np.float32)
    event = np.array([[0.8, 0.7, 0.6, 0.5]], np.float32)
    thresholds = PruningThresholds.from_sample(object, event, 50, 400)
    assert thresholds.total == pytest.approx([1.2])
    assert thresholds.event == pytest.approx([0.6])


def test_the_margin() -> None:
    # The third best total is 1.2 again. The largest object-phrase score beside an event score of 0.5 is 0.5, and the
    # standard deviation is 0.2. So at most 0.5 + 0.06 is added to an event score, and 0.64 is needed.
    object = np.array([[0.1, 0.1, 0.5, 0.5]], np.float32)
    event = np.array([[1.3, 1.2, 0.7, 0.5]], np.float32)
    thresholds = PruningThresholds.from_sample(object, event, 50, 400)
    assert thresholds.total == pytest.approx([1.2])
    assert thresholds.event == pytest.approx([0.64], abs=1e-5)


def test_an_event_threshold_that_excludes_few_clips_is_not_used() -> None:
    # Every clip with a low event score is among the best, so nothing is known about clips with a lower one yet.
    event = np.linspace(0, 1, 400, dtype=np.float32)[None]
    thresholds = PruningThresholds.from_sample(3 * (1 - event), event, 20, 4000)
    assert thresholds.event.tolist() == [-np.inf]
    assert thresholds.total[0] > 2


def test_a_sample_smaller_than_what_is_wanted_excludes_nothing() -> None:
    scores = np.ones((2, 4), np.float32)
    thresholds = PruningThresholds.from_sample(scores, scores, 390, 400)
    assert thresholds.total.tolist() == thresholds.event.tolist() == [-np.inf, -np.inf]
