"""Rows of a table that lost its manifests, read from its data files, each of which stands for itself.

A manifest only lists files. Where none is left, the newest row of each video is what the table held, but for deletions:
a video that was removed, or moved, may come back under its old path.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import count

from prost.errors import LibraryDamaged
from prost.object_store import lance_options
from prost.search.records import VideoRow
from prost.search.schema import VIDEO_SCHEMA, video_rows
from prost.search.storage_errors import storage_errors
from prost.search.store import SET_ASIDE, VIDEOS, Store

DATA = "data"


def salvaged_videos(store: Store) -> list[VideoRow]:
    """The videos in the data files of a library's table of videos; none from files that are damaged, too.

    Raises:
        StorageError: the disk or the object store refuses.
    """
    found: dict[str, tuple[float, VideoRow]] = {}
    for time, file in _oldest_first(store, VIDEOS) or _set_aside_last(store):
        try:
            rows = _rows_of(store, file)
        except LibraryDamaged:
            continue
        for row in rows:
            before = found.get(row.path)
            if before is not None and before[0] == time:
                # A store tells times to the second: of two rows of one second neither is known to be newer.
                row = replace(row, tags=tuple(dict.fromkeys((*before[1].tags, *row.tags))))
            found[row.path] = time, row
    return [row for _, row in found.values()]


def _set_aside_last(store: Store) -> list[tuple[float, str]]:
    """The files of the table that was set aside last: an interrupted repair may have left no other."""
    found: list[tuple[float, str]] = []
    for number in count(1):
        files = _oldest_first(store, f"{VIDEOS}.{SET_ASIDE}-{number}")
        if not files:
            break
        found = files
    return found


def _oldest_first(store: Store, table: str) -> list[tuple[float, str]]:
    """When the sound data files of a table were written, and where they are."""
    if store.objects is not None:
        there = sorted(
            (seen.modified.timestamp(), seen.name) for seen in store.objects.below(f"{table}/{DATA}")
        )
        return [(time, f"{store.root.rstrip('/')}/{name}") for time, name in there]
    with storage_errors(store.root):
        folder = os.path.join(store.root, table, DATA)
        if not os.path.isdir(folder):
            return []
        with os.scandir(folder) as entries:
            # Checksums are noted under the name of the table that they were written for.
            return sorted(
                (entry.stat().st_mtime_ns, entry.path)
                for entry in entries
                if table != VIDEOS or not store.changed(f"{VIDEOS}/{DATA}/{entry.name}")
            )


def _rows_of(store: Store, file: str) -> list[VideoRow]:
    from lance.file import LanceFileReader

    with storage_errors(store.root):
        options = None if store.objects is None else lance_options(store.storage_options)
        table = LanceFileReader(file, options).read_all().to_table()
    if not table.schema.remove_metadata().equals(VIDEO_SCHEMA):
        return []
    return video_rows(table)
