"""Print docs/cli.md: the command line's own help, as Markdown. `make docs` keeps it; a test fails when it is behind."""

from __future__ import annotations

import os

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
    root = prost.make_context("prost", [], resilient_parsing=True, terminal_width=100)
    parts = [INTRODUCTION, _help("prost", prost.get_help(root))]
    for name, command in prost.commands.items():
        context = command.make_context(name, [], parent=root, resilient_parsing=True, terminal_width=100)
        parts.append(_help(f"prost {name}", command.get_help(context)))
        for part, below in getattr(command, "commands", {}).items():
            inner = below.make_context(part, [], parent=context, resilient_parsing=True, terminal_width=100)
            parts.append(_help(f"prost {name} {part}", below.get_help(inner)))
    return "\n".join(parts)


def _help(title: str, text: str) -> str:
    body = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return f"## {title}\n\n```text\n{body}\n```\n"


if __name__ == "__main__":
    print(reference(), end="")
