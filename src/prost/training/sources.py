"""The data of a recipe, for training and validation: Toybox (endless or a fixed set) or a benchmark's videos."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from prost.config import RetrievalConfig
from prost.data.batches import CaptionedVideos, load_batches
from prost.data.benchmarks import load_benchmark
from prost.data.clip_sets import BatchPlan, ClipSet, RecordClips, ToyboxClipSet
from prost.data.records import Benchmark, VideoRecord, complete_split, hold_out, shared_files
from prost.data.toybox_clips import ClipMix, DrawnClips
from prost.errors import UsageError
from prost.evaluation.sets import records_set
from prost.printable import counted
from prost.training.distributed import Processes
from prost.training.recipe import Recipe, StageConfig, ToyboxConfig
from prost.training.validation import ValidationSet

GALLERY = "toybox-400"
HELD_OUT = 0.05
"""Fraction of the training videos that chooses the best step where a benchmark has no val split."""

FEW_VIDEOS = 20
"""With fewer validation videos, R@1 moves in steps of more than 5 percent, and the best step is a matter of luck."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The data of the stage on videos.

    Attributes:
        recipe: of the training.
        clips: a fixed set; None where Toybox draws new clips for every step.
        validation: chooses the best step.
        facts: counts and notes, for the record of the run.
        warnings: what the user should know before the training starts.
    """

    recipe: Recipe
    clips: ClipSet | None
    validation: ValidationSet
    facts: dict[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str | None:
        """Digest of the captions and files of a benchmark; None for Toybox, whose data the recipe determines."""
        if not isinstance(self.clips, RecordClips):
            return None
        parts = (
            self.clips.description,
            [record.captions for record in self.clips.records],
            self.validation.data.content_digest,
        )
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()

    def plan(self, stage: StageConfig) -> BatchPlan:
        """The batches of a stage on the fixed set.

        Raises:
            BadConfig: fewer clips than a batch holds.
        """
        assert self.clips is not None
        return self.clips.plan(stage.batch_size, self.recipe.seed, stage.epoch)

    def steps(self, stage: StageConfig) -> int:
        """The number of steps of a stage.

        Raises:
            BadConfig: see `plan`.
        """
        if stage.epochs is None:
            assert stage.steps is not None
            return stage.steps
        return stage.epochs * self.plan(stage).steps_per_epoch

    def batches(
        self, steps: range, stage: StageConfig, config: RetrievalConfig, processes: Processes
    ) -> Iterator[CaptionedVideos]:
        """Make this process's part of the batches of some steps.

        Args:
            steps: the steps.
            stage: has the batch size.
            config: of the model, for frames and size.
            processes: the processes that share a batch.

        Raises:
            BadConfig: fewer clips than a batch holds, or a batch that does not divide among the processes.
            VideoError: a file cannot be decoded.
        """
        rows = processes.rows(stage.batch_size)
        if self.clips is not None:
            return self.clips.batches(
                steps, self.plan(stage), rows, frames=config.frames, size=config.image_size
            )
        toybox = self.recipe.toybox
        drawn = DrawnClips(
            steps,
            batch_size=stage.batch_size,
            size=config.image_size,
            frames=config.frames,
            mix=_mix(toybox),
            seed=self.recipe.seed,
        )
        return (batch[rows] for batch in load_batches(drawn, toybox.workers))


def open_data(recipe: Recipe, config: RetrievalConfig) -> TrainingData:
    """Open the data of a recipe.

    Args:
        recipe: the recipe.
        config: of the model.

    Raises:
        MissingPath, UsageError: a benchmark, a split or a gallery does not exist.
        MissingVideos: some videos are missing, and the recipe does not have `allow_missing`.
    """
    data = _open_toybox(recipe) if recipe.benchmark is None else _open_benchmark(recipe, config)
    videos = len(data.validation.data.videos)
    if videos < FEW_VIDEOS:
        warning = f"the best step is chosen on {counted(videos, 'video')}, which cannot tell good steps from lucky ones"
        data = replace(data, warnings=(*data.warnings, warning))
    return data


def data_digest(recipe: Recipe) -> str | None:
    """`TrainingData.digest` of a recipe's data, without its model.

    Raises:
        MissingPath, UsageError, MissingVideos: see `open_data`.
    """
    return None if recipe.benchmark is None else _open_benchmark(recipe).digest


def _open_toybox(recipe: Recipe) -> TrainingData:
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


def _open_benchmark(recipe: Recipe, config: RetrievalConfig | None = None) -> TrainingData:
    wanted = recipe.benchmark
    assert wanted is not None
    found = load_benchmark(wanted.name, wanted.folder, wanted.videos)
    warnings = []
    if config is not None and found.expected:  # there is no paper's setting for own pairs
        warnings = [
            f"the model has {name} {getattr(config, name)}; the paper's setting for {found.name} is "
            f"{getattr(found, name)}"
            for name in ("frames", "max_words")
            if getattr(found, name) != getattr(config, name)
        ]
    train = complete_split(found, "train", wanted.allow_missing)
    selected_on, held_out = _validation_records(recipe, found)
    if not held_out:
        train, held_out = hold_out(train, HELD_OUT)
    if selected_on == "test":
        warnings.append("the best step is chosen on test: its numbers there are not held-out ones")
    if shared := shared_files(train, held_out):
        videos = counted(len(shared), "video of it is", "videos of it are")
        warnings.append(
            f"the best step is chosen on {selected_on}, and {videos} trained on ({shared[0]}, ...)"
        )
    clips = RecordClips(
        train, sampling=wanted.sampling, workers=wanted.workers, replace_failed=wanted.replace_failed
    )
    chosen_on = records_set(
        held_out, name=found.name, split=selected_on, sampling=wanted.sampling, workers=wanted.workers
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
                "validation": len(held_out),
                "validation_queries": len(chosen_on.captions),
            },
            "expected": found.expected,
            "annotated": {name: len(records) for name, records in found.splits.items()},
        },
        warnings=tuple(warnings),
    )


def _validation_records(recipe: Recipe, found: Benchmark) -> tuple[str, tuple[VideoRecord, ...]]:
    """The name and the records of the validation split; no records where a part of train has to be held out."""
    assert recipe.benchmark is not None
    name = recipe.validation or "val"
    if name == "train":
        raise UsageError(
            "validation: train",
            "a split that is not trained on",
            "leave it out: then a part of train is held out",
        )
    if name in found.splits:
        return name, complete_split(found, name, recipe.benchmark.allow_missing)
    if recipe.validation is not None:
        found.split(name)  # raises, and names the splits that exist
    return f"{HELD_OUT:.0%} of train, held out", ()
