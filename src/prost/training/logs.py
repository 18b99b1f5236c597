"""The log of a training: lines of JSON, TensorBoard, the remaining time, and a record of software and machine."""

from __future__ import annotations

import json
import platform
import time
from collections import deque
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from prost.data.writing import writing_errors
from prost.errors import UsageError, install_extra
from prost.evaluation.machine import machine_facts, machine_line

StepLogger = Callable[[dict[str, Any]], None]
VERSIONS = ("prost-video", "torch", "numpy", "av")
LENGTH = "length"
"""Stage of the line that says how many steps a stage has, written when it begins and when it is continued."""
STEPS_REMEMBERED = 50
"""Window for the median step time, so that the remaining time follows the current speed."""


class RunLog:
    """Writes the lines of a training.

    Args:
        folder: for `log.jsonl`, and for `tensorboard/` if that is wanted.
        report: called with every line.
        tensorboard: also write a log for TensorBoard.

    Raises:
        UsageError: TensorBoard is wanted but not installed.
    """

    def __init__(self, folder: Path, report: StepLogger | None, tensorboard: bool) -> None:
        self._path = folder / "log.jsonl"
        self._report = report
        self._board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise UsageError(
                    "the recipe asks for tensorboard, which is not installed",
                    suggestion=f"{install_extra('tensorboard')}, or tensorboard: false",
                ) from None
            self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, **values: Any) -> None:
        """Write a line. Its numbers, nested ones too, become curves named after the line's stage.

        Raises:
            StorageError: the log cannot be written.
        """
        with writing_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        if self._board is not None and "step" in values:
            for name, value in _numbers(values):
                self._board.add_scalar(f"{values['stage']}/{name}", value, values["step"])
            self._board.flush()
        if self._report is not None:
            self._report(values)

    def close(self) -> None:
        """Close the files."""
        if self._board is not None:
            self._board.close()


def _numbers(values: dict[str, Any]) -> list[tuple[str, float]]:
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += [(f"{name}/{inner}", number) for inner, number in _numbers(value)]
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in ("step", "steps"):
            found.append((name, float(value)))
    return found


class Pace:
    """The remaining time of a stage: the median of the last steps, and the validations that are still to come.

    The first step after a start does not count (kernels are compiled, workers start), nor does time between steps.

    Args:
        steps: of the stage.
        evaluate_every: steps between validations; None where the stage has none.
        first: the first step of a resumed run.
        clock: returns seconds.
    """

    def __init__(
        self,
        steps: int,
        evaluate_every: int | None,
        first: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps, self._clock = steps, clock
        self._validations = (
            0 if evaluate_every is None else -(-steps // evaluate_every) - first // evaluate_every
        )
        self._started = self._last = clock()
        self._taken: deque[float] = deque(maxlen=STEPS_REMEMBERED)
        self._validation = 0.0
        self._warm = False

    def step(self) -> None:
        """Call this when a step has ended."""
        now = self._clock()
        if self._warm:
            self._taken.append(now - self._last)
        self._warm, self._last = True, now

    def validated(self) -> None:
        """Call this when a validation has ended that began when the last step ended."""
        now = self._clock()
        self._validation, self._last = now - self._last, now
        self._validations -= 1

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def remaining(self, done: int) -> int | None:
        """Seconds until the stage ends; None before a step has been timed."""
        if not self._taken:
            return None
        left = self._steps - done
        return round(median(self._taken) * left + self._validation * self._validations)


def run_facts(world: int, device: torch.device) -> dict[str, Any]:
    """Versions of the software, and the machine of a training.

    Args:
        world: number of processes.
        device: the device of the leading process.
    """
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "machine": {"line": machine_line(device), **machine_facts(device), "processes": world},
    }
