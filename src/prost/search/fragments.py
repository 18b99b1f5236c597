"""Rows of the clips table by the fragment that holds them, and prototypes read where Lance wrote them.

A fragment of a Lance table is one immutable data file with a name that is never used again. Rows can only be deleted
from it, by a list of deleted rows beside it. Anything derived from a row can therefore be filed under the name of its
data file and its place in there, for as long as the row lives.

Lance writes a wide column of fixed size as it is, row after row. Such rows are read directly from the file, which for
a few hundred rows takes less time than Lance does (decision 0012). They are read, not mapped, because a process dies
when it reads a mapped file that was cut short. Whether a file holds its rows in this way is checked against the rows
that Lance gives when a fragment is coded.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from itertools import accumulate
from threading import Lock

import lance
import numpy as np
import pyarrow as pa
from lance.file import LanceFileReader
from numpy.typing import NDArray

from prost.errors import LibraryDamaged
from prost.search.exact import ClipPrototypes
from prost.search.records import PrototypeSizes
from prost.search.storage_errors import storage_errors

PROTOTYPES = ["object_codes", "event"]
COLUMN_TYPES: dict[str, type[np.generic]] = {"object_codes": np.int8, "event": np.float32}
OFFSET_BITS = 32
_SEEKING = Lock()


@dataclass(frozen=True, kw_only=True)
class Prototypes:
    """Prototypes of n rows, as they are stored.

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


# Where the rows of a column lie: for each page its number of rows and the place of the first one.
Pages = list[tuple[int, int]]


def data_file(fragment: lance.LanceFragment) -> str:
    """Name of a fragment's data file."""
    return "+".join(file.path for file in fragment.data_files())


def shape_of(column: str, sizes: PrototypeSizes) -> tuple[int, ...]:
    """Shape of one row of a column of prototypes, or of what is stored beside them."""
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
    """The living rows of a fragment in order, at most `rows_at_once` at a time.

    Raises:
        LibraryDamaged: Lance cannot read them.
        StorageError: the disk refuses.
    """
    scanner = table.scanner(
        columns=PROTOTYPES,
        fragments=[fragment],
        batch_size=rows_at_once,
        scan_in_order=True,
        with_row_address=True,
    )
    batches = scanner.to_batches()
    while True:
        with storage_errors(table.uri):
            batch = next(batches, None)
        if batch is None:
            return
        addresses = batch["_rowaddr"].to_numpy()
        codes, event = (column_array(batch, name, sizes) for name in PROTOTYPES)
        offsets = (addresses & (2**OFFSET_BITS - 1)).astype(np.int64)
        yield Prototypes(offsets=offsets, object_codes=codes, event=event)


class FlatRows:
    """Prototypes of one data file, read without Lance.

    Args:
        path: of the data file.
        pages: of each of the columns of prototypes, as `find_pages` found them.
        sizes: of the library.

    Raises:
        LibraryDamaged: the file is gone, or is shorter than the pages say.
    """

    def __init__(self, path: str, pages: Mapping[str, Pages], sizes: PrototypeSizes) -> None:
        self._path = path
        try:
            # Open as long as rows are read.
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        except FileNotFoundError:
            raise _damaged(path, "is gone") from None
        self._shapes = {name: shape_of(name, sizes) for name in PROTOTYPES}
        self._row_bytes = {name: _row_bytes(name, sizes) for name in PROTOTYPES}
        self._pages = {name: pages[name] for name in PROTOTYPES}
        self._starts = {name: [0, *accumulate(count for count, _ in pages[name][:-1])] for name in PROTOTYPES}
        self._tells_cached = hasattr(os, "RWF_NOWAIT")
        size = os.fstat(self._file.fileno()).st_size
        for name in PROTOTYPES:
            if any(place + count * self._row_bytes[name] > size for count, place in pages[name]):
                raise _damaged(path, "is shorter than it was")

    def read_into(self, row: NDArray, column: str, offset: int) -> None:
        """Read one row of a column into a contiguous array `[...]`.

        Raises:
            LibraryDamaged: the file is shorter than it was.
        """
        if _read_at(self._file, row.data.cast("B"), self._place(column, offset)) != self._row_bytes[column]:
            raise _damaged(self._path, "is shorter than it was")

    def read_cached(self, row: NDArray, column: str, offset: int) -> bool:
        """Read one row if the system has all of it in memory. False otherwise, and where the system cannot tell."""
        if sys.platform != "linux" or not self._tells_cached:
            return False
        try:
            read = os.preadv(
                self._file.fileno(), [row.data.cast("B")], self._place(column, offset), os.RWF_NOWAIT
            )
        except BlockingIOError:
            return False
        except OSError:
            # The file system cannot, or the system does not know the question. A disk that fails shows in `read_into`.
            self._tells_cached = False
            return False
        return read == self._row_bytes[column]

    def ask_for(self, column: str, offset: int) -> None:
        """Ask the system to bring a row into its memory, and do not wait for it."""
        if sys.platform == "linux":
            with suppress(OSError):  # advice that is not taken changes nothing
                os.posix_fadvise(
                    self._file.fileno(),
                    self._place(column, offset),
                    self._row_bytes[column],
                    os.POSIX_FADV_WILLNEED,
                )

    def _place(self, column: str, offset: int) -> int:
        starts = self._starts[column]
        page = bisect_right(starts, offset) - 1
        return self._pages[column][page][1] + (offset - starts[page]) * self._row_bytes[column]

    def take(self, column: str, offsets: NDArray[np.int64]) -> NDArray:
        """Rows of a column `[n, ...]`."""
        rows = np.empty((len(offsets), *self._shapes[column]), dtype=COLUMN_TYPES[column])
        for row, offset in zip(rows, offsets.tolist(), strict=True):
            self.read_into(row, column, offset)
        return rows


