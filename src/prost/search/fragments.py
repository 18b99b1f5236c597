"""Rows of the clips table by the fragment that they lie in, and prototypes read where Lance wrote them.

A fragment of a Lance table is one immutable data file with a name that is never used again; rows can only be taken
out of it (by a list of deleted rows beside it). Whatever is derived from a row can therefore be filed under the name
of its data file and its place in there, for as long as the row lives.

Lance writes a wide column of fixed size as it is, row after row. Where that is so, a row is read through a memory
map, which for a few hundred rows takes less than Lance does (decision 0012); whether it is so is checked against the
rows that Lance gives when a fragment is coded, and never assumed.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import lance
import numpy as np
import pyarrow as pa
from lance.file import LanceFileReader
from numpy.typing import NDArray

from prost.errors import LibraryDamaged
from prost.search.exact import ClipPrototypes
from prost.search.records import PrototypeSizes

PROTOTYPES = ["object_codes", "event"]
COLUMN_TYPES: dict[str, type[np.generic]] = {"object_codes": np.int8, "event": np.float32}
OFFSET_BITS = 32


@dataclass(frozen=True)
class Prototypes:
    """Prototypes of some rows, as they are stored.

    Attributes:
        offsets: places of the rows in their fragment `[n]`.
        object_codes: `[n, L, N_o, D]`, int8.
        event: `[n, N_e, D]`, float32.
    """

    offsets: NDArray[np.int64]
    object_codes: NDArray[np.int8]
    event: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.offsets)


# Where the rows of a column lie: number of rows and place of the first, of one page after another.
Pages = list[tuple[int, int]]


def data_file(fragment: lance.LanceFragment) -> str:
    """Name of a fragment's data file."""
    return "+".join(file.path for file in fragment.data_files())


def shape_of(column: str, sizes: PrototypeSizes) -> tuple[int, ...]:
    """Shape of one row of a column of prototypes or of evidence."""
    return {
        "frame_times": (sizes.frames,),
        "object_codes": (sizes.frames, sizes.objects, sizes.width),
        "object_scales": (sizes.frames, sizes.objects),
        "event": (sizes.events, sizes.width),
        "event_attention": (sizes.events, sizes.frames),
    }[column]


def column_array(table: pa.Table | pa.RecordBatch, name: str, sizes: PrototypeSizes) -> NDArray:
    """A column of fixed-size rows as `[n, ...]`."""
    column = table[name]
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return values.flatten().to_numpy(zero_copy_only=True).reshape(len(values), *shape_of(name, sizes))


def read_prototypes(
    table: lance.LanceDataset, fragment: lance.LanceFragment, sizes: PrototypeSizes, rows_at_once: int
) -> Iterator[Prototypes]:
    """The living rows of a fragment, some at a time, in order."""
    scanner = table.scanner(
        columns=PROTOTYPES,
        fragments=[fragment],
        batch_size=rows_at_once,
        scan_in_order=True,
        with_row_address=True,
    )
    for batch in scanner.to_batches():
        addresses = batch["_rowaddr"].to_numpy()
        codes, event = (column_array(batch, name, sizes) for name in PROTOTYPES)
        yield Prototypes((addresses & (2**OFFSET_BITS - 1)).astype(np.int64), codes, event)


class FlatRows:
    """The prototypes of one data file through a memory map.

    Args:
        path: of the data file.
        pages: of each of the columns of prototypes, as `find_pages` found them.
        sizes: of the library.

    Raises:
        LibraryDamaged: the file is gone, or is shorter than the pages say.
    """

    def __init__(self, path: str, pages: Mapping[str, Pages], sizes: PrototypeSizes) -> None:
        try:
            with open(path, "rb") as file:
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, ValueError) as error:  # mmap refuses an empty file with a ValueError
            raise _damaged(path, "is gone" if isinstance(error, OSError) else "is empty") from None
        self._columns = {name: _mapped_pages(path, memory, name, pages[name], sizes) for name in PROTOTYPES}

    def row(self, column: str, offset: int) -> NDArray:
        """One row of a column, in the map `[...]`."""
        starts, parts = self._columns[column]
        page = bisect_right(starts, offset) - 1
        row: NDArray = parts[page][offset - starts[page]]
        return row

    def take(self, column: str, offsets: NDArray[np.int64]) -> NDArray:
        """Rows of a column, copied into memory `[n, ...]`."""
        return np.stack([self.row(column, offset) for offset in offsets.tolist()])


