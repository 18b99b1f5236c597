"""Compaction gives clips new data files; here their codes follow them before readers see the new files.

A pack files codes by data file and place. Without this step, the clips of compacted fragments would have no codes until
they were coded again, and every search meanwhile would score them exactly.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from lance.file import LanceFileReader
from lance.optimize import RewriteResult
from numpy.typing import NDArray

from prost.errors import PackDamaged
from prost.object_store import is_remote
from prost.search.fragments import (
    OFFSET_BITS,
    PROTOTYPES,
    FlatRows,
    Pages,
    Prototypes,
    agree,
    column_array,
    data_file,
    find_pages,
)
from prost.search.packs import Current, MovedRows, Pack, PackedFragment, PackFolder, open_or_damaged
from prost.search.records import PrototypeSizes
from prost.search.storage_errors import storage_errors

CLIPS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class _DataFile:
    """The living rows of a data file.

    Attributes:
        name: of the file.
        offsets: places of the rows in the file, ascending `[n]`.
        keys: of the clips `[n]`.
    """

    name: str
    offsets: NDArray[np.int64]
    keys: pa.Array


def carry_codes(
    folder: PackFolder,
    table: lance.LanceDataset,
    rewrites: Sequence[RewriteResult],
    largest_pack: int,
    storage_options: dict[str, str] | None = None,
) -> None:
    """Add packs for the new data files of a compaction, with the codes that the clips have already.

    Packs of the old data files stay, so readers find codes whether they see the table before or after the compaction.
    Files whose clips do not all have codes get none.

    Args:
        folder: the packs.
        table: the clips table before the compaction.
        rewrites: the compaction, not committed yet.
        largest_pack: clips in a pack at most.
        storage_options: what Lance needs to reach an object store.
    """
    try:
        current = folder.current()
        old = _open_packs(folder, current) if current else []
    except PackDamaged:
        return  # `optimize` codes the clips again
    if current is None:
        return
    moves = {
        file: move
        for rewrite in rewrites
        for file, move in _moves(table, rewrite, folder.sizes, storage_options).items()
    }
    parts = [part for pack in old if (part := _moved_part(pack, moves)) is not None]
    rows: dict[str, int] = {}
    for part in parts:
        for fragment in part.rows.fragments:
            rows[fragment.file] = rows.get(fragment.file, 0) + fragment.rows
    sizes = _rows_moved_to(moves)
    whole = {file for file, count in rows.items() if count == sizes[file]}
    carried = [part for pack in parts if (part := pack.only(whole)) is not None]
    if not carried:
        return
    names = [
        folder.write_pack(pack, current.codebooks, table.version, len(old) + number)
        for number, pack in enumerate(_joined(carried, largest_pack))
    ]
    current = replace(current, packs=(*current.packs, *names))
    if current.index is not None:
        current = replace(current, index=_carried_index(folder, current.index, moves, table.version))
    folder.commit(current)


def _carried_index(folder: PackFolder, name: str, moves: dict[str, MovedRows], version: int) -> str:
    """Name of the index with its clips filed under their new data files; a damaged index keeps its name."""
    try:
        indexed, kind, data = open_or_damaged(lambda: folder.index(name))
    except PackDamaged:
        return name  # `optimize` makes it again
    return folder.write_index(indexed.moved(moves), kind, data, version)


def _open_packs(folder: PackFolder, current: Current) -> list[Pack]:
    return open_or_damaged(lambda: [folder.pack(name, current.codebooks) for name in current.packs])


def _moved_part(pack: Pack, moves: dict[str, MovedRows]) -> Pack | None:
    """The clips of a pack that get new data files, filed under these."""
    part = pack.only(set(moves))
    if part is None:
        return None
    moved = part.moved(moves)
    return moved.only({fragment.file for move in moves.values() for fragment in move.fragments})


def _rows_moved_to(moves: dict[str, MovedRows]) -> dict[str, int]:
    """Rows of each new data file."""
    rows: dict[str, int] = {}
    for move in moves.values():
        for fragment in move.fragments:
            rows[fragment.file] = rows.get(fragment.file, 0) + fragment.rows
    return rows


def _joined(packs: Sequence[Pack], most: int) -> Iterator[Pack]:
    """Packs joined to larger ones of at most `most` clips."""
    parts: list[Pack] = []
    for pack in packs:
        if parts and sum(map(len, parts)) + len(pack) > most:
            yield Pack.joined(parts)
            parts = []
        parts.append(pack)
    if parts:
        yield Pack.joined(parts)


def _moves(
    table: lance.LanceDataset,
    rewrite: RewriteResult,
    sizes: PrototypeSizes,
    storage_options: dict[str, str] | None,
) -> dict[str, MovedRows]:
    """Where a rewrite puts the rows of each old data file; empty if the rows do not follow one another as expected."""
    plan = json.loads(rewrite.json())  # type: ignore[attr-defined]
    fragments = {data_file(fragment): fragment for fragment in table.get_fragments()}
    old = [_old_file(table, fragments[_name(each)]) for each in plan["original_fragments"]]
    new = [_new_file(table, _name(each), storage_options) for each in plan["new_fragments"]]
    nothing = pa.array([], pa.string())
    if not pa.concat_arrays([nothing, *(file.keys for file in old)]).equals(
        pa.concat_arrays([nothing, *(file.keys for file in new)])
    ):
        return {}
    pages = {file.name: _checked_pages(table, file, sizes) for file in new}
    ends = np.cumsum([len(file.offsets) for file in new]).tolist()
    moves, place, target = {}, 0, 0
    for file in old:
        first, left = 0, len(file.offsets)
        parts: list[PackedFragment] = []
        while left:
            while place == ends[target]:
                target += 1
            start = place - (ends[target] - len(new[target].offsets))
            if not parts:
                first = start
            rows = min(left, ends[target] - place)
            name = new[target].name
            parts.append(PackedFragment(file=name, rows=rows, pages=pages[name]))
            place, left = place + rows, left - rows
        moves[file.name] = MovedRows(offsets=file.offsets, fragments=tuple(parts), first=first)
    return moves


def _name(fragment: dict[str, Any]) -> str:
    return "+".join(file["path"] for file in fragment["files"])


def _old_file(table: lance.LanceDataset, fragment: lance.LanceFragment) -> _DataFile:
    scanner = table.scanner(columns=["key"], fragments=[fragment], scan_in_order=True, with_row_address=True)
    with storage_errors(table.uri):
        rows = scanner.to_table()
    offsets = rows["_rowaddr"].to_numpy() & np.uint64(2**OFFSET_BITS - 1)
    return _DataFile(name=data_file(fragment), offsets=offsets.astype(np.int64), keys=_one_array(rows["key"]))


def _new_file(table: lance.LanceDataset, name: str, storage_options: dict[str, str] | None) -> _DataFile:
    with storage_errors(table.uri):
        file = LanceFileReader(_path(table, name), storage_options, columns=["key"])
        rows = file.read_all().to_table()
    return _DataFile(name=name, offsets=np.arange(rows.num_rows), keys=_one_array(rows["key"]))


def _checked_pages(
    table: lance.LanceDataset, file: _DataFile, sizes: PrototypeSizes
) -> dict[str, Pages] | None:
    """Where a new data file holds its prototypes row after row, if reading them so gives what Lance gives."""
    path = _path(table, file.name)
    if is_remote(path):
        return None
    pages = find_pages(path, len(file.offsets), sizes)
    if pages is None:
        return None
    flat, first = FlatRows(path, pages, sizes), 0
    with storage_errors(path):
        batches = LanceFileReader(path, columns=PROTOTYPES).read_all(
            batch_size=CLIPS_AT_ONCE, batch_readahead=1
        )
        for batch in batches.to_batches():
            codes, event = (column_array(batch, name, sizes) for name in PROTOTYPES)
            offsets = np.arange(first, first + batch.num_rows)
            if not agree(flat, Prototypes(offsets=offsets, object_codes=codes, event=event)):
                return None
            first += batch.num_rows
    return pages


def _path(table: lance.LanceDataset, name: str) -> str:
    return os.path.join(table.uri, "data", name)


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([pa.array([], pa.string()), *column.chunks])
