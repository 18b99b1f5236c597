"""`prost eval` and `prost compare`: measure how well models retrieve, and compare the reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from prost.apps.cli.options import (
    MODEL_HELP,
    DeviceOption,
    JsonOption,
    MaxWordsOption,
    ObjectPhraseWeightOption,
    PrecisionOption,
    overrides_of,
)
from prost.apps.cli.output import print_json, print_line, print_table, say
from prost.errors import UsageError
from prost.model.catalogue import BUNDLED

if TYPE_CHECKING:
    from prost.evaluation.mteb_model import MtebModel

Sampling = Literal["middles", "authors"]
Split = Literal["train", "val", "test"]
COMPARED = ("R@1", "R@5", "R@10", "MnR")


# What `--mteb` runs on and prints, and what it can be given; the rest belongs to our own reports.
_WITH_MTEB = {
    "model",
    "mteb",
    "download",
    "sampling",
    "output",
    "max_words",
    "object_phrase_weight",
    "device",
    "precision",
    "as_json",
}


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help=MODEL_HELP)] = BUNDLED,
    benchmark: Annotated[
        str,
        typer.Argument(
            help="toybox-N for a gallery of N videos, toybox-long-N for N clips of long videos, a folder that "
            "`prost toybox` wrote, or with --folder a benchmark (msrvtt-9k, didemo, vatex, lsmdc, youcook2, "
            "msvd, activitynet, pairs ...)."
        ),
    ] = "toybox-1k",
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder of the benchmark's annotations.")
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option("--videos", show_default="the same folder", help="Folder of the benchmark's videos."),
    ] = None,
    split: Annotated[Split, typer.Option("--split", help="Split to evaluate.")] = "test",
    sampling: Annotated[
        Sampling,
        typer.Option(
            "--sampling",
            help="How frames are sampled: middles of equal parts, or as the authors' code does.",
        ),
    ] = "middles",
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Evaluate although videos are missing; every table says so."),
    ] = False,
    bank: Annotated[
        int,
        typer.Option(
            "--bank", min=0, help="Number of training captions that QB-Norm and NNN use, text to video."
        ),
    ] = 1000,
    bank_videos: Annotated[
        int,
        typer.Option("--bank-videos", min=0, help="Number of training videos that they use, video to text."),
    ] = 0,
    reversed_videos: Annotated[
        int,
        typer.Option(
            "--reversed",
            min=0,
            help="Largest number of videos of a Toybox gallery to show backwards too; others cannot be tested so.",
        ),
    ] = 200,
    plain: Annotated[bool, typer.Option("--plain", help="Without post-processing.")] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the bootstrap and of the choice of the bank.")
    ] = 0,
    noise: Annotated[
        bool,
        typer.Option("--noise-test", help="First check that random features are found at chance level only."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for the report as JSON, CSV, Markdown and LaTeX."),
    ] = None,
    save_scores: Annotated[
        Path | None,
        typer.Option(
            "--save-scores",
            help="NumPy file (.npz) for the score matrices, with the ids of videos and captions.",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery", help="HTML file for the worst failures: the true video, and those that came first."
        ),
    ] = None,
    gallery_size: Annotated[
        int, typer.Option("--gallery-size", min=1, help="Largest number of failures in that file.")
    ] = 20,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            min=1e-6,
            show_default="the model's own",
            help="Temperature of the inverted softmax, for cosines; the tables state it.",
        ),
    ] = None,
    tune_temperature: Annotated[
        bool,
        typer.Option(
            "--tune-temperature",
            help="Choose the temperature by R@1 on the val split of the same benchmark.",
        ),
    ] = False,
    mteb: Annotated[
        str | None,
        typer.Option(
            "--mteb",
            help="Instead: a task of mteb of text and video (MSRVTTT2V ...), or a folder with corpus.jsonl, "
            "queries.jsonl and qrels.jsonl. Needs the extra mteb.",
        ),
    ] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="With --mteb: fetch the task's videos where they are not here."),
    ] = False,
    max_words: MaxWordsOption = None,
    object_phrase_weight: ObjectPhraseWeightOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "fp32",
    as_json: JsonOption = False,
) -> None:
    """Measure how well a model retrieves: each score, both directions, each post-processing, with intervals."""
    from prost.data.writing import expect_writable
    from prost.evaluation.benchmark import evaluate_set, training_seed, tuned_plan
    from prost.evaluation.mteb_model import MtebModel
    from prost.evaluation.noise import noise_test
    from prost.evaluation.report_files import JSON_FILE, write_report, write_scores
    from prost.evaluation.report_tables import report_tables
    from prost.evaluation.rows import RankingPlan
    from prost.evaluation.sets import SetConfig, open_set
    from prost.export.outputs import suffix_of
    from prost.model.checkpoint import load
    from prost.model.encoding import choose_device

    # What cannot be written is told now, not after the evaluation.
    if save_scores is not None:
        suffix_of(save_scores, (".npz",))
    expect_writable(None if output is None else output / JSON_FILE, save_scores, gallery)
    if mteb is not None:
        _expect_alone(context)
        opened = load(
            model, device, **overrides_of(max_words=max_words, object_phrase_weight=object_phrase_weight)
        )
        _evaluate_with_mteb(
            MtebModel(opened, model, precision=precision, sampling=sampling),
            mteb,
            download=download,
            output=output,
            as_json=as_json,
        )
        return
    if download:
        raise UsageError("--download without --mteb", "a task of mteb to fetch")
    if tune_temperature and temperature is not None:
        raise UsageError("--temperature with --tune-temperature", "one of them")
    choose_device(device)  # before data and model are opened: a wrong name is reported at once
    config = SetConfig(
        name=benchmark,
        folder=folder,
        videos=videos,
        split=split,
        sampling=sampling,
        allow_missing=allow_missing,
        bank=0 if plain else bank,
        bank_videos=0 if plain else bank_videos,
        seed=seed,
    )
    data = open_set(config, reversed_videos=reversed_videos)
    overrides = overrides_of(max_words=max_words, object_phrase_weight=object_phrase_weight)
    opened = load(model, device, **overrides)
    plan = RankingPlan(methods=(), seed=seed) if plain else RankingPlan(seed=seed)
    if temperature is not None:
        plan = replace(plan, temperature=temperature, temperature_source="given")
    elif tune_temperature:
        validation = config.model_copy(update={"split": "val", "bank": 0, "bank_videos": 0})
        plan = tuned_plan(opened, open_set(validation), plan, precision=precision)
    tested = None
    if noise:
        tested = noise_test(opened, plan=plan)
        tested.check()
    report = evaluate_set(
        opened, data, plan, name=model, training_seed=training_seed(model), precision=precision
    )
    if tested is not None:
        report = replace(report, noise=tested.to_dict())
    if output is not None:
        write_report(report, output)
        say(f"the report is in {output}")
    if save_scores is not None:
        write_scores(report, data, save_scores)
        say(f"the scores are in {save_scores}")
    if gallery is not None:
        from prost.page.failures import write_failures

        shown = write_failures(gallery, opened, report, data, most=gallery_size)
        say(f"the worst failures ({shown}) are in {gallery}")
    if as_json:
        print_json(report.to_dict())
        return
    tables = report_tables(report, with_intervals=("R@1",))
    for table in tables:
        headings = [f">{name}" if place >= table.words else name for place, name in enumerate(table.columns)]
        print_table(headings, table.rows, table.title)
    for note in tables[0].notes:
        print_line(note)


def _expect_alone(context: typer.Context) -> None:
    """Refuse what was given beside `--mteb` and would have no effect."""
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in _WITH_MTEB and source is not None and source.name == "COMMANDLINE":
            shown = parameter.opts[0] if parameter.opts[0].startswith("-") else str(context.params[name])
            raise UsageError(f"--mteb with {shown}", "a task of mteb alone: it has its own videos and scores")


def _evaluate_with_mteb(
    model: MtebModel, name: str, *, download: bool, output: Path | None, as_json: bool
) -> None:
    """Run the task and show what mteb found."""
    from prost.evaluation.mteb_tasks import open_task, run_task, shown_scores, write_result

    result = run_task(model, open_task(name, say, download=download))
    if output is not None:
        say(f"the result is in {write_result(result, output)}")
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    print_table(
        ["split", "subset", "score", ">percent"],
        [[split, subset, score, f"{value:.1f}"] for split, subset, score, value in shown_scores(result)],
        f"mteb {result.mteb_version}: {result.task_name}, data {result.dataset_revision}",
    )


def compare(
    a: Annotated[Path, typer.Argument(help="A folder of `prost eval --output`.")],
    b: Annotated[Path, typer.Argument(help="A second one, on the same videos and captions.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two reports row by row; claim a difference only where a paired bootstrap supports it."""
    from prost.evaluation.comparison import compare as compare_reports
    from prost.evaluation.comparison import not_compared
    from prost.evaluation.report_files import read_report
    from prost.evaluation.report_tables import row_titles

    first, second = read_report(a), read_report(b)
    shared = {row.key for row in second.rows}
    found = [
        compare_reports(
            [first],
            [second],
            metric,
            score=row.score,
            direction=row.direction,
            post_processing=row.post_processing,
            names=(str(a), str(b)),
        )
        for row in first.rows
        if row.key in shared
        for metric in COMPARED
        if metric in row.values
    ]
    for line in not_compared(first, second, ("a", "b")):
        say(f"note: {line}")
    if as_json:
        print_json([comparison.to_dict() for comparison in found])
        return
    print_table(
        ["score", "direction", "post-processing", "metric", ">a - b", ">low", ">high", "verdict"],
        [
            [
                *row_titles(comparison.row),
                comparison.metric,
                f"{comparison.result.difference:+.1f}",
                f"{comparison.result.low:+.1f}",
                f"{comparison.result.high:+.1f}",
                comparison.verdict,
            ]
            for comparison in found
        ],
        f"a: {a}, b: {b}",
    )
