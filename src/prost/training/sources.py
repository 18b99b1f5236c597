"""What a recipe is trained and validated on: Toybox, endless or a fixed set, or a benchmark's videos."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prost.config import RetrievalConfig
from prost.data.batches import CaptionedVideos, load_batches
from prost.data.benchmarks import load_benchmark
from prost.data.clip_sets import ClipSet, RecordClips, ToyboxClipSet
from prost.data.records import Benchmark, VideoRecord, complete_split, hold_out
from prost.data.toybox_clips import ClipMix, DrawnClips
from prost.errors import UsageError
from prost.evaluation.sets import records_set
from prost.training.distributed import Processes
from prost.training.recipe import Recipe, StageConfig, ToyboxConfig
from prost.training.validation import ValidationSet

log = logging.getLogger("prost")

GALLERY = "toybox-400"
# Of a benchmark without a val split: this share of its training videos chooses the best step, and is not trained on.
HELD_OUT = 0.05


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What the stage on videos sees.

    Attributes:
        recipe: of the training.
        clips: a fixed set; None where Toybox draws new clips for every step.
        validation: what the best step is chosen on.
        facts: counts and notes, for the record of the run.
    """

    recipe: Recipe
    clips: ClipSet | None
    validation: ValidationSet
    facts: dict[str, Any]

    def batches(
        self, steps: range, stage: StageConfig, config: RetrievalConfig, processes: Processes
    ) -> Iterator[CaptionedVideos]:
        """Make this process's part of the batches of some steps.

        Args:
            steps: the steps to make.
            stage: says how large a batch is.
            config: of the model, for frames and size.
            processes: who shares a batch.

        Raises:
            UsageError: fewer clips than a batch holds, or a batch that does not divide.
            VideoError: a file that cannot be shown.
        """
        rows, seed = processes.rows(stage.batch_size), self.recipe.seed
        if self.clips is not None:
            plan = self.clips.plan(stage.batch_size, seed)
            return self.clips.batches(steps, plan, rows, frames=config.frames, size=config.image_size)
        toybox = self.recipe.toybox
        drawn = DrawnClips(
            steps,
            batch_size=stage.batch_size,
            size=config.image_size,
            frames=config.frames,
            mix=_mix(toybox),
            seed=seed,
        )
        return (batch[rows] for batch in load_batches(drawn, toybox.workers))


def open_data(recipe: Recipe, config: RetrievalConfig) -> TrainingData:
    """Find the data of a recipe.

    Args:
        recipe: says which.
        config: of the model.

    Raises:
        MissingPath, UsageError: a benchmark, a split or a gallery that is not there.
        MissingVideos: some are missing, and the recipe does not say `allow_missing`.
    """
    if recipe.benchmark is not None:
        return _open_benchmark(recipe, config)
    toybox = recipe.toybox
    clips = None
    if toybox.clips is not None:
        clips = ToyboxClipSet.drawn(toybox.clips, _mix(toybox), toybox.workers)
    name = recipe.validation or GALLERY
    validation = ValidationSet.of_gallery(name, toybox.workers, recipe.cache_frame_tokens is not None)
    counts = {"train": toybox.clips or "drawn for each step", "validation": len(validation.data.videos)}
    return TrainingData(
        recipe=recipe,
        clips=clips,
        validation=validation,
        facts={"name": "toybox", "selected_on": name, "counts": counts},
    )


def _mix(toybox: ToyboxConfig) -> ClipMix:
    return ClipMix(moments=toybox.moments, twins=toybox.twins, long=toybox.long)


def _open_benchmark(recipe: Recipe, config: RetrievalConfig) -> TrainingData:
    wanted = recipe.benchmark
    assert wanted is not None
    found = load_benchmark(wanted.name, wanted.folder, wanted.videos)
    for name in ("frames", "max_words") if found.expected else ():  # one's own pairs are no paper's
        if getattr(found, name) != getattr(config, name):
            log.warning(
                "the model has %s %d; the paper's setting for %s is %d",
                name,
                getattr(config, name),
                found.name,
                getattr(found, name),
            )
    train = complete_split(found, "train", wanted.allow_missing)
    selected_on, asked = _validation_records(recipe, found)
    if not asked:
        train, asked = hold_out(train, HELD_OUT)
    clips = RecordClips(
        train, sampling=wanted.sampling, workers=wanted.workers, replace_failed=wanted.replace_failed
    )
    chosen_on = records_set(
        asked, name=found.name, split=selected_on, sampling=wanted.sampling, workers=wanted.workers
    )
    return TrainingData(
        recipe=recipe,
        clips=clips,
        validation=ValidationSet(chosen_on, recipe.cache_frame_tokens is not None),
        facts={
            "name": found.name,
            "selected_on": selected_on,
            "notes": list(found.notes),
            "counts": {
                "train": len(clips.records),
                "validation": len(asked),
                "validation_queries": len(chosen_on.captions),
            },
            "expected": found.expected,
            "annotated": {name: len(records) for name, records in found.splits.items()},
        },
    )


def _validation_records(recipe: Recipe, found: Benchmark) -> tuple[str, tuple[VideoRecord, ...]]:
    """The split that chooses, and its name; none where a part of train has to be kept apart."""
    assert recipe.benchmark is not None
    name = recipe.validation or "val"
    if name == "train":
        raise UsageError(
            "validation: train",
            "a split that is not trained on",
            "leave it out: a part of train is kept apart",
        )
    if name in found.splits:
        if name == "test":
            log.warning("the best step is selected on test: its numbers there are not held-out ones")
        return name, complete_split(found, name, recipe.benchmark.allow_missing)
    if recipe.validation is not None:
        found.split(name)  # says which splits there are
    return f"{HELD_OUT:.0%} of train, kept apart", ()
