"""Training in several real processes: it is stopped by signals and fails with one line, never with a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.training.test_trainer import RECIPE, log_of, write_recipe

from prost.training.distributed import Processes
from prost.training.run_folder import alone_in

pytestmark = pytest.mark.slow
PATIENCE = 200
FEW_VIDEOS = "warning: the best step is chosen on 10 videos"
# Too long to end by itself; the first lines of the log come early.
LONG = {
    "model": {**RECIPE["model"], "dropout": 0.0},
    "toybox": {"workers": 0, "grounding": 0.0},
    "clip": {"steps": 0},
    "prost": {**RECIPE["prost"], "steps": 100_000, "micro_batch": 2},
    "evaluate_every": 50_000,
}


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start prost in a process group of its own, as a terminal does: Ctrl-C reaches all processes of the group."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_a_step(process: subprocess.Popen[str]) -> None:
    """Read the log on stdout until a step of the stage was done."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("stage prost"):
            return
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes_with_one_line(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group, SIGTERM of a scheduler to the process that was started."""
    recipe = write_recipe(tmp_path, **LONG)
    process = start("-m", "prost", "train", recipe, "--output", tmp_path / "out", "--processes", "2")
    wait_for_a_step(process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, err
    lines = [line for line in err.splitlines() if not line.startswith(FEW_VIDEOS)]
    assert len(lines) == 1 and lines[0].startswith("stopped in stage 'prost' after step"), err
    state = torch.load(tmp_path / "out" / "state.pt", weights_only=True)
    assert state["model"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_workers_too_lets_the_step_end(number: signal.Signals, tmp_path: Path) -> None:
    """A scheduler, like a terminal, signals the processes that make the batches together with the training."""
    # Batches that take longer to make than to train on, so that the training waits for one when the signal comes.
    slow = {"model": {**LONG["model"], "frames": 24}, "toybox": {"workers": 2, "grounding": 0.0}}
    recipe = write_recipe(tmp_path, **{**LONG, **slow})
    process = start("-m", "prost", "train", recipe, "--output", tmp_path / "out")
    wait_for_a_step(process)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, err
    lines = [line for line in err.splitlines() if not line.startswith(FEW_VIDEOS)]
    assert len(lines) == 1 and lines[0].startswith("stopped in stage 'prost' after step"), err
    assert torch.load(tmp_path / "out" / "state.pt", weights_only=True)["model"]
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        os.killpg(process.pid, 0)


def test_workers_of_torchrun_end_with_one_line(tmp_path: Path) -> None:
    """The traceback of torchrun itself is not ours; our processes add one line to it and keep their state."""
    recipe = write_recipe(tmp_path, **LONG)
    process = start(
        "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29617",
        "-m", "prost", "train", recipe, "--output", tmp_path / "out",
    )  # fmt: skip
    wait_for_a_step(process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert sum(line.startswith("stopped in stage 'prost' after step") for line in err.splitlines()) == 1, err
    assert "KeyboardInterrupt" not in err
    assert (tmp_path / "out" / "state.pt").is_file()


def test_two_processes_train_to_the_end(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, **{**LONG, "prost": {**LONG["prost"], "steps": 3}, "evaluate_every": 3})
    process = start("-m", "prost", "train", recipe, "--output", tmp_path / "out", "--processes", "2")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert all(line.startswith(FEW_VIDEOS) for line in err.splitlines()), err
    assert out.splitlines()[-1].endswith("out/best")
    assert [line["step"] for line in log_of(tmp_path / "out") if line["stage"] == "validation"] == [3]


def test_a_folder_that_is_taken_is_told_once(tmp_path: Path) -> None:
    """The leading process is refused, and the others know."""
    recipe = write_recipe(tmp_path, **LONG)
    with alone_in(tmp_path / "out", Processes(0, 1, torch.device("cpu"))):
        process = start("-m", "prost", "train", recipe, "--output", tmp_path / "out", "--processes", "2")
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    lines = [line for line in err.splitlines() if line != "stopped"]
    assert len(lines) == 1 and f"process {os.getpid()} is training in" in lines[0], err


def test_a_recipe_that_does_not_fit_is_wrong_use(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, **{**LONG, "prost": {**LONG["prost"], "batch_size": 5}})
    process = start("-m", "prost", "train", recipe, "--output", tmp_path / "out", "--processes", "2")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    # The first process to fail ends the other, which may say that it was stopped.
    lines = {line for line in err.splitlines() if not line.startswith(FEW_VIDEOS)} - {"stopped"}
    assert len(lines) == 1 and "does not divide among 2 processes" in lines.pop(), err