def _read_at(file: FileIO, into: memoryview, place: int) -> int:
    """Fill a buffer from a place in a file; returns the number of bytes that were there."""
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [into], place)
    with _SEEKING:  # Windows has one position for all threads
        file.seek(place)
        return file.readinto(into) or 0


def find_pages(path: str, rows: int, sizes: PrototypeSizes) -> dict[str, Pages] | None:
    """Where a data file holds its prototypes, if it holds them row after row; None if Lance encoded them.

    Args:
        path: of a local data file.
        rows: number of its rows, deleted ones included.
        sizes: of the library.
    """
    with storage_errors(path):
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
    """Whether the rows read without Lance are those that Lance gave."""
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
        addresses: Lance's address of each row: its fragment and its place in there `[n]`.
        pages: where data files hold their prototypes, by the names of the files for which this is known.
        sizes: of the library.
        first: place in the table of the first row.
    """

    def __init__(
        self,
        table: lance.LanceDataset,
        addresses: NDArray[np.uint64],
        pages: Mapping[str, Mapping[str, Pages]],
        sizes: PrototypeSizes,
        first: int = 0,
    ) -> None:
        self._table = table
        self._addresses = addresses
        self._sizes = sizes
        self._first = first
        self._flat: dict[int, FlatRows] = {}
        for fragment in table.get_fragments():
            name = data_file(fragment)
            if name in pages:
                path = os.path.join(table.uri, "data", name)
                self._flat[fragment.fragment_id] = FlatRows(path, pages[name], sizes)

    def read(self, rows: NDArray[np.int64]) -> ClipPrototypes:
        """Prototypes of some rows, in their order.

        Raises:
            LibraryDamaged: a data file is gone or cut short.
            StorageError: the disk refuses.
        """
        fragments = (self._addresses[rows] >> np.uint64(OFFSET_BITS)).astype(np.int64)
        if not self._flat.keys() >= set(fragments.tolist()):
            with storage_errors(self._table.uri):
                table = self._table.take((rows + self._first).tolist(), columns=PROTOTYPES)
            codes, event = (column_array(table, name, self._sizes) for name in PROTOTYPES)
            return ClipPrototypes.of(codes.copy(), event.copy())
        offsets = (self._addresses[rows] & np.uint64(2**OFFSET_BITS - 1)).astype(np.int64)
        columns = {
            name: np.empty((len(rows), *shape_of(name, self._sizes)), dtype=COLUMN_TYPES[name])
            for name in PROTOTYPES
        }
        # Row by row, because candidates are spread over all data files, a few in each. Lists of places for each file
        # take longer. Rows that are only on the disk are asked for all at once, so that they need not wait for each
        # other.
        late = []
        with storage_errors(self._table.uri):
            for place, (fragment, offset) in enumerate(
                zip(fragments.tolist(), offsets.tolist(), strict=True)
            ):
                flat = self._flat[fragment]
                for name, values in columns.items():
                    if not flat.read_cached(values[place], name, offset):
                        late.append((flat, values[place], name, offset))
            for flat, _, name, offset in late:
                flat.ask_for(name, offset)
            for flat, row, name, offset in late:
                flat.read_into(row, name, offset)
        return ClipPrototypes.of(columns["object_codes"], columns["event"])


def _row_bytes(name: str, sizes: PrototypeSizes) -> int:
    return int(np.prod(shape_of(name, sizes))) * np.dtype(COLUMN_TYPES[name]).itemsize


def _damaged(path: str, what: str) -> LibraryDamaged:
    return LibraryDamaged(
        f"the data file {path} {what}",
        suggestion="prost doctor --verify --repair, or restore the library from a backup",
    )
