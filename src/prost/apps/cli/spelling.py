"""Errors name arguments as in Python, `coarse='exact'`; here they get the spelling of the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from prost.errors import ProstError

QUOTES = "'\""
# An argument and its value. What else stands in quotes is not looked into.
ASSIGNED = re.compile(r"(?<![\w./'\"-])([a-z]\w*)=(True\b|'[^']*'|\"[^\"]*\"|-?[\w.]+(?![\w.(]))")


def as_typed(error: ProstError, options: Mapping[str, str]) -> str:
    """The line of an error as somebody reads it who typed a command.

    What was given may be anything, such as a path, so there only an argument at the very beginning is translated.

    Args:
        error: any.
        options: of the command; see `options_of`.

    >>> as_typed(ProstError("no codes", "coarse='exact'"), {"coarse": "--coarse"})
    'no codes; expected: --coarse exact'
    """

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in options:
            return match.group()
        if value == "True":
            return options[name]
        return f"{options[name]} {shlex.quote(value[1:-1] if value[0] in QUOTES else value)}"

    leading = ASSIGNED.match(error.arrived)
    arrived = error.arrived if leading is None else option(leading) + error.arrived[leading.end() :]
    return str(
        ProstError(arrived, ASSIGNED.sub(option, error.expected), ASSIGNED.sub(option, error.suggestion))
    )


def options_of(app: typer.Typer, arguments: Sequence[str]) -> dict[str, str]:
    """The options of the command that was typed, by the names that they have in Python.

    Args:
        app: the command line.
        arguments: the words after its name.
    """
    _, command = _command_of(app, arguments)
    return {
        parameter.name: max(parameter.opts, key=len)
        for parameter in command.params
        if parameter.name and parameter.opts[0].startswith("-")
    }


def name_of_command(app: typer.Typer, arguments: Sequence[str]) -> str:
    """The command that was typed, as in "prost models pull"; "prost" where it is none.

    Args:
        app: the command line.
        arguments: the words after its name.
    """
    names, _ = _command_of(app, arguments)
    return " ".join(("prost", *names))


def _command_of(app: typer.Typer, arguments: Sequence[str]) -> tuple[list[str], Any]:
    names, command = [], typer.main.get_command(app)
    for word in arguments:
        inner = getattr(command, "commands", {}).get(word)
        if inner is not None:
            names.append(word)
            command = inner
    return names, command
