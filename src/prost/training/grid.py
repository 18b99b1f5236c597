"""Grids: recipes in which some keys are varied, over several seeds. Each cell is trained and evaluated only once.

A grid is a YAML file. The folders of its cells are named by digests of everything that the results depend on (recipe,
seed, data, evaluation set), so that a stopped grid can be continued, and two grids that share a cell share its run.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import yaml
from pydantic import Field, model_validator

from prost.config import StrictConfig, read_json, read_yaml
from prost.data.frame_tokens import FrameTokenCache
from prost.data.writing import written_whole
from prost.errors import BadConfig
from prost.evaluation.benchmark import evaluate_set, match_scores
from prost.evaluation.machine import machine_line
from prost.evaluation.published import PublishedTable
from prost.evaluation.report import EvaluationReport
from prost.evaluation.report_files import JSON_FILE, read_report, write_report
from prost.evaluation.rows import METHODS, RankingPlan
from prost.evaluation.sets import EvaluationSet, SetConfig, open_set
from prost.model.checkpoint import load
from prost.model.encoding import Precision, VideoEncoder, choose_device, encode_text, join
from prost.training.logs import LENGTH
from prost.training.recipe import Recipe, changed
from prost.training.run_folder import STATE_FILE
from prost.training.sources import data_digest
from prost.training.trainer import run_recipe

DONE_FILE, TIMES_FILE = "done.txt", "times.json"
SEARCHES = 5
"""Number of timed searches; their median is reported."""

Say = Callable[[str], None]


class Grid(StrictConfig):
    """What `prost ablate` reads.

    Attributes:
        title: of the table.
        recipes: the models' recipes, relative to this file, by their names in the table.
        vary: keys of the recipe (`model.frame_layers`) and their values; every combination is a cell.
        seeds: each cell is trained once with each seed.
        evaluation: the evaluation set of all cells.
        precision: of the vision tower in the evaluation; that of a training is in its recipe.
        methods: post-processing methods that get rows of their own.
        times: measure feature extraction and similarity search, and show them beside the time of training.
        reference: name of the cell that the others are compared with; None for the one with the highest mean R@1.
        published: the published figures to show below.
        notes: what else a reader has to know, below the table.
    """

    title: str
    recipes: dict[str, Path] = Field(min_length=1)
    vary: dict[str, list[Any]] = Field(default_factory=dict)
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    evaluation: SetConfig = SetConfig()
    precision: Precision = "fp32"
    methods: tuple[str, ...] = ()
    times: bool = False
    reference: str | None = None
    published: PublishedTable | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key, values in self.vary.items():
            if key.partition(".")[0] == "seed":
                raise ValueError("vary: seeds have their own key, `seeds`")
            if not values:
                raise ValueError(f"vary: {key} has no value")
            if any(value in values[:place] for place, value in enumerate(values)):
                raise ValueError(f"vary: {key} has one value twice")
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown:
            raise ValueError(f"unknown post-processing {unknown[0]!r}; there are {', '.join(METHODS)}")
        for name, given in (("seeds", self.seeds), ("methods", self.methods)):
            if len(set(given)) != len(given):
                raise ValueError(f"{name}: one is given twice")
        return self


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of a grid.

    Attributes:
        model: the name of its recipe.
        varied: the value of each key that the grid varies.
        recipe: by seed, as plain values.
        data: digest of the training data; None where the recipe determines them.
    """

    model: str
    varied: Mapping[str, Any]
    recipe: Mapping[int, Mapping[str, Any]]
    data: str | None = None

    @property
    def name(self) -> str:
        """Unique in its grid.

        >>> Cell(model="ProST", varied={"model.frame_layers": 1, "model.event_layers": 2}, recipe={}).name
        'ProST {1, 2}'
        """
        values = ", ".join(map(shown, self.varied.values()))
        return f"{self.model} {{{values}}}" if values else self.model


@dataclass(frozen=True, kw_only=True)
class Run:
    """A cell that was trained with one seed, and evaluated.

    Attributes:
        report: of the evaluation, on the machine in its setting.
        training_seconds: of all steps and validations, without frame tokens that were computed before.
        training_machine: the machine and the device of the training.
        times: seconds of "extraction" and "search", if the grid measures them: in the runs of its first seed.
        times_machine: the machine and the device of these measurements; None without any.
    """

    report: EvaluationReport
    training_seconds: float
    training_machine: str
    times: Mapping[str, float]
    times_machine: str | None


