"""`prost finetune`: trains a model further on one's own captioned videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prost.apps.cli.options import (
    MODEL_HELP,
    DeviceOption,
    JsonOption,
    MaxWordsOption,
    ObjectPhraseWeightOption,
    PrecisionOption,
    ProcessesOption,
    overrides_of,
)
from prost.apps.cli.output import print_json, print_line, print_table, say
from prost.apps.cli.train import line_of_log
from prost.training.launching import is_worker, launch

if TYPE_CHECKING:
    from prost.training.finetune import FineTuned


def finetune(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(help=MODEL_HELP),
    ],
    pairs: Annotated[
        Path, typer.Argument(help="A CSV or JSONL file with columns video, caption and optionally split.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder of the run; made if absent.")],
    videos: Annotated[
        Path | None,
        typer.Option("--videos", show_default="the folder of the pairs", help="Folder of the videos."),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Number of passes over the videos.")] = 5,
    batch_size: Annotated[
        int,
        typer.Option("--batch-size", min=2, help="Videos per batch; they are contrasted with each other."),
    ] = 32,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Learning rate of the head.")
    ] = 1e-4,
    clip_learning_rate: Annotated[
        float, typer.Option("--clip-learning-rate", help="Learning rate of the backbone.")
    ] = 1e-7,
    freeze_vision: Annotated[
        bool, typer.Option("--freeze-vision", help="Do not train the vision tower; much faster.")
    ] = False,
    held_out: Annotated[
        float,
        typer.Option(
            "--held-out",
            help="Fraction of the videos held out for the report, if the pairs have no test split.",
        ),
    ] = 0.2,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out pairs whose video is missing.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Decoding processes.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the split and of the training.")] = 0,
    max_words: MaxWordsOption = None,
    object_phrase_weight: ObjectPhraseWeightOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    processes: ProcessesOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Train a model further on your own captioned videos; report before and after on held-out videos."""
    if processes > 1 and not is_worker():
        raise SystemExit(launch(context.obj, processes))  # they have said what there is to say
    from prost.training.finetune import FineTuning, finetune

    settings = FineTuning(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        clip_learning_rate=clip_learning_rate,
        freeze_vision=freeze_vision,
        held_out=held_out,
        allow_missing=allow_missing,
        workers=workers,
        seed=seed,
        device=device,
        precision=precision,
        overrides=overrides_of(max_words=max_words, object_phrase_weight=object_phrase_weight),
    )
    result = finetune(model, pairs, videos, output, settings, lambda values: say(line_of_log(values)))
    if result is None:  # only one of the processes that torchrun starts reports
        return
    if as_json:
        print_json(dict(result.report))
    else:
        _print_report(result, model)


def _print_report(result: FineTuned, start: str) -> None:
    report = result.report
    names = list(report["before"])
    print_table(
        ["model", *(f">{name}" for name in names)],
        [[part, *(_cell(report[part][name]) for name in names)] for part in ("before", "after")],
        f"{start}, text to video on {report['queries']} sentences about {report['videos']['test']} held-out videos",
    )
    difference = report["R@1_difference"]
    low, high = difference["interval"]
    verdict = (
        "better" if difference["better"] else "worse" if difference["worse"] else "no difference is shown"
    )
    print_line(f"R@1 {difference['difference']:+.1f} (95% interval {low:+.1f} to {high:+.1f}): {verdict}")
    if report["videos"]["missing"]:
        print_line(f"{report['videos']['missing']} videos were missing and left out")
    print_line(f"the model is in {report['model']}")


def _cell(column: dict[str, Any]) -> str:
    low, high = column["interval"]
    return f"{column['value']:.1f} ({low:.1f} to {high:.1f})"
