import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prost.search.moments import (
    MomentRule,
    best_run,
    merge_moments,
    moment,
    relevance,
    smoothed,
    temporal_iou,
    votes,
    winning_event,
)

HALF = MomentRule(threshold=0.5)


@dataclass(frozen=True)
class Stretch:
    start: float
    end: float
    score: float = 0.0


class TestVotes:
    def test_they_are_a_softmax_over_frames_in_standard_deviations(self) -> None:
        # Over both slots the deviations are 3, -3, 1 and -1: a standard deviation of the square root of 5.
        agreement = np.array([[6.0, 2.0], [0.0, 0.0]])
        found = votes(agreement, MomentRule(sharpness=math.sqrt(5)))
        assert found[0] == pytest.approx([2 / (1 + math.exp(-6)), 2 / (1 + math.exp(-2))])
        assert found.sum(axis=0) == pytest.approx([2, 2])

    @given(st.floats(0.5, 100), st.floats(-5, 5))
    def test_the_scale_of_a_models_cosines_does_not_count(self, scale: float, offset: float) -> None:
        agreement = np.random.default_rng(0).normal(size=(12, 4))
        assert votes(scale * agreement + offset) == pytest.approx(votes(agreement))

    def test_a_slot_that_is_loud_in_a_clip_votes_more_sharply_than_a_quiet_one(self) -> None:
        loud, quiet = votes([[0.5, 0.1], [0.0, 0.0]])[0]
        assert loud > quiet > 1

    def test_differences_below_the_quiet_ones_are_not_amplified(self) -> None:
        # Cosines that differ by 0.002: a deviation of a tenth of what counts.
        found = votes([[0.502], [0.5]], MomentRule(sharpness=1.0, quiet=0.01))
        assert found[:, 0] == pytest.approx([2 / (1 + math.exp(-0.2)), 2 / (1 + math.exp(0.2))])

    def test_a_dead_slot_says_nothing(self) -> None:
        assert votes([[0.0, 0.9], [0.0, 0.1], [0.0, 0.1]])[:, 0] == pytest.approx([1, 1, 1])


class TestRelevance:
    """Four frames, two slots, two directions: the first frame shows what the sentence says."""

    phrase = np.array([[2.0, 0.0], [0.0, 0.0]])
    object = np.array([[[5.0, 0.0], [1.0, 0.0]], *[[[0.0, 1.0], [0.0, 2.0]]] * 3])
    even = np.full(4, 0.25)

    def test_it_is_the_mean_vote_of_slots_and_event_smoothed(self) -> None:
        slots = votes([[1.0, 1.0], *[[0.0, 0.0]] * 3])
        mean = (slots.sum(axis=1) + np.ones(4)) / 3
        assert relevance(self.phrase, self.object, self.even) == pytest.approx(smoothed(mean))

    def test_the_event_votes_with_its_attention(self) -> None:
        flat = np.tile(self.object[0], (4, 1, 1))  # the slots are alike in all frames
        curve = relevance(self.phrase, flat, [0.0, 0.0, 1.0, 0.0])
        assert curve == pytest.approx(smoothed([2 / 3, 2 / 3, 2, 2 / 3]))

    def test_lengths_of_prototypes_do_not_count(self) -> None:
        curve = relevance(self.phrase, self.object, self.even)
        assert relevance(7 * self.phrase, 3 * self.object, self.even) == pytest.approx(curve)

    def test_dead_prototypes_make_all_frames_alike(self) -> None:
        silent = relevance(np.zeros((2, 2)), np.zeros((4, 2, 2)), self.even)
        assert silent == pytest.approx([1, 1, 1, 1])

    def test_a_clip_of_one_frame(self) -> None:
        assert relevance(self.phrase, self.object[:1], [1.0]) == pytest.approx([1])


def test_the_winning_event_is_the_one_most_like_the_sentence() -> None:
    assert winning_event([1.0, 0.0], [[9.0, 9.0], [0.1, 0.0], [0.0, 0.0]]) == 1


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_best_run_is_the_largest_sum_then_the_longest_then_the_first(gains: list[int]) -> None:
    runs = list(combinations(range(len(gains) + 1), 2))
    best = max(runs, key=lambda run: (sum(gains[run[0] : run[1]]), run[1] - run[0], -run[0]))

    assert best_run(gains) == best


