"""Post-processing against loops, the authors' numbers, and a gallery with a hub in it."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from prost.errors import BadScores, UsageError
from prost.evaluation.metrics import rank_metrics, ranks
from prost.evaluation.post_processing import (
    TRANSDUCTIVE,
    Assignment,
    PostProcessed,
    hungarian,
    inverted_softmax,
    nnn,
    qb_norm,
    sinkhorn,
)

Array = NDArray[Any]
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**32 - 1))


def draw(sizes: tuple[int, int, int, int]) -> tuple[Array, Array]:
    queries, gallery, bank, seed = sizes
    rng = np.random.default_rng(seed)
    return rng.standard_normal((queries, gallery)), rng.standard_normal((bank, gallery))


def inverted_softmax_by_loops(scores: Array, temperature: float) -> Array:
    result = np.zeros_like(scores)
    for q, g in np.ndindex(scores.shape):
        column = sum(math.exp(other / temperature) for other in scores[:, g])
        result[q, g] = scores[q, g] * math.exp(scores[q, g] / temperature) / column
    return result


def qb_norm_by_loops(scores: Array, bank: Array, beta: float, k: int) -> Array:
    hubs = {int(g) for row in bank for g in np.argsort(-row)[:k]}
    result = scores.copy()
    for q, row in enumerate(scores):
        if int(np.argmax(row)) in hubs:
            for g, score in enumerate(row):
                result[q, g] = math.exp(beta * score) / sum(math.exp(beta * other) for other in bank[:, g])
    return result


def nnn_by_loops(scores: Array, bank: Array, alpha: float, k: int) -> Array:
    result = scores.copy()
    for q, g in np.ndindex(scores.shape):
        result[q, g] -= alpha * sum(sorted(bank[:, g], reverse=True)[:k]) / k
    return result


def sinkhorn_by_loops(scores: Array, beta: float, iterations: int) -> Array:
    plan = np.exp(beta * scores)
    queries, gallery = plan.shape
    for _ in range(iterations):
        for q in range(queries):
            plan[q] /= plan[q].sum()
        for g in range(gallery):
            plan[:, g] *= queries / gallery / plan[:, g].sum()
    return plan


@given(SIZES, st.sampled_from([0.3, 1.0, 4.0]))
def test_inverted_softmax_as_loops_do(sizes: tuple[int, int, int, int], temperature: float) -> None:
    scores, _ = draw(sizes)
    np.testing.assert_allclose(
        inverted_softmax(scores, temperature).scores, inverted_softmax_by_loops(scores, temperature)
    )


@given(SIZES, st.sampled_from([0.5, 20.0]), st.integers(1, 3))
def test_qb_norm_as_loops_do(sizes: tuple[int, int, int, int], beta: float, k: int) -> None:
    scores, bank = draw(sizes)
    k = min(k, scores.shape[1])
    np.testing.assert_allclose(qb_norm(scores, bank, beta, k).scores, qb_norm_by_loops(scores, bank, beta, k))


@given(SIZES, st.integers(1, 7))
def test_nnn_as_loops_do(sizes: tuple[int, int, int, int], k: int) -> None:
    scores, bank = draw(sizes)
    k = min(k, len(bank))
    np.testing.assert_allclose(nnn(scores, bank, 0.75, k).scores, nnn_by_loops(scores, bank, 0.75, k))


@given(SIZES, st.integers(1, 5))
def test_sinkhorn_as_loops_do(sizes: tuple[int, int, int, int], iterations: int) -> None:
    scores, _ = draw(sizes)
    np.testing.assert_allclose(
        np.exp(sinkhorn(scores, 2.0, iterations).scores), sinkhorn_by_loops(scores, 2.0, iterations)
    )


@given(SIZES)
def test_sinkhorn_comes_to_equal_sums(sizes: tuple[int, int, int, int]) -> None:
    scores, _ = draw(sizes)
    plan = np.exp(sinkhorn(scores, beta=0.5, iterations=60).scores)
    np.testing.assert_allclose(plan.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(plan.sum(axis=0), len(scores) / scores.shape[1], rtol=1e-6)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_assignment_is_the_best_of_all(queries: int, gallery: int, seed: int) -> None:
    scores = np.random.default_rng(seed).standard_normal((queries, gallery))
    videos = hungarian(scores).videos
    given_ = videos[videos >= 0]
    assert len(given_) == len(set(given_)) == min(queries, gallery)
    total = sum(scores[q, g] for q, g in enumerate(videos) if g >= 0)
    if queries <= gallery:
        choices = (
            zip(range(queries), c, strict=True) for c in itertools.permutations(range(gallery), queries)
        )
    else:
        choices = (
            zip(c, range(gallery), strict=True) for c in itertools.permutations(range(queries), gallery)
        )
    assert total == pytest.approx(max(sum(scores[q, g] for q, g in choice) for choice in choices))


def test_a_video_with_several_captions_is_given_to_as_many_queries() -> None:
    # Three sentences, two of video 0; the third prefers video 0 too, but its places are taken.
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.5]])
    assert hungarian(scores, [2, 1]).videos.tolist() == [0, 0, 1]
    assert hungarian(scores, [2, 1]).r1([0, 0, 1]) == 100.0
    assert sorted(hungarian(scores).videos.tolist()) == [-1, 0, 1]  # one place each: a query goes without
    assert hungarian(scores, [3, 0]).videos.tolist() == [0, 0, 0]


def test_the_references_of_the_authors(reference: dict[str, Array]) -> None:
    sims, bank = reference["sims"], reference["bank"]
    np.testing.assert_allclose(qb_norm(sims, bank).scores, reference["qb_norm_k1_beta20"], rtol=1e-12)
    np.testing.assert_allclose(inverted_softmax(sims).scores, reference["dual_softmax_t1"], rtol=1e-12)
    np.testing.assert_array_equal(hungarian(sims).videos, reference["hungarian_cols"])


METHODS: dict[str, Callable[[Array, Array], PostProcessed | Assignment]] = {
    "inverted_softmax": lambda scores, bank: inverted_softmax(scores, 0.05),
    "qb_norm": lambda scores, bank: qb_norm(scores, bank),
    "hungarian": lambda scores, bank: hungarian(scores),
    "sinkhorn": lambda scores, bank: sinkhorn(scores),
    "nnn": lambda scores, bank: nnn(scores, bank, k=16),
}


def recall(result: PostProcessed | Assignment) -> float:
    return result.r1() if isinstance(result, Assignment) else rank_metrics(result.scores).r1


def cosines(a: Array, b: Array) -> Array:
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


@pytest.mark.parametrize("method", METHODS)
def test_hubs_are_taken_down(method: str) -> None:
    """A few videos are near to everything; each method must win back queries that they steal."""
    rng = np.random.default_rng(1)
    video = rng.standard_normal((120, 16))
    text, others = video + rng.standard_normal((120, 16)), rng.standard_normal((400, 16))
    lift = 0.35 * (np.arange(120) % 12 == 0)
    plain, bank = cosines(text, video) + lift, cosines(others, video) + lift
    assert recall(METHODS[method](plain, bank)) > rank_metrics(plain).r1 + 5


@pytest.mark.parametrize("method", METHODS)
def test_noise_stays_at_chance(method: str) -> None:
    """Videos that do not depend on their captions: five seeds, inside the binomial interval of chance."""
    queries, hits = 100, 0.0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        text, video, others = (rng.standard_normal((rows, 32)) for rows in (queries, queries, 300))
        hits += recall(METHODS[method](cosines(text, video), cosines(others, video))) * queries / 100
    assert hits <= binom.ppf(0.9995, 5 * queries, 1 / queries)


@pytest.mark.parametrize("method", METHODS)
def test_noise_catches_a_scorer_that_reads_the_answer(method: str) -> None:
    """Each video pooled with its own caption at scoring time: random features then score far above chance."""
    queries, hits = 100, 0.0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        text, video, others = (rng.standard_normal((rows, 32)) for rows in (queries, queries, 300))
        leaky = cosines(text, video + 0.5 * text)
        hits += recall(METHODS[method](leaky, cosines(others, video))) * queries / 100
    assert hits > binom.ppf(0.9995, 5 * queries, 1 / queries)


def test_large_scores_overflow_nothing() -> None:
    rng = np.random.default_rng(2)
    scores, bank = 1000 * rng.standard_normal((30, 40)), 1000 * rng.standard_normal((200, 40))
    normed = qb_norm(scores, bank, k=3).scores
    assert np.isfinite(normed).all()
    # 20 * 1000 is far beyond exp(); the order within each row is still that of the exact logarithms.
    hubs = {int(g) for row in bank for g in np.argsort(-row)[:3]}
    assert len(hubs) == 40
    exact = 20 * scores - 20 * bank.max(axis=0)  # the largest term is all of a sum of such exponentials
    np.testing.assert_array_equal(np.argsort(normed, axis=1), np.argsort(exact, axis=1))
    assert np.isfinite(inverted_softmax(scores).scores).all()
    assert np.isfinite(sinkhorn(scores).scores).all()


@given(SIZES, st.sampled_from(["inverted_softmax", "qb_norm", "sinkhorn", "nnn"]))
def test_the_order_of_the_queries_does_not_matter(sizes: tuple[int, int, int, int], method: str) -> None:
    scores, bank = draw((*sizes[:2], 16, sizes[3]))
    order = np.random.default_rng(sizes[3]).permutation(len(scores))
    one, other = METHODS[method](scores, bank), METHODS[method](scores[order], bank[::-1])
    assert isinstance(one, PostProcessed)
    assert isinstance(other, PostProcessed)
    np.testing.assert_allclose(one.scores[order], other.scores)


def test_a_query_alone_gets_the_scores_that_it_gets_among_others() -> None:
    """What `transductive` denies: only the bank's methods can serve one query at a time."""
    rng = np.random.default_rng(3)
    scores, bank = rng.standard_normal((10, 12)), rng.standard_normal((50, 12))
    for method, run in METHODS.items():
        together, alone = run(scores, bank), [run(row[None], bank) for row in scores]
        if isinstance(together, PostProcessed):
            rows = np.concatenate([one.scores for one in alone if isinstance(one, PostProcessed)])
            assert np.allclose(rows, together.scores) != TRANSDUCTIVE[method]


