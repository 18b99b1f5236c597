"""How often an unrelated sentence scores as high: properties of the rate, and its truth where the truth is known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prost.errors import BadScores
from prost.search.confidence import FEWEST_CLIPS, Confidence, FalseAlarms, Profile, number_of_words

WORDS = 5
SCORES = arrays(np.float64, st.integers(1, 60), elements=st.floats(-2, 2, width=32))


def alarms_of(best: np.ndarray, profiles: np.ndarray | None = None) -> FalseAlarms:
    """What sentences of equal length give."""
    return FalseAlarms(best=best, words=np.full(len(best), WORDS), profiles=profiles)


@given(SCORES, st.lists(st.floats(-5, 5), min_size=2, max_size=20))
def test_rates_are_fractions_that_never_grow_with_the_score(best: np.ndarray, scores: list[float]) -> None:
    alarms = alarms_of(best)
    found = [alarms.confidence(score, WORDS, None) for score in sorted(scores)]
    rates = [each.false_alarm_rate for each in found]
    assert all(0 < rate <= 1 for rate in rates)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(rates))
    for each in found:
        low, high = each.interval
        assert 0 <= low <= each.false_alarm_rate + 1e-12 and each.false_alarm_rate <= high + 1e-12 <= 1 + 1e-9


@given(SCORES)
@example(np.array([-2.0, 2.0]))
def test_what_every_unrelated_sentence_exceeds_has_the_rate_1(best: np.ndarray) -> None:
    """Each is compared with the others alone, which may lie 4 away."""
    rate = alarms_of(best).confidence(float(best.min()) - 5, WORDS, None).false_alarm_rate
    assert rate == 1


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(BadScores):
        alarms_of(np.zeros(3)).confidence(score, WORDS, None)


def test_unrelated_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(BadScores):
        alarms_of(np.array([0.0, math.nan]))
    with pytest.raises(BadScores):
        alarms_of(np.zeros(1), np.array([[math.inf, 0.0]]))
    with pytest.raises(BadScores):
        alarms_of(np.empty(0))


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
        alarms = alarms_of(best, profiles)
        best, profiles = _library_scores(random, 500, offset)
        rates = [
            alarms.confidence(float(score), WORDS, Profile(mean=mean, upper=upper)).false_alarm_rate
            for score, (mean, upper) in zip(best, profiles, strict=True)
        ]
        fractions.append(np.mean(np.array(rates) <= level))
    # Level and fraction come from 500 sentences each, eight times: three standard deviations of both.
    spread = 3 * math.sqrt(level * (1 - level) * (2 / 500) / 8)
    assert abs(np.mean(fractions) - level) < spread


def test_a_rate_of_few_sentences_is_no_smaller_than_the_truth() -> None:
    """A regression comes closer to 40 sentences that it was fitted to than to others, by 5% of what they spread."""
    level, fractions = 0.05, []
    for seed in range(400):
        random = np.random.default_rng(seed)
        best, profiles = _library_scores(random, 40 + 25, 1.0)
        alarms = alarms_of(best[:40], profiles[:40])
        rates = [
            alarms.confidence(float(score), WORDS, Profile(mean=mean, upper=upper)).false_alarm_rate
            for score, (mean, upper) in zip(best[40:], profiles[40:], strict=True)
        ]
        fractions.append(np.mean(np.array(rates) <= level))
    # The fractions of libraries are independent, so their own spread tells how well their mean is known.
    assert np.mean(fractions) < level + 2 * np.std(fractions) / math.sqrt(len(fractions))


def test_an_unrelated_sentence_is_predicted_from_the_others() -> None:
    random = np.random.default_rng(5)
    best, profiles, words = random.normal(size=12), random.normal(size=(12, 2)), random.integers(3, 20, 12)
    alarms = FalseAlarms(best=best, words=words, profiles=profiles)
    design = np.column_stack([np.ones(12), np.log(words), profiles])
    expected = []
    for place in range(12):
        others = np.arange(12) != place
        coefficients = np.linalg.lstsq(design[others], best[others], rcond=None)[0]
        expected.append(best[place] - design[place] @ coefficients)
    np.testing.assert_allclose(alarms._excesses, np.sort(expected), atol=1e-8)


def test_a_sentence_that_no_other_predicts_stands_on_its_own_line() -> None:
    """As the only one of its length: the regression goes through it, whatever it scores."""
    best = np.array([0.1, 0.2, 0.3, 0.4, 9.0])
    alarms = FalseAlarms(best=best, words=np.array([5, 5, 5, 5, 9]), profiles=None)
    np.testing.assert_allclose(alarms._excesses, [-0.2, -0.2 / 3, 0, 0.2 / 3, 0.2], atol=1e-9)


def test_a_sentence_that_scores_high_everywhere_does_not_fit_for_that() -> None:
    random = np.random.default_rng(2)
    best, profiles = _library_scores(random, 500, 3.0)
    alarms = alarms_of(best, profiles)
    everywhere = alarms.confidence(8.0, WORDS, Profile(mean=6.0, upper=7.6))
    here = alarms.confidence(8.0, WORDS, Profile(mean=0.0, upper=1.6))
    assert everywhere.level == "none" and here.level == "good"


def test_without_a_profile_the_length_alone_decides() -> None:
    best, profiles = _library_scores(np.random.default_rng(3), 100, 1.0)
    with_profiles, without = alarms_of(best, profiles), alarms_of(best)
    assert with_profiles.confidence(3.0, WORDS, None) == without.confidence(3.0, WORDS, None)


def test_equal_scores_everywhere_fit_nothing() -> None:
    """As in a library of clips that the model sees nothing in."""
    alarms = alarms_of(np.zeros(500), np.zeros((500, 2)))
    assert alarms.confidence(0.0, WORDS, Profile(mean=0.0, upper=0.0)).false_alarm_rate == 1
    assert alarms.confidence(0.1, WORDS, Profile(mean=0.0, upper=0.0)).level == "good"


@pytest.mark.parametrize("few", [True, False], ids=["few clips", "many clips"])
def test_a_sentence_is_compared_with_those_that_claim_as_much(few: bool) -> None:
    """Best scores of short sentences are higher and more alike: of each length, as many reach a rate as it says."""
    level, fractions = 0.05, []
    for seed in range(8):
        random = np.random.default_rng(seed)
        words = np.repeat([3, 20], 400)
        best = np.where(words == 3, 0.3, 1.5) * random.normal(size=800) - 4 * np.log(words)
        profiles = None if few else random.normal(size=(800, 2))
        alarms = FalseAlarms(
            best=best[::2], words=words[::2], profiles=None if profiles is None else profiles[::2]
        )
        rates = [
            alarms.confidence(float(best[place]), int(words[place]), profile).false_alarm_rate
            for place in range(1, 800, 2)
            for profile in [
                None if profiles is None else Profile(mean=profiles[place, 0], upper=profiles[place, 1])
            ]
        ]
        fractions.append((np.array(rates).reshape(2, -1) <= level).mean(axis=1))
    spread = 3 * math.sqrt(level * (1 - level) * (1 / 200 + 1 / 400) / 8)
    assert np.abs(np.mean(fractions, axis=0) - level).max() < spread


def test_equal_scores_of_all_lengths_are_equal_in_spite_of_rounding() -> None:
    alarms = FalseAlarms(best=np.full(50, 0.3), words=np.arange(1, 51), profiles=None)
    for words in (1, 7, 80):
        assert alarms.confidence(0.3, words, None).false_alarm_rate == 1


@pytest.mark.parametrize(
    ("sentence", "count"),
    [
        ("a dog", 2),
        ("", 1),
        ("?!", 1),
        ("it's 3 o'clock", 5),
        ("der Hund läuft", 3),
        ("一只狗", 3),
        ("犬 runs", 2),
    ],
)
def test_words_are_counted_in_other_scripts_too(sentence: str, count: int) -> None:
    assert number_of_words(sentence) == count


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
