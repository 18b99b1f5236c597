"""Training: the stages of a recipe, from batches to weights; logged, resumable, and with the best step kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from prost.data.batches import load_batches
from prost.data.clip_sets import ClipSet, RecordClips
from prost.data.frame_tokens import FrameTokenCache, FrameTokens
from prost.data.toybox_clips import ToyboxFrames
from prost.errors import BadConfig, BadScores, TrainingStopped
from prost.model.checkpoint import save
from prost.model.prost import ProST
from prost.model.retrieval_model import VISION_TOWER
from prost.model.saving import TRAINING
from prost.training.distributed import Processes, join_processes
from prost.training.freezing import freeze, trained_parameters, vision_is_frozen
from prost.training.grad_cache import ContrastiveStep
from prost.training.joint_training import JudgedClips, joint_stage, train_scorer_alone
from prost.training.logs import LENGTH, RunLog, StepLogger, run_facts
from prost.training.objectives import Batch, FrameObjective, Objective
from prost.training.optimizer import make_optimizer, make_schedule, warmup_steps
from prost.training.recipe import Recipe, StageConfig, read_recipe
from prost.training.run_folder import STATE_FILE, alone_in, read_state, run_of, write_state
from prost.training.sources import TrainingData, open_data
from prost.training.start import start_temporal_transformer, starting_model
from prost.training.steps import Backward, Stage, run_steps

log = logging.getLogger("prost")

EVALUATE_EVERY = 500
"""Steps between validations, where neither the recipe nor an epoch says another number."""

NAMED_ROWS = 6
"""Rows of a batch that an error message names."""

CLIP, PROST, JOINT = STAGES = ("clip", "prost", "joint")
MEMORY = "memory"


def run_recipe(
    recipe_path: Path,
    output: Path,
    report: StepLogger | None = None,
    *,
    device: str = "auto",
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Train a model from a recipe.

    If the output folder contains an interrupted run of the same recipe, the run continues from its last checkpoint, and
    ends where the uninterrupted run would have ended. Under `torchrun` the processes share each batch.

    Args:
        recipe_path: a YAML file, see `Recipe`.
        output: the folder for `best/` and `last/` (model folders, each with a `training.json` about its origin),
            `state.pt` and `log.jsonl`.
        report: called with every line of the log.
        device: see `prost.model.encoding.choose_device`.
        changes: values of the recipe to change, see `prost.training.recipe.changed`.

    Returns:
        The folder of the model that was best in validation.

    Raises:
        BadConfig: a recipe that cannot be read.
        TrainingStopped: the loss or the gradient is not finite; or the folder contains a run of another recipe or of
            other data, or one that is going on.
        TrainingInterrupted: the user or a scheduler asked training to stop.
        StorageError: no space, no permission.
        UsageError: data or a start that do not exist or do not fit; or a device that does not exist.
    """
    recipe = read_recipe(recipe_path, changes)
    with join_processes(device) as processes, alone_in(output, processes):
        return Trainer(recipe, output, report, processes).run()


