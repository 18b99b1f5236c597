"""Training for real, in the small: it learns, it resumes to the bit, it stops cleanly."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from prost.errors import StorageError, TrainingStopped
from prost.model.checkpoint import load
from prost.training.trainer import run_recipe

RECIPE: dict[str, Any] = {
    "model": {
        "name": "tiny",
        "clip": {
            "image_size": 32, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64,
            "text_layers": 1, "text_positions": 40,
        },
        "width": 32, "frames": 3, "max_words": 40, "object_prototypes": 4, "phrase_prototypes": 6,
        "token_shift_blocks": [0], "token_shift_divisions": 2,
    },
    "toybox": {"workers": 0},
    "clip": {"steps": 3, "batch_size": 6, "learning_rate": 1e-3, "clip_learning_rate": 1e-3},
    "prost": {"steps": 4, "batch_size": 6, "learning_rate": 1e-3, "clip_learning_rate": 1e-3},
    "precision": "fp32",
    "validation": "toybox-10",
    "evaluate_every": 2,
}  # fmt: skip


def write_recipe(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return path


def log_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run_recipe(write_recipe(folder), folder / "out")
    return folder / "out"


def test_a_run_leaves_a_model_and_a_log(uninterrupted: Path) -> None:
    model = load(uninterrupted / "best")
    assert model.encode_text(["a red ball falls"]).phrase.shape == (1, 6, 32)
    lines = log_of(uninterrupted)
    assert [line["step"] for line in lines if line["stage"] == "validation"] == [2, 4]
    assert {"clip", "prost", "validation"} == {line["stage"] for line in lines}
    last = [line for line in lines if line["stage"] == "prost"][-1]
    assert last["step"] == 4 and {
        "event_sentence",
        "object_phrase",
        "sum",
        "dead_objects",
        "dead_phrases",
    } <= set(last)


@pytest.mark.parametrize(("stage", "line"), [("clip", 0), ("prost", 0)])
def test_an_interrupted_run_ends_where_the_other_ended(
    uninterrupted: Path, tmp_path: Path, stage: str, line: int
) -> None:
    def interrupt(values: dict[str, Any]) -> None:
        if values["stage"] == stage:
            os.kill(os.getpid(), signal.SIGINT)

    recipe = write_recipe(tmp_path)
    with pytest.raises(TrainingStopped, match=f"stopped by hand in stage '{stage}' after step 1"):
        run_recipe(recipe, tmp_path / "out", interrupt)
    run_recipe(recipe, tmp_path / "out")
    ended, expected = (
        torch.load(out / "state.pt", weights_only=True) for out in (tmp_path / "out", uninterrupted)
    )
    for key, tensor in expected["model"].items():
        assert torch.equal(ended["model"][key], tensor), key
    assert ended["best"] == expected["best"]


def test_a_finished_run_is_not_run_again(uninterrupted: Path) -> None:
    before = len(log_of(uninterrupted))
    run_recipe(uninterrupted.parent / "recipe.yaml", uninterrupted)
    assert len(log_of(uninterrupted)) == before


def test_another_recipe_does_not_carry_on(uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="holds a run of another recipe"):
        run_recipe(write_recipe(tmp_path, seed=1), uninterrupted)


def test_a_loss_that_is_no_number_stops_the_run_by_name(tmp_path: Path) -> None:
    wild = {**RECIPE["clip"], "learning_rate": 1e30, "clip_learning_rate": 1e30, "warmup": 0.0}
    with pytest.raises(
        TrainingStopped, match=r"the loss is nan at step [12] of stage 'clip'; try: a lower learning rate"
    ):
        run_recipe(write_recipe(tmp_path, clip=wild), tmp_path / "out")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        run_recipe(write_recipe(tmp_path), tmp_path / "file" / "out")


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    stages = {
        "clip": {**RECIPE["clip"], "steps": 250, "batch_size": 32},
        "prost": {**RECIPE["prost"], "steps": 60, "batch_size": 16},
    }
    run_recipe(write_recipe(tmp_path, **stages, evaluate_every=100), tmp_path / "out")
    clip = [line["loss"] for line in log_of(tmp_path / "out") if line["stage"] == "clip"]
    assert clip[-1] < clip[0] - 0.3
    validation = [line for line in log_of(tmp_path / "out") if line["stage"] == "validation"]
    assert validation[-1]["sum"]["R@5"] > 50.0  # chance on ten videos
