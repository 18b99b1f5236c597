"""The `where` expressions of searches and lists: one SQL expression over the videos table, and nothing after it."""

from __future__ import annotations

import re

import lance

from prost.errors import BadFilter
from prost.search.schema import path_as_text
from prost.search.storage_errors import first_sentence, is_from_lance

# What an expression may use.
FILTER_COLUMNS = (
    "path, folder, name, size (bytes), duration (seconds), fps, width, height, codec, tags, "
    "added ('2026-01-31'), status, reason, clips"
)

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`")


def quoted(text: str) -> str:
    """A text inside the quotes of an expression."""
    return text.replace("'", "''")


def in_folder(path: str) -> str:
    """The expression for the videos in a folder and below it."""
    folder = quoted(path_as_text(path))
    return f"(folder = '{folder}' OR starts_with(folder, '{folder.rstrip('/')}/'))"


def has_tag(tag: str) -> str:
    """The expression for the videos with a tag."""
    return f"array_has(tags, '{quoted(tag)}')"


def lasts(least: float | None, most: float | None) -> list[str]:
    """The expressions for a duration between two bounds in seconds; None is no bound."""
    bounds = (("<=", most), (">=", least))
    return [f"duration {comparison} {bound!r}" for comparison, bound in bounds if bound is not None]


def expect_filter(table: lance.LanceDataset, where: str) -> str:
    """Check an expression against the videos table.

    Returns:
        the expression in brackets, ready to be combined with others.

    Raises:
        BadFilter: it cannot be read, or something follows it (a comment, a further clause or statement).
    """
    if not isinstance(where, str):
        raise _bad(where, f"{type(where).__name__} is not text")
    if reason := _follows_expression(where):
        raise _bad(where, reason)
    if not where.strip():
        raise _bad(where, "it is empty")
    expression = f"({where})"
    try:
        # Only parsed and resolved: no row is read, so nothing here can be damage.
        table.scanner(columns=["key"], filter=expression).explain_plan()
    except (ValueError, OSError) as error:
        if isinstance(error, UnicodeEncodeError):
            raise _bad(where, "it holds bytes that are not UTF-8") from None
        if not is_from_lance(error) or "LanceError(IO)" in str(error):
            raise
        raise _bad(where, _reason(first_sentence(error))) from None
    return expression


def _reason(said: str) -> str:
    """What Lance says of an expression, without the statement that it makes of it and the places in that."""
    said = re.sub(r"Error (parsing|tokenizing) statement: SELECT 1 FROM t WHERE \(.*\) \((?=\w)", "", said)
    said = said.replace("sql parser error: ", "").replace("found: )", "found: its end")
    said = re.sub(r" at Line: \d+, Column: \d+", "", said).rstrip(")")
    if said.startswith("No field named "):
        said += "; words stand in single quotes, as in status = 'failed'"
    return said


def _follows_expression(where: str) -> str:
    """What follows an expression, which Lance would silently ignore; empty where nothing does.

    A clause such as LIMIT needs no rule here: within brackets Lance refuses it.
    """
    outside = _QUOTED.sub("x", where)
    for mark, name in ((";", "a semicolon"), ("--", "a comment"), ("/*", "a comment"), ("#", "a comment")):
        if mark in outside:
            return name
    depth = 0
    for character in outside:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return "a bracket is closed that was not opened"
    return ""


def _bad(where: object, reason: str) -> BadFilter:
    return BadFilter(
        f"filter {where!r} cannot be read ({reason})",
        f"an SQL expression over {FILTER_COLUMNS}",
        "duration < 60 AND folder LIKE '%holiday%'",
    )
