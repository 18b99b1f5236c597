"""The tables of a grid: mean and spread over seeds, comparisons, published figures."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prost.data.writing import written_whole
from prost.evaluation.comparison import Comparison, compare
from prost.evaluation.post_processing import TRANSDUCTIVE
from prost.evaluation.published import Published, backbone_notes, published
from prost.evaluation.report_tables import METHOD_TITLES
from prost.evaluation.rows import PLAIN, Row
from prost.evaluation.tables import PAPER_COLUMNS, PaperTable, mean_and_spread, number
from prost.training.grid import GridResult, Run, shown

METRIC = "R@1"
TIME_COLUMNS = ("training (s)", "feature extraction (s)", "similarity search (s)")
PAIRED_CELLS = 4
"""Up to this number of cells every pair is compared; with more cells, each is compared with the reference."""


def grid_table(result: GridResult) -> PaperTable:
    """The table of a grid; published figures stand below ours and are marked."""
    return _table(result, grid_comparisons(result))


def _table(result: GridResult, comparisons: Sequence[Comparison]) -> PaperTable:
    grid = result.grid
    varied = [key.rpartition(".")[2].replace("_", " ") for key in grid.vary]
    methods = (PLAIN, *grid.methods)
    columns = ("model", *varied, *(["post-processing"] if grid.methods else []))
    lines: list[tuple[str, ...]] = []
    for name, runs in result.runs.items():
        cell = result.cells[name]
        for method in methods:
            rows = [run.report.row(post_processing=method) for run in runs]
            words = [
                cell.model,
                *map(shown, cell.varied.values()),
                *([_method(method, _temperatures(runs))] if grid.methods else []),
            ]
            lines.append((*words, *_columns(rows), *(_time_cells(runs) if grid.times else [])))
    lines += [
        _published_line(figure, len(varied), bool(grid.methods), grid.times)
        for figure in (published(grid.published) if grid.published else [])
    ]
    return PaperTable(
        title=grid.title,
        columns=(*columns, *PAPER_COLUMNS, *(TIME_COLUMNS if grid.times else ())),
        rows=tuple(lines),
        words=len(columns),
        notes=tuple(_notes(result, comparisons)),
    )


def grid_comparisons(result: GridResult) -> list[Comparison]:
    """Paired bootstrap of R@1 over videos and runs: all pairs of few cells, or each cell against the reference."""
    reports = {name: [run.report for run in runs] for name, runs in result.runs.items()}
    if len(reports) <= PAIRED_CELLS:
        pairs = list(itertools.combinations(reports, 2))
    else:
        best = reference(result)
        pairs = [(best, other) for other in reports if other != best]
    return [
        compare(reports[a], reports[b], METRIC, post_processing=method, names=(a, b))
        for a, b in pairs
        for method in (PLAIN, *result.grid.methods)
    ]


def reference(result: GridResult) -> str:
    """The cell that others are compared with: the grid's choice, or the one with the highest mean R@1."""
    if result.grid.reference is not None:
        return result.grid.reference
    means = {
        name: sum(run.report.row().values[METRIC] for run in runs) / len(runs)
        for name, runs in result.runs.items()
    }
    return max(means, key=means.__getitem__)


def write_grid(result: GridResult, folder: Path) -> Path:
    """Write a grid's table and numbers as JSON, CSV, Markdown and LaTeX, named after the grid's file.

    Returns:
        The Markdown file.

    Raises:
        StorageError: the folder cannot be written.
    """
    comparisons = grid_comparisons(result)
    table = _table(result, comparisons)
    texts = {
        ".md": table.markdown(),
        ".tex": table.latex(),
        ".csv": table.csv(),
        ".json": json.dumps(_values(result, comparisons), indent=1) + "\n",
    }
    for suffix, text in texts.items():
        with written_whole(folder / f"{result.path.stem}{suffix}") as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / f"{result.path.stem}.md"


def grid_values(result: GridResult) -> dict[str, Any]:
    """Plain values: the rows of every run, the comparisons, the published figures."""
    return _values(result, grid_comparisons(result))


