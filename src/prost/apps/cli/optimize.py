"""`prost optimize`: makes searches in a library fast."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from prost.apps.cli.giving_way import giving_way
from prost.apps.cli.options import JsonOption, LibraryOption, WaitOption, open_library
from prost.apps.cli.output import print_json, print_line, print_table, progress, say

if TYPE_CHECKING:
    from prost.search.optimizing import OptimizeReport

IndexKind = Literal["hnsw", "ivf-pq"]


def optimize(
    library: LibraryOption,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the codebooks again, even if they still fit.")
    ] = False,
    index: Annotated[
        IndexKind | None,
        typer.Option(
            "--index", help="Also build an index over event prototypes, for `prost search --coarse index`."
        ),
    ] = None,
    eager: Annotated[
        bool,
        typer.Option(
            "--eager",
            help="Compete with other processes for the processor; otherwise only time that they leave is used.",
        ),
    ] = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compact a library and bring its codes up to date, so that searches are fast.

    Searches remain possible meanwhile, and come first: this command takes the processor time that is left over.
    """
    with nullcontext() if eager else giving_way():
        report, clips = _optimized(library, retrain, index, wait)
    if as_json:
        print_json(asdict(report))
        return
    coding = report.coding
    for damage in coding.damaged:
        say(f"repaired: {damage}")
    if coding.trained:
        say(f"codebooks were trained: {coding.trained}")
    print_line(
        f"{coding.clips} clips have codes, {coding.coded} of them new; quantisation error "
        f"{coding.object_error:.3f} (objects), {coding.event_error:.3f} (events)"
    )
    rows = [
        [part.replace("_", " "), f"{size / 1e6:.1f}", f"{size / max(1, clips):.0f}"]
        for part, size in report.nbytes.items()
    ]
    print_table(["on disk", ">MB", ">bytes per clip"], rows)


def _optimized(
    library: str, retrain: bool, index: IndexKind | None, wait: bool
) -> tuple[OptimizeReport, int]:
    """What was done, and the number of clips."""
    from prost.errors import MissingPath, ModelNotHere
    from prost.search.library import Library

    with Library(library) as opened, progress("coding", "clips") as advance:
        report = opened.optimize(retrain=retrain, index=index, wait=wait, progress=advance)
        clips = opened.stats().clips
    if clips and not report.background:
        # Only an old library needs its model here: newer ones store how the unrelated sentences are encoded.
        try:
            with open_library(library, None, "auto") as opened:
                report.background = opened.optimize(wait=wait).background
        except (MissingPath, ModelNotHere) as error:
            say(f"note: how well hits fit stays unknown, since that needs the model: {error}")
    return report, clips
