"""The door of the command line: the commands, and what becomes of an error.

Exit codes: 0 done; 1 failure; 2 wrong use; 130 stopped from the keyboard. An error is one line on stderr.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from prost import __version__
from prost.apps.cli.ablate import ablate
from prost.apps.cli.bench import bench
from prost.apps.cli.data import data
from prost.apps.cli.demo import demo
from prost.apps.cli.doctor import doctor
from prost.apps.cli.evaluate import compare, evaluate
from prost.apps.cli.finetune import finetune
from prost.apps.cli.index import index
from prost.apps.cli.optimize import optimize
from prost.apps.cli.output import say
from prost.apps.cli.search import search
from prost.apps.cli.toybox import toybox
from prost.apps.cli.train import train
from prost.errors import ProstError, StorageError

STOPPED = 130
NO_ROOM = "make room on the disk; what was stored before is intact"
NOT_ALLOWED = "check the permissions, or choose another place"
REFUSALS = {
    errno.ENOSPC: NO_ROOM,
    errno.EDQUOT: NO_ROOM,
    errno.EACCES: NOT_ALLOWED,
    errno.EPERM: NOT_ALLOWED,
    errno.EROFS: NOT_ALLOWED,
}

app = typer.Typer(
    name="prost",
    help="Find the right video, and the right moment in it, for a sentence.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(index)
app.command()(search)
app.command()(optimize)
app.command()(toybox)
app.command("eval")(evaluate)
app.command()(compare)
app.command()(ablate)
app.command()(train)
app.command()(finetune)
app.add_typer(data, name="data")
app.command()(doctor)
app.add_typer(bench, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"prost {__version__}")
        raise typer.Exit


@app.callback()
def _options_of_prost(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find the right video, and the right moment in it, for a sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after `prost`; those of this process when None.

    Returns:
        the exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        # A file's name may hold bytes that the terminal's encoding cannot show.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(arguments, prog_name="prost", standalone_mode=False) or 0
        sys.stdout.flush()
    except ProstError as error:
        return _failed(str(error), error.exit_code)
    except TyperException as error:
        return _failed(f"{error.format_message()}; try: prost --help", error.exit_code)
    except BrokenPipeError:
        # The reader has seen enough (`| head`); nothing may be written while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in REFUSALS:
            return _unexpected(error)
        place = f"{error.filename}: " if error.filename else ""
        refused = StorageError(f"{place}{error.strerror}", suggestion=REFUSALS[error.errno])
        return _failed(str(refused), refused.exit_code)
    except Exception as error:
        return _unexpected(error)
    if code == STOPPED:
        say("stopped")
    return code


def _failed(message: str, code: int) -> int:
    say(f"error: {' '.join(message.split())}")
    return code


def _unexpected(error: Exception) -> int:
    if os.environ.get("PROST_DEBUG") == "1":
        raise error
    return _failed(
        f"unexpected {type(error).__name__}: {error}; this is a fault in prost; try: the same with PROST_DEBUG=1, and "
        "report what it prints",
        1,
    )
