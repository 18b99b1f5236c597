"""Comparison of two models, paired over the same queries; an order is claimed only where the bootstrap supports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prost.errors import UsageError
from prost.evaluation.bootstrap import PairedResult, paired_bootstrap
from prost.evaluation.report import EvaluationReport
from prost.evaluation.rows import PLAIN


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of two models, a - b.

    Attributes:
        a: name of the first.
        b: name of the second.
        row: key of the row of their reports.
        metric: the column.
        runs: number of trainings of each.
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
        """Which model is better, or that there is no order."""
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


# What can make two rows of one name differ, beside the models themselves.
SETTINGS = {
    "sampling": "sampling",
    "frames": "frames",
    "image_size": "pixels of a frame's side",
    "max_words": "words of a text",
    "temperature": "temperature of the inverted softmax",
    "bank_captions": "captions of the bank",
    "bank_videos": "videos of the bank",
}


def not_compared(a: EvaluationReport, b: EvaluationReport, names: tuple[str, str]) -> list[str]:
    """What two reports do not share, in words: rows of one alone, and settings that differ.

    Args:
        a: the first.
        b: the second.
        names: of the two.
    """
    keys = [[row.key for row in report.rows] for report in (a, b)]
    lines = [
        f"only in {name}: {', '.join(alone)}"
        for name, mine, others in zip(names, keys, reversed(keys), strict=True)
        if (alone := [key for key in mine if key not in others])
    ]
    for field, title in SETTINGS.items():
        values = [getattr(report.setting, field) for report in (a, b)]
        if values[0] != values[1]:
            first, second = (f"{value:g}" if isinstance(value, float) else str(value) for value in values)
            lines.append(f"{title}: {first} in {names[0]}, {second} in {names[1]}")
    return lines


def compare(
    a: Sequence[EvaluationReport],
    b: Sequence[EvaluationReport],
    metric: str = "R@1",
    *,
    score: str = "sum",
    direction: str = "text_to_video",
    post_processing: str = PLAIN,
    names: tuple[str, str] | None = None,
) -> Comparison:
    """Paired bootstrap of a metric between two models, each given by the reports of one or several trainings.

    Args:
        a: reports of the first model.
        b: reports of the second, on the same queries.
        metric: the column.
        score: score of the rows.
        direction: direction of the rows.
        post_processing: post-processing of the rows.
        names: names of the two; those in their reports when None.

    Raises:
        UsageError: reports on different videos or captions, or without the row.
    """
    digests = {report.setting.queries for report in (*a, *b)}
    if len(digests) > 1:
        sets = sorted({f"{report.setting.benchmark} {report.setting.split}" for report in (*a, *b)})
        raise UsageError(
            f"reports on different videos or captions ({', '.join(sets)})",
            "reports on the same set",
        )
    rows_a, rows_b = (
        [report.row(score, direction, post_processing) for report in reports] for reports in (a, b)
    )
    if metric not in rows_a[0].values:
        raise UsageError(f"{rows_a[0].key} has no {metric}", ", ".join(rows_a[0].values))
    # Reports of earlier versions have each clip of a long video as a video of its own.
    videos = min((row.videos for row in (*rows_a, *rows_b)), key=lambda videos: len(np.unique(videos)))
    result = paired_bootstrap(
        np.stack([row.ranks for row in rows_a]),
        np.stack([row.ranks for row in rows_b]),
        metric,
        videos=videos,
    )
    names = names or (a[0].setting.model, b[0].setting.model)
    return Comparison(
        a=names[0],
        b=names[1],
        row=rows_a[0].key,
        metric=metric,
        runs=(len(a), len(b)),
        result=result,
    )
