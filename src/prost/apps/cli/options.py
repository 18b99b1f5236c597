"""Options that several commands share, and opening the library that they name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from prost.apps.cli.output import say
from prost.places import data_folder

if TYPE_CHECKING:
    from prost.model.prost import ProST
    from prost.search.library import Library

DEFAULT_MODEL = "toybox"
# File in the library's folder with what was given as `--model`, so that later commands need not be given it.
MODEL_NOTE = "model.txt"


def default_library() -> str:
    """Path of the library that is used where none is named."""
    return str(data_folder() / "library.prost")


LibraryOption = Annotated[
    str,
    typer.Option(
        "--library",
        envvar="PROST_LIBRARY",
        default_factory=default_library,
        show_default="~/.local/share/prost/library.prost",
        help="A folder, or a URI on an object store (s3://...).",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        show_default="the library's own; toybox for a new library",
        help="A bundled model, a folder, a weights file, or owner/name on the Hugging Face hub.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WaitOption = Annotated[
    bool,
    typer.Option("--wait", help="Wait while another process writes to the library, instead of failing."),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Leave out files and folders of this name, or of this path below the given folder if the glob has a "
        "slash; may be repeated.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, show_default="one fewer than the cores, at least one", help="Decoding processes."
    ),
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        help="Processes on this machine that share each batch; on GPUs one for each.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="Where the model runs: auto (a GPU if there is one), cpu, cuda, cuda:N or mps."
    ),
]

Precision = Literal["auto", "bf16", "fp32"]
PrecisionOption = Annotated[
    Precision,
    typer.Option("--precision", help="Of the vision tower; auto is bf16 where the hardware is fast at it."),
]
MaxWordsOption = Annotated[
    int | None,
    typer.Option(
        "--max-words",
        min=4,
        show_default="the model's own",
        help="Number of tokens of a text that the model reads, start and end included. The weights of the authors' "
        "GitHub code do not state it: it is 32, and 64 for DiDeMo and ActivityNet.",
    ),
]
ObjectPhraseWeightOption = Annotated[
    float | None,
    typer.Option(
        "--object-phrase-weight",
        min=0,
        show_default="the model's own",
        help="Weight of the object-phrase score in the sum; ProST only.",
    ),
]


def overrides_of(**given: Any) -> dict[str, Any]:
    """The overrides for `prost.load`: the options that were given."""
    return {name: value for name, value in given.items() if value is not None}


def make_or_open_library(path: str, model: str | None, device: str) -> Library:
    """Open a library for adding; it is made if absent.

    Args:
        path: path of the library.
        model: name or path; None for the library's own, and for `toybox` where there is no library yet.
        device: where the model runs.

    Raises:
        ModelMismatch: the library was made by another model.
        UsageError: the device is unknown or absent.
    """
    from prost.search.library import Library

    given = model or _noted_model(path)
    if given is None:
        given = DEFAULT_MODEL
        say(f"note: the model is {given}, which knows only drawn things; for real videos give --model")
    library = Library(path, load_named_model(given, device))
    if "://" not in path:
        from prost.search.durable import write_whole
        from prost.search.storage_errors import storage_errors

        with storage_errors(library.path):
            write_whole(Path(library.path, MODEL_NOTE), os.fsencode(_absolute_if_path(given)))
    return library


def open_library(path: str, model: str | None, device: str, **overrides: Any) -> Library:
    """Open a library for searching.

    Args:
        path: path of the library.
        model: name or path; None for the library's own.
        device: where the model runs.
        overrides: see `prost.load`.

    Raises:
        MissingPath: there is no library, or its model is no longer where it was.
        ModelMismatch: the library was made by another model.
        UsageError: the device is unknown or absent, or the model does not have what is to be changed.
    """
    from prost.search.library import Library

    Library(path)  # before the model is loaded: a wrong path is reported at once
    return Library(path, load_library_model(path, model, device, **overrides))


def load_library_model(path: str, model: str | None, device: str, **overrides: Any) -> ProST:
    """Load the model of a library, which need not be one that can be opened.

    Args:
        path: path of the library.
        model: name or path; None for what was noted when the library was made.
        device: where the model runs.
        overrides: see `prost.load`.

    Raises:
        MissingPath: there is no library, or its model is no longer where it was.
        UsageError: the device is unknown or absent, or the model does not have what is to be changed.
    """
    from prost.search.library import Library

    return load_named_model(
        model or _noted_model(path) or Library(path).description.model, device, **overrides
    )


def load_named_model(model: str, device: str, **overrides: Any) -> ProST:
    """Load a model that makes prototypes, by name or path; for arguments and errors see `load_prost`."""
    from prost.model.checkpoint import load_prost

    return load_prost(model, device, **overrides)


def _noted_model(path: str) -> str | None:
    note = Path(path).expanduser() / MODEL_NOTE
    if not note.is_file():
        return None
    # Older versions did not write the note in one step: it can be empty.
    return note.read_text(encoding="utf-8", errors="surrogateescape").strip() or None


def _absolute_if_path(model: str) -> str:
    """A name stays as it is; a path becomes absolute, so that it is right from any working directory."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model
