"""`prost models`: lists, fetches, describes, converts, publishes and removes models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prost.apps.cli.checked import CheckedApp
from prost.apps.cli.options import MODEL_HELP, JsonOption
from prost.apps.cli.output import print_json, print_line, print_table, progress, say
from prost.errors import UsageError
from prost.printable import format_bytes

if TYPE_CHECKING:
    from prost.model.catalogue import CatalogueEntry
    from prost.model.locating import PulledModel

models = CheckedApp(rich_markup_mode=None, no_args_is_help=True)

NameArgument = Annotated[
    str,
    typer.Argument(help="A name of `prost models list`, or owner/name on the Hugging Face hub."),
]


@models.callback()
def _group() -> None:
    """List, fetch, describe, convert, publish and remove models."""


@models.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the models that prost knows by name, and others that were pulled."""
    from prost.model.locating import catalogue, pulled_models

    entries = catalogue()
    names = {entry.name for entry in entries}
    others = [record for record in pulled_models() if record.name not in names]
    if as_json:
        print_json([*map(asdict, entries), *(_of_record(record) for record in others)])
        return
    print_table(
        ["name", "here", ">size", "licence", "what for"],
        [
            *(_row(entry) for entry in entries),
            *([other.name, "yes", format_bytes(other.nbytes), "", other.source] for other in others),
        ],
    )
    print_line(
        "prost models pull NAME fetches one; prost models show NAME says more. What is empty is not known."
    )


@models.command()
def pull(
    name: NameArgument,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no host, as HF_HUB_OFFLINE=1 does.")
    ] = False,
) -> None:
    """Download a model, unless it is on this machine.

    An interrupted download continues where it stopped, and each file is compared with the hash that its host lists.
    HF_ENDPOINT and MODELSCOPE_ENDPOINT name other hosts, HF_TOKEN is the login for gated models.
    """
    from prost.model.fetching import pull as pull_model
    from prost.model.locating import find_named, read_record

    here = find_named(name) is not None
    try:
        with progress(f"pulling {name}", "MB") as show:
            folder = pull_model(
                name,
                lambda done, total, file: show(done // 10**6, max(1, total // 10**6), file),
                offline=offline,
            )
    except KeyboardInterrupt:
        say(f"prost models pull {name} goes on from here")
        raise
    record = read_record(folder)
    if here:
        print_line(f"{name} is on this machine already: {folder}")
    elif record is not None:
        print_line(f"{name}: {format_bytes(record.nbytes)} in {folder}, revision {record.revision}")
    print_line(f"next: prost index ~/Videos --model {name}")


@models.command()
def show(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    as_json: JsonOption = False,
) -> None:
    """Describe a model: where it is from, its configuration, its fingerprint and its size.

    The table of forms says how fast it encodes on this processor, as `prost bench encode` or a long `prost index`
    measured it.
    """
    from prost.model.catalogue import ENTRIES
    from prost.model.locating import find_named, is_name

    entry = ENTRIES.get(model)
    facts: dict[str, Any] = {} if entry is None else _of_entry(entry)
    if entry is not None and find_named(model) is None:
        facts["here"] = f"no; prost models pull {model}"
    else:
        facts |= _of_weights(model, named=is_name(model))
    if as_json:
        print_json(facts)
        return
    configuration, forms = facts.pop("configuration", {}), facts.pop("forms", None)
    rows = [[key.replace("_", " "), str(value)] for key, value in facts.items() if value]
    rows += [[f"configuration: {key}", str(value)] for key, value in configuration.items()]
    print_table(["what", "value"], rows, title=model)
    if forms:
        from prost.evaluation.form_gate import FormReport, form_table

        print_table(*form_table([FormReport(**form) for form in forms]), "Forms on this processor")
    elif forms is not None:
        print_line(
            f"its forms are not measured on this processor; prost bench encode --model {model} does it"
        )


@models.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help=MODEL_HELP)],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the model; made if absent.")],
    half: Annotated[
        bool, typer.Option("--half", help="Store float16, half the size; opened as float32.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is in OUT.")] = False,
) -> None:
    """Write a model of any form that prost opens as a folder of prost's own form."""
    from prost.model.checkpoint import load, save

    _expect_room(folder, force)  # before the model is loaded
    model = load(source, "cpu")
    save(model, folder, half=half)
    if half:
        model = load(folder, "cpu")  # float16 weights have a fingerprint of their own
    print_line(f"{folder}: {type(model).__name__} {model.config.name}, fingerprint {model.fingerprint}")


