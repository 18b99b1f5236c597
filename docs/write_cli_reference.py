"""Print docs/cli.md: the command line's own help, as Markdown. `make docs` keeps it; a test fails when it is behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import typer.main

from prost.apps.cli import app

# A variable that the person who runs this has set must not show up in the document.
os.environ.pop("PROST_LIBRARY", None)

INTRODUCTION = """# The command line

Written by `make docs` from `prost --help`; change the help, not this file.

Results go to stdout, everything else to stderr. Commands that read take `--json`. Exit codes: 0 done, 1 failure, 2
wrong use, 130 stopped from the keyboard. `PROST_LIBRARY` names the library for all commands.
"""


def reference() -> str:
    """The whole document."""
    prost = typer.main.get_command(app)
    return "\n".join([INTRODUCTION, *_helps("prost", prost, None)])


def _helps(title: str, command: Any, parent: Any) -> Iterator[str]:
    """The help of a command, and of the commands within it."""
    context = command.make_context(
        command.name or title, [], parent=parent, resilient_parsing=True, terminal_width=100
    )
    yield _help(title, command.get_help(context))
    for name, inner in getattr(command, "commands", {}).items():
        yield from _helps(f"{title} {name}", inner, context)


def _help(title: str, text: str) -> str:
    body = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return f"## {title}\n\n```text\n{body}\n```\n"


if __name__ == "__main__":
    print(reference(), end="")
