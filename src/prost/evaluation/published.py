"""Published figures, text to video, with their sources; tables show them beside ours, marked as published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from prost.evaluation.metrics import METRICS

PublishedTable = Literal["time", "models", "post_processing", "layers", "others"]
# The name under which the figures of a variant of a benchmark were published.
_SAME = {"didemo-prost": "didemo"}


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published row.

    Attributes:
        table: the kind of table.
        model: the authors' name.
        benchmark: the name for `load_benchmark`.
        backbone: the image and text towers that the model starts from, with the sources where these disagree.
        values: the published columns.
        source: paper and table.
        post_processing: "none", or the name in `evaluation.post_processing`.
        layers: layers of the frame and the event decoder, in the table of layers.
        seconds: "training", "extraction" and "search", in the table of times.
    """

    table: PublishedTable
    model: str
    benchmark: str
    backbone: str
    values: dict[str, float]
    source: str
    post_processing: str = "none"
    layers: tuple[int, int] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a report."""
        return {
            "model": self.model,
            "benchmark": self.benchmark,
            "backbone": self.backbone,
            "post_processing": self.post_processing,
            **self.values,
            "source": self.source,
        }


def published(table: PublishedTable | None = None, benchmark: str | None = None) -> list[Published]:
    """The published rows of a table, of a benchmark, or of both.

    >>> [(row.model, row.values["R@1"]) for row in published("models", "youcook2")][-1]
    ('ProST', 11.4)
    """
    benchmark = _SAME.get(benchmark or "", benchmark)
    return [row for row in _read() if table in (None, row.table) and benchmark in (None, row.benchmark)]


def backbone_notes(rows: Sequence[Published]) -> list[str]:
    """The backbone of each model in published rows, one line a model, for below a table.

    >>> backbone_notes(published("models", "youcook2"))[:2]
    ['published TACo: backbone no CLIP', 'published COOT: backbone no CLIP']
    """
    return [
        f"published {model}: backbone {backbone}"
        for model, backbone in dict((row.model, row.backbone) for row in rows).items()
    ]


@cache
def _read() -> tuple[Published, ...]:
    text = (resources.files("prost.evaluation") / "published.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    rows = []
    for entry in document["rows"]:
        source = entry["source"]
        if isinstance(source, list):
            source = f"{document['sources'][source[0]]} {source[1]}"
        seconds = (
            {
                "training": 3600 * entry["training_hours"],
                "extraction": entry["extraction_seconds"],
                "search": entry["search_seconds"],
            }
            if entry["table"] == "time"
            else {}
        )
        rows.append(
            Published(
                table=entry["table"],
                model=entry["model"],
                benchmark=entry["benchmark"],
                backbone=document["backbones"][entry["model"]],
                values={column: float(entry[column]) for column in METRICS if column in entry},
                source=source,
                post_processing=entry.get("post_processing", "none"),
                layers=tuple(entry["layers"]) if "layers" in entry else None,
                seconds=seconds,
            )
        )
    return tuple(rows)
