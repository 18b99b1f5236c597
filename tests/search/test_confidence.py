"""How often an unrelated sentence scores as high: properties of the rate, and its truth where the truth is known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prost.errors import BadScores
from prost.search.confidence import FEWEST_CLIPS, Confidence, FalseAlarms, Profile

SCORES = arrays(np.float64, st.integers(1, 60), elements=st.floats(-2, 2, width=32))


@given(SCORES, st.lists(st.floats(-5, 5), min_size=2, max_size=20))
def test_rates_are_fractions_that_never_grow_with_the_score(best: np.ndarray, scores: list[float]) -> None:
    alarms = FalseAlarms(best=best, profiles=None)
    found = [alarms.confidence(score, None) for score in sorted(scores)]
    rates = [each.false_alarm_rate for each in found]
    assert all(0 < rate <= 1 for rate in rates)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(rates))
    for each in found:
        low, high = each.interval
        assert 0 <= low <= each.false_alarm_rate + 1e-12 and each.false_alarm_rate <= high + 1e-12 <= 1 + 1e-9


@given(SCORES)
def test_the_score_of_every_second_unrelated_sentence_has_that_rate(best: np.ndarray) -> None:
    rate = FalseAlarms(best=best, profiles=None).confidence(float(best.min()) - 1, None).false_alarm_rate
    assert rate == 1


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(BadScores):
        FalseAlarms(best=np.zeros(3), profiles=None).confidence(score, None)


def test_unrelated_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(BadScores):
        FalseAlarms(best=np.array([0.0, math.nan]), profiles=None)
    with pytest.raises(BadScores):
        FalseAlarms(best=np.zeros(1), profiles=np.array([[math.inf, 0.0]]))
    with pytest.raises(BadScores):
        FalseAlarms(best=np.empty(0), profiles=None)


def test_few_clips_give_no_profile() -> None:
    assert Profile.of(np.zeros(FEWEST_CLIPS - 1, np.float32)) is None
    profile = Profile.of(np.arange(FEWEST_CLIPS, dtype=np.float32))
    assert profile is not None and profile.mean == (FEWEST_CLIPS - 1) / 2
    assert profile.upper == pytest.approx(0.95 * (FEWEST_CLIPS - 1))


def _library_scores(
    random: np.random.Generator, sentences: int, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Best scores and profiles of sentences that fit nothing; each scores higher or lower everywhere."""
    scores = random.normal(size=(sentences, 200)) + offset * random.normal(size=(sentences, 1))
    profiles = [Profile.of(row.astype(np.float32)) for row in scores]
    return scores.max(axis=1), np.array([[each.mean, each.upper] for each in profiles if each is not None])


@pytest.mark.parametrize("offset", [0.0, 3.0])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.2])
def test_a_rate_is_how_often_unrelated_sentences_reach_it(offset: float, level: float) -> None:
    """The fraction of further unrelated sentences whose best hit is given a rate of `level` or less."""
    fractions = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        best, profiles = _library_scores(random, 500, offset)
        alarms = FalseAlarms(best=best, profiles=profiles)
        best, profiles = _library_scores(random, 500, offset)
        rates = [
            alarms.confidence(float(score), Profile(mean=mean, upper=upper)).false_alarm_rate
            for score, (mean, upper) in zip(best, profiles, strict=True)
        ]
        fractions.append(np.mean(np.array(rates) <= level))
    # Level and fraction come from 500 sentences each, eight times: three standard deviations of both.
    spread = 3 * math.sqrt(level * (1 - level) * (2 / 500) / 8)
    assert abs(np.mean(fractions) - level) < spread


def test_a_sentence_that_scores_high_everywhere_does_not_fit_for_that() -> None:
    random = np.random.default_rng(2)
    best, profiles = _library_scores(random, 500, 3.0)
    alarms = FalseAlarms(best=best, profiles=profiles)
    everywhere = alarms.confidence(8.0, Profile(mean=6.0, upper=7.6))
    here = alarms.confidence(8.0, Profile(mean=0.0, upper=1.6))
    assert everywhere.level == "none" and here.level == "good"


def test_without_a_profile_the_plain_scores_decide() -> None:
    best, profiles = _library_scores(np.random.default_rng(3), 100, 1.0)
    with_profiles, without = FalseAlarms(best=best, profiles=profiles), FalseAlarms(best=best, profiles=None)
    assert with_profiles.confidence(3.0, None) == without.confidence(3.0, None)


def test_equal_scores_everywhere_fit_nothing() -> None:
    """As in a library of clips that the model sees nothing in."""
    alarms = FalseAlarms(best=np.zeros(500), profiles=np.zeros((500, 2)))
    assert alarms.confidence(0.0, Profile(mean=0.0, upper=0.0)).false_alarm_rate == 1
    assert alarms.confidence(0.1, Profile(mean=0.0, upper=0.0)).level == "good"


@pytest.mark.parametrize(
    ("rate", "level", "words"),
    [
        (0.0002, "good", "This fits well: 1 in 5,000 unrelated sentences scores as high."),
        (0.05, "good", "This fits well: 1 in 20 unrelated sentences scores as high."),
        (0.1, "possible", "This may fit: 1 in 10 unrelated sentences scores as high."),
        (0.33, "none", "This does not fit well: 3 in 10 unrelated sentences score as high."),
        (1.0, "none", "This does not fit well: almost every unrelated sentence scores as high."),
    ],
)
def test_the_statement_says_the_rate_in_words(rate: float, level: str, words: str) -> None:
    confidence = Confidence(false_alarm_rate=rate, interval=(rate, rate))
    assert (confidence.level, confidence.statement) == (level, words)
    assert confidence.as_dict() == {
        "level": level,
        "false_alarm_rate": rate,
        "interval": [rate, rate],
        "statement": words,
    }