def tied(seed: int, queries: int = 60, gallery: int = 60) -> tuple[Array, Array]:
    """Scores of few values, whose truth on the diagonal is no better than anything else, and a bank."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, (queries, gallery)) / 2.0, rng.integers(0, 3, (40, gallery)) / 2.0


@pytest.mark.parametrize("method", METHODS)
def test_ties_are_no_knowledge(method: str) -> None:
    """A model that gives all videos the same score, or one of three scores at random, is not credited."""
    run = METHODS[method]
    assert recall(run(np.zeros((60, 60)), np.zeros((40, 60)))) <= 100 * binom.ppf(0.9999, 60, 1 / 60) / 60
    found = sum(recall(run(*tied(seed))) for seed in range(10)) * 60 / 100
    assert found <= binom.ppf(0.9999, 600, 1 / 60)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"hungarian"}))
def test_the_order_of_the_gallery_does_not_matter_even_for_ties(method: str) -> None:
    scores, bank = tied(0)
    order = np.random.default_rng(1).permutation(60)
    plain, permuted = METHODS[method](scores, bank), METHODS[method](scores[:, order], bank[:, order])
    assert isinstance(plain, PostProcessed) and isinstance(permuted, PostProcessed)
    np.testing.assert_allclose(permuted.scores, plain.scores[:, order], atol=1e-12)


def test_an_assignment_with_ties_depends_on_its_seed_alone() -> None:
    scores, _ = tied(0)
    once, again, other = (hungarian(scores, seed=seed).videos for seed in (0, 0, 1))
    assert np.array_equal(once, again) and not np.array_equal(once, other)
    total = scores[np.arange(60), once].sum()
    assert total == scores[np.arange(60), other].sum() == scores.max(axis=1).sum()


def test_videos_that_tie_with_the_last_hub_are_hubs_too() -> None:
    scores = [[0.1, 0.2, 0.9], [0.9, 0.2, 0.1], [0.1, 0.9, 0.1]]
    bank = [[0.1, 0.8, 0.8]]
    result = qb_norm(scores, bank, beta=1.0).scores
    assert not np.allclose(result[0], scores[0]) and not np.allclose(result[2], scores[2])
    assert np.allclose(result[1], scores[1])


def test_bad_input_is_refused() -> None:
    good, bank = np.eye(3), np.eye(4, 3)
    for bad in (np.full((3, 3), np.nan), np.full((3, 3), np.inf), np.zeros(3), np.zeros((0, 3))):
        for run in METHODS.values():
            with pytest.raises(BadScores):
                run(bad, np.ones((20, 3)))
    with pytest.raises(BadScores, match="4 items"):
        qb_norm(good, np.eye(4))
    with pytest.raises(BadScores, match="4 items"):
        nnn(good, np.eye(4), k=1)
    with pytest.raises(UsageError, match="temperature"):
        inverted_softmax(good, 0.0)
    with pytest.raises(UsageError, match="beta"):
        qb_norm(good, bank, beta=-1.0)
    with pytest.raises(UsageError, match="1 to 3"):
        qb_norm(good, bank, k=4)
    with pytest.raises(UsageError, match="1 to 4"):
        nnn(good, bank)  # k 128, and the bank has four queries
    with pytest.raises(UsageError, match="iterations"):
        sinkhorn(good, iterations=0)
    with pytest.raises(UsageError, match="3 counts"):
        hungarian(good, [1, 1])
    with pytest.raises(BadScores, match="one column each"):
        hungarian(good).r1([0, 1])


def test_ranks_of_a_video_to_text_table_come_from_the_transposed_scores() -> None:
    """Rows of QB-Norm have different scales: transposing its result is not the same as giving it the transpose."""
    rng = np.random.default_rng(4)
    scores, captions, videos = rng.random((30, 30)), rng.random((90, 30)), rng.random((90, 30))
    right = ranks(qb_norm(scores.T, videos).scores)
    wrong = ranks(qb_norm(scores, captions).scores.T)
    assert not np.array_equal(right, wrong)
