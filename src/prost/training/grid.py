"""Grids: recipes, some keys varied, over several seeds; each cell trained and evaluated once, and never again.

A grid is a YAML file. Its cells lie under one folder by what they are (recipe, seed, evaluation set), so that a stopped
grid is carried on, and two grids that share a cell share its run.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch
import yaml
from pydantic import Field, model_validator

from prost.config import StrictConfig, read_yaml
from prost.errors import BadConfig, StorageError
from prost.evaluation.benchmark import KeptTokens, encode_sentences, evaluate_set
from prost.evaluation.published import PublishedTable
from prost.evaluation.report import JSON_FILE, EvaluationReport, read_report, write_report
from prost.evaluation.rows import METHODS, RankingPlan
from prost.evaluation.sets import EvaluationSet, SetConfig, open_set
from prost.model.checkpoint import load
from prost.model.encoding import join
from prost.training.recipe import Recipe
from prost.training.trainer import run_recipe

DONE_FILE, TIMES_FILE = "done.txt", "times.json"
# Of a timed search; the median of so many is told.
SEARCHES = 5
Tell = Callable[[str], None]


class Grid(StrictConfig):
    """What `prost ablate` reads.

    Attributes:
        title: of the table.
        recipes: where the models' recipes lie, relative to this file, by the name that the table gives them.
        vary: keys of the recipe (`model.frame_layers`) and the values that each takes; every combination is a cell.
        seeds: each cell is trained once with each.
        evaluation: what every cell is evaluated on.
        methods: post-processing that gets rows of its own.
        times: measure feature extraction and similarity search, and show them beside the time of training.
        reference: name of the cell that the others are compared with; None for the one with the highest mean R@1.
        published: which published figures stand below.
        notes: what else a reader has to know, below the table.
    """

    title: str
    recipes: dict[str, Path] = Field(min_length=1)
    vary: dict[str, list[Any]] = Field(default_factory=dict)
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    evaluation: SetConfig = SetConfig()
    methods: tuple[str, ...] = ()
    times: bool = False
    reference: str | None = None
    published: PublishedTable | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        for key, values in self.vary.items():
            if key.partition(".")[0] == "seed":
                raise ValueError("vary: seeds have their own key, `seeds`")
            if not values:
                raise ValueError(f"vary: {key} has no value")
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown:
            raise ValueError(f"unknown post-processing {unknown[0]!r}; there are {', '.join(METHODS)}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: one is given twice")
        return self


@dataclass(frozen=True)
class Cell:
    """One place of a grid.

    Attributes:
        model: the name of its recipe.
        varied: value of each key that the grid varies.
        recipe: by seed, as plain values.
    """

    model: str
    varied: Mapping[str, Any]
    recipe: Mapping[int, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """Unique in its grid.

        >>> Cell("ProST", {"model.frame_layers": 1, "model.event_layers": 2}, {}).name
        'ProST {1, 2}'
        """
        values = ", ".join(map(shown, self.varied.values()))
        return f"{self.model} {{{values}}}" if values else self.model


@dataclass(frozen=True)
class Run:
    """A cell trained with one seed, and evaluated.

    Attributes:
        report: what it found.
        training_seconds: of all steps and validations; not of frame tokens that were computed beforehand.
        times: seconds of "extraction" and "search", where the grid measures them: in the runs of its first seed.
    """

    report: EvaluationReport
    training_seconds: float
    times: Mapping[str, float]


@dataclass(frozen=True)
class GridResult:
    """A grid that has been run.

    Attributes:
        grid: which.
        path: of its file.
        runs: by the cell's name, in the order of the grid, one a seed.
        cells: likewise.
    """

    grid: Grid
    path: Path
    cells: Mapping[str, Cell]
    runs: Mapping[str, tuple[Run, ...]]


def shown(value: Any) -> str:
    """A varied value as a table shows it: a list by its members, an empty one as `off`.

    >>> shown(0.2), shown([10, 11]), shown([])
    ('0.2', '10+11', 'off')
    """
    if isinstance(value, list):
        return "+".join(map(str, value)) or "off"
    return str(value)


def read_grid(path: Path) -> tuple[Grid, list[Cell]]:
    """Read a grid and all its recipes; nothing is run before everything is found to be right.

    Raises:
        MissingPath: the grid, or a recipe that it names, is not there.
        BadConfig: no YAML, an unknown key (the nearest known one is named), a value out of range, in any cell.
    """
    grid = Grid.parse(read_yaml(path), origin=str(path))
    cells = []
    for name, place in grid.recipes.items():
        base = read_yaml(path.parent / place)
        for values in itertools.product(*grid.vary.values()):
            varied = dict(zip(grid.vary, values, strict=True))
            by_seed = {seed: _changed(base, {**varied, "seed": seed}) for seed in grid.seeds}
            for recipe in by_seed.values():
                Recipe.parse(recipe, origin=f"{path.parent / place} with {varied}" if varied else str(place))
            cells.append(Cell(name, varied, by_seed))
    names = [cell.name for cell in cells]
    if grid.reference is not None and grid.reference not in names:
        raise BadConfig(f"{path}: reference {grid.reference!r} is no cell", ", ".join(names))
    return grid, cells


def run_grid(path: Path, output: Path, tell: Tell, kept: KeptTokens | None = None) -> GridResult:
    """Train and evaluate every cell of a grid that has not been yet.

    Args:
        path: the grid's file.
        output: gets a folder for each cell and seed under `cells`.
        tell: called with a line before each cell, and now and then in training.
        kept: frame tokens of earlier grids' evaluation sets.

    Raises:
        BadConfig: see `read_grid`.
        TrainingStopped: by hand, or a loss that is no number; what is done stays done.
        StorageError: the disk refuses.
    """
    grid, cells = read_grid(path)
    kept = kept or KeptTokens()
    data = open_set(grid.evaluation)
    todo = [(cell, seed) for seed in grid.seeds for cell in cells]  # a whole table early, then its spread
    runs: dict[tuple[str, int], Run] = {}
    for place, (cell, seed) in enumerate(todo, start=1):
        folder = output / "cells" / _digest_of_recipe(cell.recipe[seed])
        tell(f"{path.stem}: {place} of {len(todo)}: {cell.name}, seed {seed} ({folder})")
        runs[cell.name, seed] = _run_cell(cell, seed, grid, data, folder, tell, kept)
    return GridResult(
        grid,
        path,
        {cell.name: cell for cell in cells},
        {cell.name: tuple(runs[cell.name, seed] for seed in grid.seeds) for cell in cells},
    )


def _run_cell(
    cell: Cell, seed: int, grid: Grid, data: EvaluationSet, folder: Path, tell: Tell, kept: KeptTokens
) -> Run:
    """Do of one cell what is not done yet: train, evaluate, measure times."""
    best = _trained(cell.recipe[seed], folder, tell)
    report_folder = folder / f"report-{_digest([grid.evaluation.model_dump(mode='json'), grid.methods])}"
    if (report_folder / JSON_FILE).is_file():
        report = read_report(report_folder)
    else:
        plan = RankingPlan(grid.methods, ("text_to_video",))
        report = evaluate_set(load(best), data, plan, cell.name, seed, kept)
        write_report(report, report_folder)
    # One measurement says how long it takes; seeds change weights, not work.
    times = _times(best, data, report_folder / TIMES_FILE) if grid.times and seed == grid.seeds[0] else {}
    return Run(report, training_seconds(folder / "run" / "log.jsonl"), times)


def _trained(recipe: Mapping[str, Any], folder: Path, tell: Tell) -> Path:
    """The best model of a recipe, trained unless it has been."""
    done = folder / DONE_FILE
    if not done.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "recipe.yaml").write_text(
                yaml.safe_dump(dict(recipe), sort_keys=False), encoding="utf-8"
            )
        except OSError as error:
            raise StorageError(f"{folder} cannot be written ({error})", suggestion="another folder") from None
        best = run_recipe(folder / "recipe.yaml", folder / "run", lambda values: _tell_training(tell, values))
        _write_whole(done, best.name)
        # What carries a training on is as large as three models, and needed no longer.
        (folder / "run" / "state.pt").unlink(missing_ok=True)
    return folder / "run" / done.read_text(encoding="utf-8")


def training_seconds(log: Path) -> float:
    """Seconds of all stages of a training, those before an interruption included.

    Args:
        log: `log.jsonl` of a run.
    """
    total = last = 0.0
    for line in log.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        if "seconds" not in values:
            continue
        if values["seconds"] < last:  # a stage began, or was begun again
            total += last
        last = values["seconds"]
    return total + last


def _times(place: Path, data: EvaluationSet, path: Path) -> dict[str, float]:
    """Seconds of making the gallery's prototypes from pixels in memory, and of scoring all queries against them."""
    if path.is_file():
        measured: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return measured
    model = load(place)
    extraction = 0.0
    records = []
    with torch.inference_mode():
        for _, pixels in data.clips.blocks(frames=model.config.frames, size=model.config.image_size):
            started = time.perf_counter()
            records.append(model.video_prototypes(model.normalise_pixels(pixels)))
            extraction += time.perf_counter() - started
        video = join(records)
        text = encode_sentences(model, data.captions)
        searches = []
        for _ in range(SEARCHES):
            started = time.perf_counter()
            model.match(text, video)
            searches.append(time.perf_counter() - started)
    times = {"extraction": extraction, "search": statistics.median(searches)}
    _write_whole(path, json.dumps(times))
    return times


def _tell_training(tell: Tell, values: Mapping[str, Any]) -> None:
    """Of a training's log only the steps, not the validations' tables."""
    if "loss" in values:
        tell(f"  {values['stage']} step {values['step']} of {values['steps']}, loss {values['loss']}")


def _changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with other values at some dotted keys."""
    values = copy.deepcopy(dict(base))
    for key, value in changes.items():
        *way, last = key.split(".")
        place = values
        for part in way:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise BadConfig(f"vary: {key}: {part} holds no keys in the recipe")
            place = inner
        place[last] = value
    return values


def _digest_of_recipe(recipe: Mapping[str, Any]) -> str:
    """What a training is; a start's name may come to mean other weights, so they count, too."""
    return _digest([recipe, _fingerprint(recipe["start"]) if recipe.get("start") else None])


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@cache
def _fingerprint(start: str) -> str:
    fingerprint: str = load(start).fingerprint
    return fingerprint


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
