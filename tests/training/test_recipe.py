"""Recipes: what a mistake in one is answered with, and that the published ones can be read."""

from pathlib import Path

import pytest

from prost.errors import BadConfig, MissingPath
from prost.training.grid import read_grid
from prost.training.recipe import StageConfig, read_recipe

FOLDER = Path(__file__).parents[2] / "recipes"
# The files in `tables` itself are grids.
RECIPES = sorted({*FOLDER.rglob("*.yaml")} - {*(FOLDER / "tables").glob("*.yaml")})
GRIDS = sorted((FOLDER / "tables").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_published_recipes_are_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.clip.steps or recipe.prost.steps or recipe.prost.epochs or recipe.joint.steps


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.name)
def test_published_grids_are_read(path: Path) -> None:
    _, cells = read_grid(path)
    assert cells


def test_a_changed_recipe_is_checked_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: {frames: 6}\nprost: {steps: 1}")
    changes = {"seed": 3, "model.max_words": 20, "benchmark.name": "pairs", "benchmark.folder": "own"}
    recipe = read_recipe(path, changes)
    assert recipe.model is not None and recipe.benchmark is not None
    assert (recipe.seed, recipe.model.frames, recipe.model.max_words) == (3, 6, 20)
    assert recipe.benchmark.folder == Path("own")
    with pytest.raises(BadConfig, match=r"unknown key 'model\.max_word'; try: 'max_words'"):
        read_recipe(path, {"model.max_word": 20})
    with pytest.raises(BadConfig, match=r"model\.frames\.x: in the recipe, frames is a value"):
        read_recipe(path, {"model.frames.x": 1})


def test_defaults_of_a_stage_are_the_papers() -> None:
    stage = StageConfig(steps=1)
    assert (stage.learning_rate, stage.clip_learning_rate, stage.weight_decay) == (1e-4, 1e-7, 0.2)
    assert (stage.batch_size, stage.warmup, stage.gradient_clip) == (128, 0.1, 1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "model: {}\nclip: {steps: 1}\nprost: {steps: 1, learning_rat: 1}",
            "unknown key 'prost.learning_rat'; try: 'learning_rate'",
        ),
        (
            "model: {}\nclip: {steps: 1}\nprost: {steps: 1}\nvalidate: x",
            "unknown key 'validate'; try: 'validation'",
        ),
        ("model: {}\nclip: {steps: 1}\nprost: {steps: 1, batch_size: 1}", "batch_size"),
        ("model: {}\nprost: {steps: 1, betas: [2, 3]}", r"prost\.betas\.0: .* less than 1 \(got 2\)"),
        ("model: {}\nprost: {steps: 1, learning_rate: .inf}", "learning_rate: .* finite number"),
        ("model: {}\nprost: {steps: 1, weight_decay: .inf}", "weight_decay: .* finite number"),
        (
            "model: {}\nprost: {steps: 1, freeze: vision}",
            r"prost\.freeze: .*integer.*; or: .*tuple \(got 'vision'\)",
        ),
        (
            "start: toybox\nprost: {steps: 1}\ncache_frame_tokens: ''",
            "cache_frame_tokens: .* at least 1 character",
        ),
        ("", "is empty; expected: keys and values"),
        # Two faults of one kind, or with one value, do not lose their names.
        (
            "start: toybox\nprost: {steps: 5, lerning_rate: 1, batchsize: 1}",
            "unknown key 'prost.lerning_rate'; try: 'learning_rate'",
        ),
        (
            "start: toybox\nprost: {steps: 1, learning_rate: -1, weight_decay: -1}",
            r"prost\.learning_rate: .* 0 \(got -1\)",
        ),
        ("start: toybox\nprost: {steps: 1, betas: [2, 2]}", r"prost\.betas\.0: .* less than 1 \(got 2\)"),
        ("start: toybox\nprost: {steps: 1}\nbenchmark: {}", r"benchmark\.name: Field required"),
        ("model: {frame: 2}\nprost: {steps: 1}", "unknown key 'model.frame'; try: 'frames'"),
        (
            "model: {architecture: ts2net, selected_token: 2}\nprost: {steps: 1}",
            "unknown key 'model.selected_token'; try: 'selected_tokens'",
        ),
        (
            "model: {architecture: xclip}\nprost: {steps: 1}",
            "architecture 'xclip'; expected: prost, clip4clip, ts2net",
        ),
        (
            "model: {}\nstart: toybox\noverrides: {max_words: 20}\nprost: {steps: 1}",
            "with model, set the fields there",
        ),
        ("prost: {steps: 1}", "neither model nor start"),
        ("model: {}\nprost: {steps: 1}\ncache_frame_tokens: memory", "needs a fixed set of clips"),
        ("model: {}\nprost: {steps: 1}\ntoybox: {event_time: 0.3, clips: 9}", "drawn for each step"),
        (
            "model: {}\nbenchmark: {name: pairs, foldr: x}\nprost: {steps: 1}",
            "'benchmark.foldr'; try: 'folder'",
        ),
        ("model: {}\nclip: {steps: 1}", "prost: Field required"),
        ("model: {}\nprost: {batch_size: 4}", "prost: neither steps nor epochs"),
        ("model: {}\nprost: {steps: 1, epochs: 1}", "prost: both steps and epochs"),
        ("model: {}\nprost: {steps: 1, epoch: captions}", "but steps are counted: set epochs"),
        ("model: {}\nprost: {epochs: 0}", "prost.epochs: Input should be greater than or equal to 1"),
        (
            "model: {}\nprost: {epochs: 1, epoch: clips}",
            "prost.epoch: Input should be 'videos' or 'captions'",
        ),
        ("model: {}\nclip: {epochs: 1}\nprost: {steps: 1}", "drawn anew for each step: set clip.steps"),
        ("model: {}\nprost: {epochs: 1}", "prost.epochs needs a fixed set of clips"),
        (
            "model: {}\ntoybox: {clips: 9}\nprost: {epochs: 1, epoch: captions}",
            "Toybox makes new captions each time: set videos",
        ),
        ("- 1", "holds a list"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(BadConfig, match=said) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(MissingPath, match="does not exist"):
        read_recipe(tmp_path / "none.yaml")
