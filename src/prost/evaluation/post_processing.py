"""Post-processing of score matrices against hubness, that is, against videos that are close to every sentence.

A method is *transductive* if it needs all test queries at once. A search, where queries come one by one, cannot use it,
so its number is marked and stands beside the plain one. The other methods need a *bank* of earlier queries instead.

Every function takes queries in rows. For video to text, give the transposed scores (and a bank of videos): the results
are for ranking within a row and must not be transposed afterwards. No result depends on the order of the columns,
except that an assignment breaks ties by a seeded permutation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax, logsumexp

from prost.errors import BadScores, UsageError
from prost.evaluation.metrics import Scores, checked_scores

# Whether a method needs all test queries at once.
TRANSDUCTIVE = {
    "inverted_softmax": True,
    "qb_norm": False,
    "hungarian": True,
    "sinkhorn": True,
    "nnn": False,
}

# exp() of anything within these bounds is a normal float64.
LARGEST_EXPONENT = 700.0


@dataclass(frozen=True, eq=False)
class PostProcessed:
    """Scores after post-processing.

    Attributes:
        scores: `[Q, G]`, float64, to be ranked within rows.
        parameters: the parameters of the method.
    """

    scores: NDArray[np.float64]
    parameters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Assignment:
    """One video for each query, chosen for all queries together. There is no second place, so only R@1 is defined.

    Attributes:
        videos: column of each query `[Q]`, -1 where the gallery had no place left.
        parameters: the parameters of the method.
    """

    videos: NDArray[np.int64]
    parameters: dict[str, float] = field(default_factory=dict)

    def r1(self, truth: ArrayLike | None = None) -> float:
        """Percent of queries that were assigned their true video.

        Args:
            truth: the true column of each query `[Q]`; the diagonal when None.

        Raises:
            BadScores: a truth of another length.
        """
        true = np.arange(len(self.videos)) if truth is None else np.asarray(truth)
        if true.shape != self.videos.shape:
            raise BadScores(
                f"a truth of shape {list(true.shape)} for {len(self.videos)} queries", "one column each"
            )
        return float(100 * np.mean(self.videos == true))


def inverted_softmax(scores: ArrayLike, temperature: float = 1.0) -> PostProcessed:
    """S times the softmax of S / t over the queries (dual softmax of CAMoE, Cheng et al. 2021). Transductive.

    The effect of t depends on the scale of S (cosines or logits), so that the largest score is recorded with it. A
    negative score becomes lower the more probable it is, as in the authors' formula.

    Args:
        scores: `[Q, G]`.
        temperature: t.

    Raises:
        BadScores: NaN, infinity or no matrix.
        UsageError: a temperature that is not positive.

    Video 0 belongs to the second query, so that the first one loses it:

    >>> inverted_softmax([[0.6, 0.5], [0.9, 0.1]], temperature=0.1).scores.round(3).tolist()
    [[0.028, 0.491], [0.857, 0.002]]
    """
    scores = _float64(scores)
    _positive(temperature=temperature)
    return PostProcessed(
        scores * np.exp(log_softmax(scores / temperature, axis=0)),
        {"temperature": temperature, "largest_score": float(np.abs(scores).max())},
    )


def qb_norm(scores: ArrayLike, bank: ArrayLike, beta: float = 20.0, k: int = 1) -> PostProcessed:
    """Querybank normalisation with the dynamic inverted softmax (Bogolin et al. 2022). Needs a bank.

    A video is a hub if it is among the top k of any query of the bank; videos that tie with the k-th are hubs, too. A
    query whose best video is a hub (any of its best, if they tie) gets exp(b S[q, g]) / sum over the bank of
    exp(b B[., g]); other queries keep their scores, so that rows have different scales. Where float64 cannot hold the
    exponentials of a row, the row contains their logarithms, which have the same order.

    Args:
        scores: S `[Q, G]`.
        bank: B `[N, G]`, scores of the bank's queries with the same gallery.
        beta: b.
        k: number of best videos of each bank query that are hubs.

    Raises:
        BadScores: NaN, infinity, no matrix, or a bank with another gallery.
        UsageError: parameters out of range.

    By the only query of the bank video 0 is a hub; it is the best of the first query, not of the second:

    >>> qb_norm([[0.5, 0.4], [0.1, 0.3]], [[0.6, 0.2]], beta=1.0).scores.round(3).tolist()
    [[0.905, 1.221], [0.1, 0.3]]
    """
    scores, bank = _float64(scores), _float64(bank)
    _same_gallery(scores, bank)
    _positive(beta=beta)
    _within("k", k, bank.shape[1], "items in the gallery")
    kth_best = -np.partition(-bank, k - 1, axis=1)[:, k - 1 : k]  # [N, 1]
    hubs = (bank >= kth_best).any(axis=0)  # [G]
    normalised = ((scores == scores.max(axis=1, keepdims=True)) & hubs).any(axis=1)  # [Q]
    exponents = beta * scores[normalised] - logsumexp(beta * bank, axis=0)
    fits = (np.abs(exponents) < LARGEST_EXPONENT).all(axis=1, keepdims=True)
    result = scores.copy()
    result[normalised] = np.where(fits, np.exp(np.where(fits, exponents, 0.0)), exponents)
    return PostProcessed(result, {"beta": beta, "k": k, "bank": len(bank)})


def hungarian(scores: ArrayLike, captions_per_video: ArrayLike | None = None, seed: int = 0) -> Assignment:
    """Text-Video Hungarian: the assignment of videos to queries with the greatest total score. Transductive.

    It also uses that no two queries (or, with `captions_per_video`, no more than a video's captions) mean one video.
    Several assignments can have the greatest total. The solver would prefer the one on the diagonal, where the truth
    usually is, and so credit a model that gives every video the same score. The columns are therefore permuted first.

    Args:
        scores: `[Q, G]`; with more queries than places, some queries get no video.
        captions_per_video: number of queries that may get each video `[G]`; one each when None.
        seed: of the permutation.

    Raises:
        BadScores: NaN, infinity or no matrix.
        UsageError: another number of counts, or negative counts.

    Both prefer video 0, but the total is greater if they get different videos:

    >>> hungarian([[0.9, 0.8], [0.7, 0.1]]).videos.tolist()
    [1, 0]
    """
    scores = _float64(scores)
    gallery = scores.shape[1]
    places = (
        np.ones(gallery, dtype=np.int64) if captions_per_video is None else np.asarray(captions_per_video)
    )
    if places.shape != (gallery,) or not np.issubdtype(places.dtype, np.integer) or places.min() < 0:
        raise UsageError(
            f"captions_per_video of shape {list(places.shape)}", f"{gallery} counts, none negative"
        )
    video_of_place = np.random.default_rng(seed).permutation(np.repeat(np.arange(gallery), places))
    queries, chosen = linear_sum_assignment(scores[:, video_of_place], maximize=True)
    videos = np.full(len(scores), -1, dtype=np.int64)
    videos[queries] = video_of_place[chosen]
    return Assignment(videos, {"places": len(video_of_place)})


def sinkhorn(scores: ArrayLike, beta: float = 20.0, iterations: int = 20) -> PostProcessed:
    """Sinkhorn normalisation: rows and columns of exp(b S) are scaled in turn to equal sums. Transductive.

    Rows tend to the sum 1 and columns to Q / G; the columns are scaled last. The result is the logarithm, which has the
    same order and cannot underflow.

    Args:
        scores: S `[Q, G]`.
        beta: b.
        iterations: number of times that rows and columns are scaled.

    Raises:
        BadScores: NaN, infinity or no matrix.
        UsageError: parameters out of range.

    >>> np.exp(sinkhorn([[1.0, 1.0], [1.0, 0.0]], beta=1.0, iterations=50).scores).round(3).tolist()
    [[0.378, 0.622], [0.622, 0.378]]
    """
    log_plan = beta * _float64(scores)
    _positive(beta=beta)
    if iterations < 1:
        raise UsageError(f"iterations={iterations}", "1 or more")
    column_sum = np.log(log_plan.shape[0] / log_plan.shape[1])
    for _ in range(iterations):
        log_plan = log_plan - logsumexp(log_plan, axis=1, keepdims=True)
        log_plan = log_plan - logsumexp(log_plan, axis=0, keepdims=True) + column_sum
    return PostProcessed(log_plan, {"beta": beta, "iterations": iterations})


def nnn(scores: ArrayLike, bank: ArrayLike, alpha: float = 0.75, k: int = 128) -> PostProcessed:
    """Nearest neighbour normalisation (Chowdhury et al. 2024). Needs a bank.

    From the scores of each video, a times the mean of its k best scores with the bank is subtracted.

    Args:
        scores: S `[Q, G]`.
        bank: B `[N, G]`, scores of the bank's queries with the same gallery.
        alpha: a.
        k: number of bank queries in the mean; at most N.

    Raises:
        BadScores: NaN, infinity, no matrix, or a bank with another gallery.
        UsageError: parameters out of range.

    >>> nnn([[0.5, 0.4]], [[0.9, 0.1], [0.7, 0.3], [0.0, 0.2]], alpha=0.5, k=2).scores.round(3).tolist()
    [[0.1, 0.275]]
    """
    scores, bank = _float64(scores), _float64(bank)
    _same_gallery(scores, bank)
    _within("k", k, len(bank), "queries in the bank")
    if not np.isfinite(alpha):
        raise UsageError(f"alpha={alpha}", "a finite number")
    nearest = -np.partition(-bank, k - 1, axis=0)[:k]  # [k, G]
    return PostProcessed(scores - alpha * nearest.mean(axis=0), {"alpha": alpha, "k": k, "bank": len(bank)})


def _float64(scores: ArrayLike) -> NDArray[np.float64]:
    return checked_scores(scores).astype(np.float64)


def _same_gallery(scores: Scores, bank: Scores) -> None:
    if bank.shape[1] != scores.shape[1]:
        raise BadScores(f"a bank scored with {bank.shape[1]} items", f"the gallery's {scores.shape[1]} items")


def _positive(**parameters: float) -> None:
    for name, value in parameters.items():
        if not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name}={value}", "a positive number")


def _within(name: str, value: int, most: int, of_what: str) -> None:
    if not 1 <= value <= most:
        raise UsageError(f"{name}={value}", f"1 to {most}, the number of {of_what}")
