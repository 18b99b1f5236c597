"""Training for real, in the small: it learns, it resumes to the bit, it stops cleanly."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from prost.errors import BadConfig, StorageError, TrainingStopped
from prost.model.checkpoint import load
from prost.training.distributed import Processes
from prost.training.recipe import read_recipe
from prost.training.trainer import Trainer, run_recipe

RECIPE: dict[str, Any] = {
    "model": {
        "name": "tiny",
        "clip": {
            "image_size": 32, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64,
            "text_layers": 1, "text_positions": 40,
        },
        "width": 64, "frames": 3, "max_words": 40, "object_prototypes": 4, "phrase_prototypes": 6,
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
    assert model.encode_text(["a red ball falls"]).phrase.shape == (1, 6, 64)
    # What the recipe left out is in config.json, and not here as a default that may not be the model's.
    record = json.loads((uninterrupted / "best" / "training.json").read_text())
    assert set(record["recipe"]["model"]) == {"architecture", *RECIPE["model"]}
    lines = log_of(uninterrupted)
    assert [line["step"] for line in lines if line["stage"] == "validation"] == [2, 4]
    assert {"length", "clip", "prost", "validation"} == {line["stage"] for line in lines}
    assert [line for line in lines if line["stage"] == "length"] == [
        {"stage": "length", "of": "clip", "steps": 3, "batch_size": 6, "warmup_steps": 1},
        {"stage": "length", "of": "prost", "steps": 4, "batch_size": 6, "warmup_steps": 1},
    ]
    last = [line for line in lines if line["stage"] == "prost"][-1]
    assert last["step"] == 4 and {
        "event_sentence",
        "object_phrase",
        "sum",
        "dead_objects",
        "dead_phrases",
        "event_cosine",
    } <= set(last)
    assert -1 <= last["event_cosine"] <= 1
    first = next(line for line in lines if line["stage"] == "prost")
    assert "remaining" in last and "remaining" not in first  # before a step is timed, nothing is known


@pytest.mark.parametrize(("stage", "line"), [("clip", 0), ("prost", 0)])
def test_an_interrupted_run_ends_where_the_other_ended(
    uninterrupted: Path, tmp_path: Path, stage: str, line: int
) -> None:
    def interrupt(values: dict[str, Any]) -> None:
        if values["stage"] == stage:
            os.kill(os.getpid(), signal.SIGINT)

    recipe = write_recipe(tmp_path)
    with pytest.raises(TrainingStopped, match=f"stopped in stage '{stage}' after step 1"):
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


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        ("videos", {"steps_per_epoch": 2, "steps": 6, "warmup_steps": 3}),
        ("captions", {"steps_per_epoch": 5, "steps": 15, "warmup_steps": 8}),
    ],
)
def test_steps_follow_from_epochs_and_data(
    toybox_folder: Path, tmp_path: Path, epoch: str, expected: dict[str, int]
) -> None:
    """Five videos with 1, 2, 3, 4 and 1 captions, two of them in a batch; a sixth chooses the best step."""
    videos = sorted(toybox_folder.glob("*.mp4"))[:6]
    counts = (1, 2, 3, 4, 1, 1)
    splits = ["train"] * 5 + ["val"]
    rows = [
        {"video": str(video), "captions": [f"a ball {i}" for i in range(count)], "split": split}
        for video, count, split in zip(videos, counts, splits, strict=True)
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = {"epochs": 3, "epoch": epoch, "batch_size": 2, "warmup": 0.5, "learning_rate": 1e-3}
    recipe = {
        **RECIPE,
        "benchmark": {"name": "pairs", "folder": str(pairs)},
        "prost": stage,
        "validation": "val",
    }
    del recipe["clip"], recipe["evaluate_every"]
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(recipe))
    run_recipe(path, tmp_path / "out")
    lines = log_of(tmp_path / "out")
    facts = {"batch_size": 2, "epochs": 3, "epoch": epoch, "videos": 5, "captions": 11}
    assert lines[0] == {"stage": "length", "of": "prost", **facts, **expected}
    per_epoch = expected["steps_per_epoch"]
    assert [line["step"] for line in lines if line["stage"] == "validation"] == [
        per_epoch,
        2 * per_epoch,
        3 * per_epoch,
    ]
    # A finished run of the same recipe is recognised, epochs included.
    run_recipe(path, tmp_path / "out")
    assert log_of(tmp_path / "out") == lines


def test_a_run_goes_on_with_its_own_data_alone(toybox_folder: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [
        {"video": str(video), "caption": f"a ball {number}", "split": "val" if number == 4 else "train"}
        for number, video in enumerate(sorted(toybox_folder.glob("*.mp4"))[:5])
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {**RECIPE, "benchmark": {"name": "pairs", "folder": str(pairs)}, "validation": "val"}
    recipe["prost"] = {**recipe["prost"], "batch_size": 2}
    del recipe["clip"]
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(recipe))
    run_recipe(path, tmp_path / "out")
    record = (tmp_path / "out" / "last" / "training.json").read_bytes()
    rows[0]["caption"] = "another sentence"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(TrainingStopped, match="contains a run of other data"):
        run_recipe(path, tmp_path / "out")
    assert (tmp_path / "out" / "last" / "training.json").read_bytes() == record


def test_a_finished_run_says_so_and_keeps_its_record(
    uninterrupted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(uninterrupted, tmp_path / "out")
    record = (tmp_path / "out" / "last" / "training.json").read_bytes()
    run_recipe(uninterrupted.parent / "recipe.yaml", tmp_path / "out")
    assert "has ended before; nothing was left to train" in caplog.text
    assert (tmp_path / "out" / "last" / "training.json").read_bytes() == record
    shutil.rmtree(tmp_path / "out" / "best")
    with pytest.raises(TrainingStopped, match="best is gone, though"):
        run_recipe(uninterrupted.parent / "recipe.yaml", tmp_path / "out")


def test_another_recipe_does_not_carry_on(uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="contains a run of another recipe"):
        run_recipe(write_recipe(tmp_path, seed=1), uninterrupted)


def test_a_loss_that_is_no_number_stops_the_run_by_name(tmp_path: Path) -> None:
    wild = {**RECIPE["clip"], "learning_rate": 1e30, "clip_learning_rate": 1e30, "warmup": 0.0}
    with pytest.raises(
        TrainingStopped,
        match=r"is (nan|not finite) at step [012] of stage 'clip' .*; try: a lower learning rate$",
    ):
        run_recipe(write_recipe(tmp_path, clip=wild), tmp_path / "out")
    assert not (tmp_path / "out" / "state.pt").exists()  # and so the message names no checkpoint


def test_a_later_loss_that_is_not_finite_names_the_checkpoint(tmp_path: Path) -> None:
    def spoil(values: dict[str, Any]) -> None:
        if values["stage"] == "validation":
            with torch.no_grad():
                trainer.model.clip.towers.visual_projection.weight.fill_(torch.nan)

    recipe = read_recipe(write_recipe(tmp_path, clip={"steps": 0}))
    (tmp_path / "out").mkdir()
    trainer = Trainer(recipe, tmp_path / "out", spoil, Processes(0, 1, torch.device("cpu")))
    with pytest.raises(
        TrainingStopped, match=r"at step 2 of .*a lower learning rate; the last checkpoint is in .*out$"
    ):
        trainer.run()
    assert (tmp_path / "out" / "state.pt").is_file()


def test_weights_that_are_not_finite_stop_the_run_in_validation(tmp_path: Path) -> None:
    wild = {**RECIPE["prost"], "learning_rate": 1e30, "clip_learning_rate": 1e30, "warmup": 0.0}
    changes = {"clip": {"steps": 0}, "prost": wild, "evaluate_every": 1}
    with pytest.raises(
        TrainingStopped, match=r"validation after step 1: the score of query .* is nan; try: a lower"
    ):
        run_recipe(write_recipe(tmp_path, **changes), tmp_path / "out")


def test_a_choice_on_few_videos_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="prost"):
        for videos in (2, 20):
            changes = {
                "clip": {"steps": 0},
                "prost": {**RECIPE["prost"], "steps": 1},
                "validation": f"toybox-{videos}",
            }
            run_recipe(write_recipe(tmp_path / str(videos), **changes), tmp_path / str(videos) / "out")
    (warning,) = caplog.messages
    assert warning.startswith("the best step is chosen on 2 videos")


class LeaderOfTwo(Processes):
    """The leading one of two processes, whose other is not there to be asked."""

    def led(self, work: Callable[[], Any]) -> Any:
        return work()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": []}, r"the vision tower is trained; expected: freeze: \[clip.towers.vision_model"),
        ({}, r"memory, in 2 processes; expected: a folder"),
    ],
)
def test_frame_tokens_that_cannot_be_cached(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    stage = {**RECIPE["prost"], "freeze": FROZEN, **changes}
    recipe = read_recipe(
        write_recipe(tmp_path, clip={"steps": 0}, toybox=CLIPS, prost=stage, cache_frame_tokens="memory")
    )
    kind = LeaderOfTwo if "2 processes" in message else Processes
    processes = kind(0, 2 if kind is LeaderOfTwo else 1, torch.device("cpu"))
    (tmp_path / "out").mkdir()
    with pytest.raises(BadConfig, match=message):
        Trainer(recipe, tmp_path / "out", None, processes).run()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        run_recipe(write_recipe(tmp_path), tmp_path / "file" / "out")


CLIPS = {"workers": 0, "clips": 14, "twins": 0.3, "moments": 0.3, "long": 0.0}
FROZEN = ["clip.towers.vision_model", "clip.towers.visual_projection"]
RIVALS = {
    "seqLSTM": {"architecture": "clip4clip", "temporal": "seqLSTM"},
    "ts2net": {"architecture": "ts2net", "selected_tokens": 2, "selection_samples": 4, "temporal_layers": 1},
}


@pytest.mark.parametrize("kind", ["seqLSTM", "ts2net"])
def test_every_architecture_is_trained_from_one_clip(uninterrupted: Path, tmp_path: Path, kind: str) -> None:
    """On cached frame tokens, in parts; the vision tower stays that of the start, to the bit."""
    stage = {"steps": 3, "batch_size": 6, "micro_batch": 4, "learning_rate": 1e-3, "freeze": FROZEN}
    recipe = {
        "start": str(uninterrupted / "best"), "model": {"name": kind, **RIVALS[kind]}, "toybox": CLIPS, "prost": stage,
        "cache_frame_tokens": "memory", "precision": "fp32", "validation": "toybox-10", "evaluate_every": 2,
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    best = run_recipe(path, tmp_path / "out")
    model, start = load(tmp_path / "out" / "last"), load(uninterrupted / "best")
    assert load(best).config == model.config
    moved = set()
    for name, tensor in model.clip.state_dict().items():
        if not torch.equal(tensor, start.clip.state_dict()[name]):
            moved.add(name)
    assert moved and not any("vision" in name or "visual" in name for name in moved)
    lines = log_of(tmp_path / "out")
    assert [line["step"] for line in lines if line["stage"] == "validation"] == [2, 3]
    assert {"stage": "frame tokens", "step": 14, "steps": 14} in lines
    facts = json.loads((best / "training.json").read_text())
    assert facts["data"]["counts"] == {"train": 14, "validation": 10}
    assert facts["data"]["selected_on"] == "toybox-10"
    assert facts["recipe"]["seed"] == 0 and facts["versions"]["torch"]
    assert facts["trained_parameters"] < sum(p.numel() for p in model.parameters())


def test_a_cut_and_cached_run_resumes_to_the_bit(tmp_path: Path) -> None:
    """Dropout, parts of a batch, activation checkpointing, a frozen tower and cached tokens together."""
    stage = {**RECIPE["prost"], "micro_batch": 4, "freeze": FROZEN, "activation_checkpointing": True}
    changes = {
        "clip": {"steps": 0}, "toybox": CLIPS, "prost": stage, "cache_frame_tokens": str(tmp_path / "tokens"),
        "model": {**RECIPE["model"], "dropout": 0.2},
    }  # fmt: skip

    def interrupt(values: dict[str, Any]) -> None:
        if values["stage"] == "prost":
            os.kill(os.getpid(), signal.SIGINT)

    recipe = write_recipe(tmp_path, **changes)
    run_recipe(recipe, tmp_path / "whole")
    with pytest.raises(TrainingStopped, match="stopped in stage 'prost' after step 1 of 4"):
        run_recipe(recipe, tmp_path / "parts", interrupt)
    run_recipe(recipe, tmp_path / "parts")
    ended, expected = (
        torch.load(tmp_path / out / "state.pt", weights_only=True) for out in ("parts", "whole")
    )
    assert all(torch.equal(ended["model"][key], tensor) for key, tensor in expected["model"].items())
    assert ended["best"] == expected["best"]
    assert len(list((tmp_path / "tokens").iterdir())) == 1


def test_checkpointed_activations_change_nothing(tmp_path: Path) -> None:
    plain = {"clip": {"steps": 0}, "prost": {**RECIPE["prost"], "steps": 2}, "evaluate_every": 9}
    ended = []
    for name, kept in (("plain", False), ("checkpointed", True)):
        stage = {**plain["prost"], "activation_checkpointing": kept}
        run_recipe(write_recipe(tmp_path / name, **{**plain, "prost": stage}), tmp_path / name / "out")
        ended.append(torch.load(tmp_path / name / "out" / "state.pt", weights_only=True)["model"])
    for key, tensor in ended[0].items():
        torch.testing.assert_close(ended[1][key], tensor, msg=key)


def test_weights_that_are_no_numbers_name_the_videos(uninterrupted: Path, tmp_path: Path) -> None:
    wild = {**RECIPE["prost"], "learning_rate": 1e30, "clip_learning_rate": 1e30, "warmup": 0.0}
    changes = {"clip": {"steps": 0}, "prost": wild, "toybox": CLIPS, "evaluate_every": 9}
    with pytest.raises(
        TrainingStopped,
        match=r"at step \d of stage 'prost' \((not finite|in the batch): toybox clip \d+,.*; try: a low",
    ) as caught:
        run_recipe(write_recipe(tmp_path, **changes), tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_two_processes_under_torchrun_end_where_one_ends(tmp_path: Path) -> None:
    """Real processes, gloo, the command line: the same losses and gradients, one log, one set of files.

    Without grounding, whose regions are compared within a process. Weights are not compared one by one: where a
    gradient is zero but for rounding (the biases of keys), Adam makes whole steps of it.
    """
    changes = {
        "model": {**RECIPE["model"], "dropout": 0.0},
        "toybox": {"workers": 0, "grounding": 0.0},
        "clip": {"steps": 0},
        "prost": {**RECIPE["prost"], "micro_batch": 2},
    }
    alone, shared = (write_recipe(tmp_path / name, **changes) for name in ("alone", "shared"))
    run_recipe(alone, tmp_path / "alone" / "out")
    finished = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29611",
            "-m", "prost", "train", str(shared), "--output", str(tmp_path / "shared" / "out"),
        ],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=550,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1].endswith("out/best")
    one, two = (
        [line for line in log_of(tmp_path / name / "out") if line["stage"] == "prost"]
        for name in ("alone", "shared")
    )
    assert [line["step"] for line in two] == [line["step"] for line in one] == [1, 4]
    for name, allowed in (("loss", 1e-3), ("gradient", 1e-2), ("logit_scale", 1e-2)):
        found, expected = ([line[name] for line in lines] for lines in (two, one))
        assert found == pytest.approx(expected, rel=allowed), name
    assert len([line for line in log_of(tmp_path / "shared" / "out") if line["stage"] == "validation"]) == 2
    assert (
        load(tmp_path / "shared" / "out" / "best").config == load(tmp_path / "alone" / "out" / "best").config
    )


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
