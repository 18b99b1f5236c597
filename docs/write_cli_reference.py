"""Print docs/cli.md: the help of all commands, as Markdown. `make docs` writes it; a test fails if it is stale."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import typer.main

from prost.apps.cli import app

# The document must not depend on the environment of the person who runs this.
os.environ.pop("PROST_LIBRARY", None)

INTRODUCTION = """# The command line

`make docs` writes this file from the help of each command. Change the help, not this file.

Results go to stdout, everything else to stderr. Commands that read have an option `--json`. Exit codes: 0 success, 1
failure, 2 wrong use, 130 interrupted by Ctrl-C (143 by SIGTERM, 129 by SIGHUP). The variable `PROST_LIBRARY` sets the
library for all commands.
"""


def reference() -> str:
    """The whole document."""
    prost = typer.main.get_command(app)
    return "\n".join([INTRODUCTION, *_helps("prost", prost, None)])


def _helps(title: str, command: Any, parent: Any) -> Iterator[str]:
    """The help of a command and of its subcommands."""
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
