"""`prost train`: a recipe becomes a model that the other commands open."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Prost = Callable[..., Any]

RECIPE = """
seed: 0
model:
  name: tiny
  clip: {image_size: 32, patch_size: 16, vision_width: 64, vision_layers: 1, text_width: 64, text_layers: 1}
  width: 16
  frames: 2
  object_prototypes: 3
  phrase_prototypes: 4
  token_shift_blocks: []
toybox: {workers: 0}
clip: {steps: 1, batch_size: 4}
prost: {steps: 2, batch_size: 4}
precision: fp32
validation: toybox-8
evaluate_every: 1
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_becomes_a_model(
    prost: Prost, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toybox_folder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    said = prost("train", recipe)
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == "the best model is in runs/tiny/best"
    steps = [line for line in said.out.splitlines() if line.startswith(("stage clip", "stage prost"))]
    assert steps and all("loss " in line for line in steps)
    (first, *_) = [line for line in said.out.splitlines() if line.startswith("stage validation")]
    assert "sum " in first and "{" not in first
    assert prost("eval", "runs/tiny/best", toybox_folder, "--json").json["gallery"]["videos"] == 8


def test_values_of_a_recipe_are_changed_from_the_command_line(
    prost: Prost, recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    said = prost(
        "train", recipe, "--output", run, "--set", "prost.steps=1", "--set", "clip.steps=0",
        "--set", "model.token_shift_blocks=[0]", "--set", "model.token_shift_divisions=2",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.out.splitlines()[0] == "stage length  of prost  steps 1  batch_size 4  warmup_steps 1"
    assert "stage clip" not in said.out
    assert json.loads((run / "best" / "config.json").read_text())["token_shift_blocks"] == [0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("prost.steps", "--set prost.steps; expected: KEY=VALUE"),
        ("=1", "--set =1; expected: KEY=VALUE"),
        ("seed=[", "--set seed=[: the value is not YAML"),
        ("model.frame=2", "unknown key 'model.frame'; try: 'frames'"),
        ("seed=-1", "seed: Input should be greater than or equal to 0"),
    ],
)
def test_a_change_that_cannot_be_made_is_one_clear_line(
    prost: Prost, recipe: Path, tmp_path: Path, given: str, message: str
) -> None:
    said = prost("train", recipe, "--output", tmp_path / "run", "--set", given)
    assert (said.code, said.out) == (2, "")
    assert message in said.err and said.err.count("\n") == 1


def test_an_unknown_key_names_the_nearest(prost: Prost, recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(RECIPE.replace("frames: 2", "frame: 2"))
    said = prost("train", recipe, "--output", tmp_path / "run")
    assert (said.code, said.out) == (2, "")
    assert "unknown key 'model.frame'" in said.err and "'frames'" in said.err and said.err.count("\n") == 1


def test_a_recipe_that_is_not_there(prost: Prost, tmp_path: Path) -> None:
    said = prost("train", tmp_path / "none.yaml")
    assert said.code == 2
    assert said.err.startswith("error: recipe ") and said.err.count("\n") == 1
