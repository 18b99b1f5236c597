"""Read the files with the splits and captions of benchmarks: lists, JSON, tables."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prost.errors import BadAnnotations

if TYPE_CHECKING:
    from _csv import Reader

DELIMITERS = (",", "\t", ";")


def read_text(path: Path) -> str:
    """Read a text in UTF-8, with or without a byte order mark.

    Raises:
        BadAnnotations: it cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadAnnotations(f"{path} is no UTF-8 ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise BadAnnotations(f"{path} cannot be read ({error.strerror})") from None


def read_list(path: Path) -> list[str]:
    """Read a list of ids, one per line, in order; empty lines are skipped.

    Raises:
        BadAnnotations: it cannot be read, or contains no id.
    """
    return _not_empty(path, [line.strip() for line in read_text(path).splitlines() if line.strip()])


def read_json(path: Path, kind: type[dict] | type[list]) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        kind: the expected content, dict or list.

    Raises:
        BadAnnotations: it cannot be read, is no JSON, is empty, or contains something else.
    """
    try:
        values = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BadAnnotations(f"{path} is no JSON ({error})") from None
    if not isinstance(values, kind):
        raise BadAnnotations(f"{path} holds a {type(values).__name__}", f"a {kind.__name__}")
    return _not_empty(path, values)


def read_json_lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file that holds one a line; empty lines are skipped.

    Returns:
        each object with its place, "FILE, line N", for messages.

    Raises:
        BadAnnotations: the file cannot be read, a line is no JSON object, or there is none.
    """
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise BadAnnotations(f"{place} is no JSON ({error})") from None
            if not isinstance(row, dict):
                raise BadAnnotations(f"{place} is a {type(row).__name__}", '{"video": ..., "caption": ...}')
            rows.append((place, row))
    return _not_empty(path, rows)


def captioned_video(row: dict[str, Any], place: str) -> tuple[str, list[str]]:
    """The video of a row of pairs, and its captions: `caption`, or a list `captions`.

    Args:
        row: of a table or a JSON file.
        place: where it is, for messages.

    Raises:
        BadAnnotations: no video, no caption, or an empty one.
    """
    video = row.get("video")
    if not isinstance(video, str) or not video.strip():
        raise BadAnnotations(f"{place} names no video", "video and caption")
    captions = row.get("captions") or [row.get("caption")]
    if not isinstance(captions, list) or not all(isinstance(text, str) and text.strip() for text in captions):
        raise BadAnnotations(f"{place} has an empty caption or none", "a sentence")
    return video.strip(), [text.strip() for text in captions]


def read_headings(path: Path) -> list[str]:
    """Read the headings of a table.

    Raises:
        BadAnnotations: it cannot be read.
    """
    return _headings(_reader(read_text(path)))


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a table with a line of headings, with commas, tabs or semicolons between the columns.

    Args:
        path: the file.
        columns: the required columns; others are read, too.

    Returns:
        one dict per row, with headings and values stripped of spaces; `line` is the number of its line in the file.

    Raises:
        BadAnnotations: it cannot be read, lacks a column, or contains no row.
    """
    reader = _reader(read_text(path))
    headings = _headings(reader)
    if missing := [name for name in columns if name not in headings]:
        raise BadAnnotations(
            f"{path} has {'the columns ' + ', '.join(headings) if headings else 'no columns'}",
            f"{'also ' if headings else ''}{', '.join(missing)}",
        )
    if repeated := [name for name in headings if name and headings.count(name) > 1]:
        raise BadAnnotations(f"{path} has two columns {repeated[0]}", "each column once")
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if len(cells) != len(headings):
                    raise BadAnnotations(
                        f"{path}, line {reader.line_num} has {len(cells)} columns",
                        f"{len(headings)}, like the headings",
                        "quotes around a caption that contains a comma",
                    )
                values = zip(headings, (cell.strip() for cell in cells), strict=True)
                rows.append({**dict(values), "line": str(reader.line_num)})
    except csv.Error as error:
        raise BadAnnotations(f"{path}, line {reader.line_num}: {error}") from None
    return _not_empty(path, rows)


def _reader(text: str) -> Reader:
    """Uses the delimiter that is most frequent in the first line."""
    heading = text.partition("\n")[0]
    return csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=heading.count))


def _headings(reader: Reader) -> list[str]:
    return [name.strip() for name in next(reader, [])]


def seconds(value: object, place: str) -> float | None:
    """Read a time in seconds; None for an empty value.

    Args:
        value: a number, a text with a number, or nothing.
        place: where it is, for the message.

    Raises:
        BadAnnotations: no finite number of at least 0.
    """
    if value is None or value == "":
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # other types raise TypeError, which is handled below
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise BadAnnotations(f"{place}: {value!r} is no time", "seconds, 0 or more")
    return number


def caption_of(value: object, place: str) -> str:
    """A caption as it was read: a text.

    Raises:
        BadAnnotations: something else, such as null, which would be a caption "None".
    """
    if not isinstance(value, str):
        raise BadAnnotations(f"{place} has the caption {value!r}", "a text")
    return value


def caption_lists(path: Path, values: dict[str, Any]) -> dict[str, list[str]]:
    """Captions by id, each a text or a list of words.

    Args:
        path: their file, for the message.
        values: `{id: [caption, ...]}`.

    Raises:
        BadAnnotations: another form.
    """
    captions: dict[str, list[str]] = {}
    for video, texts in values.items():
        if isinstance(texts, str) or not hasattr(texts, "__iter__"):
            raise BadAnnotations(f"{path}: {video!r} has a {type(texts).__name__}", "a list of captions")
        place = f"{path}: {video!r}"
        captions[str(video)] = [
            " ".join(caption_of(word, place) for word in text)
            if isinstance(text, list | tuple)
            else caption_of(text, place)
            for text in texts
        ]
    return captions


def _not_empty(path: Path, values: Any) -> Any:
    if not values:
        raise BadAnnotations(f"{path} is empty", suggestion="look whether it was copied whole")
    return values
