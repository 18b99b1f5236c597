"""Options that several commands share, and the library that they name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prost.apps.cli.output import say

if TYPE_CHECKING:
    from prost.search.library import Library

DEFAULT_MODEL = "toybox"
# Beside the tables: what was given as `--model`, so that it need not be given again.
MODEL_NOTE = "model.txt"


def default_library() -> str:
    """Where the library lies when nobody says where."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return str(Path(data).expanduser() / "prost" / "library.prost")


LibraryOption = Annotated[
    str,
    typer.Option(
        "--library",
        envvar="PROST_LIBRARY",
        default_factory=default_library,
        show_default="~/.local/share/prost/library.prost",
        help="A folder, or a place on an object store (s3://...).",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        show_default="the library's own; for a new one, toybox",
        help="A bundled model, a folder, a weights file, or owner/name on the hub.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def make_or_open_library(path: str, model: str | None) -> Library:
    """Open a library for adding; it is made if absent.

    Args:
        path: of the library.
        model: name or path; None for the library's own, and for Toybox's where there is none yet.

    Raises:
        ModelMismatch: the library was made by another model.
    """
    from prost.model.checkpoint import load_prost
    from prost.search.library import Library

    given = model or _noted_model(path)
    if given is None:
        given = DEFAULT_MODEL
        say(f"note: the model is {given}, which knows only drawn things; for real videos give --model")
    library = Library(path, load_prost(given))
    if "://" not in path:
        Path(library.path, MODEL_NOTE).write_text(_lasting(given), encoding="utf-8", errors="surrogateescape")
    return library


def open_library(path: str, model: str | None) -> Library:
    """Open a library for searching.

    Args:
        path: of the library.
        model: name or path; None for the library's own.

    Raises:
        MissingPath: there is no library, or its model is no longer where it was.
        ModelMismatch: the library was made by another model.
    """
    from prost.model.checkpoint import load_prost
    from prost.search.library import Library

    made_by = Library(path).description  # before the model is loaded: a wrong path should be told at once
    library_model = load_prost(model or _noted_model(path) or made_by.model)
    return Library(path, library_model)


def _noted_model(path: str) -> str | None:
    note = Path(path).expanduser() / MODEL_NOTE
    return note.read_text(encoding="utf-8", errors="surrogateescape") if note.is_file() else None


def _lasting(model: str) -> str:
    """A name stays as it is; a path becomes absolute, so that it holds from any folder."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model
