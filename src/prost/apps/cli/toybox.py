"""`prost toybox`: draws videos with captions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from prost.apps.cli.options import JsonOption
from prost.apps.cli.output import print_json, print_line, progress
from prost.printable import counted

Split = Literal["train", "val", "test"]


def toybox(
    folder: Annotated[Path, typer.Argument(help="The folder to write to; made if absent.")],
    videos: Annotated[int, typer.Option("--videos", min=1, help="Number of videos.")] = 60,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same videos.")] = 0,
    split: Annotated[
        Split,
        typer.Option(
            "--split", help="Which split to draw: each has its own combinations of things and attributes."
        ),
    ] = "test",
    as_json: JsonOption = False,
) -> None:
    """Draw small videos with captions: H.264 files, and captions.jsonl beside them."""
    from prost.data.toybox import write

    with progress("drawing", "videos") as advance:
        write(folder, videos=videos, seed=seed, split=split, progress=advance)
    written = {"folder": str(folder), "videos": videos, "captions": str(folder / "captions.jsonl")}
    if as_json:
        print_json(written)
    else:
        print_line(f"{counted(videos, 'video')} and captions.jsonl in {folder}")
