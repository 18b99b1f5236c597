"""Training: the stages of a recipe, from batches to weights; logged, resumable, and with the best step kept."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prost.data.batches import load_batches
from prost.data.clip_sets import ClipSet, RecordClips
from prost.data.frame_tokens import FrameTokenCache, FrameTokens
from prost.data.toybox_clips import ToyboxFrames
from prost.data.writing import storage_errors, written_whole
from prost.errors import BadConfig, BadScores, TrainingInterrupted, TrainingStopped
from prost.interruption import Interruption
from prost.model.checkpoint import save
from prost.model.prost import ProST
from prost.model.retrieval_model import VISION_TOWER
from prost.model.saving import TRAINING
from prost.training.distributed import Processes, join_processes
from prost.training.freezing import freeze, trained_parameters, vision_is_frozen
from prost.training.grad_cache import ContrastiveStep, LossTerms
from prost.training.joint_training import JudgedClips, train_joint_scorer
from prost.training.logs import Pace, RunLog, StepLogger, run_facts
from prost.training.objectives import Batch, FrameObjective, Objective
from prost.training.optimizer import make_optimizer, make_schedule, warmup_steps
from prost.training.recipe import Recipe, StageConfig, read_recipe
from prost.training.sources import TrainingData, open_data
from prost.training.start import start_temporal_transformer, starting_model

log = logging.getLogger("prost")

LOG_EVERY = 20
"""Steps between lines of the log."""

EVALUATE_EVERY = 500
"""Steps between validations, where neither the recipe nor an epoch says another number."""

NAMED_ROWS = 6
"""Rows of a batch that an error message names."""

MEMORY = "memory"
STATE_FILE = "state.pt"


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
        TrainingStopped: the loss or the gradient is not finite, or the folder contains a run of another recipe.
        TrainingInterrupted: the user or a scheduler asked training to stop.
        StorageError: no space, no permission.
        UsageError: data or a start that do not exist or do not fit; or a device that does not exist.
    """
    recipe = read_recipe(recipe_path, changes)
    with join_processes(device) as processes:
        return train(recipe, output, report, processes)


