"""`prost eval`: how well a model finds."""

from __future__ import annotations

from typing import Annotated

import typer

from prost.apps.cli.options import DEFAULT_MODEL, JsonOption
from prost.apps.cli.output import print_json, print_table

PARTS = {"sum": "sum", "event_sentence": "event-sentence", "object_phrase": "object-phrase"}
METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A bundled model, a folder, or a weights file.")
    ] = DEFAULT_MODEL,
    benchmark: Annotated[
        str, typer.Argument(help="toybox-1k, or a folder that `prost toybox` wrote.")
    ] = "toybox-1k",
    as_json: JsonOption = False,
) -> None:
    """Measure how well a model finds. Text to video, for the sum of both scores and for each alone."""
    from prost.evaluation.benchmark import evaluate_toybox
    from prost.model.checkpoint import load_prost

    report = evaluate_toybox(load_prost(model), benchmark).to_dict()
    if as_json:
        print_json(report)
        return
    rows = [
        [
            title,
            *(f"{report[part][metric]:.1f}" for metric in METRICS),
            _percent(report[part]["twin_accuracy"]),
        ]
        for part, title in PARTS.items()
    ]
    gallery = report["gallery"]
    print_table(
        ["score", *(f">{metric}" for metric in METRICS), ">twins"],
        rows,
        f"{model} on {benchmark}: text to video, {gallery['videos']} videos, {gallery['twins']} with a twin",
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
