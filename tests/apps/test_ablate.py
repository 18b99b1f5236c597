"""`prost ablate`: a table on the screen and in files; and the grids that stand in the repository."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from prost.training.grid import read_grid

Prost = Callable[..., Any]
TABLES = Path(__file__).parents[2] / "recipes" / "tables"


def test_a_grid_becomes_a_table(prost: Prost, untrained_folder: Path, tmp_path: Path) -> None:
    recipe = {
        "start": str(untrained_folder),
        "toybox": {"workers": 0},
        "prost": {"steps": 1, "batch_size": 3},
        "precision": "fp32",
        "validation": "toybox-6",
        "evaluate_every": 1,
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    grid = {
        "title": "Two rates",
        "recipes": {"ProST": "tiny.yaml"},
        "vary": {"prost.learning_rate": [1e-4, 1e-3]},
        "seeds": [3],
        "evaluation": {"name": "toybox-8", "bank": 0},
    }
    (tmp_path / "rates.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    arguments = (
        "ablate",
        tmp_path / "rates.yaml",
        "--output",
        tmp_path / "out",
        "--results",
        tmp_path / "results",
    )
    said = prost(*arguments)
    assert said.code == 0, said.err
    assert "Two rates" in said.out and "learning rate" in said.out and "0.001" in said.out
    assert "rates: 2 of 2: ProST {0.001}, seed 3" in said.err
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "rates.md", "rates.tex", "rates.csv", "rates.json",
    }  # fmt: skip
    (values,) = prost(*arguments, "--json").json
    assert [cell["name"] for cell in values["cells"]] == ["ProST {0.0001}", "ProST {0.001}"]


def test_a_grid_that_cannot_be_read_is_wrong_use(prost: Prost, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("title: x\nrecipe: a.yaml\n")
    said = prost("ablate", tmp_path / "grid.yaml")
    assert (said.code, said.out) == (2, "")
    assert "unknown key 'recipe'" in said.err or "recipes" in said.err
    assert said.err.count("\n") == 1
    assert prost("ablate", tmp_path / "none.yaml").code == 2


def test_two_grids_of_one_name_would_share_a_table(prost: Prost, tmp_path: Path) -> None:
    said = prost("ablate", tmp_path / "a" / "g.yaml", tmp_path / "b" / "g.yaml", "--output", tmp_path / "out")
    assert said.code == 2 and "two grids are called g; expected: names that differ" in said.err
    assert not (tmp_path / "out").exists()


def test_tables_that_cannot_be_written_are_told_before_the_runs(prost: Prost, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    grid = TABLES / "2-models.yaml"
    said = prost("ablate", grid, "--output", tmp_path / "runs", "--results", tmp_path / "file")
    assert (said.code, said.out) == (1, "")
    assert "2-models.md cannot be written: Not a directory" in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_tables_of_the_paper_can_be_read(path: Path) -> None:
    grid, cells = read_grid(path)
    # The last one compares two decoders, of which the paper has one.
    assert len(grid.seeds) >= 3 and (grid.published is not None or path.stem == "6-events")
    recipes = [recipe for cell in cells for recipe in cell.recipe.values()]
    budgets = {(recipe["start"], str(recipe["toybox"]), str(recipe["prost"])) for recipe in recipes}
    assert len(budgets) == 1  # the same start, clips and steps for every model


def test_there_are_six_of_them() -> None:
    assert [path.stem for path in sorted(TABLES.glob("*.yaml"))] == [
        "1-time", "2-models", "3-post-processing", "4-layers", "5-long-videos", "6-events",
    ]  # fmt: skip
    _, cells = read_grid(TABLES / "4-layers.yaml")
    assert len(cells) == 9
