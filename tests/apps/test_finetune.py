"""`prost finetune`: one command from pairs to a report, and its mistakes in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Prost = Callable[..., Any]


@pytest.fixture
def pairs(toybox_folder: Path, tmp_path: Path) -> Path:
    rows = [json.loads(line) for line in (toybox_folder / "captions.jsonl").read_text().splitlines()]
    table = tmp_path / "pairs.csv"
    table.write_text(
        "\n".join(["video,caption", *(f'{row["video"]},"{row["captions"][0]}"' for row in rows)]) + "\n"
    )
    return table


def test_a_report_before_and_after(
    prost: Prost, untrained_folder: Path, pairs: Path, toybox_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["finetune", untrained_folder, pairs, "--videos", toybox_folder, "--output", run, "--epochs", "1"]
    words += ["--max-words", "20", "--object-phrase-weight", "0.5", "--precision", "fp32"]
    said = prost(*words, "--batch-size", "4", "--freeze-vision")
    assert said.code == 0, said.err
    config = json.loads((run / "best" / "config.json").read_text())
    assert (config["max_words"], config["object_phrase_weight"]) == (20, 0.5)
    assert "text to video on 2 sentences about 2 held-out videos" in said.out
    assert "before" in said.out and "after" in said.out and "95% interval" in said.out
    assert said.out.splitlines()[-1] == f"the model is in {run / 'best'}"
    assert "stage prost" in said.err
    again = prost(*words, "--batch-size", "4", "--freeze-vision", "--json")  # nothing is left to train
    assert again.json == json.loads((run / "report.json").read_text())
    assert again.json["videos"] == {"train": 5, "val": 1, "test": 2, "missing": 0}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--held-out", "1.5"], "a fraction of 1.5 to hold out"),
        (["--videos", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_mistakes_are_one_line(
    prost: Prost,
    untrained_folder: Path,
    pairs: Path,
    toybox_folder: Path,
    tmp_path: Path,
    words: list[str],
    told: str,
) -> None:
    if "--videos" not in words:
        words = [*words, "--videos", str(toybox_folder)]
    said = prost("finetune", untrained_folder, pairs, "--output", tmp_path / "run", *words)
    assert said.code == 2
    assert told in said.err and said.err.count("\n") == 1