@models.command()
def push(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="On the Hugging Face hub; made if absent.")
    ],
    report: Annotated[
        list[Path] | None,
        typer.Option("--report", help="Folder of `prost eval --output`, for the card; may be repeated."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="An identifier that the hub knows, such as apache-2.0.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    half: Annotated[bool, typer.Option("--half", help="Store float16, half the size.")] = False,
    message: Annotated[str, typer.Option("--message", help="Of the commit.")] = "Upload a model of prost",
) -> None:
    """Upload a model with its tokenizer and a card to the Hugging Face hub, in one commit.

    The card states the figures of report.json and training.json beside the weights, and of --report. A README.md
    beside the weights is uploaded instead. HF_TOKEN or `hf auth login` is the login.
    """
    from prost.model.card import CARD, REPORT
    from prost.model.checkpoint import load
    from prost.model.hub import push as push_model
    from prost.model.saving import TRAINING

    opened = load(model, "cpu")
    beside = Path(model).expanduser()
    own = [beside] if any((beside / name).is_file() for name in (REPORT, TRAINING)) else []
    card = (beside / CARD).read_text("utf-8") if (beside / CARD).is_file() else None
    address = push_model(
        opened,
        repository,
        figures=[*own, *(report or [])],
        licence=licence,
        half=half,
        card=card,
        private=private or None,
        message=message,
    )
    print_line(f"{repository}: {address}")
    print_line(f"next, on any machine: prost models pull {repository}")


@models.command()
def rm(name: NameArgument) -> None:
    """Delete a model that was pulled, and what there is of an interrupted download."""
    from prost.model.fetching import remove

    say(f"removed {name}: {format_bytes(remove(name))} are free")


def _expect_room(folder: Path, force: bool) -> None:
    """Check that a model may be written into a folder: it is absent or empty, or holds a model that is replaced.

    Raises:
        UsageError: it is a file, or something else is in it.
    """
    from prost.model.saving import CONFIG

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "a folder for the model")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} holds files that are no model", "a new or empty folder", "another name")
    if not force:
        raise UsageError(
            f"{folder} holds a model", "a new or empty folder", "another name, or --force to replace it"
        )


def _row(entry: CatalogueEntry) -> list[str]:
    from prost.model.fetching import is_interrupted

    return [
        entry.name,
        "yes" if entry.here else "in part" if is_interrupted(entry.name) else "",
        "" if entry.bytes is None else format_bytes(entry.bytes),
        entry.licence,
        entry.note,
    ]


def _of_entry(entry: CatalogueEntry) -> dict[str, Any]:
    facts = asdict(entry)
    del facts["here"], facts["name"], facts["bytes"]
    return facts


def _of_record(record: PulledModel) -> dict[str, Any]:
    return {"name": record.name, "source": record.source, "bytes": record.nbytes, "here": True}


def _of_weights(model: str, *, named: bool) -> dict[str, Any]:
    """What only the files of a model tell."""
    from prost.evaluation.known_forms import recall_forms
    from prost.model.checkpoint import load
    from prost.model.locating import locate, read_record

    place = locate(model)
    record = read_record(place) if named else None
    loaded = load(model, "cpu")
    forms = recall_forms(loaded) or []
    files = [path for path in place.iterdir() if path.is_file()] if place.is_dir() else [place]
    return {
        "here": str(place),
        **({"revision": record.revision} if record else {}),
        "bytes": sum(path.stat().st_size for path in files),
        "model": type(loaded).__name__,
        "parameters": sum(weight.numel() for weight in loaded.parameters()),
        "fingerprint": loaded.fingerprint,
        "configuration": loaded.config.model_dump(mode="json"),
        "forms": [asdict(form) for form in forms],
    }
