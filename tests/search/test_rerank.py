"""Candidates scored exactly: by the model's own matching, and as many as the recall target asks for."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from prost.model.matching import TextPrototypes, VideoPrototypes, match
from prost.search.candidates import Candidates
from prost.search.exact import ClipPrototypes
from prost.search.quantise import dequantise, quantise
from prost.search.rerank import (
    FIRST_ROUND,
    FIRST_ROUND_OF_ONE_SLOT,
    Reranking,
    chances_of_best,
    rerank,
)

CLIPS = 600


@pytest.fixture(scope="module")
def text() -> TextPrototypes:
    generator = torch.Generator().manual_seed(2)
    return TextPrototypes(torch.randn(1, 4, 16, generator=generator), torch.randn(1, 16, generator=generator))


@pytest.fixture(scope="module")
def library() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """8-bit object prototypes [n, 5, 3, 16] with scales, and events; some are dead."""
    random = np.random.default_rng(1)
    object = random.normal(size=(CLIPS, 5, 3, 16)).astype(np.float32)
    object[::7, :, 1] = 0
    return (*quantise(object), random.normal(size=(CLIPS, 2, 16)).astype(np.float32))


@pytest.fixture(scope="module")
def truth(text: TextPrototypes, library) -> np.ndarray:  # type: ignore[no-untyped-def]
    """What the model's matching says of the dequantised prototypes."""
    codes, scales, event = library
    object = torch.from_numpy(dequantise(codes, scales))
    return match(text, VideoPrototypes(object, torch.from_numpy(event)), 1.5).total[0].numpy()


class Reader:
    """Gives prototypes, and writes down of how many clips."""

    def __init__(self, library) -> None:  # type: ignore[no-untyped-def]
        self.codes, _, self.event = library
        self.read = 0

    def __call__(self, rows: np.ndarray) -> ClipPrototypes:
        self.read += len(rows)
        return ClipPrototypes.of(self.codes[rows], self.event[rows])


def guessed(truth: np.ndarray, deviation: float) -> Candidates:
    """Candidates by the true scores with errors."""
    scores = truth + np.random.default_rng(3).normal(size=len(truth)).astype(np.float32) * deviation
    rows = np.argsort(-scores)
    return Candidates(rows, scores[rows])


def test_scores_are_those_of_the_models_matching(text, library, truth) -> None:  # type: ignore[no-untyped-def]
    ranking = rerank(text, guessed(truth, 0.1), Reader(library), 1.5, wanted=10, recall=1.0)
    assert ranking.rows.tolist() == np.argsort(-truth, kind="stable").tolist()
    assert ranking.scores.total == pytest.approx(truth[ranking.rows], abs=1e-5)
    assert ranking.scores.total == pytest.approx(
        ranking.scores.event_sentence + 1.5 * ranking.scores.object_phrase, abs=1e-6
    )


def test_good_guesses_need_few_exact_scores_and_bad_ones_many(text, library, truth) -> None:  # type: ignore[no-untyped-def]
    read, recall = [], []
    best = set(np.argsort(-truth)[:10].tolist())
    for deviation in (1e-4, 0.15, 1.0):
        reader = Reader(library)
        ranking = rerank(text, guessed(truth, deviation), reader, 1.5, wanted=10, recall=0.99)
        read.append(reader.read)
        recall.append(len(best & set(ranking.rows[:10].tolist())) / 10)
        assert len(ranking.rows) == reader.read
    assert read[0] == FIRST_ROUND
    assert read[0] < read[1] < read[2]
    assert recall[0] == 1
    assert min(recall) >= 0.9


def test_clips_of_one_slot_get_a_longer_first_round(text, library) -> None:  # type: ignore[no-untyped-def]
    codes, scales, event = library
    one = np.ascontiguousarray(codes[:, :, :1])
    video = VideoPrototypes(
        torch.from_numpy(dequantise(one, np.ascontiguousarray(scales[:, :, :1]))), torch.from_numpy(event)
    )
    truth = match(text, video, 1.5).total[0].numpy()
    reader = Reader((one, scales, event))
    rerank(text, guessed(truth, 0), reader, 1.5, wanted=10)
    assert reader.read == FIRST_ROUND_OF_ONE_SLOT > FIRST_ROUND


def test_as_many_as_wanted_are_scored(text, library, truth) -> None:  # type: ignore[no-untyped-def]
    assert len(rerank(text, guessed(truth, 0), Reader(library), 1.5, wanted=300).rows) >= 300


def test_fewer_candidates_than_wanted(text, library, truth) -> None:  # type: ignore[no-untyped-def]
    ranking = rerank(text, guessed(truth, 0)[:4], Reader(library), 1.5, wanted=10)
    assert ranking.rows.tolist() == np.argsort(-truth)[:4].tolist()


def test_no_candidates(text, library) -> None:  # type: ignore[no-untyped-def]
    none = Candidates(np.empty(0, np.int64), np.empty(0, np.float32))
    ranking = rerank(text, none, Reader(library), 1.5, wanted=10)
    assert len(ranking.rows) == len(ranking.scores.total) == 0


def test_a_later_question_scores_only_what_it_needs_more(text, library, truth) -> None:  # type: ignore[no-untyped-def]
    reader = Reader(library)
    reranking = Reranking(text, guessed(truth, 0.3), reader, 1.5)
    first = len(reranking.rank(5).rows)
    assert len(reranking.rank(5).rows) == first == reader.read
    more = len(reranking.rank(5, recall=0.99999).rows)
    assert first < more == reader.read < CLIPS


