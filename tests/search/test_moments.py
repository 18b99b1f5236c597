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
    temporal_iou,
    winning_event,
)

ONLY = {"sentence": 0.0, "objects": 0.0, "wins": 0.0, "attention": 0.0, "quiet": 0.0}


@dataclass(frozen=True)
class Stretch:
    start: float
    end: float
    score: float = 0.0


class TestRelevance:
    """Two frames, two slots, two directions: the first frame shows what the sentence says."""

    phrase = np.array([[2.0, 0.0], [0.0, 0.0]])
    sentence = np.array([3.0, 0.0])
    object = np.array([[[5.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [0.0, 0.0]]])
    attention = np.array([[0.2, 0.8], [0.9, 0.1]])

    def curve(self, **weights: float) -> list[float]:
        rule = MomentRule(**{**ONLY, **weights})
        return relevance(self.phrase, self.sentence, self.object, self.attention, 0, rule).tolist()

    def test_each_curve_alone_is_standardised(self) -> None:
        assert self.curve(sentence=1) == pytest.approx([1, -1])  # cosines 1 and 0
        assert self.curve(objects=1) == pytest.approx([1, -1])  # (1 + 0.7071) / 2 and 0
        assert self.curve(wins=1) == pytest.approx([1, -1])  # both slots have their best in the first frame
        assert self.curve(attention=1) == pytest.approx([-1, 1])  # event 0 looks at the second frame

    def test_the_curves_are_averaged_by_their_weights(self) -> None:
        assert self.curve(sentence=3, attention=1) == pytest.approx([0.5, -0.5])

    def test_the_event_that_won_speaks(self) -> None:
        rule = MomentRule(**{**ONLY, "attention": 1.0})
        assert relevance(self.phrase, self.sentence, self.object, self.attention, 1, rule).tolist() == [1, -1]

    def test_a_quiet_curve_stays_quiet(self) -> None:
        # Cosines 1 and 0: deviation 0.5, a quarter of what counts as loud.
        assert self.curve(sentence=1, quiet=2.0) == pytest.approx([0.25, -0.25])

    def test_dead_slots_and_phrases_say_nothing(self) -> None:
        silent = relevance(
            np.zeros((2, 2)), self.sentence, np.zeros((2, 2, 2)), np.full((1, 2), 0.5), 0, MomentRule()
        )
        assert silent.tolist() == [0, 0]

    def test_slots_won_by_several_frames_are_shared(self) -> None:
        # Slot 0 is won by frame 0; slot 1 is alike in frames 0 and 1. Shares of the wins: 3/4, 1/4, 0.
        object = np.array([[[1.0, 0], [1, 0]], [[0, 1], [1, 0]], [[0, 1], [0, 1]]])
        rule = MomentRule(**{**ONLY, "wins": 1.0})
        curve = relevance([[1.0, 0.0]], [1.0, 0.0], object, np.full((1, 3), 1 / 3), 0, rule)
        shares = np.array([0.75, 0.25, 0.0])
        assert curve == pytest.approx((shares - shares.mean()) / shares.std())


def test_the_winning_event_is_the_one_most_like_the_sentence() -> None:
    assert winning_event([1.0, 0.0], [[9.0, 9.0], [0.1, 0.0], [0.0, 0.0]]) == 1


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_best_run_is_the_largest_sum_then_the_longest_then_the_first(gains: list[int]) -> None:
    runs = list(combinations(range(len(gains) + 1), 2))
    best = max(runs, key=lambda run: (sum(gains[run[0] : run[1]]), run[1] - run[0], -run[0]))

    assert best_run(gains) == best


class TestMoment:
    times = np.array([1.0, 3.0, 5.0, 7.0, 9.0, 11.0])  # a clip from 0 to 12 s

    def test_borders_are_midway_between_frames(self) -> None:
        assert moment(self.times, 0, 12, [-1, 1, 1, -1, -1, -1]) == (2, 6)

    def test_the_clips_own_borders_end_it(self) -> None:
        assert moment(self.times, 0, 12, [1, -1, -1, -1, -1, -1]) == (0, 2)
        assert moment(self.times, 0, 12, [-1, -1, -1, -1, 1, 1]) == (8, 12)

    def test_a_weak_frame_between_strong_ones_belongs_to_it(self) -> None:
        assert moment(self.times, 0, 12, [-1, 2, -0.5, 2, -1, -1]) == (2, 8)

    def test_a_flat_curve_names_the_whole_clip(self) -> None:
        assert moment(self.times, 0, 12, [0] * 6) == (0, 12)

    def test_the_threshold_narrows_it(self) -> None:
        curve = [-1, 0.3, 1, 0.3, -1, -1]
        assert moment(self.times, 0, 12, curve, MomentRule(threshold=0.2)) == (2, 8)
        assert moment(self.times, 0, 12, curve, MomentRule(threshold=0.5)) == (4, 6)

    def test_a_short_one_is_widened_about_its_middle(self) -> None:
        assert moment(self.times, 0, 12, [-1, -1, 1, -1, -1, -1], MomentRule(shortest=4)) == (3, 7)

    def test_widening_stays_in_the_clip(self) -> None:
        assert moment(self.times, 0, 12, [1, -1, -1, -1, -1, -1], MomentRule(shortest=5)) == (0, 5)
        assert moment(self.times, 0, 12, [1, -1, -1, -1, -1, -1], MomentRule(shortest=50)) == (0, 12)

    def test_a_video_of_one_frame_shown_again_and_again(self) -> None:
        assert moment([0.0, 0.0, 0.0], 0, 0.04, [0, 0, 0]) == (0, 0.04)

    def test_frames_that_begin_before_the_clip_do_not_lead_out_of_it(self) -> None:
        start, end = moment([8.0, 9.5, 20.0], 9.0, 21.0, [1, -1, -1])
        assert (start, end) == (9.0, 10.0)  # half a second, widened to the shortest

    @given(
        st.lists(st.floats(0, 12), min_size=2, max_size=8),
        st.lists(st.floats(-3, 3), min_size=8, max_size=8),
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
