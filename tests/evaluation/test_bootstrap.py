"""Intervals against their theory, and claims against cases in which the answer is known."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from prost.errors import UsageError
from prost.evaluation import bootstrap
from prost.evaluation.bootstrap import confidence_interval, paired_bootstrap
from prost.evaluation.metrics import METRICS, Metric


def test_the_interval_of_a_recall_is_the_binomial_one() -> None:
    ranks = np.where(np.arange(1000) < 300, 1.0, 20.0)
    low, high = confidence_interval(ranks, "R@1", samples=20_000)
    expected = np.array(binom.interval(0.95, 1000, 0.3)) / 10
    np.testing.assert_allclose([low, high], expected, atol=0.2)


def test_the_interval_of_the_mean_rank_is_the_normal_one() -> None:
    ranks = np.random.default_rng(0).integers(1, 100, 2000).astype(float)
    low, high = confidence_interval(ranks, "MnR", samples=20_000)
    spread = 1.96 * ranks.std() / np.sqrt(len(ranks))
    np.testing.assert_allclose([low, high], [ranks.mean() - spread, ranks.mean() + spread], atol=0.05)


def test_resampling_as_a_loop_does_it() -> None:
    ranks = np.random.default_rng(1).integers(1, 30, 50).astype(float)
    rng = np.random.default_rng(7)
    drawn = [np.median([ranks[query] for query in row]) for row in rng.integers(50, size=(400, 50))]
    expected = sorted(drawn)[19], sorted(drawn)[380]  # 0.05 of 399 steps, from either end
    assert confidence_interval(ranks, "MdR", samples=400, seed=7, level=0.9) == expected


def test_blocks_of_samples_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = np.random.default_rng(2).integers(1, 30, 64).astype(float)
    whole = confidence_interval(ranks, "R@5", samples=100)
    monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 64 * 7)
    assert confidence_interval(ranks, "R@5", samples=100) == whole


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.sampled_from(list(METRICS)))
def test_an_interval_lies_within_what_the_queries_allow(values: list[int], metric: str) -> None:
    low, high = confidence_interval(values, metric, samples=50)
    each = METRICS[metric].of(np.array(values, dtype=float)[:, None])
    if METRICS[metric].recall and each.min() == each.max():
        # All found, or none: resampling gives one value, and the exact binomial interval is wider.
        assert 0 <= low <= each.min() <= high <= 100 and low < high
    else:
        assert each.min() <= low <= high <= each.max()


@pytest.mark.parametrize(("ranks", "expected"), [(1.0, (88.43, 100.0)), (9.0, (0.0, 11.57))])
def test_all_or_nothing_has_the_exact_binomial_interval(ranks: float, expected: tuple[float, float]) -> None:
    """30 of 30, or 0 of 30, by Clopper and Pearson: 0.025 ** (1 / 30) = 0.8843."""
    low, high = confidence_interval(np.full(30, ranks), "R@1")
    assert (low, high) == pytest.approx(expected, abs=0.01)
    exact = binomtest(30 if ranks == 1.0 else 0, 30).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((100 * exact.low, 100 * exact.high))
    # Captions of one video are not independent.
    assert confidence_interval(np.full(60, ranks), "R@1", videos=np.repeat(np.arange(30), 2)) == (low, high)


def test_a_model_does_not_beat_itself() -> None:
    ranks = np.random.default_rng(3).integers(1, 10, 200).astype(float)
    result = paired_bootstrap(ranks, ranks, "MnR")
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)
    result = paired_bootstrap(ranks, ranks, "R@1")
    assert (result.difference, result.p_value) == (0, 1) and result.high == -result.low > 0
    assert not result.a_beats_b
    assert not result.b_beats_a


@pytest.mark.parametrize("found", [1.0, 9.0])
def test_no_difference_on_few_videos_is_not_known_exactly(found: float) -> None:
    """Both find all of 2 videos, or none: up to 84 percent of other videos may differ, by Clopper and Pearson."""
    exact = binomtest(0, 2).proportion_ci(0.95, "exact").high
    result = paired_bootstrap(np.full(2, found), np.full(2, found), "R@1")
    assert (result.low, result.high) == pytest.approx((-100 * exact, 100 * exact))
    # Captions of one video are not independent.
    videos = np.repeat(np.arange(2), 3)
    assert paired_bootstrap(np.full(6, found), np.full(6, found), "R@1", videos=videos) == result


@pytest.mark.parametrize(("videos", "claimed"), [(1, False), (5, False), (6, True), (50, True)])
def test_a_model_that_wins_every_video_is_better_as_the_sign_test_says(videos: int, claimed: bool) -> None:
    found, missed = np.ones(videos), np.full(videos, 2.0)
    better, worse = paired_bootstrap(found, missed, "R@1"), paired_bootstrap(missed, found, "R@1")
    assert better.difference == 100 and (better.low, better.high) == (-worse.high, -worse.low)
    assert better.a_beats_b == worse.b_beats_a == claimed == (binomtest(videos, videos).pvalue < 0.05)
    assert (better.p_value < 0.05) == claimed


@example(seed=110656362, metric="MnR")  # a bound of exactly zero
@given(seed=st.integers(0, 2**32 - 1), metric=st.sampled_from(list(METRICS)))
def test_exchanging_the_models_exchanges_the_answer(seed: int, metric: str) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(1, 12, (2, 40)).astype(float)
    ab, ba = paired_bootstrap(a, b, metric, samples=101), paired_bootstrap(b, a, metric, samples=101)
    assert ab.difference == pytest.approx(-ba.difference)
    assert (ab.low, ab.high) == pytest.approx((-ba.high, -ba.low))
    assert ab.p_value == ba.p_value
    assert ab.a_beats_b == ba.b_beats_a


@pytest.mark.parametrize("metric", ["R@1", "MdR", "MnR"])
def test_a_clear_winner_wins_by_every_metric(metric: str) -> None:
    rng = np.random.default_rng(4)
    b = rng.integers(4, 40, 300).astype(float)
    result = paired_bootstrap(np.maximum(1, b - 6), b, metric)
    assert result.a_beats_b
    assert not result.b_beats_a
    assert result.p_value < 0.01


def test_pairing_finds_what_separate_intervals_do_not() -> None:
    b = np.where(np.arange(400) % 2 == 0, 1.0, 3.0)
    a = np.where(np.arange(400) % 40 == 1, 1.0, b)  # ten queries gained, none lost
    assert confidence_interval(a, "R@1")[0] < confidence_interval(b, "R@1")[1]
    assert paired_bootstrap(a, b, "R@1").a_beats_b


def test_equal_models_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(5)
    claims = 0
    for _ in range(200):
        a, b = rng.random((2, 200)) < 0.5
        result = paired_bootstrap(np.where(a, 1, 2), np.where(b, 1, 2), "R@1", samples=300)
        claims += result.a_beats_b or result.b_beats_a
    assert claims <= binom.ppf(0.999, 200, 0.06)


def test_another_metric_than_a_rank() -> None:
    twin_won = Metric(lambda values: 100 * values.mean(axis=-1), higher_is_better=True)
    low, high = confidence_interval(np.arange(100) % 4 == 0, twin_won)
    assert 10 < low < 25 < high < 40


def test_a_video_with_several_captions_counts_once() -> None:
    """Four copies of every query tell nothing new, and must not make the interval narrower."""
    ranks = np.random.default_rng(6).integers(1, 30, 80).astype(float)
    copies, videos = np.repeat(ranks, 4), np.repeat(np.arange(80), 4)
    order = np.random.default_rng(7).permutation(320)
    for metric in METRICS:
        once = confidence_interval(ranks, metric, samples=300)
        together = confidence_interval(copies[order], metric, samples=300, videos=videos[order])
        assert together == once
    low, high = confidence_interval(copies, "R@10", samples=300)
    assert high - low < 0.7 * np.subtract(*confidence_interval(ranks, "R@10", samples=300)[::-1])


def test_videos_with_unequal_numbers_of_captions_as_a_loop_draws_them() -> None:
    rng = np.random.default_rng(8)
    videos = np.concatenate([np.arange(20), rng.integers(20, size=37)])
    ranks = rng.integers(1, 30, len(videos)).astype(float)
    queries_of = [[query for query, video in enumerate(videos) if video == place] for place in range(20)]
    rng = np.random.default_rng(9)
    means = []
    for _ in range(400):
        drawn = [query for video in rng.integers(20, size=20) for query in queries_of[video]]
        means.append(sum(ranks[query] for query in drawn) / len(drawn))
    expected = sorted(means)[19], sorted(means)[380]
    found = confidence_interval(ranks, "MnR", samples=400, seed=9, level=0.9, videos=videos)
    assert found == pytest.approx(expected)


def test_several_metrics_come_from_the_same_draws() -> None:
    ranks = np.random.default_rng(10).integers(1, 30, 90).astype(float)
    together = bootstrap.confidence_intervals(ranks, samples=200)
    assert together == [confidence_interval(ranks, metric, samples=200) for metric in METRICS]


def test_runs_that_differ_make_an_order_harder_to_claim() -> None:
    """One lucky run beats another recipe; three runs of which two do not are no reason for a claim."""
    b = np.where(np.arange(400) < 160, 1.0, 3.0)
    lucky, same, worse = (np.where(np.arange(400) < hits, 1.0, 3.0) for hits in (200, 160, 140))
    assert paired_bootstrap(lucky, b, "R@1").a_beats_b
    result = paired_bootstrap([lucky, same, worse], [b, b], "R@1")
    assert result.difference == pytest.approx((50 + 40 + 35) / 3 - 40)
    assert not result.a_beats_b
    assert paired_bootstrap([lucky] * 3, [b], "R@1").a_beats_b


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UsageError, match="R@10"):
        confidence_interval([1.0], "recall@10")
    for ranks, level, samples in (([], 0.95, 10), ([[1.0]], 0.95, 10), ([1.0], 1.0, 10), ([1.0], 0.5, 0)):
        with pytest.raises(UsageError):
            confidence_interval(ranks, "R@1", samples=samples, level=level)
    with pytest.raises(UsageError, match="3 queries"):
        confidence_interval([1.0, 2.0, 3.0], "R@1", videos=[0, 1])
    with pytest.raises(UsageError, match="same queries"):
        paired_bootstrap([1.0, 2.0], [1.0], "R@1")
