"""`prost eval`: the table of a model on a gallery in memory, or on real files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Prost = Callable[..., Any]
METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")
PARTS = ("sum", "event_sentence", "object_phrase")


def test_json_has_the_metrics_of_each_part(prost: Prost, untrained_folder: Path) -> None:
    said = prost("eval", untrained_folder, "toybox-20", "--json")
    assert said.code == 0
    assert said.json["gallery"]["videos"] == 20
    for part in PARTS:
        values = said.json[part]
        assert 0 <= values["R@1"] <= values["R@5"] <= values["R@10"] <= 100
        assert 1 <= values["MdR"] <= 20 and 1 <= values["MnR"] <= 20


def test_real_files_are_a_gallery(prost: Prost, untrained_folder: Path, toybox_folder: Path) -> None:
    said = prost("eval", untrained_folder, toybox_folder, "--json")
    assert said.code == 0
    assert said.json["gallery"]["videos"] == 8
    assert said.json["sum"]["R@10"] == 100.0  # ten of eight


def test_the_table_names_parts_and_metrics(prost: Prost, untrained_folder: Path, toybox_folder: Path) -> None:
    said = prost("eval", untrained_folder, toybox_folder)
    assert said.code == 0
    for word in (*METRICS, "sum", "event-sentence", "object-phrase", "8 videos"):
        assert word in said.out


@pytest.mark.parametrize(
    "arguments", [("/no/such/model", "toybox-20"), ("MODEL", "msrvtt-1k"), ("MODEL", "/no/such")]
)
def test_what_is_not_there_is_wrong_use(
    prost: Prost, untrained_folder: Path, arguments: tuple[str, str]
) -> None:
    said = prost("eval", *(str(untrained_folder) if word == "MODEL" else word for word in arguments))
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ") and said.err.count("\n") == 1


@pytest.mark.slow
def test_the_bundled_model_is_as_good_as_the_readme_says(prost: Prost) -> None:
    values = prost("eval", "--json").json
    assert values["gallery"]["videos"] == 1000
    # README: 10.1 and 42.7; a little is left for other processors' arithmetic.
    assert values["sum"]["R@1"] == pytest.approx(10.1, abs=0.5)
    assert values["sum"]["R@10"] == pytest.approx(42.7, abs=1.0)
