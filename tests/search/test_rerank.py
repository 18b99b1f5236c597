"""Candidates scored exactly: by the model's own matching, and as many as the recall target asks for."""

import numpy as np
import pytest
import torch

from prost.model.matching import TextPrototypes, VideoPrototypes, match
from prost.search.candidates import Candidates
from prost.search.exact import ClipPrototypes
from prost.search.quantise import dequantise, quantise
from prost.search.rerank import FIRST_ROUND, Reranking, chances_of_best, rerank

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


def test_expected_misses_are_those_that_are_counted() -> None:
    random = np.random.default_rng(7)
    truth = random.normal(size=20_000)
    guess = truth + 0.3 * random.normal(size=len(truth))
    order = np.argsort(-guess)
    truth, guess = truth[order], guess[order]
    for scored in (200, 1000):
        best = np.argsort(-truth)[:100]
        missed = int((best >= scored).sum())
        parts = guess[:, None]
        expected = chances_of_best(truth[:scored], parts[:scored], parts[scored:], 100).sum()
        assert missed / 1.3 - 1 <= expected <= 1.3 * missed + 1


def test_with_fewer_scored_than_wanted_all_others_are_needed() -> None:
    scores, parts = np.ones(3, np.float32), np.ones((3, 1))
    assert chances_of_best(scores, parts, np.zeros((5, 1)), 4).tolist() == [1] * 5
    assert chances_of_best(scores, parts, np.zeros((0, 1)), 2).tolist() == []
