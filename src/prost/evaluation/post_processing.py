"""Post-processing of score matrices against hubness: videos that are near to every sentence.

A method is *transductive* when it needs all test queries at once. Such a number cannot be had in a search, where
queries come one by one; it is no headline, and stands marked beside the plain one. The others need a *bank* of earlier
queries instead.

Every function takes queries in rows. For video to text, give the transposed scores (and a bank of videos): the results
are made for ranking within a row and must not be transposed afterwards.
"""

from __future__ import annotations

import difflib
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
        method: a key of `TRANSDUCTIVE`.
        parameters: what the method was run with.
    """

    scores: NDArray[np.float64]
    method: str
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def transductive(self) -> bool:
        """Whether all test queries were needed at once."""
        return TRANSDUCTIVE[self.method]


@dataclass(frozen=True, eq=False)
class Assignment:
    """One video for each query, the best for all queries together; there is no second place, so R@1 is all it has.

    Attributes:
        videos: column of each query `[Q]`, -1 where the gallery had no place left.
        method: a key of `TRANSDUCTIVE`.
        parameters: what the method was run with.
    """

    videos: NDArray[np.int64]
    method: str = "hungarian"
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def transductive(self) -> bool:
        """Whether all test queries were needed at once."""
        return TRANSDUCTIVE[self.method]

    def r1(self, truth: ArrayLike | None = None) -> float:
        """Percent of queries that were given their true video.

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

    What t means depends on the scale of S, cosines or logits; both are recorded. A negative score falls further the
    more probable it is, as in the authors' formula.

    Args:
        scores: `[Q, G]`.
        temperature: t.

    Raises:
        BadScores: NaN, infinity or no matrix.
        UsageError: a temperature that is not positive.

    The second query owns video 0, so the first one loses it:

    >>> inverted_softmax([[0.6, 0.5], [0.9, 0.1]], temperature=0.1).scores.round(3).tolist()
    [[0.028, 0.491], [0.857, 0.002]]
    """
    scores = _float64(scores)
    _positive(temperature=temperature)
    return PostProcessed(
        scores * np.exp(log_softmax(scores / temperature, axis=0)),
        "inverted_softmax",
        {"temperature": temperature, "largest_score": float(np.abs(scores).max())},
    )


def qb_norm(scores: ArrayLike, bank: ArrayLike, beta: float = 20.0, k: int = 1) -> PostProcessed:
    """Querybank normalisation with the dynamic inverted softmax (Bogolin et al. 2022). Needs a bank.

    The bank names the hubs: the videos among the top k of any of its queries. A query whose best video is a hub gets
    exp(b S[q, g]) / sum over the bank of exp(b B[., g]); any other keeps its scores. So rows have different scales.
    A row whose exponentials float64 cannot hold is given as their logarithms, in the same order.

    Args:
        scores: S `[Q, G]`.
        bank: B `[N, G]`, scores of the bank's queries with the same gallery.
        beta: b.
        k: depth to which the bank's queries name hubs.

    Raises:
        BadScores: NaN, infinity, no matrix, or a bank with another gallery.
        UsageError: parameters out of range.

    The bank's only query calls video 0 a hub; the first query's best is video 0, the second's is not:

    >>> qb_norm([[0.5, 0.4], [0.1, 0.3]], [[0.6, 0.2]], beta=1.0).scores.round(3).tolist()
    [[0.905, 1.221], [0.1, 0.3]]
    """
    scores, bank = _float64(scores), _float64(bank)
    _same_gallery(scores, bank)
    _positive(beta=beta)
    _within("k", k, bank.shape[1], "items in the gallery")
    hubs = np.zeros(scores.shape[1], dtype=bool)
    hubs[np.argpartition(-bank, k - 1, axis=1)[:, :k]] = True
    lured = hubs[scores.argmax(axis=1)]  # [Q]
    exponents = beta * scores[lured] - logsumexp(beta * bank, axis=0)
    holds = (np.abs(exponents) < LARGEST_EXPONENT).all(axis=1, keepdims=True)
    result = scores.copy()
    result[lured] = np.where(holds, np.exp(np.where(holds, exponents, 0.0)), exponents)
    return PostProcessed(result, "qb_norm", {"beta": beta, "k": k, "bank": len(bank)})


def hungarian(scores: ArrayLike, captions_per_video: ArrayLike | None = None) -> Assignment:
    """Text-Video Hungarian: the assignment of videos to queries with the greatest total score. Transductive.

    It also knows that no two queries (or, with `captions_per_video`, no more than a video's captions) mean one video.

    Args:
        scores: `[Q, G]`; with more queries than places, the surplus gets none.
        captions_per_video: how many queries may be given each video `[G]`; one each when None.

    Raises:
        BadScores: NaN, infinity or no matrix.
        UsageError: another number of counts, or negative ones.

    Both prefer video 0, but together they do better apart:

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
    video_of_place = np.repeat(np.arange(gallery), places)
    queries, chosen = linear_sum_assignment(scores[:, video_of_place], maximize=True)
    videos = np.full(len(scores), -1, dtype=np.int64)
    videos[queries] = video_of_place[chosen]
    return Assignment(videos, "hungarian", {"places": len(video_of_place)})


def sinkhorn(scores: ArrayLike, beta: float = 20.0, iterations: int = 20) -> PostProcessed:
    """Sinkhorn normalisation: exp(b S) with rows and columns scaled in turn to equal sums. Transductive.

    Rows come to sum to 1 and columns to Q / G; the columns are scaled last. The result is the logarithm, whose order is
    the same and which cannot underflow.

    Args:
        scores: S `[Q, G]`.
        beta: b.
        iterations: how often rows and columns are scaled.

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
    return PostProcessed(log_plan, "sinkhorn", {"beta": beta, "iterations": iterations})


def nnn(scores: ArrayLike, bank: ArrayLike, alpha: float = 0.75, k: int = 128) -> PostProcessed:
    """Nearest neighbour normalisation (Chowdhury et al. 2024). Needs a bank.

    Each video loses a times the mean of its k best scores with the bank.

    Args:
        scores: S `[Q, G]`.
        bank: B `[N, G]`, scores of the bank's queries with the same gallery.
        alpha: a.
        k: how many of the bank's queries; at most N.

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
    return PostProcessed(
        scores - alpha * nearest.mean(axis=0), "nnn", {"alpha": alpha, "k": k, "bank": len(bank)}
    )


def refuse_if_transductive(method: str) -> None:
    """Let a method into a search only if it can work on one query at a time.

    Args:
        method: a key of `TRANSDUCTIVE`.

    Raises:
        UsageError: a transductive or unknown method.

    >>> refuse_if_transductive("qb_norm")
    """
    if method not in TRANSDUCTIVE:
        near = difflib.get_close_matches(method, TRANSDUCTIVE, n=1, cutoff=0.0)
        raise UsageError(f"unknown post-processing {method!r}", ", ".join(TRANSDUCTIVE), repr(near[0]))
    if TRANSDUCTIVE[method]:
        online = [name for name, transductive in TRANSDUCTIVE.items() if not transductive]
        raise UsageError(
            f"{method} needs all queries at once, a search has one", f"{' or '.join(online)}, with a bank"
        )


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
        raise UsageError(f"{name}={value}", f"1 to {most}, there being {most} {of_what}")
