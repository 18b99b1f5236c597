"""How sure a number is: percentile bootstrap over queries, and paired comparison of two models.

Queries are drawn with replacement; the gallery stays. The intervals speak of other queries of the same kind, not of
other galleries nor of other training runs (those take several seeds).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from prost.errors import UsageError
from prost.evaluation.metrics import METRICS, Metric, Ranks

# Ranks drawn at once: 2**22 floats are 32 MiB.
DRAWN_AT_ONCE = 2**22


@dataclass(frozen=True)
class PairedResult:
    """Difference of two models on the same queries, a - b.

    Attributes:
        difference: of the metric, in its own unit.
        low: lower bound of the interval of the difference.
        high: its upper bound.
        p_value: two-sided: how often resampling puts the difference on the other side of zero, doubled.
        higher_is_better: whether a positive difference favours a.
    """

    difference: float
    low: float
    high: float
    p_value: float
    higher_is_better: bool = True

    @property
    def a_beats_b(self) -> bool:
        """An order may be claimed: the whole interval favours a, zero excluded."""
        return self.low > 0 if self.higher_is_better else self.high < 0

    @property
    def b_beats_a(self) -> bool:
        """The same for b; where neither holds, nothing may be claimed."""
        return self.high < 0 if self.higher_is_better else self.low > 0


def confidence_interval(
    ranks: ArrayLike, metric: str | Metric, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric.

    Queries that are all hits, or all misses, give an interval without width: resampling cannot show what it never saw.

    Args:
        ranks: of each query `[Q]` (or any other value of a query that `metric` reads).
        metric: a column, "R@1" for example, or a `Metric`.
        samples: how many times the queries are drawn.
        seed: the same seed gives the same interval.
        level: share of the samples inside the interval.

    Returns:
        Low and high, in the metric's own unit.

    Raises:
        UsageError: an unknown metric, no query, a level or number of samples that makes no interval.

    >>> low, high = confidence_interval(np.tile([1.0, 9.0], 200), "R@1")  # 50 of 100; binomial: 50 +- 4.9
    >>> (round(low), round(high))
    (45, 55)
    """
    column = _metric(metric)
    values = _checked_values(ranks, samples, level)
    drawn = _resample(values[None], column, samples, seed)[0]
    low, high = _bounds(drawn, level)
    return low, high


def paired_bootstrap(
    ranks_a: ArrayLike,
    ranks_b: ArrayLike,
    metric: str | Metric,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedResult:
    """Compare two models on the same queries: each resample draws the same queries for both.

    Args:
        ranks_a: of each query under model a `[Q]`.
        ranks_b: of the same queries under model b `[Q]`.
        metric: see `confidence_interval`, and so for the rest.
        samples: how many times the queries are drawn.
        seed: the same seed gives the same result.
        level: share of the samples inside the interval.

    Raises:
        UsageError: as `confidence_interval`, or unequal numbers of queries.

    a finds one query in ten that b does not, and loses none:

    >>> b = np.full(500, 2.0)
    >>> a = np.where(np.arange(500) % 10 == 0, 1.0, 2.0)
    >>> result = paired_bootstrap(a, b, "R@1")
    >>> result.difference, result.a_beats_b
    (10.0, True)
    """
    column = _metric(metric)
    a, b = _checked_values(ranks_a, samples, level), _checked_values(ranks_b, samples, level)
    if a.shape != b.shape:
        raise UsageError(f"{len(a)} ranks against {len(b)}", "both models on the same queries")
    values = np.stack([a, b])
    drawn_a, drawn_b = _resample(values, column, samples, seed)
    differences = drawn_a - drawn_b
    low, high = _bounds(differences, level)
    # One is added to both counts: a p-value of exactly zero cannot come out of finitely many samples.
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    p_value = min(1.0, 2 * (tail + 1) / (samples + 1))
    observed_a, observed_b = column.of(values)
    return PairedResult(float(observed_a - observed_b), low, high, float(p_value), column.higher_is_better)


def _resample(values: Ranks, metric: Metric, samples: int, seed: int) -> Ranks:
    """The metric of each model `[M, Q]` on each resample of the queries: `[M, samples]`."""
    rng = np.random.default_rng(seed)
    models, queries = values.shape
    step = max(1, DRAWN_AT_ONCE // (models * queries))
    blocks = []
    for start in range(0, samples, step):
        drawn = rng.integers(queries, size=(min(step, samples - start), queries))
        blocks.append(metric.of(values[:, drawn]))  # [M, step]
    return np.concatenate(blocks, axis=1)


def _bounds(drawn: Ranks, level: float) -> tuple[float, float]:
    # Drawn values, not numbers interpolated between them: those can miss an exact zero by a rounding error, and a
    # claim hangs on which side of zero a bound lies.
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


def _checked_values(ranks: ArrayLike, samples: int, level: float) -> Ranks:
    values = np.asarray(ranks, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise UsageError(f"ranks of shape {list(values.shape)}", "one rank for each query [Q]")
    if not 0 < level < 1 or samples < 1:
        raise UsageError(f"level {level} of {samples} samples", "a level between 0 and 1, one sample or more")
    return values
