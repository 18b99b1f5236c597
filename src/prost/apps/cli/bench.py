"""`prost bench`: measures search on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from prost.apps.cli.checked import CheckedApp
from prost.apps.cli.output import print_line, print_table, progress, say
from prost.data.writing import expect_writable, written_whole
from prost.errors import UsageError
from prost.model.catalogue import BUNDLED

bench = CheckedApp(help="Measure how fast and how good search is on this machine.", no_args_is_help=True)


@bench.callback()
def _group() -> None:
    """Measure how fast and how good search is on this machine."""


@bench.command()
def search(
    clips: Annotated[int, typer.Option("--clips", min=10, help="Number of clips in the library.")] = 10_000,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Number of sentences to search for.")] = 50,
    videos: Annotated[
        int, typer.Option("--videos", min=12, help="Number of drawn videos that the clips are made from.")
    ] = 4000,
    model: Annotated[str, typer.Option("--model", help="A bundled model, a folder, or a weights file.")] = (
        BUNDLED
    ),
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            help="Widen the prototypes to the sizes of a published model: prost-b16, or clip-b16 (one object slot).",
        ),
    ] = None,
    rivals: Annotated[
        str,
        typer.Option(
            "--rivals",
            help="Indexes to compare with, separated by commas: event-hnsw, event-ivfpq, mean-hnsw; or none.",
        ),
    ] = "event-hnsw,event-ivfpq,mean-hnsw",
    work: Annotated[
        Path, typer.Option("--work", help="Folder for the generated libraries; existing ones are used again.")
    ] = Path("bench"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same clips.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Draw curves and histograms into this .png, .svg or .pdf file."),
    ] = None,
) -> None:
    """Search a generated library, and compare with exact scores of all clips and with indexes.

    The clips are recombined from the prototypes of drawn videos; how similar they are to real ones is measured too. The
    disk space needed is printed before it is used: 22 kB per clip, with --like prost-b16 85 kB. With --like, the time
    of the sentence is that of the small model.
    """
    from prost.bench.report import draw, expect_figure, tables, to_dict
    from prost.bench.run import BenchSettings, run

    if figure is not None:
        expect_figure(figure)
    expect_writable(json_file, figure)
    names = () if rivals == "none" else tuple(name.strip() for name in rivals.split(","))
    plan = BenchSettings(
        clips=clips,
        work=work,
        model=model,
        like=like,
        queries=queries,
        videos=videos,
        rivals=names,
        seed=seed,
    )
    with progress("bench", "steps") as advance:
        report = to_dict(run(plan, say, advance))
    for title, columns, rows in tables(report):
        print_table(columns, rows, title)
    _write_json(json_file, report)
    if figure is not None:
        draw(report, figure)


@bench.command()
def matching(
    texts: Annotated[int, typer.Option("--texts", min=1, help="Number of texts in the test set.")] = 1000,
    videos: Annotated[int, typer.Option("--videos", min=1, help="Number of videos in the test set.")] = 1000,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds", help="Time for each method; slower methods run on a part and are scaled up."
        ),
    ] = 15.0,
    width: Annotated[
        int, typer.Option("--width", min=64, help="Width D of the prototypes, a multiple of 64.")
    ] = 512,
    batch: Annotated[
        list[int],
        typer.Option(
            "--batch", min=2, help="Texts and videos of the batch of a training step; may be repeated."
        ),
    ] = [128],  # noqa: B006 (typer copies it)
    test_set: Annotated[str | None, typer.Option("--test-set", help="Only MSR-VTT, or only DiDeMo.")] = None,
    device: Annotated[
        str, typer.Option("--device", help="Where the scores are computed: cpu, cuda or cuda:N.")
    ] = "cpu",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Time the similarity search of the paper's Table 1 at its sizes: the authors' loops and prost.match.

    The prototypes are random, since the time does not depend on them. MSR-VTT has 12 frames per video, DiDeMo 64. A
    step of training on a batch, with its gradient, is timed beside them, by the plain einsum and by prost.match.
    """
    import dataclasses

    from prost.bench.matching import measure_matching, table
    from prost.bench.matching_ways import DIDEMO, MSRVTT
    from prost.model.encoding import choose_device

    expect_writable(json_file)
    known = {sizes.name: sizes for sizes in (MSRVTT, DIDEMO)}
    if test_set is not None and test_set not in known:
        raise UsageError(f"test set {test_set!r}", ", ".join(known))
    chosen = list(known.values()) if test_set is None else [known[test_set]]
    test_sets = [dataclasses.replace(sizes, texts=texts, videos=videos, width=width) for sizes in chosen]
    where = choose_device(device)
    with progress("bench", "groups") as advance:
        report = measure_matching(test_sets, seconds, advance, batches=batch, device=where)
    print_table(*table(report), f"Similarity search, {texts} texts x {videos} videos")
    for line in report.not_measured:
        print_line(f"not measured: {line}")
    _write_json(json_file, report.to_dict())


