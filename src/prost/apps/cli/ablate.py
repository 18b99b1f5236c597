"""`prost ablate`: runs a grid of recipes and prints its table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prost.apps.cli.options import DeviceOption, JsonOption
from prost.apps.cli.output import print_json, print_line, print_table, say
from prost.errors import UsageError


def ablate(
    grids: Annotated[list[Path], typer.Argument(help="YAML files; see the folder recipes/tables.")],
    output: Annotated[
        Path,
        typer.Option("--output", help="Folder for the runs; finished ones in it are not run again."),
    ] = Path("runs/grids"),
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            show_default="the output folder",
            help="Folder for the tables as JSON, CSV, Markdown and LaTeX.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate each cell of a grid with several seeds; print means, spreads and significant differences."""
    from prost.data.writing import expect_writable
    from prost.training.grid import evaluation_cache, read_grid, run_grid
    from prost.training.grid_tables import grid_table, grid_values, write_grid

    names = [path.stem for path in grids]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UsageError(
            f"two grids are called {repeated[0]}",
            "names that differ, since the tables are named after them",
            "one after the other, each with its own --results",
        )
    for path in grids:  # so that an error in the last grid is not reported after hours of work on the others
        read_grid(path)
        expect_writable(output / "cells" / "run", (results or output) / f"{path.stem}.md")
    cache = evaluation_cache()
    values = []
    for path in grids:
        result = run_grid(path, output, say, device=device, cache=cache)
        written = write_grid(result, results or output)
        say(f"the table is in {written}")
        if as_json:
            values.append(grid_values(result))
            continue
        table = grid_table(result)
        headings = [f">{name}" if place >= table.words else name for place, name in enumerate(table.columns)]
        print_table(headings, table.rows, table.title)
        for note in table.notes:
            print_line(note)
    if as_json:
        print_json(values)
