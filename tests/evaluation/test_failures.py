"""Which failures of an evaluation are the worst, and which videos came before the true one."""

import numpy as np
import pytest

from prost.errors import BadScores
from prost.evaluation.failures import WINNERS, worst_failures
from prost.evaluation.metrics import text_to_video_ranks


def scores_of(*rows: list[float]) -> dict[str, np.ndarray]:
    return {"sum": np.array(rows)}


def test_captions_whose_video_came_first_are_no_failures() -> None:
    assert worst_failures({"sum": np.eye(4)}, np.arange(4), 10) == []


def test_a_higher_rank_is_worse_and_the_margin_decides_between_equal_ranks() -> None:
    scores = scores_of(
        [0.5, 0.6, 0.7, 0.0],  # rank 3, margin 0.2
        [0.9, 0.1, 0.0, 0.0],  # rank 2, margin 0.8
        [0.9, 0.0, 0.8, 0.0],  # rank 2, margin 0.1
        [0.0, 0.0, 0.0, 0.1],  # found
    )
    failures = worst_failures(scores, np.arange(4), 10)
    assert [failure.caption for failure in failures] == [0, 1, 2]
    assert [failure.true.rank for failure in failures] == [3, 2, 2]
    assert [round(failure.margin, 6) for failure in failures] == [0.2, 0.8, 0.1]
    assert [winner.video for winner in failures[0].winners] == [2, 1]
    assert [winner.rank for winner in failures[0].winners] == [1, 2]
    assert [failure.caption for failure in worst_failures(scores, np.arange(4), 2)] == [0, 1]


def test_a_video_appears_once_with_the_worst_of_its_captions() -> None:
    scores = scores_of([0.5, 0.6, 0.0], [0.1, 0.6, 0.2], [0.2, 0.6, 0.3], [0.9, 0.0, 0.1])
    failures = worst_failures(scores, np.array([0, 0, 0, 2]), 10)
    assert [(failure.true.video, failure.caption) for failure in failures] == [(0, 1), (2, 3)]


def test_no_more_winners_are_kept_than_are_shown() -> None:
    scores = {"sum": np.array([[0.0, *np.linspace(0.1, 1.0, 10)]])}
    (failure,) = worst_failures(scores, np.array([0]), 1)
    assert failure.true.rank == 11
    assert [winner.video for winner in failure.winners] == list(range(10, 10 - WINNERS, -1))


def test_ranks_are_those_of_the_metrics_also_for_ties() -> None:
    rng = np.random.default_rng(0)
    matrix, owner = rng.integers(0, 4, (30, 12)).astype(np.float64), rng.integers(0, 12, 30)
    ranks = text_to_video_ranks(matrix, owner)
    for failure in worst_failures({"sum": matrix}, owner, 30):
        assert failure.true.rank == ranks[failure.caption] > 1
        assert all(winner.score >= failure.true.score for winner in failure.winners)
        assert failure.true.video not in {winner.video for winner in failure.winners}
    tied = worst_failures(scores_of([0.5, 0.5, 0.1]), np.array([0]), 1)[0]
    assert (tied.true.rank, tied.winners[0].rank, tied.margin) == (1.5, 1.5, 0)


def test_parts_of_the_score_are_those_of_the_video() -> None:
    parts = {
        "sum": np.array([[0.5, 0.9]]),
        "event_sentence": np.array([[0.2, 0.3]]),
        "object_phrase": np.array([[0.2, 0.4]]),
    }
    (failure,) = worst_failures(parts, np.array([0]), 1)
    assert (failure.true.event_sentence, failure.true.object_phrase) == (0.2, 0.2)
    assert (failure.winners[0].event_sentence, failure.winners[0].object_phrase) == (0.3, 0.4)
    (plain,) = worst_failures({"sum": parts["sum"]}, np.array([0]), 1)
    assert (plain.true.event_sentence, plain.winners[0].object_phrase) == (None, None)


def test_scores_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(BadScores):
        worst_failures(scores_of([0.5, np.nan]), np.array([0]), 1)
