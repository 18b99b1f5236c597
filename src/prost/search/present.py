"""Which file of a content is read: the video's own, or a copy of it where that one is gone or has changed."""

from __future__ import annotations

import os
from collections.abc import Sequence

from prost.errors import LibraryError, MissingPath, VideoError
from prost.search.reading import look_at
from prost.search.records import VideoRow


def present(rows: Sequence[VideoRow]) -> VideoRow | None:
    """The first video whose file is as it was indexed; else the first whose file is there; None where all are gone.

    Args:
        rows: of one content, the preferred one first. Files after one that is as it was indexed are not looked at.
    """
    there = None
    for row in rows:
        if is_as_indexed(row):
            return row
        if there is None and os.path.exists(row.path):
            there = row
    return there


def expect_present(rows: Sequence[VideoRow]) -> VideoRow:
    """The first video whose file is as it was indexed.

    Args:
        rows: as for `present`, at least one.

    Raises:
        MissingPath: the files are gone.
        LibraryError: those that are there have changed.
    """
    found = present(rows)
    if found is None:
        raise MissingPath(
            f"{rows[0].path} is gone",
            "the file that was indexed, or a copy of it",
            "mount its disk, or run prost index",
        )
    if not is_as_indexed(found):
        raise LibraryError(
            f"{found.path} has changed since it was indexed", suggestion=f"prost index {found.path}"
        )
    return found


def is_as_indexed(row: VideoRow) -> bool:
    """Whether a file still has the size and the time that it had when it was indexed."""
    try:
        seen = look_at(row.path)
    except VideoError:
        return False
    return (seen.size, seen.modified) == (row.size, row.modified)
