"""Fine-tuning on real files: parts that share no video, a report before and after, a recipe to do it again."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prost.data.benchmarks import load_benchmark
from prost.data.toybox import write
from prost.errors import BadConfig, MissingVideos, TrainingStopped, UsageError
from prost.model.checkpoint import load, save
from prost.model.retrieval_model import RetrievalModel
from prost.training.distributed import Processes
from prost.training.finetune import FineTuning, finetune
from prost.training.recipe import read_recipe
from prost.training.run_folder import alone_in

MakeModel = Callable[..., RetrievalModel[Any, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten drawn videos and a table of pairs, two captions each."""
    folder = tmp_path_factory.mktemp("own")
    write(folder, videos=10, seed=3, split="train")
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    (folder / "captions.jsonl").unlink()
    table = ["video,caption"]
    table += [f'{row["video"]},"{caption}"' for row in rows for caption in row["captions"][:2]]
    (folder / "pairs.csv").write_text("\n".join(table) + "\n")
    return folder


def test_before_and_after_on_videos_kept_apart(make_model: MakeModel, folder: Path, tmp_path: Path) -> None:
    save(make_model("meanP"), tmp_path / "start")
    settings = FineTuning(epochs=2, batch_size=4, learning_rate=1e-3, clip_learning_rate=1e-3, held_out=0.3)
    out = tmp_path / "out"
    result = finetune(str(tmp_path / "start"), folder / "pairs.csv", folder, out, settings)
    assert result is not None
    assert result.counts == {"train": 6, "val": 1, "test": 3, "missing": 0}
    found = load_benchmark("pairs", out / "pairs.jsonl")
    parts = {name: {record.video for record in records} for name, records in found.splits.items()}
    assert len(set.union(*parts.values())) == sum(map(len, parts.values())) == 10
    report = json.loads((out / "report.json").read_text())
    assert report == json.loads(json.dumps(result.report))
    assert report["queries"] == 6
    for part in ("before", "after"):
        low, high = report[part]["R@1"]["interval"]
        assert low <= report[part]["R@1"]["value"] <= high
    moved = report["after"]["R@1"]["value"] - report["before"]["R@1"]["value"]
    assert report["R@1_difference"]["difference"] == pytest.approx(moved)
    assert load(result.model).config == load(tmp_path / "start").config
    recipe = read_recipe(out / "recipe.yaml")
    assert (recipe.prost.epochs, recipe.prost.batch_size, recipe.validation) == (2, 4, "val")
    facts = json.loads((result.model / "training.json").read_text())
    assert facts["data"]["selected_on"] == "val" and facts["data"]["counts"]["train"] == 6


def test_a_run_on_other_pairs_is_left_as_it_is(make_model: MakeModel, folder: Path, tmp_path: Path) -> None:
    save(make_model("meanP"), tmp_path / "start")
    settings = FineTuning(epochs=1, batch_size=4)
    given = (str(tmp_path / "start"), folder / "pairs.csv", folder, tmp_path / "out")
    assert finetune(*given, settings) is not None

    def kept() -> dict[str, bytes]:
        files = ("pairs.jsonl", "recipe.yaml", "report.json", "best/training.json", "state.pt")
        return {name: (tmp_path / "out" / name).read_bytes() for name in files}

    before = kept()
    lines = (folder / "pairs.csv").read_text().splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")  # other videos are held out
    with pytest.raises(TrainingStopped, match="contains a run of other pairs"):
        finetune(given[0], other, folder, tmp_path / "out", settings)
    with pytest.raises(TrainingStopped, match="contains a run of another recipe"):
        finetune(*given, FineTuning(epochs=2, batch_size=4))
    assert kept() == before
    alone = Processes(0, 1, torch.device("cpu"))
    with alone_in(tmp_path / "out", alone), pytest.raises(TrainingStopped, match="is training in"):
        finetune(*given, settings)


def test_a_frozen_tower_stays(make_model: MakeModel, folder: Path, tmp_path: Path) -> None:
    save(make_model("prost"), tmp_path / "start")
    settings = FineTuning(epochs=1, batch_size=64, learning_rate=1e-3, freeze_vision=True)
    result = finetune(str(tmp_path / "start"), folder / "pairs.csv", None, tmp_path / "out", settings)
    assert result is not None
    start, model = load(tmp_path / "start").state_dict(), load(result.model).state_dict()
    vision = [name for name in start if "vision" in name or "visual" in name]
    assert vision and all((start[name] == model[name]).all() for name in vision)
    assert not (start["event_decoder.queries"] == model["event_decoder.queries"]).all()
    assert len(list((tmp_path / "out" / "frame_tokens").glob("*.npy"))) == 1


def test_captions_without_videos(make_model: MakeModel, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text((folder / "pairs.csv").read_text() + "gone.mp4,a red ball falls\n")
    with pytest.raises(MissingVideos, match=r"1 video of 11 in the train split of .* not found \(gone.mp4"):
        finetune("toybox", table, folder, tmp_path / "out", FineTuning())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"learning_rate": -1.0}, r"learning_rate: .* greater than 0 \(got -1\.0\)"),
        ({"clip_learning_rate": -1.0}, "clip_learning_rate: .* greater than or equal to 0"),
        ({"batch_size": 1}, "batches of 1; expected: 2 or more"),
        ({"epochs": 0}, "0 epochs"),
        ({"held_out": 1.5}, "a fraction of 1.5 to hold out"),
    ],
)
def test_settings_that_make_no_training(
    folder: Path, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    """Also with a test split of its own, which leaves nothing to hold out."""
    table = tmp_path / "pairs.csv"
    lines = (folder / "pairs.csv").read_text().splitlines()
    splits = ["split", *(["test"] * 4), *(["train"] * (len(lines) - 5))]
    table.write_text("".join(f"{line},{split}\n" for line, split in zip(lines, splits, strict=True)))
    with pytest.raises(BadConfig, match=said):
        finetune("toybox", table, folder, tmp_path / "out", FineTuning(**wrong))
    assert not (tmp_path / "out").exists()


def test_too_few_videos(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join((folder / "pairs.csv").read_text().splitlines()[:3]) + "\n")
    with pytest.raises(
        UsageError, match=r"1 video, of which a part is to be held out; expected: at least two videos"
    ):
        finetune("toybox", table, folder, tmp_path / "out", FineTuning())


@pytest.mark.slow
def test_several_processes_write_one_report_about_the_best_model(
    make_model: MakeModel, folder: Path, tmp_path: Path
) -> None:
    save(make_model("meanP"), tmp_path / "start")
    out = tmp_path / "out"
    finished = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port(),
         "-m", "prost", "finetune", str(tmp_path / "start"), str(folder / "pairs.csv"), "--output", str(out),
         "--epochs", "1", "--batch-size", "4", "--held-out", "0.3", "--json"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=550,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    report = json.loads((out / "report.json").read_text())
    assert json.loads(finished.stdout) == report  # one process prints
    assert report["model"] == str(out / "best") and load(report["model"])
    facts = json.loads((out / "best" / "training.json").read_text())
    assert facts["machine"]["processes"] == 2


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
