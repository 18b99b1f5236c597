"""Fine-tune a model on one's own captioned videos, and tell what it brought on videos that were kept apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from prost.data.benchmarks import load_benchmark
from prost.data.records import VideoRecord, complete_split, hold_out
from prost.errors import BadConfig, StorageError, UsageError
from prost.evaluation.bootstrap import confidence_interval, paired_bootstrap
from prost.evaluation.sets import records_set
from prost.model.checkpoint import load
from prost.model.retrieval_model import VISION_TOWER
from prost.training.logs import StepLogger
from prost.training.recipe import BenchmarkConfig, Recipe, StageConfig
from prost.training.trainer import train
from prost.training.validation import ValidationResult, ValidationSet

# Of the videos that are trained on: the best step is chosen on these, never on those of the report.
CHOOSING = 0.1
VALIDATIONS = 5
METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")
PAIRS, RECIPE, REPORT = "pairs.jsonl", "recipe.yaml", "report.json"


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How to fine-tune; the learning rates are the paper's.

    Attributes:
        epochs: how often each video is seen.
        batch_size: every text is compared with every video of a batch; at most as many as there are to train on.
        learning_rate: of the head.
        clip_learning_rate: of the backbone.
        freeze_vision: train the rest only, from frame tokens that are computed once: many times faster.
        held_out: share of the videos that the report is about, where the pairs have no test split.
        allow_missing: leave out captions whose video is missing, and say how many.
        workers: decoding processes.
        seed: of the parts and of the training.
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


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """What came of it.

    Attributes:
        model: the folder of the best model.
        before: what the start found of the videos kept apart.
        after: what the model found of them.
        video: whose query each is `[Q]`.
        counts: videos trained on, chosen on, reported on, and missing.
    """

    model: Path
    before: ValidationResult
    after: ValidationResult
    video: Sequence[int]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Both models' columns with 95% intervals, and R@1's difference by a paired bootstrap over videos."""
        result = paired_bootstrap(
            self.after.ranks["sum"], self.before.ranks["sum"], "R@1", videos=np.array(self.video)
        )
        return {
            "model": str(self.model),
            "videos": self.counts,
            "queries": len(self.video),
            "before": self._columns(self.before),
            "after": self._columns(self.after),
            "R@1_difference": {
                "difference": result.difference,
                "interval": [result.low, result.high],
                "better": result.a_beats_b,
                "worse": result.b_beats_a,
            },
        }

    def _columns(self, found: ValidationResult) -> dict[str, Any]:
        values = found.metrics("sum").to_dict()
        return {
            metric: {
                "value": values[metric],
                "interval": list(
                    confidence_interval(found.ranks["sum"], metric, videos=np.array(self.video))
                ),
            }
            for metric in METRICS
        }


def finetune(
    start: str,
    pairs: Path,
    videos: Path | None,
    output: Path,
    how: FineTuning,
    report: StepLogger | None = None,
) -> FineTuned:
    """Train a model further on one's own pairs.

    The pairs are parted by video: some are kept apart for the report (the test split, where there is one), some choose
    the best step (the val split, where there is one), the rest is trained on. An interrupted run is carried on by the
    same call.

    Args:
        start: what `prost.load` opens.
        pairs: a CSV or JSONL file with `video` and `caption`, and if one likes `start`, `end` and `split`.
        videos: the folder of the videos; None for that of the pairs.
        output: gets what `run_recipe` writes, and `pairs.jsonl` (with the parts), `recipe.yaml`, `report.json`.
        how: see `FineTuning`.
        report: called with every line of the log.

    Raises:
        UsageError: pairs that cannot be read or have too few videos.
        VideoError: a file that cannot be shown.
        TrainingStopped: see `run_recipe`.
        StorageError: no space, no permission.
    """
    parts, missing = _parts(pairs, videos, how)
    asked = ValidationSet(records_set(parts["test"], name="pairs", split="test", workers=how.workers))
    recipe = _recipe(start, output / PAIRS, len(parts["train"]), how)
    try:
        output.mkdir(parents=True, exist_ok=True)
        _write_pairs(output / PAIRS, parts)
        (output / RECIPE).write_text(
            yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True), sort_keys=False), "utf-8"
        )
    except OSError as error:
        raise StorageError(f"{output} cannot be written ({error})") from None
    before = asked.ask(load(start))
    model = train(recipe, output, report)
    after = asked.ask(load(model))
    counts = {name: len(records) for name, records in parts.items()} | {"missing": missing}
    result = FineTuned(
        model=model, before=before, after=after, video=asked.data.video_of_caption.tolist(), counts=counts
    )
    (output / REPORT).write_text(json.dumps(result.to_dict(), indent=2) + "\n", "utf-8")
    return result


def _parts(
    pairs: Path, videos: Path | None, how: FineTuning
) -> tuple[dict[str, tuple[VideoRecord, ...]], int]:
    """Records to train on, to choose by and to report on; and how many have no video."""
    found = load_benchmark("pairs", pairs, videos)
    splits = {name: complete_split(found, name, how.allow_missing) for name in found.splits}
    if "train" not in splits:
        raise UsageError(f"{pairs} has no train split", "rows of split train, or no column split")
    missing = sum(record.path is None for records in found.splits.values() for record in records)
    train, test = splits["train"], splits.get("test", ())
    if not test:
        train, test = hold_out(train, how.held_out, how.seed)
    val = splits.get("val", ())
    if not val:
        train, val = hold_out(train, CHOOSING, how.seed)
    if len(train) < 2:
        raise UsageError(
            f"{len(train)} videos to train on, {len(val)} to choose by, {len(test)} to report on",
            "two or more to train on",
            "more pairs",
        )
    return {"train": train, "val": val, "test": test}, missing


def _recipe(start: str, pairs: Path, videos: int, how: FineTuning) -> Recipe:
    """The recipe that does it; `prost train` does the same with it."""
    if how.epochs < 1:
        raise BadConfig(f"{how.epochs} epochs", "1 or more")
    batch_size = min(how.batch_size, videos)
    steps = how.epochs * max(1, videos // batch_size)
    stage: dict[str, Any] = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": how.learning_rate,
        "clip_learning_rate": how.clip_learning_rate,
    }
    frozen: dict[str, Any] = {}
    if how.freeze_vision:
        stage["freeze"] = VISION_TOWER
        frozen["cache_frame_tokens"] = str(pairs.parent / "frame_tokens")
    return Recipe(
        start=str(Path(start).absolute()) if Path(start).exists() else start,
        benchmark=BenchmarkConfig(name="pairs", folder=pairs.absolute(), workers=how.workers),
        prost=StageConfig(**stage),
        seed=how.seed,
        validation="val",
        evaluate_every=max(1, steps // VALIDATIONS),
        **frozen,
    )


def _write_pairs(path: Path, parts: dict[str, tuple[VideoRecord, ...]]) -> None:
    """The pairs as they were parted, in the form that they were read from."""
    with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
        for split, records in parts.items():
            for record in records:
                assert record.path is not None
                line: dict[str, Any] = {
                    "video": str(record.path.absolute()),
                    "captions": record.captions,
                    "split": split,
                }
                if record.start is not None:
                    line["start"] = record.start
                if record.end is not None:
                    line["end"] = record.end
                file.write(json.dumps(line) + "\n")
