"""The steps of a stage: what is logged, validated and kept, and when; and how they end early."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.training.conftest import NotedRun
from torch import nn

from prost.errors import TrainingInterrupted, TrainingStopped
from prost.training.optimizer import make_schedule
from prost.training.steps import Backward, Stage, run_steps

STEPS = 25


def stage(
    steps: range, *, validated: bool = True, broken: Callable[[int], bool] = lambda step: False
) -> Stage:
    """A stage that brings one number close to the batches, each of which is its step."""
    number = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([number], lr=0.1)

    def backward(step: int, batch: int) -> Backward:
        assert batch == step
        loss = ((number - batch) ** 2).sum() * (torch.nan if broken(step) else 1.0)
        loss.backward()
        return Backward(
            loss=loss.detach(), measured=lambda: {"number": number.item()}, suspects=lambda: f"batch {batch}"
        )

    return Stage(
        name="count",
        parameters=[number],
        optimizer=optimizer,
        schedule=make_schedule(optimizer, steps.stop, 0.1),
        gradient_clip=0.5,
        batches=iter(steps),
        backward=backward,
        validated=validated,
    )


def test_what_is_logged_validated_and_kept() -> None:
    run = NotedRun()
    made = stage(range(STEPS))
    run_steps(made, range(STEPS), 10, run)
    assert [line["step"] for line in run.lines] == [1, 21, 25]
    assert {"stage": "count", "step": 1, "steps": 25, "loss": 0.0, "gradient": 0.0}.items() <= run.lines[
        0
    ].items()
    assert "remaining" not in run.lines[0] and run.lines[-1]["remaining"] == 0
    assert run.lines[-1]["number"] == round(made.parameters[0].item(), 3) > 0
    assert run.lines[-1]["gradient"] > 0.5  # as it was before it was clipped
    assert run.validated == [10, 20, 25]
    assert run.kept == [("count", 10), ("count", 20), ("count", 25)]


def test_a_stage_without_validation_is_kept_all_the_same() -> None:
    run = NotedRun()
    run_steps(stage(range(STEPS), validated=False), range(STEPS), 10, run)
    assert run.validated == [] and [step for _, step in run.kept] == [10, 20, 25]


def test_the_gradient_is_clipped() -> None:
    made = stage(range(2))
    run_steps(made, range(2), 10, NotedRun())
    # The first batch is 0, as the number is; the second is 1, and the gradient -2, which is cut to -0.5.
    assert made.parameters[0].item() == pytest.approx(0.1 * 0.5, rel=1e-4)


def test_a_stop_is_kept_after_the_step_in_which_it_was_asked_for() -> None:
    def ask(line: dict[str, Any]) -> None:
        if line["step"] == 21:
            os.kill(os.getpid(), signal.SIGTERM)

    run = NotedRun(ask)
    with pytest.raises(TrainingInterrupted, match="stopped in stage 'count' after step 21 of 25") as stopped:
        run_steps(stage(range(STEPS)), range(STEPS), 10, run)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert run.kept[-1] == ("count", 21) and run.validated == [10, 20]
    run_steps(stage(range(21, STEPS)), range(21, STEPS), 10, run)
    assert run.kept[-1] == ("count", 25) and run.validated == [10, 20, 25]


def test_a_stop_in_the_last_step_lets_the_stage_end() -> None:
    def ask(line: dict[str, Any]) -> None:
        if line["step"] == line["steps"]:
            os.kill(os.getpid(), signal.SIGINT)

    run = NotedRun(ask)
    run_steps(stage(range(3)), range(3), 10, run)
    assert run.kept == [("count", 3)] and run.validated == [3]


def test_numbers_that_are_not_finite_change_no_weight() -> None:
    run = NotedRun()
    made = stage(range(STEPS), broken=lambda step: step == 12)
    with pytest.raises(
        TrainingStopped, match=r"the loss is nan at step 12 of stage 'count' \(batch 12\); try: patience"
    ):
        run_steps(made, range(STEPS), 10, run)
    assert made.parameters[0].isfinite().all() and run.kept == [("count", 10)]
