"""The card of a model: a README.md with metadata that the hub reads, written from the figures of its own runs.

Nothing in a card is guessed: what no file states is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prost.config import read_json
from prost.errors import MissingPath, UsageError
from prost.model.locating import is_hub_name
from prost.model.retrieval_model import RetrievalModel
from prost.model.saving import TRAINING

CARD = "README.md"
REPORT = "report.json"
TAGS = ("prost", "video-retrieval", "text-video-retrieval", "moment-retrieval")
METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")
SCORES = {
    "sum": "sum",
    "event_sentence": "event-sentence",
    "object_phrase": "object-phrase",
    "joint": "joint scorer, over the fifty best of the sum",
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is known of a model's training and quality, as plain values.

    Attributes:
        reports: evaluations, as `prost eval --output` writes them.
        training: `training.json` of a run; None where it is unknown.
    """

    reports: tuple[Mapping[str, Any], ...] = ()
    training: Mapping[str, Any] | None = None


def read_figures(places: Sequence[Path], model: RetrievalModel[Any, Any]) -> Figures:
    """Read evaluations and the record of a training.

    Args:
        places: `report.json` or `training.json`, or folders with one or both of them.
        model: the model that they must be about.

    Raises:
        MissingPath: a place with neither file.
        BadConfig: a file that is not JSON.
        UsageError: an evaluation of another model.
    """
    reports: list[Mapping[str, Any]] = []
    training = None
    for place in places:
        files = [place / REPORT, place / TRAINING] if place.is_dir() else [place]
        found = [file for file in files if file.is_file()]
        if not found:
            raise MissingPath(
                f"{place} holds no figures", f"{REPORT} or {TRAINING}", "the folder of `prost eval --output`"
            )
        for file in found:
            values = read_json(file)
            if "setting" in values:
                _expect_same_model(values, model, file)
                reports.append(values)
            elif "recipe" in values:
                training = values
            else:
                raise UsageError(
                    f"{file} is neither an evaluation nor the record of a training",
                    f"{REPORT} of `prost eval --output`, or {TRAINING} of `prost train`",
                )
    return Figures(reports=tuple(reports), training=training)


def model_card(
    model: RetrievalModel[Any, Any],
    name: str,
    figures: Figures | None = None,
    *,
    licence: str | None = None,
    half: bool = False,
) -> str:
    """Write the card of a model.

    Args:
        model: the model.
        name: under which it is opened: OWNER/NAME on the hub, or a folder.
        figures: of the model's runs.
        licence: an identifier that the hub knows, such as "apache-2.0"; None states none.
        half: whether the weights are stored as float16.

    Returns:
        Markdown after YAML.
    """
    figures = figures or Figures()
    title = name.rsplit("/", 1)[-1]
    parts = [
        f"---\n{yaml.safe_dump(_metadata(title, figures, licence), sort_keys=False, allow_unicode=True)}---",
        f"# {title}",
        "This model finds videos, and moments in them, by a sentence. The Python package `prost-video` opens it.",
        _use(name),
        _sizes(model, half),
    ]
    if figures.training is not None:
        parts.append(_training(figures.training))
    parts.append(_evaluation(figures.reports))
    return "\n\n".join(parts) + "\n"


def _expect_same_model(report: Mapping[str, Any], model: RetrievalModel[Any, Any], file: Path) -> None:
    measured = report["setting"].get("fingerprint")
    if measured != model.fingerprint:
        raise UsageError(
            f"{file} is an evaluation of another model ({measured})",
            f"one of this model ({model.fingerprint})",
            "prost eval with these weights",
        )