@dataclass(frozen=True, kw_only=True)
class GridResult:
    """A grid that has been run.

    Attributes:
        grid: the grid.
        path: of its file.
        cells: by name, in the order of the grid.
        runs: by the cell's name, one for each seed.
    """

    grid: Grid
    path: Path
    cells: Mapping[str, Cell]
    runs: Mapping[str, tuple[Run, ...]]


def shown(value: Any) -> str:
    """A varied value as a table shows it: a list as its members, an empty list as `off`.

    >>> shown(0.2), shown([10, 11]), shown([])
    ('0.2', '10+11', 'off')
    """
    if isinstance(value, list):
        return "+".join(map(str, value)) or "off"
    return str(value)


def read_grid(path: Path) -> tuple[Grid, list[Cell]]:
    """Read a grid and all its recipes, and check all cells before anything is run.

    Raises:
        MissingPath: the grid, or a recipe that it names, does not exist.
        BadConfig: no YAML, an unknown key (the nearest known one is named), or a value out of range, in any cell.
        UsageError: see `data_digest`.
    """
    grid = Grid.parse(read_yaml(path), origin=str(path))
    cells = []
    digests: dict[str, str | None] = {}
    for name, place in grid.recipes.items():
        base = read_yaml(path.parent / place)
        for values in itertools.product(*grid.vary.values()):
            varied = dict(zip(grid.vary, values, strict=True))
            by_seed = {seed: changed(base, {**varied, "seed": seed}) for seed in grid.seeds}
            origin = f"{path.parent / place} with {varied}" if varied else str(place)
            parsed = [Recipe.parse(recipe, origin=origin) for recipe in by_seed.values()]
            cells.append(Cell(model=name, varied=varied, recipe=by_seed, data=_data_of(parsed[0], digests)))
    names = [cell.name for cell in cells]
    if grid.reference is not None and grid.reference not in names:
        raise BadConfig(f"{path}: reference {grid.reference!r} is no cell", ", ".join(names))
    return grid, cells


def _data_of(recipe: Recipe, known: dict[str, str | None]) -> str | None:
    """The digest of a recipe's data; benchmarks that several cells share are read once."""
    key = json.dumps([recipe.benchmark and recipe.benchmark.model_dump(mode="json"), recipe.validation])
    if key not in known:
        known[key] = data_digest(recipe)
    return known[key]


def run_grid(
    path: Path,
    output: Path,
    say: Say,
    *,
    device: str = "auto",
    cache: FrameTokenCache | None = None,
) -> GridResult:
    """Train and evaluate every cell of a grid that has no result yet.

    Args:
        path: the grid's file.
        output: the folder for one folder per cell and seed under `cells`.
        say: called with a line before each cell, and from time to time in training.
        device: see `prost.model.encoding.choose_device`.
        cache: frame tokens of evaluation sets, float32; shared by grids.

    Raises:
        BadConfig, MissingPath, UsageError: see `read_grid`.
        TrainingStopped: see `run_recipe`; finished cells are kept.
        StorageError: the folder cannot be written.
    """
    grid, cells = read_grid(path)
    cache = cache or evaluation_cache()
    where = choose_device(device)
    data = open_set(grid.evaluation)
    # Seed by seed, so that a whole table exists early, and its spread later.
    todo = [(cell, seed) for seed in grid.seeds for cell in cells]
    runs: dict[tuple[str, int], Run] = {}
    for place, (cell, seed) in enumerate(todo, start=1):
        folder = output / "cells" / _digest_of_training(cell, seed)
        say(f"{path.stem}: {place} of {len(todo)}: {cell.name}, seed {seed} ({folder})")
        runs[cell.name, seed] = _run_cell(cell, seed, grid, data, folder, say, where, cache)
    return GridResult(
        grid=grid,
        path=path,
        cells={cell.name: cell for cell in cells},
        runs={cell.name: tuple(runs[cell.name, seed] for seed in grid.seeds) for cell in cells},
    )


def evaluation_cache() -> FrameTokenCache:
    """A cache for evaluation sets: in float32, so that no score changes; for towers with and without token shift."""
    return FrameTokenCache(dtype=np.float32, most=2)


