"""From scores to ranks, and from ranks to the columns of a retrieval table.

The rank of a query is 1 + the number of greater scores + half the number of equal ones, so that a model that gives all
items the same score gets no credit for finding any.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prost.errors import BadScores, UsageError

Scores = NDArray[np.floating[Any]]
Ranks = NDArray[np.float64]
TrueItems = Sequence[int] | NDArray[np.integer[Any]] | Sequence[Collection[int]]
Ties = Literal["mean", "optimistic", "pessimistic"]
VideoToText = Literal["clip4clip", "strict"]

# Scores per block of comparisons; a block takes 16 MiB.
SCORES_AT_ONCE = 2**24


@dataclass(frozen=True)
class Metric:
    """A column of a table.

    Attributes:
        of: from ranks `[..., Q]` to values `[...]`.
        higher_is_better: true for recalls, false for mean and median rank.
        recall: whether it is the percentage of queries that were found.
    """

    of: Callable[[Ranks], Ranks]
    higher_is_better: bool
    recall: bool = False


def _recall(k: int) -> Metric:
    return Metric(
        lambda ranks: 100.0 * np.count_nonzero(ranks <= k, axis=-1) / ranks.shape[-1],
        higher_is_better=True,
        recall=True,
    )


METRICS = {
    "R@1": _recall(1),
    "R@5": _recall(5),
    "R@10": _recall(10),
    "R@50": _recall(50),
    "MdR": Metric(lambda ranks: np.median(ranks, axis=-1), higher_is_better=False),
    "MnR": Metric(lambda ranks: np.mean(ranks, axis=-1), higher_is_better=False),
    "RSum": Metric(
        lambda ranks: np.sum([_recall(k).of(ranks) for k in (1, 5, 10)], axis=0), higher_is_better=True
    ),
}


@dataclass(frozen=True, kw_only=True)
class RetrievalMetrics:
    """One row of a retrieval table: recalls in percent, ranks from 1.

    Attributes:
        r1: percent of queries with rank <= 1; `r5`, `r10` and `r50` accordingly.
        mdr: median rank.
        mnr: mean rank.
        r_sum: R@1 + R@5 + R@10, at most 300.
        queries: Q.
        gallery: G, the number of items that each query was ranked against, including its own.
    """

    r1: float
    r5: float
    r10: float
    r50: float
    mdr: float
    mnr: float
    r_sum: float
    queries: int
    gallery: int

    @classmethod
    def from_ranks(cls, ranks: Ranks, gallery: int) -> RetrievalMetrics:
        """Summarise ranks.

        Ties can make ranks fractional. Such a rank is a hit at k only if it is at most k: two videos that share the
        first place give rank 1.5, which is no hit at 1.

        Args:
            ranks: `[Q]`.
            gallery: G.

        >>> RetrievalMetrics.from_ranks(np.array([1.0, 1.5, 7.0, 60.0]), 100).to_dict()
        {'R@1': 25.0, 'R@5': 50.0, 'R@10': 75.0, 'R@50': 75.0, 'MdR': 4.25, 'MnR': 17.375, 'RSum': 150.0}
        """
        r1, r5, r10, r50, mdr, mnr, r_sum = (float(metric.of(ranks)) for metric in METRICS.values())
        return cls(
            r1=r1,
            r5=r5,
            r10=r10,
            r50=r50,
            mdr=mdr,
            mnr=mnr,
            r_sum=r_sum,
            queries=len(ranks),
            gallery=gallery,
        )

    def to_dict(self) -> dict[str, float]:
        """The columns under the names that papers use."""
        values = (self.r1, self.r5, self.r10, self.r50, self.mdr, self.mnr, self.r_sum)
        return dict(zip(METRICS, values, strict=True))


@dataclass(frozen=True)
class BothDirections:
    """A model on a benchmark, text to video and video to text."""

    text_to_video: RetrievalMetrics
    video_to_text: RetrievalMetrics

    @property
    def r_sum(self) -> float:
        """R@1 + R@5 + R@10 of both directions, at most 600."""
        return self.text_to_video.r_sum + self.video_to_text.r_sum


def ranks(scores: ArrayLike, truth: TrueItems | None = None, ties: Ties = "mean") -> Ranks:
    """The rank of the true item of each query, from 1.

    If n wrong items have the same score as the true one, its mean rank over random orders is 1 + greater + n / 2. The
    optimistic rank puts it first, the pessimistic one last. Where several items are true, the best-ranked one counts;
    the first of k equal true items comes behind n / (k + 1) equal wrong ones on average.

    Args:
        scores: `[Q, G]`, queries in rows.
        truth: the true column of each query, or a set of true columns for each query; the diagonal when None.
        ties: the place of the true item among equal scores.

    Returns:
        float64 `[Q]`; whole numbers unless `ties` is "mean".

    Raises:
        BadScores: NaN, infinity, no matrix, or a truth that does not fit the matrix.
        UsageError: an unknown `ties`.

    >>> ranks([[0.9, 0.1, 0.5], [0.2, 0.2, 0.8]]).tolist()  # 0.9 is greatest; 0.2 is behind 0.8, level with 0.2
    [1.0, 2.5]
    >>> ranks([[0.9, 0.1, 0.5]], truth=[{1, 2}]).tolist()  # 0.5 is the better one
    [2.0]
    """
    scores = checked_scores(scores)
    rows, columns = _true_cells(truth, scores.shape)
    result = np.empty(len(scores))
    for block in _row_blocks(scores.shape):
        cells = slice(*np.searchsorted(rows, [block.start, block.stop]))
        result[block] = _block_ranks(scores[block], rows[cells] - block.start, columns[cells], ties)
    return result


def rank_metrics(scores: ArrayLike, truth: TrueItems | None = None, ties: Ties = "mean") -> RetrievalMetrics:
    """The columns of a retrieval table; see `ranks` for the arguments and errors.

    A constant matrix finds nothing:

    >>> rank_metrics(np.zeros((3, 3))).to_dict()
    {'R@1': 0.0, 'R@5': 100.0, 'R@10': 100.0, 'R@50': 100.0, 'MdR': 2.0, 'MnR': 2.0, 'RSum': 200.0}
    """
    found = ranks(scores, truth, ties)
    return RetrievalMetrics.from_ranks(found, np.shape(scores)[1])


def text_to_video_ranks(
    scores: ArrayLike, video_of_caption: Sequence[int] | NDArray[np.integer[Any]], ties: Ties = "mean"
) -> Ranks:
    """The rank of each caption's video among all videos: every caption is a query.

    Args:
        scores: `[C, V]`, captions in rows.
        video_of_caption: the true column of each caption `[C]`.
        ties: see `ranks`.

    Returns:
        `[C]`.
    """
    return ranks(scores, np.asarray(video_of_caption), ties)


def video_to_text_ranks(
    scores: ArrayLike,
    video_of_caption: Sequence[int] | NDArray[np.integer[Any]],
    kind: VideoToText = "clip4clip",
    ties: Ties = "mean",
) -> Ranks:
    """The rank of each video's captions; a video without captions is no query.

    The two kinds are two protocols whose numbers must not be compared. `clip4clip` scores the captions of a video as
    a set, by the best of them, and ranks the set among the sets of the other videos, so that the size of the gallery
    is the number of captioned videos. `strict` ranks single captions among all captions and takes the best true one.

    Args:
        scores: `[C, V]`, captions in rows: the same matrix as for text to video.
        video_of_caption: the video of each caption `[C]`.
        kind: "clip4clip" or "strict".
        ties: see `ranks`.

    Returns:
        One rank for each video with a caption, in the order of the columns.

    Raises:
        BadScores: as `ranks`.
        UsageError: an unknown kind.

    Two captions of video 0, one of video 1:

    >>> scores = np.array([[0.9, 0.8], [0.1, 0.7], [0.2, 0.6]])
    >>> video_to_text_ranks(scores, [0, 0, 1], "clip4clip").tolist()  # video 1: its set's 0.6 is behind the other's 0.8
    [1.0, 2.0]
    >>> video_to_text_ranks(scores, [0, 0, 1], "strict").tolist()  # ... and its caption behind 0.8 and 0.7
    [1.0, 3.0]
    """
    scores = checked_scores(scores)
    _, owner = _true_cells(np.asarray(video_of_caption), scores.shape)
    videos, captions_of = np.unique(owner, return_inverse=True)
    if kind == "strict":
        by_video = np.argsort(captions_of, kind="stable")
        sets = np.split(by_video, np.cumsum(np.bincount(captions_of))[:-1])
        return ranks(scores[:, videos].T, [set(members.tolist()) for members in sets], ties)
    if kind == "clip4clip":
        best = np.full((len(videos), len(videos)), -np.inf, dtype=scores.dtype)  # [caption sets, videos]
        np.maximum.at(best, captions_of, scores[:, videos])
        return ranks(best.T, ties=ties)
    raise UsageError(f"kind={kind!r} of video to text", "'clip4clip' or 'strict'")


def text_to_video(
    scores: ArrayLike, video_of_caption: Sequence[int] | NDArray[np.integer[Any]], ties: Ties = "mean"
) -> RetrievalMetrics:
    """The metrics of `text_to_video_ranks`."""
    return RetrievalMetrics.from_ranks(
        text_to_video_ranks(scores, video_of_caption, ties), np.shape(scores)[1]
    )


def video_to_text(
    scores: ArrayLike,
    video_of_caption: Sequence[int] | NDArray[np.integer[Any]],
    kind: VideoToText = "clip4clip",
    ties: Ties = "mean",
) -> RetrievalMetrics:
    """The metrics of `video_to_text_ranks`."""
    found = video_to_text_ranks(scores, video_of_caption, kind, ties)
    return RetrievalMetrics.from_ranks(found, len(found) if kind == "clip4clip" else np.shape(scores)[0])


def both_directions(
    scores: ArrayLike,
    video_of_caption: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    kind: VideoToText = "clip4clip",
    ties: Ties = "mean",
) -> BothDirections:
    """Both directions of one matrix. With one caption per video the two kinds of video to text are the same.

    Args:
        scores: `[C, V]`, captions in rows.
        video_of_caption: see `text_to_video_ranks`; the diagonal when None.
        kind: see `video_to_text_ranks`.
        ties: see `ranks`.
    """
    owner = np.arange(len(checked_scores(scores))) if video_of_caption is None else video_of_caption
    return BothDirections(
        text_to_video(scores, owner, ties),
        video_to_text(scores, owner, kind, ties),
    )


def checked_scores(scores: ArrayLike) -> Scores:
    """Check a score matrix.

    Raises:
        BadScores: NaN, infinity, another number of dimensions, or an empty matrix.
    """
    array = np.asarray(scores)
    if array.ndim != 2 or array.size == 0:
        raise BadScores(
            f"scores of shape {list(array.shape)}", "a matrix [queries, gallery] that is not empty"
        )
    if not np.issubdtype(array.dtype, np.floating):
        if not np.issubdtype(array.dtype, np.integer):
            raise BadScores(f"scores of type {array.dtype}", "real numbers")
        array = array.astype(np.float64)
    for rows in _row_blocks(array.shape):
        bad = np.argwhere(~np.isfinite(array[rows]))
        if len(bad):
            row, column = rows.start + bad[0][0], bad[0][1]
            raise BadScores(
                f"the score of query {row} and item {column} is {array[row, column]}",
                "finite numbers",
                "check the prototypes of these two",
            )
    return array


def _row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows that hold about `SCORES_AT_ONCE` numbers each."""
    step = max(1, SCORES_AT_ONCE // shape[1])
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def _true_cells(
    truth: TrueItems | None, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (ascending) and columns of the true cells of a score matrix."""
    queries, gallery = shape
    if truth is None:
        truth = np.arange(queries)
    if len(truth) != queries:
        raise BadScores(f"{len(truth)} truths for {queries} queries", "one for each row")
    sets = [list(true) if isinstance(true, Collection) else [true] for true in truth]
    rows = np.repeat(np.arange(queries), [len(true) for true in sets])
    columns = np.array([column for true in sets for column in true])
    if not np.issubdtype(columns.dtype, np.integer):
        raise BadScores(f"a truth of type {columns.dtype}", "columns as integers, or sets of them")
    lacking = np.setdiff1d(np.arange(queries), rows)
    if len(lacking):
        raise BadScores(f"query {lacking[0]} is true of nothing", "a column, or a set of columns")
    outside = np.flatnonzero((columns < 0) | (columns >= gallery))
    if len(outside):
        row, column = rows[outside[0]], columns[outside[0]]
        raise BadScores(
            f"query {row} is true of item {column}, the gallery has {gallery}", f"0 to {gallery - 1}"
        )
    return rows, columns.astype(np.int64)


def _block_ranks(scores: Scores, rows: NDArray[np.int64], columns: NDArray[np.int64], ties: Ties) -> Ranks:
    """Ranks of some queries, given their true cells."""
    best = np.full(len(scores), -np.inf, dtype=scores.dtype)
    np.maximum.at(best, rows, scores[rows, columns])
    greater = np.count_nonzero(scores > best[:, None], axis=1)
    true_equal = np.bincount(rows, weights=scores[rows, columns] == best[rows], minlength=len(scores))
    wrong_equal = np.count_nonzero(scores == best[:, None], axis=1) - true_equal
    if ties == "mean":
        return 1.0 + greater + wrong_equal / (true_equal + 1)
    if ties == "optimistic":
        return 1.0 + greater
    if ties == "pessimistic":
        return 1.0 + greater + wrong_equal
    raise UsageError(f"ties={ties!r}", "'mean', 'optimistic' or 'pessimistic'")
