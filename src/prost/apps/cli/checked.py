"""Commands that refuse what no command can mean: an empty path, and a number that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import ParameterInfo

from prost.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])


class CheckedCommand(TyperCommand):
    """A command that looks at its values before it runs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command.

        Raises:
            UsageError: a path is empty, or a number is not finite.
        """
        words = list(args)  # the parser takes them out of the list
        rest = super().parse_args(ctx, args)
        # Python takes an empty path for the working directory: an unset variable of a script would remove or index it.
        empty = any(not word or (word.startswith("--") and word.endswith("=")) for word in words)
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            said = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name
            paths = [each for each in value if isinstance(each, Path)] if isinstance(value, list) else [value]
            if (empty and Path() in paths) or (parameter.name == "library" and value == ""):
                raise UsageError(
                    f"{said}: an empty path",
                    "the path of a file or folder",
                    "check the variable that it came from, or give . for the working directory",
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{said} {value}", "a finite number")
        return rest


class CheckedApp(typer.Typer):
    """A group of such commands."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """Register a function as a command; see `typer.Typer.command`."""
        register = super().command(name, cls=CheckedCommand, **settings)

        def with_any_path(function: Function) -> Function:
            # Whether a file can be read is seen where it is read: one bad file of many must not end a command.
            hints = get_type_hints(function, include_extras=True)
            for hint in hints.values():
                for info in getattr(hint, "__metadata__", ()):
                    if isinstance(info, ParameterInfo):
                        info.readable = False
            function.__annotations__ = hints  # evaluated once, so that typer sees these
            return register(function)

        return with_any_path