def _run_cell(
    cell: Cell,
    seed: int,
    grid: Grid,
    data: EvaluationSet,
    folder: Path,
    say: Say,
    device: torch.device,
    cache: FrameTokenCache,
) -> Run:
    """Train and evaluate a cell and measure times, as far as there are no results yet."""
    best = _trained(cell.recipe[seed], folder, say, device)
    # fp32 is left out, so that reports made before there was a choice are found again.
    precision = [] if grid.precision == "fp32" else [grid.precision]
    # Reports of clips of long videos once had intervals that drew single clips.
    drawn = [] if data.source_of_video is None else ["long videos are drawn"]
    key = _digest(
        [grid.evaluation.model_dump(mode="json"), grid.methods, data.content_digest, *precision, *drawn]
    )
    report_folder = folder / f"report-{key}"
    if (report_folder / JSON_FILE).is_file():
        report = read_report(report_folder)
    else:
        plan = RankingPlan(methods=grid.methods, directions=("text_to_video",))
        model = load(best).to(device)
        report = evaluate_set(
            model,
            data,
            plan,
            name=cell.name,
            training_seed=seed,
            precision=grid.precision,
            cache=cache,
        )
        write_report(report, report_folder)
    times: dict[str, Any] = {}
    if grid.times and seed == grid.seeds[0]:  # another seed means other weights, but the same work
        times = _times(best, data, report_folder / TIMES_FILE, device, grid.precision)
    facts = read_json(best / "training.json")
    return Run(
        report=report,
        training_seconds=training_seconds(folder / "run" / "log.jsonl"),
        training_machine=facts["machine"]["line"],
        times=times.get("seconds", {}),
        times_machine=times.get("machine"),
    )


def _trained(recipe: Mapping[str, Any], folder: Path, say: Say, device: torch.device) -> Path:
    """The best model of a recipe; it is trained if it has not been."""
    done = folder / DONE_FILE
    if not done.is_file():
        text = yaml.safe_dump(dict(recipe), sort_keys=False)
        with written_whole(folder / "recipe.yaml") as partial:
            partial.write_text(text, encoding="utf-8")
        best = run_recipe(
            folder / "recipe.yaml",
            folder / "run",
            lambda values: _say_training(say, values),
            device=str(device),
        )
        with written_whole(done) as partial:
            partial.write_text(best.name, encoding="utf-8")
        # The state for continuing is as large as three models, and no longer needed.
        (folder / "run" / STATE_FILE).unlink(missing_ok=True)
    return folder / "run" / done.read_text(encoding="utf-8")


def training_seconds(log: Path) -> float:
    """Seconds of all stages of a training, including those before an interruption.

    Args:
        log: `log.jsonl` of a run.
    """
    total = last = 0.0
    for line in log.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        if values["stage"] == LENGTH:  # a stage begins, or is continued, and its clock starts again
            total, last = total + last, 0.0
        last = values.get("seconds", last)
    return total + last


def _times(
    place: Path, data: EvaluationSet, path: Path, device: torch.device, precision: Precision
) -> dict[str, Any]:
    """Seconds of encoding the gallery from pixels in memory, and of scoring all queries against it."""
    if path.is_file():
        return read_json(path)
    model = load(place).to(device)
    encoder = VideoEncoder(model, precision=precision)
    extraction = 0.0
    records = []
    for _, pixels in data.clips.blocks(frames=model.config.frames, size=model.config.image_size):
        started = time.perf_counter()
        records.append(encoder.encode(pixels))
        extraction += time.perf_counter() - started
    text, video = encode_text(model, data.captions), join(records)
    searches = []
    for _ in range(SEARCHES):
        started = time.perf_counter()
        match_scores(model, text, video)
        searches.append(time.perf_counter() - started)
    measured = {
        "seconds": {"extraction": extraction, "search": statistics.median(searches)},
        "machine": machine_line(device),
    }
    with written_whole(path) as partial:
        partial.write_text(json.dumps(measured), encoding="utf-8")
    return measured


def _say_training(say: Say, values: Mapping[str, Any]) -> None:
    """Report the steps of a training, but not the tables of its validations."""
    if "loss" in values:
        say(f"  {values['stage']} step {values['step']} of {values['steps']}, loss {values['loss']}")


def _digest_of_training(cell: Cell, seed: int) -> str:
    """Digest of everything that a training depends on: recipe, data, and the weights that it starts from."""
    recipe = cell.recipe[seed]
    return _digest([recipe, cell.data, _fingerprint(recipe["start"]) if recipe.get("start") else None])


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@cache
def _fingerprint(start: str) -> str:
    fingerprint: str = load(start).fingerprint
    return fingerprint
