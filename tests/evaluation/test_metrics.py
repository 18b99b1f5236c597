"""Ranks against loops, the authors' numbers, and what must not move them."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from prost.errors import BadScores, UsageError
from prost.evaluation import metrics
from prost.evaluation.metrics import (
    both_directions,
    rank_metrics,
    ranks,
    text_to_video,
    text_to_video_ranks,
    video_to_text,
    video_to_text_ranks,
)


def rank_by_permutations(row: NDArray[Any], true: set[int]) -> tuple[float, float, float]:
    """Best place of a true item: on average over all orders of the equal ones, at best, at worst."""
    import itertools

    best = max(row[column] for column in true)
    greater = sum(score > best for score in row)
    equal = [column for column, score in enumerate(row) if score == best]
    places = [
        1 + greater + min(place for place, column in enumerate(order) if column in true)
        for order in itertools.permutations(equal)
    ]
    return float(np.mean(places)), min(places), max(places)


# Few different values, so that ties are common.
SCORES = st.integers(1, 6).flatmap(
    lambda gallery: st.tuples(
        st.lists(
            st.lists(st.integers(0, 3), min_size=gallery, max_size=gallery),
            min_size=1,
            max_size=4,
        ),
        st.lists(st.sets(st.integers(0, gallery - 1), min_size=1), min_size=4, max_size=4),
    )
)


@given(SCORES)
def test_ranks_are_the_mean_best_and_worst_place_among_all_orders_of_equals(
    drawn: tuple[list[list[int]], list[set[int]]],
) -> None:
    scores, truth = np.array(drawn[0], dtype=float), drawn[1][: len(drawn[0])]
    expected = np.array([rank_by_permutations(row, true) for row, true in zip(scores, truth, strict=True)])
    np.testing.assert_allclose(ranks(scores, truth), expected[:, 0])
    np.testing.assert_array_equal(ranks(scores, truth, "optimistic"), expected[:, 1])
    np.testing.assert_array_equal(ranks(scores, truth, "pessimistic"), expected[:, 2])


@given(SCORES, st.randoms(use_true_random=False), st.sampled_from([-7.5, 0.25, 1024.0]))
def test_neither_the_order_of_rows_and_columns_nor_a_constant_matters(
    drawn: tuple[list[list[int]], list[set[int]]], random: Any, constant: float
) -> None:
    scores, truth = np.array(drawn[0], dtype=float), drawn[1][: len(drawn[0])]
    rows, columns = list(range(len(scores))), list(range(scores.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    moved = [{columns.index(column) for column in truth[row]} for row in rows]
    np.testing.assert_array_equal(ranks(scores, truth)[rows], ranks(scores[rows][:, columns], moved))
    np.testing.assert_array_equal(ranks(scores, truth), ranks(scores + constant, truth))


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 4, (23, 9)).astype(float), [set(rng.choice(9, 2)) for _ in range(23)]
    whole = ranks(scores, truth)
    monkeypatch.setattr(metrics, "SCORES_AT_ONCE", 5 * 9)
    np.testing.assert_array_equal(ranks(scores, truth), whole)


def test_a_constant_matrix_finds_nothing() -> None:
    constant = rank_metrics(np.full((100, 100), 0.3))
    assert (constant.r1, constant.r10, constant.mdr) == (0.0, 0.0, 50.5)
    assert rank_metrics(np.full((100, 100), 0.3), ties="optimistic").r1 == 100.0
    assert rank_metrics(np.full((100, 100), 0.3), ties="pessimistic").mnr == 100.0


@pytest.mark.parametrize("seed", range(5))
def test_random_scores_give_chance(seed: int) -> None:
    queries, gallery = 2000, 200
    scores = np.random.default_rng(seed).standard_normal((queries, gallery))
    row = rank_metrics(scores, np.arange(queries) % gallery)
    for recall, k in ((row.r1, 1), (row.r5, 5), (row.r10, 10), (row.r50, 50)):
        low, high = binom.interval(0.9999, queries, k / gallery)
        assert low <= recall / 100 * queries <= high
    assert row.mnr == pytest.approx((gallery + 1) / 2, rel=0.05)


def test_a_perfect_matrix_with_a_larger_gallery() -> None:
    row = rank_metrics(np.eye(3, 8))
    assert row.to_dict() == {
        "R@1": 100,
        "R@5": 100,
        "R@10": 100,
        "R@50": 100,
        "MdR": 1,
        "MnR": 1,
        "RSum": 300,
    }
    assert (row.queries, row.gallery, row.r_sum) == (3, 8, 300)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_named(bad: float) -> None:
    scores = np.zeros((4, 5), dtype=np.float32)
    scores[2, 3] = bad
    with pytest.raises(BadScores, match="query 2 and item 3"):
        ranks(scores, [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("scores", "truth"),
    [
        (np.zeros(3), None),
        (np.zeros((0, 3)), None),
        (np.zeros((3, 2)), None),  # the diagonal ends before the queries do
        (np.zeros((2, 3)), [0]),
        (np.zeros((2, 3)), [0, 3]),
        (np.zeros((2, 3)), [0, -1]),
        (np.zeros((2, 3)), [{0}, set()]),
        (np.zeros((2, 3)), [0.5, 1.0]),
        (np.array([["a", "b"]]), [0]),
    ],
)
def test_a_wrong_shape_or_truth_is_refused(scores: NDArray[Any], truth: Any) -> None:
    with pytest.raises(BadScores):
        ranks(scores, truth)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(UsageError, match="pessimistic"):
        ranks(np.eye(2), ties="worst")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="clip4clip"):
        video_to_text(np.eye(2), [0, 1], kind="best")  # type: ignore[arg-type]


def captions_of(owner: NDArray[Any], video: int) -> list[int]:
    return [caption for caption, its in enumerate(owner) if its == video]


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
    st.integers(0, 2**32 - 1),
)
def test_several_captions_as_the_protocols_say(owners: list[int], seed: int) -> None:
    owner = np.array(owners)
    scores = np.random.default_rng(seed).standard_normal((len(owner), 5))
    captioned = sorted(set(owners))
    by_set, strict = [], []
    for video in captioned:
        best = {other: max(scores[c, video] for c in captions_of(owner, other)) for other in captioned}
        by_set.append(1 + sum(score > best[video] for score in best.values()))
        strict.append(1 + sum(score > best[video] for score in scores[:, video]))
    np.testing.assert_array_equal(video_to_text_ranks(scores, owner, "clip4clip"), by_set)
    np.testing.assert_array_equal(video_to_text_ranks(scores, owner, "strict"), strict)
    forward = [1 + sum(score > scores[c, video] for score in scores[c]) for c, video in enumerate(owner)]
    np.testing.assert_array_equal(text_to_video_ranks(scores, owner), forward)


def test_the_galleries_of_both_kinds_are_told_apart() -> None:
    scores = np.random.default_rng(0).standard_normal((6, 3))
    owner = [0, 0, 0, 2, 2, 2]  # video 1 has no caption: it is in the gallery, and no query
    assert (text_to_video(scores, owner).queries, text_to_video(scores, owner).gallery) == (6, 3)
    by_set, strict = video_to_text(scores, owner, "clip4clip"), video_to_text(scores, owner, "strict")
    assert (by_set.queries, by_set.gallery) == (2, 2)
    assert (strict.queries, strict.gallery) == (2, 6)


def test_one_caption_a_video_makes_both_kinds_one() -> None:
    scores = np.random.default_rng(1).standard_normal((40, 40))
    by_set, strict = both_directions(scores), both_directions(scores, kind="strict")
    assert by_set == strict
    assert by_set.video_to_text == rank_metrics(scores.T)
    assert by_set.r_sum == pytest.approx(by_set.text_to_video.r_sum + rank_metrics(scores.T).r_sum)


AUTHORS_NAMES = {"R1": "R@1", "R5": "R@5", "R10": "R@10", "R50": "R@50", "MedianR": "MdR", "MeanR": "MnR"}


def assert_as_authors(row: metrics.RetrievalMetrics, theirs: NDArray[Any]) -> None:
    expected = json.loads(str(theirs))
    ours = row.to_dict()
    for their_name, our_name in AUTHORS_NAMES.items():
        assert ours[our_name] == pytest.approx(expected[their_name], abs=1e-5)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ("sims", "metrics"),
        ("dual_softmax_t1", "metrics_dual_softmax"),
        ("qb_norm_k1_beta20", "metrics_qb_norm"),
    ],
)
def test_metrics_of_the_authors(reference: dict[str, NDArray[Any]], matrix: str, expected: str) -> None:
    assert_as_authors(rank_metrics(reference[matrix]), reference[expected])


def test_several_captions_of_the_authors(reference: dict[str, NDArray[Any]]) -> None:
    scores, owner = reference["multi_sims"], reference["multi_video_of_caption"]
    assert_as_authors(text_to_video(scores, owner), reference["multi_t2v"])
    assert_as_authors(video_to_text(scores, owner), reference["multi_v2t"])
