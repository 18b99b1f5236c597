"""The steps of a stage, whatever it trains: optimised, logged, validated, kept, and stopped when the user asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from prost.errors import TrainingInterrupted, TrainingStopped
from prost.interruption import Interruption
from prost.training.distributed import Processes
from prost.training.logs import Pace

LOG_EVERY = 20
"""Steps between lines of the log."""


@dataclass(frozen=True, kw_only=True)
class Backward:
    """What is known of a step when its gradient has been computed.

    Attributes:
        loss: of the whole batch.
        measured: makes the other numbers of a line of the log; called where one is written, in all processes.
        suspects: makes the words that point at a batch whose loss or gradient is not finite; may be empty.
    """

    loss: Tensor
    measured: Callable[[], Mapping[str, float]]
    suspects: Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one stage trains, and how.

    Attributes:
        name: in the log, and in what is kept.
        parameters: are trained.
        optimizer: of them.
        schedule: of the optimiser.
        gradient_clip: largest norm of the gradient.
        batches: for each step that is left. They depend on seed and step alone, as all random draws of `backward` do,
            so that a stage that is continued ends where the uninterrupted one ends.
        backward: computes the gradient of a step, counted from 0, with its batch.
        validated: whether the videos of the validation are ranked, and choose the best step.
    """

    name: str
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    gradient_clip: float
    batches: Iterator[Any]
    backward: Callable[[int, Any], Backward]
    validated: bool


class Run(Protocol):
    """The run that a stage belongs to.

    Attributes:
        processes: the processes that share the work.
    """

    processes: Processes

    def write(self, **values: Any) -> None:
        """Write a line of the log."""

    def validate(self, step: int) -> None:
        """Measure the model after so many steps, and keep it if it is the best."""

    def keep(self, stage: Stage, step: int) -> None:
        """Keep all that is needed to continue after so many steps of the stage."""

    def lower_rate(self) -> str:
        """What to try after numbers that are not finite."""


def run_steps(stage: Stage, steps: range, evaluate_every: int, run: Run) -> None:
    """Run the steps of a stage that are left.

    Args:
        stage: what to train.
        steps: those that are left, up to the last one of the stage.
        evaluate_every: steps after which the run is kept, and the model validated; the last step counts, too.
        run: logs, validates and keeps.

    Raises:
        TrainingStopped: the loss or the gradient is not finite.
        TrainingInterrupted: the user or a scheduler asked training to stop; the run was kept.
    """
    last, processes = steps.stop, run.processes
    pace = Pace(last, evaluate_every if stage.validated else None, steps.start)
    with Interruption(patient=processes.world > 1) as interruption:
        for step, batch in zip(steps, stage.batches, strict=True):
            stage.optimizer.zero_grad(set_to_none=True)
            found = stage.backward(step, batch)
            norm = nn.utils.clip_grad_norm_(stage.parameters, stage.gradient_clip)
            # The one time that a step waits for the device, unless it is logged.
            if not torch.stack([found.loss, norm]).isfinite().all():
                raise _broken(stage.name, step, found, run)
            stage.optimizer.step()
            stage.schedule.step()
            pace.step()
            done = step + 1
            if step % LOG_EVERY == 0 or done == last:
                # Before a step has been timed, the remaining time is unknown.
                remaining = pace.remaining(done)
                run.write(
                    stage=stage.name,
                    step=done,
                    steps=last,
                    loss=round(found.loss.item(), 4),
                    gradient=round(norm.item(), 3),
                    seconds=round(pace.seconds, 1),
                    **({} if remaining is None else {"remaining": remaining}),
                    **{name: round(value, 3) for name, value in found.measured().items()},
                )
            asked = processes.any(interruption.asked)
            due = done % evaluate_every == 0 or done == last
            # Even if a stop was asked for: a resumed run would skip this validation.
            if stage.validated and due:
                run.validate(done)
                pace.validated()
            if due or asked:
                run.keep(stage, done)
            if asked and done < last:
                raise TrainingInterrupted(
                    f"stopped in stage {stage.name!r} after step {done} of {last}",
                    suggestion="the same command again, which continues the run",
                    number=interruption.received,
                )


def _broken(name: str, step: int, found: Backward, run: Run) -> TrainingStopped:
    """The error for a loss or gradient that is not finite."""
    loss, suspects = found.loss.item(), found.suspects()
    finite = math.isfinite(loss)
    return TrainingStopped(
        f"the {'gradient' if finite else 'loss'} is {'not finite' if finite else loss} "
        f"at step {step} of stage {name!r}{f' ({suspects})' if suspects else ''}",
        suggestion=run.lower_rate(),
    )