@bench.command()
def evidence(
    queries: Annotated[
        int, typer.Option("--queries", min=10, help="Number of drawn scenes, one query each.")
    ] = 300,
    model: Annotated[str, typer.Option("--model", help="A bundled model, a folder, or a weights file.")] = (
        BUNDLED
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Compare the evidence of a model with what was drawn: heat with boxes, event curves with times.

    Deletion and insertion tell how fast the score falls when the patches with most heat are covered, and how fast it
    rises when they are uncovered.
    """
    from prost.bench.evidence import measure_evidence, table
    from prost.model.checkpoint import load_prost

    expect_writable(json_file)
    with progress("bench", "queries") as advance:
        report = measure_evidence(load_prost(model), queries, advance)
    print_table(*table(report), f"Evidence of {report.model}, {report.queries} queries")
    _write_json(json_file, report.to_dict())


@bench.command()
def encode(
    model: Annotated[str, typer.Option("--model", help="A bundled model, a folder, or a weights file.")] = (
        BUNDLED
    ),
    clips: Annotated[
        int, typer.Option("--clips", min=11, help="Number of drawn clips that are ranked.")
    ] = 100,
    rounds: Annotated[
        int,
        typer.Option(
            "--rounds",
            min=1,
            help="Times that each form is timed; at most twice, if it is far slower than float32.",
        ),
    ] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Compare forms of the vision tower on this CPU: torch (float32, bf16, int8, compiled), ONNX Runtime, OpenVINO.

    A form keeps the ranking if at least 99 % of the ten best clips of fifty sentences stay, and no score changes by
    more than 0.02 (0.0001 for a form in float32). ONNX Runtime and OpenVINO need the extras `onnx` and `openvino`.
    The result is remembered, and `prost index` takes the fastest form that keeps the ranking.
    """
    from prost.bench.encode import measure_encode
    from prost.evaluation.form_gate import form_table
    from prost.model.checkpoint import load

    expect_writable(json_file)
    with progress("bench", "forms") as advance:
        report = measure_encode(load(model, "cpu"), clips, rounds, advance)
    print_table(*form_table(report.forms), f"Encoding with {report.model}, median of {rounds} rounds")
    _write_json(json_file, report.to_dict())


@bench.command()
def nomatch(
    queries: Annotated[
        int, typer.Option("--queries", min=20, help="Number of queries of each kind, and of indexed videos.")
    ] = 1000,
    model: Annotated[str, typer.Option("--model", help="A bundled model, a folder, or a weights file.")] = (
        BUNDLED
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Measure whether a search says when nothing fits: queries with and without their video in a drawn gallery.

    AUROC tells how well the two are told apart. The false alarm rate of a hit is compared with the fraction of queries
    without a video that reach it.
    """
    from prost.bench.nomatch import measure_no_match, table
    from prost.model.checkpoint import load_prost

    expect_writable(json_file)
    with progress("bench", "videos") as advance:
        report = measure_no_match(load_prost(model), queries, advance)
    print_table(*table(report), f"No good match, {report.model}, {queries} queries of each kind")
    _write_json(json_file, report.to_dict())


def _write_json(path: Path | None, report: dict[str, Any]) -> None:
    """Write the figures of a bench to the file that `--json` names, if any."""
    if path is not None:
        with written_whole(path) as place:
            place.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
