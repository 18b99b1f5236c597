"""Confidence intervals by percentile bootstrap over videos, and paired comparison of two models.

Videos are drawn with replacement, each with all its queries: the captions of one video tend to be found or missed
together, so that drawing single captions would make the intervals too narrow. The same holds for the clips of a long
video, so where a gallery holds such clips the long videos are drawn, each with all its clips. The gallery stays the
same. The intervals are about other videos of the same kind, not about other galleries, and about other training runs
only where several were given.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prost.errors import UsageError
from prost.evaluation.metrics import METRICS, Metric, Ranks

# Ranks per block of draws: 2**22 floats are 32 MiB.
DRAWN_AT_ONCE = 2**22


@dataclass(frozen=True, kw_only=True)
class PairedResult:
    """The difference of two models on the same queries, a - b.

    Attributes:
        difference: of the metric, in its own unit.
        low: lower bound of the interval of the difference.
        high: its upper bound.
        p_value: two-sided: twice the fraction of resamples whose difference lies on the other side of zero.
        higher_is_better: whether a positive difference is in favour of a.
    """

    difference: float
    low: float
    high: float
    p_value: float
    higher_is_better: bool = True

    @property
    def a_beats_b(self) -> bool:
        """Whether the whole interval is in favour of a, without zero."""
        return self.low > 0 if self.higher_is_better else self.high < 0

    @property
    def b_beats_a(self) -> bool:
        """Whether the whole interval is in favour of b; where neither holds, no order may be claimed."""
        return self.high < 0 if self.higher_is_better else self.low > 0


def confidence_interval(
    ranks: ArrayLike,
    metric: str | Metric,
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    videos: ArrayLike | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric.

    Where a recall is 0 or 100, every resample gives the same value, and the interval would have no width. There the
    bound comes from the exact binomial interval (Clopper-Pearson) over videos.

    Args:
        ranks: rank of each query `[Q]` (or any other value that `metric` reads).
        metric: a column, such as "R@1", or a `Metric`.
        samples: number of times that the videos are drawn.
        seed: the same seed gives the same interval.
        level: fraction of the samples inside the interval.
        videos: the video that each query belongs to `[Q]`; queries of one video are drawn together. None where each
            query has a video of its own.

    Returns:
        Low and high, in the metric's own unit.

    Raises:
        UsageError: an unknown metric, no query, or a level or a number of samples that gives no interval.

    >>> low, high = confidence_interval(np.tile([1.0, 9.0], 200), "R@1")  # 50 of 100; binomial: 50 +- 4.9
    >>> (round(low), round(high))
    (45, 55)
    >>> low, high = confidence_interval(np.ones(100), "R@1")  # 100 of 100
    >>> (round(low, 1), round(high, 1))
    (96.4, 100.0)
    """
    return confidence_intervals(ranks, [metric], samples=samples, seed=seed, level=level, videos=videos)[0]


def confidence_intervals(
    ranks: ArrayLike,
    metrics: Sequence[str | Metric] = tuple(METRICS),
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    videos: ArrayLike | None = None,
) -> list[tuple[float, float]]:
    """Intervals of several metrics from the same draws; see `confidence_interval`."""
    columns = [_metric(metric) for metric in metrics]
    values = _checked_values(ranks, samples, level)
    drawn: list[list[Ranks]] = [[] for _ in columns]
    for queries in _draws(values.shape[-1], videos, samples, seed):
        for blocks, column in zip(drawn, columns, strict=True):
            blocks.append(column.of(values[queries]))
    margin = _binomial_margin(level, _independent(values.shape[-1], videos))
    intervals = []
    for blocks, column in zip(drawn, columns, strict=True):
        low, high = _bounds(np.concatenate(blocks), level)
        if column.recall and low == high:
            low, high = (low - margin, high) if low == 100 else (low, high + margin)
        intervals.append((low, high))
    return intervals