def find_pages(path: str, rows: int, sizes: PrototypeSizes) -> dict[str, Pages] | None:
    """Where a data file holds its prototypes, if it holds them row after row; None if Lance encoded them.

    Args:
        path: of a local data file.
        rows: number of its rows, the deleted ones too.
        sizes: of the library.
    """
    metadata = LanceFileReader(path).metadata()
    found = {}
    for name in PROTOTYPES:
        row_bytes = _row_bytes(name, sizes)
        pages = []
        for page in metadata.columns[metadata.schema.names.index(name)].pages:
            if len(page.buffers) != 1 or page.buffers[0].size % row_bytes:
                return None
            pages.append((page.buffers[0].size // row_bytes, page.buffers[0].position))
        if sum(count for count, _ in pages) != rows:
            return None
        found[name] = pages
    return found


def agree(flat: FlatRows, prototypes: Prototypes) -> bool:
    """Whether rows read through the map are those that Lance gave."""
    return all(
        np.array_equal(
            flat.take(name, prototypes.offsets).view(np.uint8), np.ascontiguousarray(given).view(np.uint8)
        )
        for name, given in zip(PROTOTYPES, (prototypes.object_codes, prototypes.event), strict=True)
    )


class RowReader:
    """Prototypes of single clips of one version of the table.

    Args:
        table: the version.
        addresses: fragment and place in it of each row `[n]`, as Lance has them.
        pages: where data files hold their prototypes, by name, as far as is known.
        sizes: of the library.
    """

    def __init__(
        self,
        table: lance.LanceDataset,
        addresses: NDArray[np.uint64],
        pages: Mapping[str, Mapping[str, Pages]],
        sizes: PrototypeSizes,
    ) -> None:
        self._table = table
        self._addresses = addresses
        self._sizes = sizes
        self._flat: dict[int, FlatRows] = {}
        for fragment in table.get_fragments():
            name = data_file(fragment)
            if name in pages:
                path = os.path.join(table.uri, "data", name)
                self._flat[fragment.fragment_id] = FlatRows(path, pages[name], sizes)

    def read(self, rows: NDArray[np.int64]) -> ClipPrototypes:
        """Prototypes of some rows, in their order."""
        fragments = (self._addresses[rows] >> np.uint64(OFFSET_BITS)).astype(np.int64)
        if not self._flat.keys() >= set(fragments.tolist()):
            table = self._table.take(rows.tolist(), columns=PROTOTYPES)
            codes, event = (column_array(table, name, self._sizes) for name in PROTOTYPES)
            return ClipPrototypes.of(codes.copy(), event.copy())
        offsets = (self._addresses[rows] & np.uint64(2**OFFSET_BITS - 1)).astype(np.int64)
        columns = {
            name: np.empty((len(rows), *shape_of(name, self._sizes)), dtype=COLUMN_TYPES[name])
            for name in PROTOTYPES
        }
        # Row by row: candidates lie all over the library, a few in each file; a list of places for each costs more.
        for place, (fragment, offset) in enumerate(zip(fragments.tolist(), offsets.tolist(), strict=True)):
            flat = self._flat[fragment]
            for name, values in columns.items():
                values[place] = flat.row(name, offset)
        return ClipPrototypes.of(columns["object_codes"], columns["event"])


def _row_bytes(name: str, sizes: PrototypeSizes) -> int:
    return int(np.prod(shape_of(name, sizes))) * np.dtype(COLUMN_TYPES[name]).itemsize


def _mapped_pages(
    path: str, memory: mmap.mmap, name: str, pages: Pages, sizes: PrototypeSizes
) -> tuple[list[int], Sequence[NDArray]]:
    """The first row of each page, and the pages `[rows, ...]`."""
    starts = [0, *accumulate(count for count, _ in pages[:-1])]
    kind, shape = COLUMN_TYPES[name], shape_of(name, sizes)
    if any(place + count * _row_bytes(name, sizes) > len(memory) for count, place in pages):
        raise _damaged(path, "is shorter than it was")
    return starts, [np.ndarray((count, *shape), kind, memory, place) for count, place in pages]


def _damaged(path: str, what: str) -> LibraryDamaged:
    return LibraryDamaged(
        f"the data file {path} {what}",
        suggestion="restore the library from a backup, or index the videos into a new one",
    )
