"""Which file of a content is read: the video's own, or a copy of it where that one is gone or has changed."""

from __future__ import annotations

from collections.abc import Sequence

from prost.errors import LibraryError, MissingPath, VideoError
from prost.object_store import is_remote
from prost.search.missing_files import exists
from prost.search.records import VideoRow
from prost.video.files import look_at


def present(rows: Sequence[VideoRow], *, ask_stores: bool = False) -> VideoRow | None:
    """The first video whose file is as it was indexed; else the first whose file is there; None where all are gone.

    Args:
        rows: of one content, the preferred one first. Files after one that is as it was indexed are not looked at.
        ask_stores: whether object stores are asked too. Otherwise what lies there counts as there, since a search would
            wait a request for each hit.

    Raises:
        StorageError: an object store refuses.
    """
    there = None
    for row in rows:
        if (is_remote(row.path) and not ask_stores) or is_as_indexed(row):
            return row
        if there is None and exists(row.path):
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
    found = present(rows, ask_stores=True)
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
