"""Entry point of the command line: registers the commands and turns errors into one line and an exit code.

Exit codes: 0 done; 1 failure; 2 wrong use; 130 stopped by Ctrl-C (143 by SIGTERM, 129 by SIGHUP). An error is one line
on stderr.
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
from prost.apps.cli.checked import CheckedApp
from prost.apps.cli.data import data
from prost.apps.cli.demo import demo
from prost.apps.cli.doctor import doctor
from prost.apps.cli.duplicates import duplicates
from prost.apps.cli.evaluate import compare, evaluate
from prost.apps.cli.explain import explain
from prost.apps.cli.export import export
from prost.apps.cli.finetune import finetune
from prost.apps.cli.index import index
from prost.apps.cli.list import list_videos
from prost.apps.cli.mcp import mcp
from prost.apps.cli.models import convert, models
from prost.apps.cli.optimize import optimize
from prost.apps.cli.output import print_line, say, warnings_on_stderr
from prost.apps.cli.remove import remove
from prost.apps.cli.search import search
from prost.apps.cli.serve import serve
from prost.apps.cli.spelling import as_typed, name_of_command, options_of
from prost.apps.cli.status import status
from prost.apps.cli.stopping import StopSignals
from prost.apps.cli.tag import tag, untag
from prost.apps.cli.toybox import toybox
from prost.apps.cli.train import train
from prost.apps.cli.watch import watch
from prost.errors import NO_ANSWER, OutOfMemory, ProstError, StorageError, TrainingInterrupted

# What typer returns after Ctrl-C.
INTERRUPTED = 130

NO_ROOM = "free some space on the disk; what was stored before is kept"
NOT_ALLOWED = "check the permissions, or choose another place"
CHECK_PATH = "check the path, or choose another place"
CHECK_DISK = "check the disk or the network share"
FEWER_FILES = "close other programs, or raise the limit on open files (ulimit -n)"
OUT_OF_MEMORY_ADVICE = "fewer workers, smaller batches, or close other programs"
# Error numbers by which the system refuses something. Any other is a fault in prost.
REFUSALS = {
    errno.ENOSPC: NO_ROOM,
    errno.EDQUOT: NO_ROOM,
    errno.EFBIG: NO_ROOM,
    errno.EACCES: NOT_ALLOWED,
    errno.EPERM: NOT_ALLOWED,
    errno.EROFS: NOT_ALLOWED,
    errno.ENOENT: CHECK_PATH,
    errno.ENOTDIR: CHECK_PATH,
    errno.EISDIR: CHECK_PATH,
    errno.EEXIST: CHECK_PATH,
    errno.ELOOP: CHECK_PATH,
    errno.ENAMETOOLONG: CHECK_PATH,
    errno.EIO: CHECK_DISK,
    **dict.fromkeys(NO_ANSWER, CHECK_DISK),
    errno.EMFILE: FEWER_FILES,
    errno.ENFILE: FEWER_FILES,
    errno.ENOMEM: OUT_OF_MEMORY_ADVICE,
}
# torch reports exhausted memory as a RuntimeError.
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")

app = CheckedApp(
    name="prost",
    help="Find the right video, and the right moment in it, for a sentence.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(index)
app.command()(watch)
app.add_typer(models, name="models")
app.command()(search)
app.command()(serve)
app.command()(explain)
app.command()(mcp)
app.command()(export)
app.command("list")(list_videos)
app.command()(status)
app.command()(tag)
app.command()(untag)
app.command()(remove)
app.command()(duplicates)
app.command()(optimize)
app.command()(toybox)
app.command("eval")(evaluate)
app.command()(compare)
app.command()(ablate)
app.command()(train)
app.command()(finetune)
app.command()(convert)
app.add_typer(data, name="data")
app.command()(doctor)
app.add_typer(bench, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"prost {__version__}")
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
        # The terminal's encoding may lack characters of a file name.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with StopSignals() as signals, warnings_on_stderr():
            try:
                return _run(arguments, signals)
            except KeyboardInterrupt:  # a signal while an error was being told
                say("stopped")
                return signals.exit_code
    except BrokenPipeError:
        # The reader has left (`| head`); nothing may be written while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: list[str], signals: StopSignals) -> int:
    try:
        code = app(arguments, prog_name="prost", standalone_mode=False, obj=arguments) or 0
        sys.stdout.flush()
    except KeyboardInterrupt:  # where typer does not catch it
        code = INTERRUPTED
    except TrainingInterrupted as error:
        if os.environ.get("RANK", "0") == "0":  # one of the processes of a training
            say(str(error))
        return error.exit_code
    except ProstError as error:
        return _failed(as_typed(error, options_of(app, arguments)), error.exit_code)
    except TyperException as error:
        return _failed(_wrong_words(error, arguments), error.exit_code)
    except BrokenPipeError:
        raise
    except typer.Abort as error:  # what typer makes of an EOFError
        return _unexpected(error.__context__ if isinstance(error.__context__, Exception) else error)
    except Exception as error:
        known = _known_failure(error)
        return _unexpected(error) if known is None else _failed(str(known), known.exit_code)
    if code == INTERRUPTED:
        say("stopped")
        return signals.exit_code
    return code


def _wrong_words(error: TyperException, arguments: Sequence[str]) -> str:
    """What typer says of words that it cannot parse, and whose help tells more."""
    message = error.format_message().replace("Value error, ", "").removesuffix(".")
    advice = f"{name_of_command(app, arguments)} --help"
    if message.startswith("Got unexpected extra argument"):
        advice = f"a sentence or a name with spaces in quotes, or {advice}"
    return f"{message}; try: {advice}"


def _known_failure(error: Exception) -> ProstError | None:
    """The same as an error of ours, where the machine refused something and no part of prost is at fault."""
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    ):
        return OutOfMemory("memory is exhausted", suggestion=OUT_OF_MEMORY_ADVICE)
    if isinstance(error, OSError) and error.errno in REFUSALS:
        if error.errno == errno.ENOMEM:
            return OutOfMemory("memory is exhausted", suggestion=OUT_OF_MEMORY_ADVICE)
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return StorageError(
            f"{place}{error.strerror or os.strerror(error.errno)}", suggestion=REFUSALS[error.errno]
        )
    return None


def _failed(message: str, code: int) -> int:
    say(f"error: {message}")
    return code


def _unexpected(error: Exception) -> int:
    if os.environ.get("PROST_DEBUG") == "1":
        raise error
    return _failed(
        f"unexpected {type(error).__name__}: {error}; this is a fault in prost; try: run it again with PROST_DEBUG=1, "
        "and report what it prints",
        1,
    )
