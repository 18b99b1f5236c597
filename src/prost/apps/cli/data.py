"""`prost data`: checks the videos and captions of benchmarks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prost.apps.cli.checked import CheckedApp
from prost.apps.cli.index import with_detail
from prost.apps.cli.options import JsonOption
from prost.apps.cli.output import print_json, print_line, print_table, progress, say

if TYPE_CHECKING:
    from prost.data.check import DataCheck, SplitCheck

# Number of missing ids that are printed; `--json` prints all.
NAMED = 5

data = CheckedApp(rich_markup_mode=None)


@data.callback()
def _group() -> None:
    """Check the videos and captions of benchmarks."""


@data.command()
def check(
    name: Annotated[
        str,
        typer.Argument(
            help="msrvtt-9k, msrvtt-7k, msrvtt-full, didemo, didemo-prost, vatex, lsmdc, youcook2, msvd, activitynet, "
            "or pairs for your own videos and captions."
        ),
    ],
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of the annotations; for pairs, the CSV or JSONL file or its folder."),
    ],
    videos: Annotated[
        Path | None,
        typer.Option(
            "--videos",
            show_default="the same folder",
            help="Folder of the videos; they may lie anywhere below it.",
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="Number of videos of each split to decode.")
    ] = 50,
    decode_all: Annotated[bool, typer.Option("--all", help="Decode all videos.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the sample.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Decoding processes.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Report which files of a benchmark are there, which are missing, and which cannot be decoded.

    The exit code is 1 if the benchmark is incomplete.
    """
    from prost.data.benchmarks import load_benchmark
    from prost.data.check import check as check_benchmark

    benchmark = load_benchmark(name, folder, videos)
    with progress("decoding", "videos") as advance:
        report = check_benchmark(benchmark, None if decode_all else sample, seed, workers, advance)
    if as_json:
        print_json(
            {
                **asdict(report),
                "complete": report.complete,
                "splits": [{**asdict(split), "complete": split.complete} for split in report.splits],
            }
        )
    else:
        _print(report)
    if not report.complete:
        raise typer.Exit(1)


def _print(report: DataCheck) -> None:
    print_table(
        [
            "split",
            ">published",
            ">listed",
            ">found",
            ">missing",
            ">captions",
            ">decoded",
            ">undecodable",
            "",
        ],
        [_row(split) for split in report.splits],
        f"{report.benchmark} in {report.folder}",
    )
    for note in report.notes:
        print_line(f"note: {note}")
    for split in report.splits:
        if split.missing:
            rest = ", ..." if len(split.missing) > NAMED else ""
            say(f"missing in {split.name}: {', '.join(split.missing[:NAMED])}{rest}")
        for file in split.undecodable:
            say(f"cannot be decoded: {file.path}: {with_detail(file.reason, file.detail)}")


def _row(split: SplitCheck) -> list[str]:
    counts = (len(split.missing), split.captions, split.decoded, len(split.undecodable))
    return [
        split.name,
        "" if split.expected is None else f"{split.expected:,}",
        f"{split.listed:,}",
        f"{split.found:,}",
        *(f"{count:,}" for count in counts),
        "complete" if split.complete else "INCOMPLETE",
    ]
