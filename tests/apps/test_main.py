"""Exit codes and messages: one clear line on stderr, whatever happens."""

import errno
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer

from prost.errors import BadFilter, TrainingInterrupted, VideoError

# The package also exports the function `main`, so the module is imported by its full name.
command_line = importlib.import_module("prost.apps.cli.main")

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """An app with one command `raise` that raises what is put into `to_raise`."""
    app = typer.Typer()

    @app.callback()
    def anything() -> None:
        pass

    monkeypatch.setattr(command_line, "app", app)
    return app


def run_raising(app: typer.Typer, error: BaseException) -> int:
    @app.command("raise")
    def command() -> None:
        raise error

    return command_line.main(["raise"])


def test_a_failure_is_one_line_and_one(raising: typer.Typer, capsys: Capture) -> None:
    assert run_raising(raising, VideoError("a.mp4", "empty file")) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: a.mp4: empty file; try: ")
    assert err.count("\n") == 1


def test_wrong_use_is_two(raising: typer.Typer, capsys: Capture) -> None:
    assert run_raising(raising, BadFilter("where 'x'", "SQL")) == 2
    assert capsys.readouterr().err == "error: where 'x'; expected: SQL\n"


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EMFILE],
)
def test_a_disk_that_refuses_is_one_line(raising: typer.Typer, capsys: Capture, number: int) -> None:
    assert run_raising(raising, OSError(number, os.strerror(number), "/videos/page.html")) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: /videos/page.html: {os.strerror(number)}; try: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_exhausted_memory_is_nobodys_fault(raising: typer.Typer, capsys: Capture, error: Exception) -> None:
    assert run_raising(raising, error) == 1
    assert capsys.readouterr().err.startswith("error: memory is exhausted; try: fewer workers")


def test_memory_that_torch_or_numpy_cannot_get_is_nobodys_fault(
    raising: typer.Typer, capsys: Capture
) -> None:
    """The errors that the libraries really raise, for more memory than any address space has."""
    import numpy as np
    import torch

    for ask in (lambda: torch.empty(1 << 60, dtype=torch.int8), lambda: np.empty(1 << 60, dtype=np.int8)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            ask()
        assert run_raising(raising, caught.value) == 1
        err = capsys.readouterr().err
        assert err.startswith("error: memory is exhausted") and "fault in prost" not in err


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division\nby zero"),
        OSError(errno.EBADF, "bad file descriptor"),
    ],
)
def test_a_fault_of_ours_asks_for_a_report(
    raising: typer.Typer, capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.delenv("PROST_DEBUG", raising=False)
    assert run_raising(raising, error) == 1
    err = capsys.readouterr().err
    assert type(error).__name__ in err and "PROST_DEBUG=1" in err
    assert err.count("\n") == 1


def test_an_end_of_a_file_is_a_fault_with_its_own_name(
    raising: typer.Typer, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typer makes "Abort" of it, after an empty line."""
    monkeypatch.delenv("PROST_DEBUG", raising=False)
    assert run_raising(raising, EOFError("no data left")) == 1
    assert "error: unexpected EOFError: no data left" in capsys.readouterr().err


def test_debugging_shows_the_traceback(raising: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROST_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run_raising(raising, ZeroDivisionError())


def test_a_name_cannot_forge_a_line(raising: typer.Typer, capsys: Capture) -> None:
    assert run_raising(raising, VideoError("a\nerror: b  c\x1b[2J.mp4", "empty file")) == 1
    assert capsys.readouterr().err.startswith(r"error: a\nerror: b  c\x1b[2J.mp4: empty file; try: ")


def test_stopped_training_is_no_failure(raising: typer.Typer, capsys: Capture) -> None:
    assert run_raising(raising, TrainingInterrupted("stopped after step 3")) == 130
    assert capsys.readouterr().err == "stopped after step 3\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_each_stop_signal_interrupts_and_has_its_exit_code(
    raising: typer.Typer, capsys: Capture, name: str
) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)

    @raising.command("raise")
    def command() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if number != signal.SIGINT:
                signal.raise_signal(number)  # what is saved now is not interrupted again
            raise

    assert command_line.main(["raise"]) == 128 + number
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored(raising: typer.Typer) -> None:
    """As under `nohup`."""

    @raising.command("raise")
    def command() -> None:
        signal.raise_signal(signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert command_line.main(["raise"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_stopped_from_the_keyboard(raising: typer.Typer, capsys: Capture) -> None:
    assert run_raising(raising, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serch"], "No such command 'serch'"),
        (["search"], "Missing argument 'query'"),
        (["search", "a ball", "--limit", "none"], "'--limit'"),
        (["search", "a ball", "--limit", "0"], "'--limit'"),
        (["search", "a ball", "--object-phrase-weight", "inf"], "--object-phrase-weight"),
        (["search", "a", "ball"], "a sentence or a name with spaces in quotes, or prost search --help"),
        (["bench", "nomatch", "--query", "1"], "prost bench nomatch --help"),
        (["search", "a ball", "--limit"], "'--limit' requires an argument; try: prost search --help"),
        (["bench", "matching", "--json"], "'--json' requires an argument; try: prost bench matching --help"),
        (["--colour"], "No such option"),
    ],
)
def test_wrong_words_are_one_line_and_two(arguments: list[str], said: str, capsys: Capture) -> None:
    assert command_line.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ") and said in err and err.count("\n") == 1


def test_without_words_the_help_is_shown(capsys: Capture) -> None:
    assert command_line.main([]) == 0
    bare = capsys.readouterr().out
    assert command_line.main(["--help"]) == 0
    assert capsys.readouterr().out == bare
    for command in ("demo", "index", "search", "toybox", "eval", "train", "doctor"):
        assert command in bare


def test_the_installed_program_says_its_version() -> None:
    program = Path(sys.executable).with_name("prost")
    finished = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "prost 0.1.0\n", "")


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    """`prost ... | head -1` where head has gone before anything is printed."""
    program = Path(sys.executable).with_name("prost")
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    with os.fdopen(writing_end, "w") as closed:
        finished = subprocess.run(
            [program, "--help"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert finished.returncode == 1
    assert finished.stderr == ""


def test_the_precisions_of_the_options_are_those_of_encoding() -> None:
    """The options repeat them, because `prost --help` must not load torch."""
    from prost.apps.cli import options
    from prost.model import encoding

    assert get_args(options.Precision) == get_args(encoding.Precision)