def paired_bootstrap(
    ranks_a: ArrayLike,
    ranks_b: ArrayLike,
    metric: str | Metric,
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    videos: ArrayLike | None = None,
) -> PairedResult:
    """Compare two models on the same queries: each resample draws the same videos for both.

    Where a model was trained several times, its metric is the mean over the runs, and each resample also draws as many
    of its runs with replacement: the difference is then about the recipe, not about one lucky run. Few runs show less
    than the whole spread of training.

    Where no query of any model differs, or all differ in favour of one, every resample gives the same difference of a
    recall. There the bounds come from the exact binomial interval over videos: of the fraction that may yet differ, or
    of the fraction that one model wins, so that a claim agrees with the exact sign test.

    Args:
        ranks_a: ranks of model a for each query `[Q]`, or for each of its runs and each query `[S, Q]`.
        ranks_b: ranks of model b for the same queries; the number of runs may differ.
        metric: see `confidence_interval`, also for the other arguments.
        samples: number of times that the videos are drawn.
        seed: the same seed gives the same result.
        level: fraction of the samples inside the interval.
        videos: the video that each query belongs to `[Q]`.

    Raises:
        UsageError: as `confidence_interval`, or unequal numbers of queries.

    a finds one query in ten that b misses, and misses none that b finds:

    >>> b = np.full(500, 2.0)
    >>> a = np.where(np.arange(500) % 10 == 0, 1.0, 2.0)
    >>> result = paired_bootstrap(a, b, "R@1")
    >>> result.difference, result.a_beats_b
    (10.0, True)
    """
    column = _metric(metric)
    a, b = (
        _checked_values(np.atleast_2d(ranks), samples, level, dimensions=2) for ranks in (ranks_a, ranks_b)
    )
    if a.shape[1] != b.shape[1]:
        raise UsageError(f"{a.shape[1]} ranks against {b.shape[1]}", "both models on the same queries")
    rng = np.random.default_rng([seed, len(a), len(b)])
    blocks = []
    for queries in _draws(a.shape[1], videos, samples, seed):
        of_runs = [column.of(runs[:, queries]) for runs in (a, b)]  # [S, drawn] each
        means = [_mean_of_drawn_runs(values, rng) for values in of_runs]
        blocks.append(means[0] - means[1])
    differences = np.concatenate(blocks)
    low, high = _bounds(differences, level)
    observed = float(column.of(a).mean() - column.of(b).mean())
    if column.recall and low == high and abs(observed) in (0.0, 100.0):
        margin = _binomial_margin(level, _independent(a.shape[1], videos))
        # The winner of a fraction p of the videos is ahead by p - (1 - p), so that its bound moves twice as far.
        low, high = {
            0.0: (-margin, margin),
            100.0: (100.0 - 2 * margin, 100.0),
            -100.0: (-100.0, 2 * margin - 100.0),
        }[observed]
    # One is added to both counts, because finitely many samples cannot show a p-value of exactly zero.
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    p_value = min(1.0, 2 * (tail + 1) / (samples + 1))
    if column.recall and abs(observed) == 100:  # resamples cannot differ, however few videos there are
        p_value = max(p_value, 2 * 0.5 ** _independent(a.shape[1], videos))
    return PairedResult(
        difference=observed,
        low=low,
        high=high,
        p_value=float(p_value),
        higher_is_better=column.higher_is_better,
    )


def _independent(queries: int, videos: ArrayLike | None) -> int:
    """The number of videos that the queries belong to."""
    return queries if videos is None else len(np.unique(np.asarray(videos)))


def _binomial_margin(level: float, trials: int) -> float:
    """How far, in percent, the Clopper-Pearson bound of n hits, or of n misses, in n trials is from 100, or from 0."""
    return float(100 * (1 - ((1 - level) / 2) ** (1 / trials)))


def _mean_of_drawn_runs(values: Ranks, rng: np.random.Generator) -> Ranks:
    """The mean over S runs, drawn with replacement for each column of `[S, drawn]`."""
    if len(values) == 1:
        return values[0]
    return np.take_along_axis(values, rng.integers(len(values), size=values.shape), axis=0).mean(axis=0)


def _draws(queries: int, videos: ArrayLike | None, samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Positions of the drawn queries, one resample a row, some rows at a time."""
    rng = np.random.default_rng(seed)
    owner = np.arange(queries) if videos is None else np.asarray(videos)
    if owner.shape != (queries,):
        raise UsageError(
            f"videos of shape {list(owner.shape)} for {queries} queries", "one video for each query"
        )
    _, counts = np.unique(owner, return_counts=True)
    by_video = np.argsort(owner, kind="stable")
    starts = np.cumsum(counts) - counts
    alike = counts.min() == counts.max()
    # Where the videos have different numbers of queries, resamples have different lengths: one per block.
    step = max(1, DRAWN_AT_ONCE // queries) if alike else 1
    for first in range(0, samples, step):
        drawn = rng.integers(len(counts), size=(min(step, samples - first), len(counts)))
        if alike:
            yield by_video.reshape(len(counts), -1)[drawn].reshape(len(drawn), -1)
        else:
            sizes = counts[drawn[0]]
            within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            yield by_video[np.repeat(starts[drawn[0]], sizes) + within][None]


def _bounds(drawn: Ranks, level: float) -> tuple[float, float]:
    # Values that were drawn, not interpolated ones: a rounding error could turn an exact zero into a claim.
    cut = int((1 - level) / 2 * (len(drawn) - 1))
    ordered = np.sort(drawn)
    return float(ordered[cut]), float(ordered[-1 - cut])


def _metric(metric: str | Metric) -> Metric:
    if not isinstance(metric, str):
        return metric
    if metric not in METRICS:
        near = difflib.get_close_matches(metric, METRICS, n=1, cutoff=0.0)
        raise UsageError(f"unknown metric {metric!r}", ", ".join(METRICS), repr(near[0]))
    return METRICS[metric]


def _checked_values(ranks: ArrayLike, samples: int, level: float, dimensions: int = 1) -> Ranks:
    values = np.asarray(ranks, dtype=np.float64)
    if values.ndim != dimensions or not values.size:
        form = "one rank for each query [Q]" + (", or a row for each run [S, Q]" if dimensions == 2 else "")
        raise UsageError(f"ranks of shape {list(values.shape)}", form)
    if not 0 < level < 1 or samples < 1:
        raise UsageError(f"level {level} of {samples} samples", "a level between 0 and 1, one sample or more")
    return values
