"""Fine-tune a model on one's own captioned videos, and report its gain on videos that were held out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from prost.data.benchmarks import load_benchmark
from prost.data.records import VideoRecord, complete_split, hold_out
from prost.data.writing import written_whole
from prost.errors import BadConfig, UsageError
from prost.evaluation.bootstrap import confidence_interval, paired_bootstrap
from prost.evaluation.sets import records_set
from prost.model.checkpoint import load
from prost.model.encoding import Precision
from prost.model.retrieval_model import VISION_TOWER
from prost.printable import counted
from prost.training.distributed import Processes, join_processes
from prost.training.logs import StepLogger
from prost.training.recipe import Recipe
from prost.training.run_folder import alone_in, read_state, run_of
from prost.training.trainer import Trainer
from prost.training.validation import ValidationResult, ValidationSet

VALIDATION = 0.1
"""Fraction of the training videos that chooses the best step; the videos of the report never do."""

VALIDATIONS = 5
METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")
PAIRS, RECIPE, REPORT = "pairs.jsonl", "recipe.yaml", "report.json"


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """The settings of a fine-tuning; the learning rates are the paper's.

    Attributes:
        epochs: how often each video is seen.
        batch_size: every text is compared with every video of a batch; reduced if there are fewer training videos.
        learning_rate: of the head.
        clip_learning_rate: of the backbone.
        freeze_vision: train everything else, from frame tokens that are computed once: many times faster.
        held_out: fraction of the videos for the report, if the pairs have no test split.
        allow_missing: leave out captions whose video is missing, and count them.
        workers: decoding processes.
        seed: of the splits and of the training.
        device: see `prost.model.encoding.choose_device`.
        precision: of the training, see `Recipe`.
        overrides: fields of the start's configuration to change, see `prost.load`.
    """

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-4
    clip_learning_rate: float = 1e-7
    freeze_vision: bool = False
    held_out: float = 0.2
    allow_missing: bool = False
    workers: int = 1
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """The result of a fine-tuning.

    Attributes:
        model: the folder of the best model.
        counts: number of videos that were trained on ("train"), that chose the best step ("val"), that the report is
            about ("test"), and that were missing.
        report: plain values: the columns of the model before and after, with 95% intervals, and the difference of R@1
            by a paired bootstrap over videos.
    """

    model: Path
    counts: Mapping[str, int]
    report: Mapping[str, Any]


def finetune(
    start: str,
    pairs: Path,
    videos: Path | None,
    output: Path,
    settings: FineTuning,
    report: StepLogger | None = None,
) -> FineTuned | None:
    """Train a model further on one's own pairs.

    The pairs are split by video: some are held out for the report (the test split, if there is one), some choose the
    best step (the val split, if there is one), the rest is trained on. The same call continues an interrupted run.
    Under `torchrun` the processes share each batch, and the leading one measures and writes.

    Args:
        start: a name or path for `prost.load`.
        pairs: a CSV or JSONL file with `video` and `caption`, and optionally `start`, `end` and `split`.
        videos: the folder of the videos; None for the folder of the pairs.
        output: the folder for what `run_recipe` writes, and for `pairs.jsonl` (with the splits), `recipe.yaml` and
            `report.json`.
        settings: see `FineTuning`.
        report: called with every line of the log.

    Returns:
        The result; None in the processes that do not lead.

    Raises:
        UsageError: pairs that cannot be read, or too few videos; or a device that does not exist.
        VideoError: a file cannot be decoded.
        TrainingStopped: see `run_recipe`; a run on other pairs counts as one of other data.
        StorageError: no space, no permission.
    """
    splits, missing = _split(pairs, videos, settings)
    held_out = ValidationSet(
        records_set(splits["test"], name="pairs", split="test", workers=settings.workers)
    )
    recipe = _recipe(start, output / PAIRS, len(splits["train"]), settings)
    with join_processes(settings.device) as processes, alone_in(output, processes):

        def prepare() -> ValidationResult:
            _write_pairs(output, splits, recipe)
            text = yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True), sort_keys=False)
            with written_whole(output / RECIPE) as partial:
                partial.write_text(text, "utf-8")
            return _measure(held_out, start, processes, settings.overrides)

        before = processes.led(prepare)  # the others wait for pairs.jsonl, which all processes read
        model = Trainer(recipe, output, report, processes).run()
        result = None
        if before is not None:
            counts = {name: len(records) for name, records in splits.items()} | {"missing": missing}
            after = _measure(held_out, str(model), processes, {})
            values = _report(model, counts, before, after, held_out.data.video_of_caption)
            with written_whole(output / REPORT) as partial:
                partial.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
            result = FineTuned(model=model, counts=counts, report=values)
        processes.wait()
    return result


def _measure(
    held_out: ValidationSet, model: str, processes: Processes, overrides: Mapping[str, Any]
) -> ValidationResult:
    return held_out.measure(load(model, **overrides).to(processes.device))


def _report(
    model: Path,
    counts: Mapping[str, int],
    before: ValidationResult,
    after: ValidationResult,
    video: np.ndarray,
) -> dict[str, Any]:
    """The values of `FineTuned.report`; `video` is the video of each query `[Q]`."""
    result = paired_bootstrap(after.ranks["sum"], before.ranks["sum"], "R@1", videos=video)
    return {
        "model": str(model),
        "videos": dict(counts),
        "queries": len(video),
        "before": _columns(before, video),
        "after": _columns(after, video),
        "R@1_difference": {
            "difference": result.difference,
            "interval": [result.low, result.high],
            "better": result.a_beats_b,
            "worse": result.b_beats_a,
        },
    }


def _columns(found: ValidationResult, video: np.ndarray) -> dict[str, Any]:
    values = found.metrics("sum").to_dict()
    return {
        metric: {
            "value": values[metric],
            "interval": list(confidence_interval(found.ranks["sum"], metric, videos=video)),
        }
        for metric in METRICS
    }


def _split(
    pairs: Path, videos: Path | None, settings: FineTuning
) -> tuple[dict[str, tuple[VideoRecord, ...]], int]:
    """The records of train, val and test; and the number of records without a video."""
    found = load_benchmark("pairs", pairs, videos)
    splits = {name: complete_split(found, name, settings.allow_missing) for name in found.splits}
    if "train" not in splits:
        raise UsageError(f"{pairs} has no train split", "rows of split train, or no column split")
    missing = sum(record.path is None for records in found.splits.values() for record in records)
    train, test = splits["train"], splits.get("test", ())
    if not test:
        train, test = hold_out(train, settings.held_out, settings.seed)
    val = splits.get("val", ())
    if not val:
        train, val = hold_out(train, VALIDATION, settings.seed)
    if len(train) < 2:
        raise UsageError(
            f"{counted(len(train), 'video')} to train on, {len(val)} for validation, {len(test)} for the report",
            "two or more to train on",
            "more pairs",
        )
    return {"train": train, "val": val, "test": test}, missing


def _recipe(start: str, pairs: Path, videos: int, settings: FineTuning) -> Recipe:
    """The recipe of the fine-tuning, which `prost train` can run, too."""
    if settings.epochs < 1:
        raise BadConfig(f"{settings.epochs} epochs", "1 or more")
    if not 0 < settings.held_out < 1:
        raise BadConfig(f"a fraction of {settings.held_out:g} to hold out", "more than 0 and less than 1")
    batch_size = min(settings.batch_size, videos)
    if batch_size < 2:
        raise BadConfig(f"batches of {batch_size}", "2 or more")
    steps = settings.epochs * (videos // batch_size)
    stage: dict[str, Any] = {
        "epochs": settings.epochs,
        "batch_size": batch_size,
        "learning_rate": settings.learning_rate,
        "clip_learning_rate": settings.clip_learning_rate,
    }
    more: dict[str, Any] = {"overrides": dict(settings.overrides)} if settings.overrides else {}
    if settings.freeze_vision:
        stage["freeze"] = VISION_TOWER
        more["cache_frame_tokens"] = str(pairs.parent / "frame_tokens")
    values = {
        "start": str(Path(start).absolute()) if Path(start).exists() else start,
        "precision": settings.precision,
        "benchmark": {"name": "pairs", "folder": str(pairs.absolute()), "workers": settings.workers},
        "prost": stage,
        "seed": settings.seed,
        "validation": "val",
        "evaluate_every": max(1, steps // VALIDATIONS),
        **more,
    }
    return Recipe.parse(values, origin="fine-tuning")


def _write_pairs(output: Path, splits: dict[str, tuple[VideoRecord, ...]], recipe: Recipe) -> None:
    """Write the pairs with their splits, in a form that `load_benchmark` reads.

    Raises:
        TrainingStopped: the folder contains a run on other pairs, or with other settings, which is left as it is.
    """
    text = "".join(
        json.dumps(_line(split, record)) + "\n" for split, records in splits.items() for record in records
    )
    path = output / PAIRS
    if read_state(output, recipe) is not None and path.is_file():
        if path.read_text(encoding="utf-8") != text:
            raise run_of(output, "other pairs")
        return
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _line(split: str, record: VideoRecord) -> dict[str, Any]:
    assert record.path is not None
    line: dict[str, Any] = {"video": str(record.path.absolute()), "captions": record.captions, "split": split}
    if record.start is not None:
        line["start"] = record.start
    if record.end is not None:
        line["end"] = record.end
    return line