@pytest.mark.parametrize("recall", [0.9, 0.99])
def test_the_target_is_met_and_not_by_far(text, library, truth, recall: float) -> None:  # type: ignore[no-untyped-def]
    """The mean over many guesses, of errors that are normal."""
    best, shares, read = np.argsort(-truth)[:10], [], []
    for seed in range(60):
        errors = np.random.default_rng(seed).normal(size=CLIPS).astype(np.float32)
        scores = truth + 0.15 * errors
        rows = np.argsort(-scores)
        ranking = rerank(text, Candidates(rows, scores[rows]), Reader(library), 1.5, wanted=10, recall=recall)
        shares.append(np.isin(best, ranking.rows[:10]).mean())
        read.append(len(ranking.rows))
    assert np.mean(shares) >= recall - 0.005
    assert np.mean(read) < CLIPS / 2


@pytest.mark.parametrize("apart", [False, True], ids=["sum", "parts"])
@pytest.mark.parametrize("scored", [200, 1000])
def test_expected_misses_are_those_that_are_counted(apart: bool, scored: int) -> None:
    """Also where one part is known exactly and the other one is not. Means over many libraries."""
    counted, expected = [], []
    for seed in range(20):
        random = np.random.default_rng(seed)
        event, object = random.normal(size=(2, 20_000)) / math.sqrt(2)
        truth = event + object
        parts = np.stack([event, object + 0.3 * random.normal(size=len(truth))], axis=1)
        order = np.argsort(-parts.sum(axis=1))
        truth, parts = truth[order], parts[order]
        if not apart:
            parts = parts.sum(axis=1, keepdims=True)
        hundredth = np.sort(truth[:scored])[-100]
        counted.append(np.count_nonzero(truth[scored:] > hundredth))
        expected.append(chances_of_best(truth[:scored], parts[:scored], parts[scored:], 100).sum())
    assert np.mean(counted) <= np.mean(expected) + 0.1 <= 1.4 * np.mean(counted) + 0.3


def test_chances_are_those_of_a_regression_written_out() -> None:
    """Float64 and loops: posterior of the weights, then the predictive distribution of each clip."""
    random = np.random.default_rng(11)
    parts = random.normal(size=(90, 2))
    exact = 0.9 * parts[:, 0] + 0.6 * parts[:, 1] + 0.1 * random.normal(size=90)
    known, unknown, scores = parts[:80], parts[80:], exact[:80]
    found = chances_of_best(scores, known, unknown, 10)

    centre = [sum(row[part] for row in known) / 80 for part in (0, 1)]
    row_of = [[1.0, row[0] - centre[0], row[1] - centre[1]] for row in known]
    errors = [score - row.sum() for score, row in zip(scores, known, strict=True)]
    variance = sum((error - sum(errors) / 80) ** 2 for error in errors) / 80
    for _ in range(2):
        precision = [[sum(row[i] * row[j] for row in row_of) for j in range(3)] for i in range(3)]
        for part in (1, 2):
            precision[part][part] += variance / 0.4**2
        right = [sum(row[i] * error for row, error in zip(row_of, errors, strict=True)) for i in range(3)]
        weights = np.linalg.solve(precision, right)
        left = [
            error - sum(w * x for w, x in zip(weights, row, strict=True))
            for row, error in zip(row_of, errors, strict=True)
        ]
        variance = sum(each**2 for each in left) / 80 * (1 + 1 / math.sqrt(160)) ** 2
    tenth = sorted(scores)[-10]
    for chance, clip in zip(found, unknown, strict=True):
        x = np.array([1.0, clip[0] - centre[0], clip[1] - centre[1]])
        expected = clip.sum() + weights @ x
        deviation = math.sqrt(variance * (1 + x @ np.linalg.solve(precision, x)))
        assert chance == pytest.approx(NormalDist(tenth, deviation).cdf(expected), abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_many_copies_of_two_clips_leave_chances_that_are_numbers(seed: int) -> None:
    """Both parts then say the same, and explain nearly everything."""
    random = np.random.default_rng(seed)
    two = random.normal(size=(2, 2))
    parts = two[random.integers(0, 2, 1000)]
    exact = (parts @ [1.3, 0.6] + 1e-7 * random.normal(size=1000)).astype(np.float32)
    chances = chances_of_best(exact, parts, np.concatenate([two, two.mean(axis=0, keepdims=True)]), 10)
    assert ((chances >= 0) & (chances <= 1)).all()


def test_parts_that_are_known_apart_save_exact_scores(text, library) -> None:  # type: ignore[no-untyped-def]
    """The event part is right, and the object part is noise for the most part."""
    codes, scales, event = library
    video = VideoPrototypes(torch.from_numpy(dequantise(codes, scales)), torch.from_numpy(event))
    exact = match(text, video, 1.5)
    events = exact.event_sentence[0].numpy()
    best = set(np.argsort(-exact.total[0].numpy())[:10].tolist())
    read: dict[bool, list[int]] = {True: [], False: []}
    shares = []
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=CLIPS).astype(np.float32)
        scores = events + 1.5 * exact.object_phrase[0].numpy() + 0.2 * noise
        rows = np.argsort(-scores)
        for apart in (True, False):
            candidates = Candidates(rows, scores[rows], events[rows] if apart else None)
            ranking = rerank(text, candidates, Reader(library), 1.5, wanted=10, recall=0.99)
            read[apart].append(len(ranking.rows))
            if apart:
                shares.append(len(best & set(ranking.rows[:10].tolist())) / 10)
    assert np.mean(read[True]) < 0.9 * np.mean(read[False])
    assert np.mean(shares) >= 0.985


def test_with_fewer_scored_than_wanted_all_others_are_needed() -> None:
    scores, parts = np.ones(3, np.float32), np.ones((3, 1))
    assert chances_of_best(scores, parts, np.zeros((5, 1)), 4).tolist() == [1] * 5
    assert chances_of_best(scores, parts, np.zeros((0, 1)), 2).tolist() == []