def _values(result: GridResult, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    return {
        "title": result.grid.title,
        "grid": result.grid.model_dump(mode="json"),
        "machines": _machines(result),
        "cells": [
            {
                "name": name,
                "model": result.cells[name].model,
                "varied": dict(result.cells[name].varied),
                "runs": [
                    {
                        "seed": seed,
                        "setting": run.report.to_dict()["setting"],
                        "rows": [
                            run.report.row(score, post_processing=method).to_dict()
                            for score in run.report.parts
                            for method in (PLAIN, *result.grid.methods)
                        ],
                        "twin_accuracy": dict(run.report.twin_accuracy),
                        "training_seconds": round(run.training_seconds, 1),
                        **{f"{what}_seconds": round(value, 3) for what, value in run.times.items()},
                    }
                    for seed, run in zip(result.grid.seeds, runs, strict=True)
                ],
            }
            for name, runs in result.runs.items()
        ],
        "comparisons": [comparison.to_dict() for comparison in comparisons],
        "published": [
            {**figure.to_dict(), **{f"{what}_seconds": value for what, value in figure.seconds.items()}}
            for figure in (published(result.grid.published) if result.grid.published else [])
        ],
    }


def _columns(rows: Sequence[Row]) -> list[str]:
    """Mean and spread of each column; empty where the row has none."""
    return [
        mean_and_spread([row.values[column] for row in rows]) if column in rows[0].values else ""
        for column in PAPER_COLUMNS
    ]


def _time_cells(runs: Sequence[Run]) -> list[str]:
    measured = [[run.times[what] for run in runs if run.times] for what in _TIMES]
    kinds = ([run.training_seconds for run in runs], *measured)
    return [mean_and_spread(seconds, digits=3) for seconds in kinds]


_TIMES = ("extraction", "search")


def _method(method: str, temperatures: str = "") -> str:
    """A method's title.

    Args:
        method: its name.
        temperatures: of the inverted softmax in the runs of the row, on which its numbers depend; empty for a
            published row, where it is unknown. The parameters of the other methods are fixed.
    """
    if method == PLAIN:
        return "none"
    stated = f"temperature {temperatures}; " if method == "inverted_softmax" and temperatures else ""
    return f"{METHOD_TITLES[method]} ({stated}{'' if TRANSDUCTIVE[method] else 'not '}transductive)"


def _published_line(figure: Published, varied: int, methods: bool, times: bool) -> tuple[str, ...]:
    """A published row in the columns of a grid's table."""
    layers = [str(count) for count in figure.layers or ()]
    words = [
        f"{figure.model}, published ({figure.benchmark})",
        *layers[:varied],
        *[""] * (varied - len(layers)),
    ]
    if methods:
        words.append(_method(figure.post_processing))
    numbers = [number(figure.values.get(column)) for column in PAPER_COLUMNS]
    if times:
        numbers += [number(figure.seconds.get(what), 3) for what in ("training", *_TIMES)]
    return (*words, *numbers)


def _notes(result: GridResult, comparisons: Sequence[Comparison]) -> list[str]:
    """What a reader has to know."""
    grid = result.grid
    first = next(iter(result.runs.values()))[0].report
    seeds = ", ".join(map(str, grid.seeds))
    notes = [
        "text to video, by the sum of both scores where a model has two; mean ± standard deviation over the training "
        f"seeds {seeds}",
        *grid.notes,
        *first.setting.shared_lines(),
        f"made by `prost ablate {result.path}`",
        *(f"{work} on {' and on '.join(machines)}" for work, machines in _machines(result).items()),
    ]
    if "inverted_softmax" in grid.methods:
        every = [run for runs in result.runs.values() for run in runs]
        tuned = " or ".join(sorted({run.report.setting.temperature_source for run in every}))
        notes.append(f"temperature of the inverted softmax: {_temperatures(every)}, {tuned}")
    if first.twins:
        for name, runs in result.runs.items():
            values = [run.report.twin_accuracy["sum"] for run in runs]
            notes.append(
                f"twin accuracy of {name}: {mean_and_spread([value for value in values if value is not None])}"
            )
        if first.order_blind_ceiling is not None:
            notes.append(f"R@1 of a perfect model that is blind to order: {first.order_blind_ceiling:.1f}")
    if grid.times:
        notes.append(
            "training: steps and validations, without frame tokens computed before; extraction: "
            f"{first.setting.videos:,} videos, pixels in memory to prototypes; search: scoring "
            f"{first.setting.captions:,} queries against them, median of several"
        )
    if comparisons:
        paired = grid.reference or len(result.runs) <= PAIRED_CELLS
        chosen = "" if paired else f" with {reference(result)}, the best here,"
        notes.append(
            f"paired bootstrap{chosen} over videos and training seeds; an order is claimed only if the interval "
            "excludes zero:"
        )
        for comparison in comparisons:
            method = METHOD_TITLES[comparison.row.rpartition("/")[2]]
            notes.append(f"{method + ': ' if method else ''}{comparison}")
    if grid.published:
        sources = sorted({figure.source for figure in published(grid.published)})
        notes.append(f"published figures are for other data, starts and machines: {'; '.join(sources)}")
        notes += backbone_notes(published(grid.published))
    return notes


def _temperatures(runs: Sequence[Run]) -> str:
    """The temperatures of the inverted softmax in some runs, which can differ where each model has its own."""
    temperatures = sorted(run.report.setting.temperature for run in runs)
    low, high = (f"{temperature:.4g}" for temperature in (temperatures[0], temperatures[-1]))
    return low if low == high else f"{low} to {high}"


def _machines(result: GridResult) -> dict[str, list[str]]:
    """The machines and devices that did the work, by the kind of work; finished cells may come from other machines."""
    runs = [run for runs in result.runs.values() for run in runs]
    machines = {
        "trained": {run.training_machine for run in runs},
        "evaluated": {run.report.setting.machine for run in runs},
        "times measured": {run.times_machine for run in runs if run.times_machine},
    }
    return {work: sorted(names) for work, names in machines.items() if names}