class TestMoment:
    times = np.array([1.0, 3.0, 5.0, 7.0, 9.0, 11.0])  # a clip from 0 to 12 s

    def test_borders_are_where_the_curve_crosses_the_threshold(self) -> None:
        # The peak is 2, so the threshold of one half is 1.5.
        assert moment(self.times, 0, 12, [1, 2, 2, 1.25, 0, 0], HALF) == (2, pytest.approx(5 + 2 * 2 / 3))

    def test_the_clips_own_borders_end_it(self) -> None:
        assert moment(self.times, 0, 12, [2, 1, 0, 0, 0, 0], HALF) == (0, 2)
        assert moment(self.times, 0, 12, [0, 0, 0, 1, 2, 2], HALF) == (8, 12)

    def test_a_weak_frame_between_strong_ones_belongs_to_it(self) -> None:
        assert moment(self.times, 0, 12, [1, 3, 1.5, 3, 1, 1], HALF) == (2, 8)

    def test_the_higher_of_two_peaks_is_the_moment(self) -> None:
        assert moment(self.times, 0, 12, [2, 0, 0, 1, 3, 1], HALF) == (8, 10)

    def test_a_flat_curve_names_the_whole_clip(self) -> None:
        assert moment(self.times, 0, 12, [1] * 6) == (0, 12)

    def test_a_faint_peak_names_the_whole_clip(self) -> None:
        curve = [0.9, 1.3, 0.95, 0.95, 0.95, 0.95]
        assert moment(self.times, 0, 12, curve, MomentRule(faint=1.4)) == (0, 12)
        assert moment(self.times, 0, 12, curve, MomentRule(faint=1.2)) != (0, 12)

    def test_the_threshold_narrows_it(self) -> None:
        curve = [0, 1, 2, 1, 0, 0]
        assert moment(self.times, 0, 12, curve, MomentRule(threshold=0)) == (3, 7)
        assert moment(self.times, 0, 12, curve, HALF) == (4, 6)

    def test_a_short_one_is_widened_about_its_middle(self) -> None:
        narrow = [0, 0, 2, 0, 0, 0]  # from 4.5 to 5.5 s
        assert moment(self.times, 0, 12, narrow, MomentRule(threshold=0.5, shortest=4)) == (3, 7)

    def test_widening_stays_in_the_clip(self) -> None:
        first = [2, 0, 0, 0, 0, 0]
        assert moment(self.times, 0, 12, first, MomentRule(shortest=5)) == (0, 5)
        assert moment(self.times, 0, 12, first, MomentRule(shortest=50)) == (0, 12)

    def test_a_video_of_one_frame_shown_again_and_again(self) -> None:
        assert moment([0.0, 0.0, 0.0], 0, 0.04, [1, 1, 1]) == (0, 0.04)

    def test_frames_that_begin_before_the_clip_do_not_lead_out_of_it(self) -> None:
        start, end = moment([8.0, 9.5, 20.0], 9.0, 21.0, [2, 1, 0], HALF)
        assert (start, end) == (9.0, 10.0)  # a quarter of a second, widened to the shortest

    @given(
        st.lists(st.floats(0, 12), min_size=2, max_size=8),
        st.lists(st.floats(0, 6), min_size=8, max_size=8),
    )
    def test_it_always_lies_in_the_clip(self, times: list[float], curve: list[float]) -> None:
        start, end = moment(sorted(times), 2.0, 10.0, curve[: len(times)])
        assert 2.0 <= start < end <= 10.0


class TestMerging:
    def test_iou(self) -> None:
        assert temporal_iou(Stretch(0, 4), Stretch(2, 6)) == pytest.approx(2 / 6)
        assert temporal_iou(Stretch(0, 2), Stretch(2, 4)) == 0
        assert temporal_iou(Stretch(3, 3), Stretch(3, 3)) == 1

    def test_of_two_that_tell_the_same_the_better_stays_as_it_is(self) -> None:
        better, worse = Stretch(0, 4, 0.9), Stretch(1, 5, 0.8)  # IoU 3/5
        assert merge_moments([worse, better]) == [better]

    def test_neighbours_that_hardly_overlap_both_stay(self) -> None:
        first, second = Stretch(0, 12, 0.8), Stretch(9, 21, 0.9)  # IoU 3/21
        assert merge_moments([first, second]) == [second, first]

    def test_what_was_dropped_drops_nothing(self) -> None:
        # The middle one falls to the first; the last overlaps only the middle one.
        first, middle, last = Stretch(0, 10, 0.9), Stretch(5, 15, 0.8), Stretch(10, 20, 0.7)
        assert merge_moments([first, middle, last]) == [first, last]

    def test_the_limit_counts_what_stays(self) -> None:
        moments = [Stretch(0, 10, 0.9), Stretch(0, 9, 0.8), Stretch(20, 30, 0.7), Stretch(40, 50, 0.6)]
        assert merge_moments(moments, limit=2) == [moments[0], moments[2]]

    def test_the_threshold_is_the_rules(self) -> None:
        moments = [Stretch(0, 4, 0.9), Stretch(2, 6, 0.8)]  # IoU 1/3
        assert len(merge_moments(moments, rule=MomentRule(same_moment=0.3))) == 1
        assert len(merge_moments(moments, rule=MomentRule(same_moment=0.4))) == 2
