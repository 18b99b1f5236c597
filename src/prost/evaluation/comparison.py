"""Which of two models finds more: paired over the same queries, an order claimed only where it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prost.errors import UsageError
from prost.evaluation.bootstrap import PairedResult, paired_bootstrap
from prost.evaluation.report import EvaluationReport
from prost.evaluation.rows import PLAIN


@dataclass(frozen=True)
class Comparison:
    """One metric of two models, a - b.

    Attributes:
        a: how the first is called.
        b: how the second is called.
        row: which row of their reports, by its key.
        metric: which column.
        runs: how many trainings of each there are.
        result: the difference and its interval.
    """

    a: str
    b: str
    row: str
    metric: str
    runs: tuple[int, int]
    result: PairedResult

    @property
    def verdict(self) -> str:
        """What may be said."""
        if self.result.a_beats_b:
            return f"{self.a} is better"
        if self.result.b_beats_a:
            return f"{self.b} is better"
        return "no order"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "a": self.a,
            "b": self.b,
            "row": self.row,
            "metric": self.metric,
            "runs": list(self.runs),
            "difference": round(self.result.difference, 3),
            "low": round(self.result.low, 3),
            "high": round(self.result.high, 3),
            "p_value": round(self.result.p_value, 5),
            "verdict": self.verdict,
        }

    def __str__(self) -> str:
        interval = f"[{self.result.low:+.1f}, {self.result.high:+.1f}]"
        return (
            f"{self.metric}: {self.a} - {self.b} = {self.result.difference:+.1f} {interval}: {self.verdict}"
        )


def compare(
    a: Sequence[EvaluationReport],
    b: Sequence[EvaluationReport],
    metric: str = "R@1",
    score: str = "sum",
    direction: str = "text_to_video",
    post_processing: str = PLAIN,
    names: tuple[str, str] | None = None,
) -> Comparison:
    """Paired bootstrap of a metric between two models, each given by one report or by those of several trainings.

    Args:
        a: reports of the first model.
        b: reports of the second, on the same queries.
        metric: a column.
        score: which score's rows.
        direction: which direction's.
        post_processing: with which post-processing.
        names: how the two are called; as their reports do when None.

    Raises:
        UsageError: reports on different videos or captions, or without the row.
    """
    digests = {report.setting.queries for report in (*a, *b)}
    if len(digests) > 1:
        sets = sorted({f"{report.setting.benchmark} {report.setting.split}" for report in (*a, *b)})
        raise UsageError(
            f"reports on different videos or captions ({', '.join(sets)})",
            "reports of one set, query by query",
        )
    rows_a, rows_b = (
        [report.row(score, direction, post_processing) for report in reports] for reports in (a, b)
    )
    if metric not in rows_a[0].values:
        raise UsageError(f"{rows_a[0].key} has no {metric}", ", ".join(rows_a[0].values))
    result = paired_bootstrap(
        np.stack([row.ranks for row in rows_a]),
        np.stack([row.ranks for row in rows_b]),
        metric,
        videos=rows_a[0].videos,
    )
    names = names or (a[0].setting.model, b[0].setting.model)
    return Comparison(*names, rows_a[0].key, metric, (len(a), len(b)), result)
