"""A report: rows, and everything that is needed to read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from prost.errors import UsageError
from prost.evaluation.bootstrap import PairedResult
from prost.evaluation.metrics import Ranks, RetrievalMetrics, Scores
from prost.evaluation.published import published
from prost.evaluation.reversal import ReversedAccuracy
from prost.evaluation.rows import PLAIN, Row
from prost.evaluation.setting import Setting


@dataclass(frozen=True, eq=False, kw_only=True)
class ReportSection:
    """The plain row of one score, text to video.

    Attributes:
        metrics: the columns.
        interval: 95% bootstrap interval of R@1, in percent.
        ranks: rank of the true video of each query, `[Q]`.
        twin_accuracy: percent of queries that score their video above its order-swapped twin (a tie counts half); None
            where no video has a twin.
    """

    metrics: RetrievalMetrics
    interval: tuple[float, float]
    ranks: Ranks
    twin_accuracy: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluationReport:
    """A model's results on an evaluation set.

    Attributes:
        setting: how they were made.
        rows: every score, direction and post-processing.
        twin_accuracy: for each score; see `ReportSection`.
        twins: number of videos that have an order-swapped twin in the gallery.
        order_blind_ceiling: R@1 in percent of a perfect model that is blind to order; None where there are no twins.
        comparisons: paired bootstrap of R@1, text to video: the sum against each part, "sum - event_sentence", and the
            joint scorer against the sum, "joint - sum".
        seconds: wall time of waiting for pixels ("read"), of encoding and of matching.
        reversed_accuracy: for each score but that of the joint scorer; empty where no video was shown backwards.
        noise: the result of the noise test, if it was run.
        scores: the matrices `[C, V]` by score; None in a report that was read from files.
    """

    setting: Setting
    rows: tuple[Row, ...]
    twin_accuracy: Mapping[str, float | None]
    twins: int
    order_blind_ceiling: float | None
    comparisons: Mapping[str, PairedResult]
    seconds: Mapping[str, float]
    reversed_accuracy: Mapping[str, ReversedAccuracy] = field(default_factory=dict)
    noise: Mapping[str, Any] | None = None
    scores: Mapping[str, Scores] | None = None

    def row(self, score: str = "sum", direction: str = "text_to_video", post_processing: str = PLAIN) -> Row:
        """One row.

        Raises:
            UsageError: the report has no such row; those it has are named.
        """
        key = f"{score}/{direction}/{post_processing}"
        for row in self.rows:
            if row.key == key:
                return row
        raise UsageError(f"no row {key} in this report", ", ".join(row.key for row in self.rows))

    def score_matrices(self) -> Mapping[str, Scores]:
        """`scores` of a report that has them.

        Raises:
            UsageError: the report was read from files.
        """
        if self.scores is None:
            raise UsageError("a report without its scores", "the result of `evaluate_set`")
        return self.scores

    @property
    def parts(self) -> dict[str, ReportSection]:
        """The plain rows of text to video, by score."""
        return {
            row.score: ReportSection(
                metrics=RetrievalMetrics.from_ranks(row.ranks, row.gallery),
                interval=row.intervals["R@1"],
                ranks=row.ranks,
                twin_accuracy=self.twin_accuracy.get(row.score),
            )
            for row in self.rows
            if row.direction == "text_to_video" and row.post_processing == PLAIN
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the columns of each score, and what is needed to read them."""
        parts = {
            score: {
                **part.metrics.to_dict(),
                "R@1_interval": [round(bound, 2) for bound in part.interval],
                "twin_accuracy": part.twin_accuracy,
                "reversed": found.to_dict() if (found := self.reversed_accuracy.get(score)) else None,
            }
            for score, part in self.parts.items()
        }
        return {
            **parts,
            "gallery": {
                "name": self.setting.benchmark,
                "videos": self.setting.videos,
                "twins": self.twins,
                "order_blind_ceiling": self.order_blind_ceiling,
            },
            "comparisons": {name: asdict(result) for name, result in self.comparisons.items()},
            "setting": asdict(self.setting),
            "rows": [row.to_dict() for row in self.rows],
            "published": [row.to_dict() for row in published(benchmark=self.setting.benchmark)],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "noise_test": self.noise,
        }