def _metadata(title: str, figures: Figures, licence: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {"library_name": "prost"}
    if licence is not None:
        values["license"] = licence
    values["tags"] = list(TAGS)
    if figures.training is not None:
        start = figures.training["recipe"].get("start")
        if isinstance(start, str) and is_hub_name(start):
            values["base_model"] = start
    if figures.reports:
        values["model-index"] = [{"name": title, "results": [_result(report) for report in figures.reports]}]
    return values


def _result(report: Mapping[str, Any]) -> dict[str, Any]:
    setting, columns = report["setting"], report["sum"]
    return {
        "task": {"type": "text-to-video-retrieval", "name": "Text to video retrieval"},
        "dataset": {"type": setting["benchmark"], "name": setting["benchmark"], "split": setting["split"]},
        "metrics": [
            {"type": metric, "value": round(columns[metric], 2), "name": f"{metric}, text to video"}
            for metric in METRICS
        ],
    }


def _use(name: str) -> str:
    return (
        "## Use\n\n"
        "```python\nimport prost\n\n"
        f"model = prost.load({json.dumps(name)}, download=True)\n"
        'text = model.encode_text(["a dog catches a frisbee"])\n'
        'video = model.encode_video(["clip.mp4"])\n'
        "score = model.match(text, video).total\n```\n\n"
        f"```console\n$ prost models pull {name}\n$ prost index ~/Videos --model {name}\n"
        '$ prost search "a dog catches a frisbee"\n```'
    )


def _sizes(model: RetrievalModel[Any, Any], half: bool) -> str:
    config = model.config
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    rows = {
        "architecture": type(model).__name__,
        "weights": f"{millions:.1f} million, stored as {'float16' if half else 'float32'}",
        "frames per clip": config.frames,
        "size of a frame": f"{config.image_size} x {config.image_size} pixels",
        "fit of a picture that is not square": config.image_fit,
        "tokens of a text": config.max_words,
        "width of a prototype": config.width,
        "fingerprint": f"`{model.fingerprint}`",
    }
    return "## Sizes\n\n" + _table(("what", "value"), [(key, str(value)) for key, value in rows.items()])


def _training(training: Mapping[str, Any]) -> str:
    recipe, data = training["recipe"], training.get("data", {})
    # A run trains a joint scorer or everything else, see `Recipe`.
    joint = bool(recipe.get("joint", {}).get("steps"))
    stage = recipe["joint" if joint else "prost"]
    length = f"{stage['steps']} steps" if stage.get("steps") is not None else f"{stage['epochs']} epochs"
    counts = data.get("counts", {})
    rows = {
        "data": data.get("name"),
        "videos": counts.get("train"),
        "best step chosen on": data.get("selected_on"),
        "best step": training.get("step"),
        "length": f"{length} in batches of {stage['batch_size']}",
        "trained": "the joint scorer alone; all else is that of the start" if joint else None,
        "learning rates": f"{stage['learning_rate']:g}"
        + ("" if joint else f", CLIP {stage['clip_learning_rate']:g}"),
        "weight decay": f"{stage['weight_decay']:g}",
        "seed": recipe["seed"],
    }
    table = _table(("what", "value"), [(key, str(value)) for key, value in rows.items() if value is not None])
    validation = training.get("validation", {}).get("joint" if joint else "sum")
    if not validation:
        return f"## Training\n\n{table}"
    return (
        f"## Training\n\n{table}\n\n"
        f"R@1 {validation['R@1']:.1f} on the videos that chose the best step, so that it is no result on unseen videos."
    )


def _evaluation(reports: Sequence[Mapping[str, Any]]) -> str:
    if not reports:
        return "## Evaluation\n\nNo evaluation of this model was given."
    parts = [
        "## Evaluation",
        "Text to video, without post-processing. Intervals: 95%, bootstrap over videos.",
    ]
    for report in reports:
        setting = report["setting"]
        of = setting["published_videos"]
        gallery = f"{setting['videos']:,} videos" + (f" of {of:,}" if of and of != setting["videos"] else "")
        parts.append(
            f"### {setting['benchmark']}, {setting['split']} split\n\n"
            + _table(
                ("score", *METRICS),
                [_score_row(title, report[score]) for score, title in SCORES.items() if score in report],
            )
        )
        notes = [
            f"gallery of {gallery}, {setting['captions']:,} captions; sampling: {setting['sampling']}",
            f"measured on {setting['machine']}, vision tower in {setting['precision']}",
            *setting["notes"],
        ]
        parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts)


def _score_row(title: str, columns: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = columns["R@1_interval"]
    first, *others = METRICS
    return (
        title,
        f"{columns[first]:.1f} ({low:.1f} to {high:.1f})",
        *(f"{columns[metric]:.1f}" for metric in others),
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows))
