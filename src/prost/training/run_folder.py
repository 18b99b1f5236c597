"""The folder of a training: one run works in it at a time, and continues only with its own recipe and data."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from prost.data.writing import writing_errors, written_whole
from prost.errors import CheckpointError, TrainingStopped
from prost.locking import NO_LOCKS, Taken, held
from prost.model.weights import read_saved
from prost.training.distributed import Processes
from prost.training.recipe import Recipe

log = logging.getLogger("prost")

STATE_FILE = "state.pt"
LOCK = "training.lock"
KEYS = ("stage", "step", "best", "recipe", "model", "optimizer", "schedule")


@contextmanager
def alone_in(output: Path, processes: Processes) -> Iterator[None]:
    """Context that one training enters at a time for a folder, which is made where there is none.

    Args:
        output: the folder.
        processes: of the training; the leading one holds the lock.

    Raises:
        TrainingStopped: another training is in it.
        StorageError: no permission.
    """
    with ExitStack() as lock:
        processes.led(lambda: lock.enter_context(_locked(output)))
        yield


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    with writing_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        file = (output / LOCK).open("a+", encoding="ascii")
    with file, ExitStack() as lock:
        try:
            lock.enter_context(held(file))
        except Taken as taken:
            raise TrainingStopped(
                f"process {taken.holder} is training in {output}",
                "one training in a folder at a time",
                "another output folder, or again when that process has ended",
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                with writing_errors(output):
                    raise
            log.warning("%s cannot be locked (%s): do not train there twice at once", output, error.strerror)
        yield


def write_state(output: Path, state: dict[str, Any]) -> None:
    """Write all that a run needs to continue; the former state is kept until this one is complete.

    Raises:
        StorageError: no space, no permission.
    """
    # torch reports a full disk by a RuntimeError.
    with written_whole(output / STATE_FILE, RuntimeError) as partial, partial.open("wb") as file:
        torch.save(state, file)


def read_state(output: Path, recipe: Recipe) -> dict[str, Any] | None:
    """The state of the run in a folder, on the CPU; None where there is none.

    Args:
        output: the folder.
        recipe: of the run that wants to continue.

    Raises:
        TrainingStopped: the state is damaged, or of a run of another recipe.
        StorageError: the state cannot be read, or does not fit into memory.
    """
    path = output / STATE_FILE
    if not path.is_file():
        return None
    try:
        state = read_saved(path)
    except CheckpointError as error:
        raise _damaged(path, error.arrived.removeprefix(f"{path} ")) from None
    if not isinstance(state, dict) or any(key not in state for key in KEYS):
        raise _damaged(path, "is not the state of a training")
    # Parsed, so that fields that are newer than the run get their defaults.
    if Recipe.parse(json.loads(state["recipe"])).model_dump() != recipe.model_dump():
        raise run_of(output, "another recipe")
    return state


def run_of(output: Path, what: str) -> TrainingStopped:
    """The error for a folder with a run of something else than what is to be trained now."""
    return TrainingStopped(
        f"{output} contains a run of {what}", suggestion="another output folder, or delete this one"
    )


def _damaged(path: Path, reason: str) -> TrainingStopped:
    return TrainingStopped(
        f"{path} {reason}, so the run cannot continue",
        suggestion="another output folder, or delete this file to train anew",
    )