def train(recipe: Recipe, output: Path, report: StepLogger | None, processes: Processes) -> Path:
    """The same as `run_recipe`, for a recipe that has been read, in processes that have been joined."""
    with storage_errors(output):
        output.mkdir(parents=True, exist_ok=True)
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
        self.best: tuple[float, float] | None = None
        self.log = RunLog(output, report, recipe.tensorboard) if processes.leads else None

    def run(self) -> Path:
        """Run both stages; see `run_recipe`."""
        shared = (self.model, self.recipe.precision, self.processes)
        stages: dict[str, tuple[StageConfig, Objective]] = {
            "clip": (self.recipe.clip, FrameObjective(*shared)),
            "prost": (
                self.recipe.prost,
                Objective(*shared, self.recipe.toybox.grounding, self.recipe.toybox.order),
            ),
        }
        reached = self._resume()
        for name, (stage, objective) in stages.items():
            steps = self.data.steps(stage)
            if list(stages).index(name) < list(stages).index(reached["stage"]):
                continue
            first = reached["step"] if reached["stage"] == name else 0
            if first < steps:
                self._log_length(name, stage, steps)
                self._run_stage(name, stage, objective, range(first, steps), reached if first else {})
        if self.recipe.joint.steps:
            self._train_joint_scorer()
        if self.processes.leads:
            self._save("last")
        self.processes.wait()
        if self.log is not None:
            self.log.close()
        # Only the leading process knows the best step; all return the same folder.
        return self.output / ("best" if self.processes.any(self.best is not None) else "last")

    def _train_joint_scorer(self) -> None:
        """The stage that trains a joint scorer, in one process."""
        if self.processes.world > 1:
            raise BadConfig(f"joint, in {self.processes.world} processes", "one process")
        assert isinstance(self.model, ProST) and self.data.clips is not None
        stage, seed = self.recipe.joint, self.recipe.seed
        self._log(stage="encoding", clips=len(self.data.clips))
        judged = JudgedClips.encode(self.model, self.data.clips, stage.sentences, seed, self.recipe.precision)
        torch.manual_seed(seed)
        train_joint_scorer(self.model, judged, stage, seed, self._log)
        found = self.data.validation.measure(self.model, self.recipe.precision)
        self._log(stage="validation", step=stage.steps, **found.to_dict())

    def _log_length(self, name: str, stage: StageConfig, steps: int) -> None:
        """Log how many steps a stage has, and how they follow from the data."""
        facts: dict[str, Any] = {
            "batch_size": stage.batch_size,
            "warmup_steps": warmup_steps(steps, stage.warmup),
        }
        if stage.epochs is not None:
            assert self.data.clips is not None
            facts |= {"epochs": stage.epochs, "epoch": stage.epoch, "steps_per_epoch": steps // stage.epochs}
            facts |= {"videos": len(self.data.clips)}
            if isinstance(self.data.clips, RecordClips):
                facts |= {"captions": sum(len(record.captions) for record in self.data.clips.records)}
        self._log(stage="length", of=name, steps=steps, **facts)

    def _run_stage(
        self, name: str, stage: StageConfig, objective: Objective, steps: range, reached: dict[str, Any]
    ) -> None:
        videos = name == "prost"
        first, last = steps.start, steps.stop
        evaluate_every = self.recipe.evaluate_every or (
            EVALUATE_EVERY if stage.epochs is None else last // stage.epochs
        )
        freeze(self.model, stage.freeze)
        self.model.clip.activation_checkpointing = stage.activation_checkpointing
        if videos and first == 0 and self.recipe.model is not None:
            start_temporal_transformer(self.model)
        optimizer = make_optimizer(self.model, stage)
        schedule = make_schedule(optimizer, last, stage.warmup)
        if reached:
            optimizer.load_state_dict(reached["optimizer"])
            schedule.load_state_dict(reached["schedule"])
        batches = self._batches(name, stage, steps)
        pace = Pace(last, evaluate_every if videos else None, first)
        with Interruption(patient=self.processes.world > 1) as interruption:
            for step, batch in zip(steps, batches, strict=True):
                # Dropout depends on the step, so that a resumed run draws the same, and differs between processes.
                torch.manual_seed(
                    2 * (self.recipe.seed * 1_000_003 + step) + videos + (self.processes.rank << 48)
                )
                self.model.train()
                optimizer.zero_grad(set_to_none=True)
                loss, measured, text, video = self._backward(objective, stage, batch)
                norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), stage.gradient_clip)
                # The one time that a step waits for the device, unless it is logged.
                if not torch.stack([loss, norm]).isfinite().all():
                    raise self._broken(name, step, loss.item(), batch, _finite_rows(text, video))
                optimizer.step()
                schedule.step()
                pace.step()
                done = step + 1
                if step % LOG_EVERY == 0 or done == last:
                    # Before a step has been timed, the remaining time is unknown.
                    remaining = pace.remaining(done)
                    numbers = self.processes.mean({**measured, **objective.prototype_health(text, video)})
                    self._log(
                        stage=name,
                        step=done,
                        steps=last,
                        loss=round(loss.item(), 4),
                        gradient=round(norm.item(), 3),
                        logit_scale=round(self.model.logit_scale.item(), 2),
                        seconds=round(pace.seconds, 1),
                        **({} if remaining is None else {"remaining": remaining}),
                        **{name: round(value, 3) for name, value in numbers.items()},
                    )
                asked = self.processes.any(interruption.asked)
                due = done % evaluate_every == 0 or done == last
                if videos and due:  # even if a stop was asked for: a resumed run would skip this validation
                    self._validate(done)
                    pace.validated()
                if due or asked:
                    self._keep(name, done, optimizer, schedule)
                if asked and done < last:
                    raise TrainingInterrupted(
                        f"stopped in stage {name!r} after step {done} of {last}",
                        suggestion="the same command again, which continues the run",
                        number=interruption.received,
                    )

    def _batches(self, name: str, stage: StageConfig, steps: range) -> Iterator[Batch]:
        """This process's part of the batches of some steps."""
        config, toybox, seed = self.model.config, self.recipe.toybox, self.recipe.seed
        rows = self.processes.rows(stage.batch_size)
        if name == "clip":
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
        self._log(stage="frame tokens", step=done, steps=total)

    def _backward(
        self, objective: Objective, stage: StageConfig, batch: Batch
    ) -> tuple[Tensor, LossTerms, Any, Any]:
        """Compute the gradient of the whole batch; return the loss, measurements, and both records."""
        size = stage.micro_batch or len(batch)
        parts: list[Batch] = [batch[first : first + size] for first in range(0, len(batch), size)]
        step = ContrastiveStep(objective.encode, objective.loss_of, self.device)
        loss, measured, text, video = step.backward(parts)
        self.processes.sum_gradients(self.model.parameters())
        return loss * self.processes.world, measured, text, video

    def _broken(self, name: str, step: int, loss: float, batch: Batch, finite: list[bool]) -> TrainingStopped:
        """The error for a loss or gradient that is not finite; it names the videos to check."""
        drawn = [f"clip {row} drawn for this step from seed {self.recipe.seed}" for row in range(len(batch))]
        names = batch.videos or drawn
        bad = [video for video, good in zip(names, finite, strict=False) if not good]
        bad = self.processes.everyones(bad)
        shown = ", ".join((bad or list(names))[:NAMED_ROWS])
        kind = "not finite" if bad else "in the batch"
        return TrainingStopped(
            f"the {'gradient' if math.isfinite(loss) else 'loss'} is "
            f"{'not finite' if math.isfinite(loss) else loss} at step {step} of stage {name!r} "
            f"({kind}: {shown}{' ...' if len(bad or names) > NAMED_ROWS else ''})",
            suggestion=self._lower_rate(),
        )

    def _lower_rate(self) -> str:
        """What to try after numbers that are not finite."""
        saved = f"; the last checkpoint is in {self.output}" if (self.output / STATE_FILE).is_file() else ""
        return f"a lower learning rate{saved}"

    def _validate(self, step: int) -> None:
        """Measure the model on videos that are not trained on, and keep the best model."""
        if self.processes.leads:
            try:
                found = self.data.validation.measure(self.model, self.recipe.precision)
            except BadScores as error:
                raise TrainingStopped(
                    f"validation after step {step}: {error.arrived}", suggestion=self._lower_rate()
                ) from None
            self._log(stage="validation", step=step, **found.to_dict())
            # Among equal steps the later one wins: few videos cannot distinguish them, and it was trained for longer.
            if self.best is None or found.quality >= self.best:
                self.best = found.quality
                self._save("best", step=step, validation=found.to_dict())
        self.processes.wait()

    def _save(self, folder: str, **facts: Any) -> None:
        """Write the model, and a record of its origin beside it."""
        written = {
            "recipe": self.recipe.model_dump(mode="json"),
            "data": self.data.facts,
            "trained_parameters": trained_parameters(self.model),
            **run_facts(self.processes.world, self.device),
            **facts,
        }
        text = json.dumps(written, indent=2) + "\n"
        save(self.model, self.output / folder, beside={TRAINING: text})

    def _keep(self, name: str, step: int, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        """Write everything that is needed to continue; the old state is kept until the new one is complete."""
        if self.processes.leads:
            self._write_state(name, step, optimizer, schedule)
        self.processes.wait()

    def _write_state(self, name: str, step: int, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        state = {
            "stage": name,
            "step": step,
            "best": self.best,
            "recipe": self.recipe.model_dump_json(),
            "model": self.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
        }
        with written_whole(self.output / STATE_FILE) as partial, partial.open("wb") as file:
            torch.save(state, file)

    def _resume(self) -> dict[str, Any]:
        """Load the state of an interrupted run."""
        path = self.output / STATE_FILE
        if not path.is_file():
            return {"stage": "clip", "step": 0}
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        # Parsed, so that fields that are newer than the run get their defaults.
        if Recipe.parse(json.loads(state["recipe"])).model_dump() != self.recipe.model_dump():
            raise TrainingStopped(
                f"{self.output} contains a run of another recipe",
                suggestion="another output folder, or delete this one",
            )
        self.model.load_state_dict(state["model"])
        self.best = state["best"]
        log.info("continuing in stage %s at step %d", state["stage"], state["step"])
        return state

    def _log(self, **values: Any) -> None:
        if self.log is not None:
            self.log.write(**values)


def _finite_rows(*records: Any) -> list[bool]:
    """Which rows of a batch contain only finite numbers."""
    rows = [tensor.flatten(1).isfinite().all(dim=1) for record in records for tensor in record.tensors()]
    together: list[bool] = torch.stack(rows).all(dim=0).tolist()
    return together
