"""Telling queries that fit a video from queries that fit none."""

import json

import numpy as np
import pytest

import prost
from prost.bench.nomatch import (
    _recoloured,
    area_under_curve,
    expected_fraction,
    half_of,
    measure_no_match,
    table,
)
from prost.data.toybox import gallery, holds


def test_the_area_counts_pairs_in_the_right_order_and_ties_half() -> None:
    assert area_under_curve(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert area_under_curve(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 0
    assert area_under_curve(np.array([1.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(0.625)


def test_half_of_the_videos_are_indexed_and_twins_stay_together() -> None:
    drawn = gallery("toybox-60")
    indexed = set(half_of(drawn, np.random.default_rng(0)).tolist())
    assert len(indexed) == 30
    for place in indexed:
        assert drawn.twin[place] is None or drawn.twin[place] in indexed
        assert [other for other in indexed if holds(drawn.queries[place].claims, drawn.scenes[other])] == [
            place
        ]


def test_a_changed_colour_changes_one_word() -> None:
    drawn = gallery("toybox-20")
    changed = _recoloured(drawn.queries, drawn.scenes, np.random.default_rng(0))
    assert changed
    texts = [query.text.split() for query in drawn.queries]
    for text in changed:
        assert (
            min(
                sum(one != other for one, other in zip(text.split(), words, strict=True))
                for words in texts
                if len(words) == len(text.split())
            )
            == 1
        )


@pytest.mark.parametrize(("count", "compared"), [(40, 20), (1000, 250)])
def test_the_expected_fraction_knows_that_the_background_is_a_sample(count: int, compared: int) -> None:
    random = np.random.default_rng(0)
    level, rank = 0.05, round(0.05 * (compared + 1))
    # Queries and unrelated sentences of the same distribution: how many queries exceed the rank-th largest sentence?
    fractions = [
        (random.random(count) >= np.sort(random.random(compared))[-rank]).mean() for _ in range(4000)
    ]
    low, high = expected_fraction(rank / (compared + 1), count, compared)
    inside = np.mean([low <= fraction <= high for fraction in fractions])
    assert 0.94 <= inside <= 0.985  # a discrete distribution holds a little more than 95 %
    # Queries alone would give a narrower interval.
    assert high - level > 1.96 * np.sqrt(level * (1 - level) / count)


@pytest.mark.slow
def test_the_bundled_model_tells_them_apart() -> None:
    report = measure_no_match(prost.load("toybox"), 40, lambda done, total, name: None, further_lots=1)
    assert report.auroc > 0.8 and report.recall_at_1 > 0.8
    assert report.false_alarms.alarms <= 0.25 * report.queries
    short = report.false_alarms_one_event
    assert short.queries <= report.queries and short.rate == short.alarms / short.queries
    for kind in (report.false_alarms, short):
        assert len(kind.with_other_sentences) == 1 and max(kind.with_other_sentences) <= 0.25
        assert kind.expected[0] < kind.level < kind.expected[1]
    assert short.alarms <= 0.25 * short.queries and report.auroc_one_event > 0.6
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["auroc"] == report.auroc
    columns, rows = table(report)
    assert all(len(row) == len(columns) for row in rows)
