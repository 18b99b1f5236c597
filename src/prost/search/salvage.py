"""Rows of a table that lost its manifests, read from its data files, each of which stands for itself.

A manifest only lists files. Where none is left, the newest row of each video is what the table held, but for deletions:
a removed video may come back, which the next run over its folder puts right.
"""

from __future__ import annotations

import os

from prost.errors import LibraryDamaged
from prost.object_store import lance_options
from prost.search.records import VideoRow
from prost.search.schema import VIDEO_SCHEMA, video_rows
from prost.search.storage_errors import storage_errors
from prost.search.store import Store

DATA = "data"


def salvaged_videos(store: Store, aside: str) -> list[VideoRow]:
    """The videos in the data files of a table that was set aside; none from files that are damaged, too.

    Args:
        store: the library.
        aside: the folder of the table, or its address.

    Raises:
        StorageError: the disk or the object store refuses.
    """
    found: dict[str, VideoRow] = {}
    for file in _oldest_first(store, aside):
        try:
            rows = _rows_of(store, file)
        except LibraryDamaged:
            continue
        found.update((row.path, row) for row in rows)
    return list(found.values())


def _oldest_first(store: Store, aside: str) -> list[str]:
    """The data files, by the time at which they were written."""
    if store.objects is not None:
        folder = f"{aside.removeprefix(store.root).strip('/')}/{DATA}"
        names = {name: store.objects.read(name) for name in store.objects.sizes(folder)}
        there = [(seen.modified, f"{store.root}/{name}") for name, seen in names.items() if seen is not None]
        return [place for _, place in sorted(there)]
    with storage_errors(store.root):
        if not os.path.isdir(os.path.join(aside, DATA)):
            return []
        with os.scandir(os.path.join(aside, DATA)) as entries:
            return [path for _, path in sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)]


def _rows_of(store: Store, file: str) -> list[VideoRow]:
    from lance.file import LanceFileReader

    with storage_errors(store.root):
        options = None if store.objects is None else lance_options(store.storage_options)
        table = LanceFileReader(file, options).read_all().to_table()
    if not table.schema.remove_metadata().equals(VIDEO_SCHEMA):
        return []
    return video_rows(table)
