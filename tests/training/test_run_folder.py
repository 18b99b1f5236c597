"""A training's folder: one run at a time, and a state that is whole or told to be damaged."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from prost import locking
from prost.errors import TrainingStopped
from prost.training.distributed import Processes
from prost.training.recipe import Recipe
from prost.training.run_folder import KEYS, STATE_FILE, alone_in, read_state, write_state

ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.parse({"start": "toybox", "prost": {"steps": 1, "batch_size": 2}})


def state_of(recipe: Recipe) -> dict[str, Any]:
    return {**dict.fromkeys(KEYS, 1), "recipe": recipe.model_dump_json(), "model": {"weight": torch.ones(3)}}


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    output = tmp_path / "runs" / "a"
    with (
        alone_in(output, ALONE),
        pytest.raises(TrainingStopped, match=f"process {os.getpid()} is training in"),
        alone_in(output, ALONE),
    ):
        raise AssertionError
    with alone_in(output, ALONE):  # free again
        pass


def test_a_killed_training_leaves_its_folder_free(tmp_path: Path) -> None:
    code = (
        "import os, sys, torch; from pathlib import Path; from prost.training.distributed import Processes\n"
        "from prost.training.run_folder import alone_in\n"
        "with alone_in(Path(sys.argv[1]), Processes(0, 1, torch.device('cpu'))): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == 9
    with alone_in(tmp_path, ALONE):
        pass


def test_a_state_comes_back(tmp_path: Path, recipe: Recipe) -> None:
    assert read_state(tmp_path, recipe) is None
    write_state(tmp_path, state_of(recipe))
    found = read_state(tmp_path, recipe)
    assert found is not None and torch.equal(found["model"]["weight"], torch.ones(3))
    with pytest.raises(TrainingStopped, match="contains a run of another recipe"):
        read_state(tmp_path, Recipe.parse({"start": "toybox", "prost": {"steps": 2, "batch_size": 2}}))


@pytest.mark.parametrize("kept", [0, 10, -200])
def test_a_state_that_is_cut_short(tmp_path: Path, recipe: Recipe, kept: int) -> None:
    write_state(tmp_path, state_of(recipe))
    path = tmp_path / STATE_FILE
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(TrainingStopped, match=r"state\.pt is damaged .*; try: another output folder"):
        read_state(tmp_path, recipe)


@pytest.mark.parametrize("content", [b"text", b"\x80\x04"])
def test_a_state_that_is_none(tmp_path: Path, recipe: Recipe, content: bytes) -> None:
    (tmp_path / STATE_FILE).write_bytes(content)
    with pytest.raises(TrainingStopped, match="is damaged"):
        read_state(tmp_path, recipe)
    torch.save({"epoch": 3}, tmp_path / STATE_FILE)
    with pytest.raises(TrainingStopped, match="is not the state of a training"):
        read_state(tmp_path, recipe)


READING = """
import resource, sys
from pathlib import Path
import torch
from prost import locking
from prost.errors import ProstError
from prost.training.recipe import Recipe
from prost.training.run_folder import read_state

recipe = Recipe.parse({"start": "toybox", "prost": {"steps": 1, "batch_size": 2}})
read_state(Path(sys.argv[1]), recipe)  # imports and pools are there now
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
try:
    read_state(Path(sys.argv[2]), recipe)
except ProstError as error:
    print(type(error).__name__, error)
"""


def test_a_state_that_does_not_fit_into_memory_is_not_damaged(tmp_path: Path, recipe: Recipe) -> None:
    for name, numbers in (("small", 3), ("large", 96 << 18)):
        (tmp_path / name).mkdir()
        write_state(tmp_path / name, {**state_of(recipe), "model": {"weight": torch.zeros(numbers)}})
    folders = (tmp_path / "small", tmp_path / "large")
    said = subprocess.run([sys.executable, "-c", READING, *folders], capture_output=True, text=True)
    assert said.stdout.startswith("StorageError") and "does not fit into memory" in said.stdout, said


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(locking, "lock_file", refuse)
    with alone_in(tmp_path, ALONE):
        assert "cannot be locked (Function not implemented): do not train there twice" in caplog.text


FULL = """
import resource, sys
from pathlib import Path
import torch
from prost import locking
from prost.errors import StorageError
from prost.training.run_folder import write_state

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_state(Path(sys.argv[1]), {"model": torch.zeros(100_000)})
except StorageError as error:
    print(error)
"""


def test_a_full_disk_is_told_as_such_and_the_former_state_stays(tmp_path: Path, recipe: Recipe) -> None:
    """A limit on the size of files stands for the disk: torch reports both by a RuntimeError."""
    write_state(tmp_path, state_of(recipe))
    before = (tmp_path / STATE_FILE).read_bytes()
    said = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True)
    assert "state.pt cannot be written: " in said.stdout, said.stderr
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]
    assert (tmp_path / STATE_FILE).read_bytes() == before
