"""`prost train`: trains a model as a recipe says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from prost.apps.cli.options import DeviceOption, ProcessesOption
from prost.apps.cli.output import print_line
from prost.errors import UsageError
from prost.training.launching import is_worker, launch


def train(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A YAML file; see the folder recipes.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            show_default="runs/NAME, after the recipe",
            help="Folder of the run; an interrupted run in it is continued.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value of the recipe, such as benchmark.folder=/data/msrvtt or prost.epochs=1; may be "
            "repeated.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    processes: ProcessesOption = 1,
) -> None:
    """Train a model as a recipe says.

    On several machines: torchrun --nnodes 2 --nproc-per-node 8 ... -m prost train RECIPE
    """
    if processes > 1 and not is_worker():
        raise SystemExit(launch(context.obj, processes))  # they have said what there is to say
    from prost.training.trainer import run_recipe

    best = run_recipe(
        recipe,
        output or Path("runs") / recipe.stem,
        report=_print_line,
        device=device,
        changes=dict(map(_change, changes or [])),
    )
    if os.environ.get("RANK", "0") == "0":  # only one of the processes that torchrun starts prints
        print_line(f"the best model is in {best}")


def _change(given: str) -> tuple[str, Any]:
    """The key and the value of KEY=VALUE; the value is read as YAML.

    Raises:
        UsageError: no KEY=VALUE, or no YAML.
    """
    import yaml

    key, equals, value = given.partition("=")
    if not key or not equals:
        raise UsageError(f"--set {given}", "KEY=VALUE", "--set prost.epochs=1")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(f"--set {given}: the value is not YAML", suggestion="quotes around it") from None


def _print_line(values: dict[str, Any]) -> None:
    print_line(line_of_log(values))


def line_of_log(values: dict[str, Any]) -> str:
    """One line of the log for people; only R@1 of a table of metrics."""
    shown = {
        name: value["R@1"] if isinstance(value, dict) else value
        for name, value in values.items()
        if not isinstance(value, dict) or "R@1" in value
    }
    return "  ".join(f"{name} {_short(value)}" for name, value in shown.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
