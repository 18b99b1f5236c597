"""Grids for real, in the small: cells, seeds, resuming, and tables in the paper's form."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from prost.data.toybox import read_captions
from prost.errors import BadConfig, MissingPath, TrainingStopped
from prost.evaluation.comparison import compare
from prost.evaluation.machine import machine_line
from prost.training.grid import read_grid, run_grid, training_seconds
from prost.training.grid_tables import grid_comparisons, grid_table, grid_values, reference, write_grid

RECIPE: dict[str, Any] = {
    "model": {
        "name": "tiny",
        "clip": {
            "image_size": 32, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64,
            "text_layers": 1, "text_positions": 40,
        },
        "width": 16, "frames": 2, "max_words": 40, "object_prototypes": 3, "phrase_prototypes": 4,
        "token_shift_blocks": [], "token_shift_divisions": 2,
    },
    "toybox": {"workers": 0},
    "clip": {"steps": 0, "batch_size": 4},
    "prost": {"steps": 1, "batch_size": 4},
    "precision": "fp32",
    "validation": "toybox-6",
    "evaluate_every": 1,
}  # fmt: skip
GRID: dict[str, Any] = {
    "title": "Layers",
    "recipes": {"ProST": "tiny.yaml"},
    "vary": {"model.frame_layers": [1, 2], "model.event_layers": [1]},
    "seeds": [0, 1],
    "evaluation": {"name": "toybox-12", "bank": 20},
    "published": "layers",
}


def write(folder: Path, name: str = "layers", **changes: Any) -> Path:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**GRID, **changes}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("grid")
    told: list[str] = []
    return folder, run_grid(write(folder), folder / "out", told.append), told


def test_every_combination_is_a_cell_with_every_seed(tmp_path: Path) -> None:
    path = write(tmp_path, vary={"model.frame_layers": [1, 2], "model.token_shift_blocks": [[], [0]],
                                 "model.window": [0.1, 0.2, 0.3]})  # fmt: skip
    _, cells = read_grid(path)
    assert len(cells) == 12
    assert cells[0].name == "ProST {1, off, 0.1}" and cells[-1].name == "ProST {2, 0, 0.3}"
    assert cells[-1].recipe[1]["model"]["window"] == 0.3
    assert [cell.recipe[1]["seed"] for cell in cells] == [1] * 12
    assert cells[0].recipe[0]["model"]["object_prototypes"] == 3  # what is not varied stays


def test_the_table_has_the_mean_and_spread_of_the_runs(ran: Any) -> None:
    _, result, told = ran
    assert [line.split(" (")[0] for line in told if line.startswith("layers: ")] == [
        "layers: 1 of 4: ProST {1, 1}, seed 0",
        "layers: 2 of 4: ProST {2, 1}, seed 0",
        "layers: 3 of 4: ProST {1, 1}, seed 1",
        "layers: 4 of 4: ProST {2, 1}, seed 1",
    ]
    table = grid_table(result)
    assert table.columns == ("model", "frame layers", "event layers", "R@1", "R@5", "R@10", "MdR", "MnR")
    values = [run.report.row().values["MnR"] for run in result.runs["ProST {2, 1}"]]
    mean, spread = sum(values) / 2, abs(values[0] - values[1]) / 2**0.5
    assert table.rows[1][:3] == ("ProST", "2", "1")
    assert table.rows[1][-1] == f"{mean:.1f} ± {spread:.1f}"
    assert values[0] != values[1]  # seeds are seeds
    ours, theirs = table.rows[:2], table.rows[2:]
    assert len(theirs) == 9 and all("published (msrvtt-9k)" in row[0] for row in theirs)
    assert not any("published" in row[0] for row in ours)
    assert theirs[4][1:4] == ("2", "2", "48.2")


def test_reports_say_with_what_they_were_made(ran: Any) -> None:
    _, result, _ = ran
    run = result.runs["ProST {2, 1}"][1]
    assert (run.report.setting.training_seed, run.report.setting.videos) == (1, 12)
    assert run.report.setting.bank_captions == 0  # no method asks for it
    assert run.report.setting.model == "ProST {2, 1}"


def test_the_precision_of_an_evaluation_is_chosen_and_stated(ran: Any) -> None:
    folder, result, _ = ran
    assert result.runs["ProST {1, 1}"][0].report.setting.precision == "fp32"
    again = run_grid(write(folder, "fast", precision="bf16"), folder / "out", lambda _: None)
    assert {run.report.setting.precision for runs in again.runs.values() for run in runs} == {"bf16"}
    assert len(list((folder / "out" / "cells").iterdir())) == 4  # nothing is trained again


def test_finished_cells_are_not_run_again_and_grids_share_them(ran: Any) -> None:
    folder, result, _ = ran
    logs = sorted((folder / "out").glob("cells/*/run/log.jsonl"))
    before = [log.read_text() for log in logs]
    told: list[str] = []
    again = run_grid(folder / "layers.yaml", folder / "out", told.append)
    assert [log.read_text() for log in logs] == before
    assert grid_table(again).rows == grid_table(result).rows
    run_grid(
        write(folder, "one", vary={"model.frame_layers": [2], "model.event_layers": [1]}),
        folder / "out",
        told.append,
    )
    assert sorted((folder / "out").glob("cells/*/run/log.jsonl")) == logs


def test_a_stopped_grid_is_carried_on(tmp_path: Path) -> None:
    path = write(tmp_path, vary={}, seeds=[0, 1])

    def stop(line: str) -> None:
        if ": 2 of 2" in line:
            raise TrainingStopped("stopped by hand")

    with pytest.raises(TrainingStopped):
        run_grid(path, tmp_path / "out", stop)
    assert len(list((tmp_path / "out").glob("cells/*/report-*/report.json"))) == 1
    result = run_grid(path, tmp_path / "out", lambda line: None)
    assert [run.report.setting.training_seed for run in result.runs["ProST"]] == [0, 1]


@pytest.fixture
def on_own_pairs(tmp_path: Path, toybox_folder: Path) -> Path:
    """A grid of one cell on a table of pairs: six videos to train on, two to validate on, and all for the report."""
    rows = read_captions(toybox_folder)
    splits = [*["train"] * 4, *["val"] * 2, *["test"] * 2]
    lines = [
        f'{toybox_folder / row["video"]},"{row["captions"][0]}",{split}'
        for row, split in zip(rows, splits, strict=True)
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(["video,caption,split", *lines]) + "\n")
    pairs = {"name": "pairs", "folder": str(tmp_path / "pairs.csv")}
    recipe = {**RECIPE, "benchmark": pairs}
    del recipe["validation"], recipe["toybox"]
    path = write(tmp_path, vary={}, seeds=[0], evaluation={**pairs, "bank": 0}, published=None)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    return path


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_captions_that_change_are_another_result(on_own_pairs: Path, split: str) -> None:
    """Training depends on train and val, the report on test as well; neither is reused for other captions."""
    folder = on_own_pairs.parent
    run_grid(on_own_pairs, folder / "out", lambda line: None)
    run_grid(on_own_pairs, folder / "out", lambda line: None)
    assert len(list(folder.glob("out/cells/*"))) == len(list(folder.glob("out/cells/*/report-*"))) == 1
    table = (folder / "pairs.csv").read_text().splitlines()
    rows = [line.rsplit(",", 1) for line in table]
    places = [place for place, row in enumerate(rows) if row[1] == split]
    captions = [rows[place][0].split(",", 1)[1] for place in places]
    for place, caption in zip(places, captions[1:] + captions[:1], strict=True):
        table[place] = f"{rows[place][0].split(',', 1)[0]},{caption},{split}"
    (folder / "pairs.csv").write_text("\n".join(table) + "\n")
    run_grid(on_own_pairs, folder / "out", lambda line: None)
    cells, reports = (len(list(folder.glob(f"out/cells/{of}"))) for of in ("*", "*/report-*"))
    assert (cells, reports) == ((1, 2) if split == "test" else (2, 2))


def test_a_table_names_the_machines_that_did_the_work(ran: Any) -> None:
    _, result, _ = ran
    here = machine_line(torch.device("cpu"))
    assert grid_values(result)["machines"] == {"trained": [here], "evaluated": [here]}
    first, *others = result.runs["ProST {1, 1}"]
    elsewhere = replace(
        first,
        training_machine="a GPU",
        report=replace(first.report, setting=replace(first.report.setting, machine="another GPU")),
    )
    moved = replace(result, runs={**result.runs, "ProST {1, 1}": (elsewhere, *others)})
    notes = grid_table(moved).notes
    assert f"trained on {here} and on a GPU" in notes
    assert f"evaluated on {here} and on another GPU" in notes


def test_the_temperatures_of_the_inverted_softmax_are_stated(ran: Any) -> None:
    folder, _, _ = ran
    result = run_grid(
        write(folder, "softmax", methods=["inverted_softmax"]), folder / "out", lambda line: None
    )
    first, *others = result.runs["ProST {1, 1}"]
    warmer = replace(
        first, report=replace(first.report, setting=replace(first.report.setting, temperature=0.5))
    )
    own = first.report.setting.temperature
    for runs, expected in (((first, *others), f"{own:.4g}"), ((warmer, *others), f"{own:.4g} to 0.5")):
        table = grid_table(replace(result, runs={**result.runs, "ProST {1, 1}": runs}))
        assert f"temperature of the inverted softmax: {expected}, the model's own" in table.notes
        assert table.rows[1][3] == f"inverted softmax (temperature {expected}; transductive)"


def test_rows_for_post_processing_and_columns_for_times(ran: Any, tmp_path: Path) -> None:
    folder, _, _ = ran
    path = write(
        folder, "both", methods=["inverted_softmax", "qb_norm", "hungarian"], times=True, published="time"
    )
    result = run_grid(path, folder / "out", lambda line: None)
    table = grid_table(result)
    temperature = result.runs["ProST {1, 1}"][0].report.setting.temperature
    assert [row[3] for row in table.rows[:4]] == [
        "none",
        f"inverted softmax (temperature {temperature:.4g}; transductive)",
        "QB-Norm (not transductive)",
        "Hungarian (TVH) (transductive)",
    ]
    assert table.columns[-3:] == ("training (s)", "feature extraction (s)", "similarity search (s)")
    assert all(float(cell.split(" ± ")[0]) >= 0 for cell in table.rows[0][-3:])
    assert table.rows[3][5:9] == ("", "", "", "")  # an assignment has R@1 alone
    assert table.rows[-1][-3:] == ("3960.000", "134.220", "0.490")
    first, second = result.runs["ProST {1, 1}"]
    assert first.times["extraction"] > 0 and first.times["search"] > 0 and second.times == {}
    assert (first.report.setting.training_seed, first.report.setting.bank_captions) == (0, 20)


def test_claims_are_those_of_the_paired_bootstrap(ran: Any) -> None:
    _, result, _ = ran
    (found,) = grid_comparisons(result)
    a, b = ([run.report for run in result.runs[name]] for name in ("ProST {1, 1}", "ProST {2, 1}"))
    assert found.result == compare(a, b).result
    assert any(str(found) in note for note in grid_table(result).notes)
    means = {name: sum(run.report.row().values["R@1"] for run in runs) for name, runs in result.runs.items()}
    assert means[reference(result)] == max(means.values())


def test_all_four_forms_are_written(ran: Any, tmp_path: Path) -> None:
    _, result, _ = ran
    assert write_grid(result, tmp_path) == tmp_path / "layers.md"
    table = grid_table(result)
    assert list(csv.reader(io.StringIO((tmp_path / "layers.csv").read_text())))[1:] == [
        *map(list, table.rows)
    ]
    values = json.loads((tmp_path / "layers.json").read_text())
    assert values == json.loads(json.dumps(grid_values(result)))
    assert [cell["varied"] for cell in values["cells"]] == [
        {"model.frame_layers": 1, "model.event_layers": 1}, {"model.frame_layers": 2, "model.event_layers": 1}
    ]  # fmt: skip
    assert len(values["cells"][0]["runs"]) == 2 and len(values["published"]) == 9
    assert r"\toprule" in (tmp_path / "layers.tex").read_text()
    assert "toybox-12, test split: gallery of 12 videos" in (tmp_path / "layers.md").read_text()


def test_what_is_wrong_in_any_cell_is_found_before_anything_runs(tmp_path: Path) -> None:
    for changes, message in (
        ({"vary": {"model.frame_layer": [1]}}, "'frame_layers'"),
        ({"vary": {"model.frame_layers": [2, 0]}}, "frame_layers"),
        ({"vary": {"evaluate_every.x": [1]}}, "evaluate_every is a value without keys"),
        ({"vary": {"seed": [1]}}, "their own key"),
        ({"vary": {"model.window": []}}, "has no value"),
        ({"vary": {"model.window": [1, 2, 1]}}, "model.window has one value twice"),
        ({"seeds": [0, 0]}, "seeds: one is given twice"),
        ({"methods": ["nnn", "nnn"]}, "methods: one is given twice"),
        ({"methods": ["dsl"]}, "inverted_softmax"),
        ({"reference": "ProST {9, 9}"}, r"ProST \{1, 1\}"),
        ({"seed": [1]}, "'seeds'"),
    ):
        with pytest.raises(BadConfig, match=message):
            read_grid(write(tmp_path, **changes))
    with pytest.raises(MissingPath, match=r"gone\.yaml does not exist"):
        read_grid(write(tmp_path, recipes={"ProST": "gone.yaml"}))


def test_seconds_of_a_training_with_stages_and_an_interruption(tmp_path: Path) -> None:
    lines = [
        {"stage": "length", "of": "clip"}, {"stage": "clip", "seconds": 1.0}, {"stage": "clip", "seconds": 5.0},
        # The second stage is slower: its first line has more seconds than the last one of the first stage.
        {"stage": "length", "of": "prost"}, {"stage": "prost", "seconds": 6.0}, {"stage": "prost", "seconds": 9.0},
        {"stage": "validation", "step": 3},
        {"stage": "length", "of": "prost"}, {"stage": "prost", "seconds": 1.5}, {"stage": "prost", "seconds": 4.0},
    ]  # fmt: skip
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert training_seconds(path) == 5.0 + 9.0 + 4.0
