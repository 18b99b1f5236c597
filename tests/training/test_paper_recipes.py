"""The recipes of the paper: their settings, and a step of each on data in the benchmark's own file layout.

And the recipe of a joint scorer for a model that one of them trains.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.data.benchmarks.conftest import Miniature
from tests.data.benchmarks.conftest import mini as mini  # fixtures
from tests.data.benchmarks.conftest import one_second as one_second
from tests.model.released_models import clip as released_clip
from transformers import CLIPConfig, CLIPModel

from prost.config import ModelConfig
from prost.data.benchmarks import load_benchmark
from prost.model.checkpoint import load, load_prost, save
from prost.model.retrieval_model import RetrievalModel
from prost.training.recipe import read_recipe
from prost.training.trainer import run_recipe

FOLDER = Path(__file__).parents[2] / "recipes" / "paper"
RECIPES = sorted(FOLDER.glob("*.yaml"))
JOINT = FOLDER.parent / "joint" / "msrvtt-9k.yaml"
TRAIN, VAL, TEST = range(4), range(4, 6), range(6, 7)


def msrvtt(mini: Miniature) -> None:
    ids = [f"video{number}" for number in range(7)]
    rows = [
        {"video_id": video, "caption": f"{words} {video}"}
        for video in ids
        for words in ("a red ball", "a boat")
    ]
    mini.json("MSRVTT_data.json", {"sentences": rows, "videos": [{"video_id": video} for video in ids]})
    for name in ("MSRVTT_train.9k.csv", "MSRVTT_train.7k.csv"):
        mini.lines(name, "video_id", *ids[:6])
    mini.lines("MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence", "ret0,msr6,video6,a car stops")
    mini.videos(*(f"videos/{video}.mp4" for video in ids))


def didemo(mini: Miniature) -> None:
    for split, numbers in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        ids = [f"1028@N0{number}_9.avi" for number in numbers]
        mini.lines(f"{split}_list.txt", *ids)
        rows = [
            {"video": video, "description": words, "times": [[0, 0]]}
            for video in ids
            for words in ("a dog barks", "it runs")
        ]
        mini.json(f"{split}_data.json", rows)
        mini.videos(*(f"videos/{video}" for video in ids))


def vatex(mini: Miniature) -> None:
    ids = [f"abc_{number:06}_000011" for number in range(7)]
    mini.json("ref_captions.json", {video: ["a man juggles", "someone juggles balls"] for video in ids})
    mini.lines("train_list.txt", *ids[:6])
    mini.lines("test_list.txt", *ids[6:])
    mini.videos(*(f"{video}.mp4" for video in ids))


def lsmdc(mini: Miniature) -> None:
    files = {
        "LSMDC16_annos_training.csv": TRAIN,
        "LSMDC16_annos_val.csv": VAL,
        "LSMDC16_challenge_1000_publictect.csv": TEST,
    }
    for name, numbers in files.items():
        clips = [f"0001_Film_00.00.5{number}.926-00.00.5{number}.999" for number in numbers]
        times = ("00.00.51.926", "00.00.54.129", "00.00.51.000", "00.00.55.000")
        mini.lines(name, *("\t".join((clip, *times, "A car stops.")) for clip in clips))
        mini.videos(*(f"0001_Film/{clip}.avi" for clip in clips))


def youcook2(mini: Miniature) -> None:
    for name, numbers in (("youcookii_train.csv", range(6)), ("youcookii_val.csv", TEST)):
        rows = [f"cook{number},cook{number}.npy" for number in numbers]
        mini.lines(name, "video_id,feature_file", *rows)
    steps = {
        f"cook{number}": {"start": [0.0, 0.5], "end": [0.5, 1.0], "text": ["fry it", "turn it over"]}
        for number in range(7)
    }
    mini.pickle("youcookii_data.no_transcript.pickle", steps)
    mini.videos(*(f"cook{number}.webm" for number in range(7)))


LAYOUTS: dict[str, Callable[[Miniature], None]] = {
    "msrvtt-9k": msrvtt,
    "msrvtt-7k": msrvtt,
    "didemo": didemo,
    "vatex": vatex,
    "lsmdc": lsmdc,
    "youcook2": youcook2,
}


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP as the hub has it, with as many vision blocks and text positions as ViT-B, and tiny otherwise."""
    tokenizer = released_clip().tokenizer
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1}
    specials = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(
        projection_dim=64,
        vision_config={**sizes, "num_hidden_layers": 12, "image_size": 64, "patch_size": 16},
        text_config={
            **sizes, **specials, "num_hidden_layers": 1, "max_position_embeddings": 77, "vocab_size": len(tokenizer),
        },
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("start") / "clip"
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_there_is_a_recipe_for_each_benchmark_and_the_table_names_them_all() -> None:
    table = (FOLDER / "README.md").read_text(encoding="utf-8")
    names = set()
    for path in RECIPES:
        recipe = read_recipe(path)
        assert recipe.benchmark is not None and isinstance(recipe.model, ModelConfig)
        names.add(recipe.benchmark.name)
        size = "ViT-B/16" if str(recipe.start).endswith("16") else "ViT-B/32"
        config = recipe.model
        assert (
            f"| `{path.name}` | `{recipe.benchmark.name}` | {size} | {config.frames} | {config.max_words} |"
            in table
        )
    assert names == set(LAYOUTS)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_settings_are_those_of_the_paper(path: Path, mini: Miniature) -> None:
    recipe = read_recipe(path)
    assert recipe.benchmark is not None and isinstance(recipe.model, ModelConfig)
    stage, model = recipe.prost, recipe.model
    assert (stage.epochs, stage.epoch, stage.batch_size) == (5, "captions", 128)
    assert (stage.learning_rate, stage.clip_learning_rate, stage.weight_decay) == (1e-4, 1e-7, 0.2)
    assert (stage.betas, stage.warmup, stage.gradient_clip) == ((0.9, 0.98), 0.1, 1.0)
    assert (model.object_prototypes, model.phrase_prototypes, model.event_prototypes) == (12, 28, 3)
    assert (model.frame_layers, model.event_layers, model.sparse_weights) == (2, 2, "relu")
    LAYOUTS[recipe.benchmark.name](mini)
    found = load_benchmark(recipe.benchmark.name, mini.folder)
    assert (model.frames, model.max_words) == (found.frames, found.max_words)


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_step_of_each_recipe(path: Path, mini: Miniature, tiny_clip: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.benchmark is not None
    LAYOUTS[recipe.benchmark.name](mini)
    changes: dict[str, Any] = {
        "start": str(tiny_clip),
        "benchmark.folder": str(mini.folder),
        "benchmark.allow_missing": True,
        "benchmark.workers": 1,
        "model.frames": 3,
        "prost.epochs": 1,
        "prost.batch_size": 4,
        "prost.micro_batch": recipe.prost.micro_batch and 2,
    }
    best = run_recipe(path, tmp_path / "out", changes=changes)
    trained, start = load(best), load(tiny_clip)
    assert trained.config.name == f"prost-{path.stem}"
    assert trained.config.max_words == recipe.model.max_words  # type: ignore[union-attr]
    key = "clip.towers.visual_projection.weight"
    moved = (trained.state_dict()[key] - start.state_dict()[key]).abs().max()
    assert 0 < moved < 1e-6  # CLIP is trained, at its own small rate
    first, *_ = (json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines())
    captions = {"didemo": 4, "lsmdc": 4}.get(recipe.benchmark.name, 10)
    assert (first["captions"], first["steps"]) == (captions, captions // 4)


def test_the_joint_recipe_follows_that_of_the_paper() -> None:
    paper, recipe = read_recipe(FOLDER / JOINT.name), read_recipe(JOINT)
    assert recipe.start == f"runs/{JOINT.stem}/best" and recipe.joint.steps
    # The same videos are held out.
    assert recipe.benchmark == paper.benchmark
    assert (recipe.seed, recipe.validation) == (paper.seed, paper.validation)
    assert str(JOINT.relative_to(FOLDER.parents[1])) in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_steps_of_the_joint_recipe(
    mini: Miniature, make_model: Callable[..., RetrievalModel[Any, Any]], tmp_path: Path
) -> None:
    msrvtt(mini)
    save(make_model("prost"), tmp_path / "start")
    changes: dict[str, Any] = {
        "start": str(tmp_path / "start"),
        "benchmark.folder": str(mini.folder),
        "benchmark.allow_missing": True,
        "benchmark.workers": 1,
        "joint.steps": 2,
        "joint.scorer": {"width": 24, "layers": 1},
        "joint.batch_size": 4,
        "joint.videos": 3,
    }
    trained = load_prost(run_recipe(JOINT, tmp_path / "out", changes=changes), "cpu")
    start = load_prost(tmp_path / "start", "cpu")
    assert trained.joint_scorer is not None and trained.fingerprint == start.fingerprint
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    (encoded,) = (line["clips"] for line in lines if line["stage"] == "encoding")
    assert encoded == 5  # one of six videos is held out
    assert lines[-1]["stage"] == "validation" and 0 <= lines[-1]["joint"]["R@1"] <= 100
