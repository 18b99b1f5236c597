"""Hubness against a plain count, worked numbers and scipy's skewness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import skew

import prost.evaluation.hubness as module
from prost.errors import BadScores
from prost.evaluation.hubness import hubness, k_occurrence


def counted(scores: np.ndarray, k: int) -> np.ndarray:
    """By sorting each row, for scores without ties."""
    counts = np.zeros(scores.shape[1])
    for row in scores:
        for item in sorted(range(len(row)), key=lambda item: -row[item])[:k]:
            counts[item] += 1
    return counts


@pytest.mark.parametrize(("queries", "items", "k"), [(30, 20, 5), (7, 50, 10), (40, 4, 10)])
def test_a_plain_count_and_scipy_agree(queries: int, items: int, k: int) -> None:
    scores = np.random.default_rng(queries).permutation(queries * items).reshape(queries, items).astype(float)
    expected = counted(scores, min(k, items))
    np.testing.assert_array_equal(k_occurrence(scores, k), expected)
    assert hubness(scores, k) == pytest.approx(skew(expected) if expected.std() else 0.0)


def test_a_hub_is_seen() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(200, 100))
    with_hub = scores.copy()
    with_hub[:, 17] += 3.0
    assert hubness(with_hub) > 5 > 1 > abs(hubness(scores))
    assert k_occurrence(with_hub).argmax() == 17


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(1).integers(0, 5, size=(23, 11)).astype(float)
    whole = k_occurrence(scores, 3)
    monkeypatch.setattr(module, "SCORES_AT_ONCE", 30)
    np.testing.assert_allclose(k_occurrence(scores, 3), whole)


@given(arrays(np.float64, (6, 5), elements=st.integers(0, 3).map(float)), st.integers(1, 7))
def test_every_query_gives_k_places_and_the_order_of_columns_does_not_count(
    scores: np.ndarray, k: int
) -> None:
    counts = k_occurrence(scores, k)
    assert counts.sum() == pytest.approx(6 * min(k, 5))
    np.testing.assert_allclose(k_occurrence(scores[:, ::-1], k), counts[::-1])


def test_equal_scores_make_no_hubs() -> None:
    assert hubness(np.ones((8, 20))) == 0.0


def test_scores_that_are_no_numbers() -> None:
    with pytest.raises(BadScores):
        hubness([[np.nan, 1.0]])
