"""Options that several commands share, and opening the library that they name."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from prost.apps.cli.importing import collector_off
from prost.apps.cli.output import say
from prost.errors import MissingPath, ModelNotHere, UsageError
from prost.places import data_folder
from prost.printable import printable

if TYPE_CHECKING:
    from prost.model.dual_encoder import DualEncoder
    from prost.model.prost import ProST
    from prost.search.library import Library
    from prost.search.records import ClipSettings

# Variable with the model of new libraries, for those who always use the same.
MODEL_VARIABLE = "PROST_MODEL"
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
MODEL_HELP = "A name of `prost models list`, a folder, a weights file, or owner/name on the Hugging Face hub."
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        show_default="the library's own",
        help=MODEL_HELP,
    ),
]
AddingModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        show_default="the library's own; for a new library that of PROST_MODEL",
        help=MODEL_HELP + " A new library needs one.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WaitOption = Annotated[
    bool,
    typer.Option("--wait", help="Wait while another process writes to the library, instead of failing."),
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", help="A tag for these videos; may be repeated.")
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
# As `prost.video.Fit`, which would import the decoder for --help.
Fit = Literal["crop", "pad", "stretch", "tiles"]
FitOption = Annotated[
    Fit | None,
    typer.Option(
        "--fit",
        show_default="the library's own; for a new library that of the model's training",
        help="How pictures become square: crop keeps the square in the middle, pad the whole picture between two bars, "
        "stretch the whole picture without its shape, tiles the whole picture as squares that are indexed one by one, "
        "so that a 16:9 video takes twice the time and space. A library keeps what it was made with.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, show_default="one fewer than the cores, at least one", help="Decoding processes."
    ),
]


def _known_form(form: str) -> str:
    """The form, if there is one of that name: a mistake must not wait until there is something to encode."""
    if form != "auto":  # the names of the forms need torch
        from prost.search.choosing_form import expect_form

        expect_form(form)
    return form


FormOption = Annotated[
    str,
    typer.Option(
        "--form",
        callback=_known_form,
        metavar="NAME",
        help="How the vision tower is computed: a form that `prost bench encode` lists, such as fp32 or int8; or auto, "
        "the fastest that keeps the ranking on this machine, measured once at the first 500 clips or more.",
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
        max=1000,
        show_default="the model's own",
        help="Weight of the object-phrase score in the sum; not for CLIP4Clip and TS2-Net.",
    ),
]


def overrides_of(**given: Any) -> dict[str, Any]:
    """The overrides for `prost.load`: the options that were given."""
    return {name: value for name, value in given.items() if value is not None}


def load_for_adding(
    path: str, model: str | None, device: str, command: Sequence[str]
) -> tuple[str, ProST | DualEncoder]:
    """Load the model that adds videos to a library, whether or not the library is there yet.

    Args:
        path: path of the library.
        model: name or path; None for the library's own, and for that of `PROST_MODEL` where there is no library yet.
        device: where the model runs.
        command: words of the command without options, to be proposed with a model.

    Returns:
        the name or path, and the model.

    Raises:
        ModelNotHere: the model must be pulled first.
        UsageError: the device is unknown or absent, or there is neither a library nor a model.
    """
    given = model or _noted_model(path) or _described_model(path) or os.environ.get(MODEL_VARIABLE)
    if not given:
        raise _needs_model(path, command)
    return given, load_named_model(given, device)


def make_or_open_library(
    path: str, given: str, model: ProST | DualEncoder, *, clips: ClipSettings | None = None
) -> Library:
    """Open a library for adding; it is made if absent.

    Args:
        path: path of the library.
        given: by what name or path the model was opened, which is noted beside the tables.
        model: the model.
        clips: how videos are cut and made square; None for what the library has, or for a new one's default.

    Raises:
        ModelMismatch: the library was made by another model.
        LibraryError: the library was made with other clips.
    """
    from prost.search.library import Library

    library = Library(path, model, clips=clips)
    note_model(library.tables, given)
    return library


def clips_with(path: str, fit: Fit | None) -> ClipSettings | None:
    """The clip settings of a library, or of a new one, with the fit that was asked for; None where none was.

    Raises:
        LibraryDamaged: the library cannot be read.
        StorageError: the disk refuses.
    """
    if fit is None:
        return None
    from prost.search.description import read_description
    from prost.search.generations import library_root
    from prost.search.records import ClipSettings

    described = read_description(library_root(path))
    return replace(ClipSettings() if described is None else described.clips, fit=fit)


def note_model(tables: str, model: str) -> None:
    """Write down beside the tables of a library by what name or path its model is opened.

    Raises:
        StorageError: the disk or the object store refuses.
    """
    from prost.search.small_files import write_small

    write_small(tables, MODEL_NOTE, os.fsencode(_absolute_if_path(model)))


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
    with collector_off():
        import prost.model.checkpoint  # noqa: F401
        from prost.search.library import Library

    Library(path)  # before the model is loaded: a wrong path is reported at once
    return Library(path, load_library_model(path, model, device, **overrides))


def load_library_model(path: str, model: str | None, device: str, **overrides: Any) -> ProST | DualEncoder:
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
    return load_named_model(_library_model(path, model), device, **overrides)


def expect_library_model(path: str, model: str | None) -> None:
    """Check that the model of a library is on this machine, without loading it.

    Args:
        path: path of the library.
        model: name or path; None for what was noted when the library was made.

    Raises:
        MissingPath: there is no library, or its model is not where it should be.
        ModelNotHere: the model must be pulled first.
    """
    from prost.model.locating import locate

    locate(_library_model(path, model))


def _library_model(path: str, model: str | None) -> str:
    """By what name or path the model of a library is opened, where none is given.

    Raises:
        MissingPath: there is no library, or its model is no longer where it was.
    """
    from prost.model.locating import find_named, is_name, locate
    from prost.search.library import Library

    if model:
        return model
    noted = _noted_model(path)
    if noted is not None:
        try:
            locate(noted)
        except ModelNotHere:
            return noted  # told where it is loaded, with the command that fetches it
        except MissingPath:
            pass
        else:
            return noted
    # The model was moved, or the note is damaged. A name that the library's description tells may be right.
    made_by = Library(path).description.model
    if is_name(made_by) and (noted is None or find_named(made_by) is not None):
        return made_by
    raise MissingPath(
        f"the model {made_by} of {path} is not at {'any place that was noted' if noted is None else printable(noted)}",
        "the model that made the library",
        "--model with the place where it is now",
    )


def load_named_model(model: str, device: str, **overrides: Any) -> ProST | DualEncoder:
    """Load a model that makes prototypes, by name or path; for arguments and errors see `load_for_search`."""
    from prost.model.checkpoint import load_for_search

    return load_for_search(model, device, **overrides)


def _noted_model(path: str) -> str | None:
    from prost.search.generations import library_root
    from prost.search.small_files import read_small

    note = read_small(library_root(path), MODEL_NOTE)
    # Older versions did not write the note in one step: it can be empty.
    return os.fsdecode(note).strip() or None if note is not None else None


def _described_model(path: str) -> str | None:
    """Name of the model that made a library; None where there is no library."""
    from prost.search.description import read_description
    from prost.search.generations import library_root

    description = read_description(library_root(path))
    return None if description is None else description.model


def _needs_model(path: str, command: Sequence[str]) -> UsageError:
    """List the models that a new library can be made with; the error names the next command."""
    from prost.model.catalogue import BUNDLED, FIRST_CHOICE
    from prost.model.locating import catalogue

    entries = catalogue()
    say("a new library needs a model; `prost models list` shows sizes and licences:")
    for entry in entries:
        say(f"  {entry.name:<18}{entry.note}{' (on this machine)' if entry.here else ''}")
    here = [entry.name for entry in entries if entry.here and entry.name != BUNDLED]
    library = [] if path == default_library() else ["--library", path]
    chosen = here[0] if here else FIRST_CHOICE
    index = shlex.join([*command, *library, "--model", chosen])
    return UsageError(
        f"no model is given for the new library {path}",
        f"--model NAME, or the variable {MODEL_VARIABLE}",
        index if here else f"prost models pull {chosen} && {index}",
    )


def _absolute_if_path(model: str) -> str:
    """A name stays as it is; a path becomes absolute, so that it is right from any working directory."""
    from prost.model.locating import is_name

    return model if is_name(model) else str(Path(model).expanduser().absolute())