class Trainer:
    """One run of a recipe, or one process of it.

    Args:
        recipe: the recipe.
        output: the folder of the run.
        report: called with every line of the log, in the leading process.
        processes: the processes that share the work.
    """

    def __init__(self, recipe: Recipe, output: Path, report: StepLogger | None, processes: Processes) -> None:
        self.recipe = recipe
        self.output = output
        self.processes = processes
        self.device = processes.device
        self.model = starting_model(recipe).to(self.device)
        self.data: TrainingData = open_data(recipe, self.model.config)
        if processes.leads:
            for warning in self.data.warnings:
                log.warning(warning)
        # Once, at the start: what changes meanwhile is other data for the next run.
        self.digest = self.data.digest if processes.leads else None
        self.best: tuple[float, float] | None = None
        self.log = RunLog(output, report, recipe.tensorboard) if processes.leads else None

    def run(self) -> Path:
        """Run all stages that are left; see `run_recipe`."""
        reached = self._resume()
        trained = False
        for place, name in enumerate(STAGES):
            steps = self._steps(name)
            if not steps:
                continue
            self._freeze(name)
            if place < STAGES.index(reached["stage"]):
                continue
            first = reached["step"] if reached["stage"] == name else 0
            if first < steps:
                self._run_stage(name, range(first, steps), reached if first else {})
                trained = True
        if not trained and self.processes.leads:
            log.warning("the run in %s has ended before; nothing was left to train", self.output)
        # A run that had ended keeps its record, which tells what it was trained on and where.
        if self.processes.leads and (trained or not (self.output / "last").is_dir()):
            self._save("last")
        self.processes.wait()
        if self.log is not None:
            self.log.close()
        # Only the leading process knows the best step; all return the same folder.
        best = self.output / ("best" if self.processes.any(self.best is not None) else "last")
        if not best.is_dir():
            raise TrainingStopped(
                f"{best} is gone, though the run in {self.output} found a best step",
                suggestion=f"the last step in {self.output / 'last'}, or another output folder to train anew",
            )
        return best

    def _steps(self, name: str) -> int:
        """The number of steps of a stage."""
        return self.recipe.joint.steps if name == JOINT else self.data.steps(self._contrastive(name))

    def _contrastive(self, name: str) -> StageConfig:
        """What the recipe says of the stage on frames or on videos."""
        return self.recipe.clip if name == CLIP else self.recipe.prost

    def _freeze(self, name: str) -> None:
        """Choose the weights that a stage trains, also where it has ended: they are counted in the run's record."""
        if name == JOINT:
            assert isinstance(self.model, ProST)
            train_scorer_alone(self.model)
        else:
            freeze(self.model, self._contrastive(name).freeze)

    def _run_stage(self, name: str, steps: range, reached: dict[str, Any]) -> None:
        """Run the steps of a stage that are left, with what was reached in it."""
        if reached:
            self.write(stage="continued", of=name, step=steps.start)
        self._log_length(name, steps.stop)
        stage = self._joint_stage(steps) if name == JOINT else self._contrastive_stage(name, steps)
        if reached:
            stage.optimizer.load_state_dict(reached["optimizer"])
            stage.schedule.load_state_dict(reached["schedule"])
        epochs = None if name == JOINT else self._contrastive(name).epochs
        evaluate_every = EVALUATE_EVERY if epochs is None else steps.stop // epochs
        run_steps(stage, steps, self.recipe.evaluate_every or evaluate_every, self)

    def _joint_stage(self, steps: range) -> Stage:
        """The stage that trains a joint scorer, in one process. Its clips are encoded again where it is continued."""
        if self.processes.world > 1:
            raise BadConfig(f"joint, in {self.processes.world} processes", "one process")
        assert isinstance(self.model, ProST) and self.data.clips is not None
        stage, seed = self.recipe.joint, self.recipe.seed
        self.write(stage="encoding", clips=len(self.data.clips))
        judged = JudgedClips.encode(self.model, self.data.clips, stage, seed, self.recipe.precision)
        return joint_stage(self.model, judged, stage, seed, steps)

    def _log_length(self, name: str, steps: int) -> None:
        """Log how many steps a stage has, and how they follow from the data."""
        stage = self.recipe.joint if name == JOINT else self._contrastive(name)
        facts: dict[str, Any] = {
            "batch_size": stage.batch_size,
            "warmup_steps": warmup_steps(steps, stage.warmup),
        }
        if isinstance(stage, StageConfig) and stage.epochs is not None:
            assert self.data.clips is not None
            facts |= {"epochs": stage.epochs, "epoch": stage.epoch, "steps_per_epoch": steps // stage.epochs}
            facts |= {"videos": len(self.data.clips)}
            if isinstance(self.data.clips, RecordClips):
                facts |= {"captions": sum(len(record.captions) for record in self.data.clips.records)}
        self.write(stage=LENGTH, of=name, steps=steps, **facts)

    def _contrastive_stage(self, name: str, steps: range) -> Stage:
        """The stage on frames or on videos, in which every text is compared with every video of a batch."""
        config, recipe, videos = self._contrastive(name), self.recipe, name == PROST
        shared = (self.model, recipe.precision, self.processes)
        objective = (
            Objective(*shared, recipe.toybox.grounding, recipe.toybox.event_time, recipe.toybox.order)
            if videos
            else FrameObjective(*shared)
        )
        self.model.clip.activation_checkpointing = config.activation_checkpointing
        if videos and steps.start == 0 and recipe.model is not None:
            start_temporal_transformer(self.model)
        optimizer = make_optimizer(self.model, config)

        def backward(step: int, batch: Batch) -> Backward:
            # Dropout depends on the step, so that a resumed run draws the same, and differs between processes.
            torch.manual_seed(2 * (recipe.seed * 1_000_003 + step) + videos + (self.processes.rank << 48))
            self.model.train()
            return self._backward(objective, config, batch)

        return Stage(
            name=name,
            parameters=list(self.model.parameters()),
            optimizer=optimizer,
            schedule=make_schedule(optimizer, steps.stop, config.warmup),
            gradient_clip=config.gradient_clip,
            batches=self._batches(name, config, steps),
            backward=backward,
            validated=videos,
        )

    def _batches(self, name: str, stage: StageConfig, steps: range) -> Iterator[Batch]:
        """This process's part of the batches of some steps."""
        config, toybox, seed = self.model.config, self.recipe.toybox, self.recipe.seed
        rows = self.processes.rows(stage.batch_size)
        if name == CLIP:
            frames = ToyboxFrames(steps, batch_size=stage.batch_size, size=config.image_size, seed=seed)
            return (batch[rows] for batch in load_batches(frames, toybox.workers))
        if self.recipe.cache_frame_tokens is None:
            return self.data.batches(steps, stage, config, self.processes)
        assert self.data.clips is not None
        tokens = self._frame_tokens(self.data.clips, self.recipe.cache_frame_tokens)
        return tokens.batches(steps, self.data.plan(stage), rows)

    def _frame_tokens(self, clips: ClipSet, place: str) -> FrameTokens:
        """The frame tokens of the training clips: computed by the leading process, while the others wait."""
        if not vision_is_frozen(self.model):
            raise BadConfig(
                "cache_frame_tokens: the vision tower is trained", f"freeze: [{', '.join(VISION_TOWER)}]"
            )
        if place == MEMORY and self.processes.world > 1:
            raise BadConfig(
                f"cache_frame_tokens: memory, in {self.processes.world} processes",
                "a folder, which they share",
            )
        self.model.eval()
        cache = FrameTokenCache(None if place == MEMORY else Path(place))
        if self.processes.leads:
            cache.of(self.model, clips, self.recipe.precision, self._log_cached)
        self.processes.wait()
        return cache.of(self.model, clips, self.recipe.precision)

    def _log_cached(self, done: int, total: int, _: str) -> None:
        self.write(stage="frame tokens", step=done, steps=total)

    def _backward(self, objective: Objective, stage: StageConfig, batch: Batch) -> Backward:
        """Compute the gradient of the whole batch."""
        size = stage.micro_batch or len(batch)
        parts: list[Batch] = [batch[first : first + size] for first in range(0, len(batch), size)]
        step = ContrastiveStep(objective.encode, partial(objective.loss_of, twins=batch.twins), self.device)
        loss, measured, text, video = step.backward(parts)
        self.processes.sum_gradients(self.model.parameters())

        def numbers() -> Mapping[str, float]:
            shared = self.processes.mean({**measured, **objective.prototype_health(text, video)})
            return {"logit_scale": self.model.logit_scale.item(), **shared}

        return Backward(
            loss=loss * self.processes.world,
            measured=numbers,
            suspects=lambda: self._suspects(batch, _finite_rows(text, video)),
        )

    def _suspects(self, batch: Batch, finite: list[bool]) -> str:
        """The videos to check after a loss or gradient that is not finite."""
        drawn = [f"clip {row} drawn for this step from seed {self.recipe.seed}" for row in range(len(batch))]
        names = batch.videos or drawn
        bad = [video for video, good in zip(names, finite, strict=False) if not good]
        bad = self.processes.everyones(bad)
        shown = ", ".join((bad or list(names))[:NAMED_ROWS])
        more = " ..." if len(bad or names) > NAMED_ROWS else ""
        return f"{'not finite' if bad else 'in the batch'}: {shown}{more}"

    def lower_rate(self) -> str:
        """What to try after numbers that are not finite."""
        saved = f"; the last checkpoint is in {self.output}" if (self.output / STATE_FILE).is_file() else ""
        return f"a lower learning rate{saved}"

    def validate(self, step: int) -> None:
        """Measure the model on videos that are not trained on, and keep the best model."""
        if self.processes.leads:
            try:
                found = self.data.validation.measure(self.model, self.recipe.precision)
            except BadScores as error:
                raise TrainingStopped(
                    f"validation after step {step}: {error.arrived}", suggestion=self.lower_rate()
                ) from None
            self.write(stage="validation", step=step, **found.to_dict())
            # Among equal steps the later one wins: few videos cannot distinguish them, and it was trained for longer.
            if self.best is None or found.quality >= self.best:
                self.best = found.quality
                self._save("best", step=step, validation=found.to_dict())
        self.processes.wait()

    def _save(self, folder: str, **facts: Any) -> None:
        """Write the model, and a record of its origin beside it."""
        recipe = self.recipe.model_dump(mode="json")
        if self.recipe.model is not None:
            # What the recipe leaves out comes from its start, and not from the defaults; config.json tells the whole.
            given = self.recipe.model.model_dump(mode="json", exclude_unset=True)
            recipe["model"] = {"architecture": recipe["model"]["architecture"], **given}
        written = {
            "recipe": recipe,
            "data": self._data_facts(),
            "trained_parameters": trained_parameters(self.model),
            **run_facts(self.processes.world, self.device),
            **facts,
        }
        text = json.dumps(written, indent=2) + "\n"
        save(self.model, self.output / folder, beside={TRAINING: text})

    def _data_facts(self) -> dict[str, Any]:
        """The facts of the data, with the videos that could not be decoded in this process and were replaced."""
        clips = self.data.clips
        replaced = clips.replaced if isinstance(clips, RecordClips) else {}
        return {**self.data.facts, **({"replaced": dict(replaced)} if replaced else {})}

    def keep(self, stage: Stage, step: int) -> None:
        """Write everything that is needed to continue; the old state is kept until the new one is complete."""
        if self.processes.leads:
            state = {
                "stage": stage.name,
                "step": step,
                "best": self.best,
                "recipe": self.recipe.model_dump_json(),
                "data": self.digest,
                "model": self.model.state_dict(),
                "optimizer": stage.optimizer.state_dict(),
                "schedule": stage.schedule.state_dict(),
            }
            write_state(self.output, state)
        self.processes.wait()

    def _resume(self) -> dict[str, Any]:
        """Load the state of an interrupted run."""
        # First by the leading process, so that a refusal is told once. Its files of data count, too: copies on other
        # machines have other modification times.
        state = self.processes.led(self._own_state)
        if not self.processes.leads:
            state = read_state(self.output, self.recipe)
        if state is None:
            return {"stage": CLIP, "step": 0}
        self.model.load_state_dict(state["model"])
        self.best = state["best"]
        return state

    def _own_state(self) -> dict[str, Any] | None:
        state = read_state(self.output, self.recipe)
        # States were written without a digest once.
        if state is not None and state.get("data", self.digest) != self.digest:
            raise run_of(self.output, "other data: captions, or files of videos, have changed")
        return state

    def write(self, **values: Any) -> None:
        """Write a line of the log, in the leading process."""
        if self.log is not None:
            self.log.write(**values)


def _finite_rows(*records: Any) -> list[bool]:
    """Which rows of a batch contain only finite numbers."""
    rows = [tensor.flatten(1).isfinite().all(dim=1) for record in records for tensor in record.tensors()]
    together: list[bool] = torch.stack(rows).all(dim=0).tolist()
    return together
