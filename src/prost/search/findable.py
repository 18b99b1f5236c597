"""The videos of one version of a library: which videos own a clip, and which may be found."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prost.errors import LibraryDamaged
from prost.printable import counted
from prost.search.filters import expect_filter
from prost.search.records import VideoRow
from prost.search.schema import video_rows
from prost.search.storage_errors import storage_errors
from prost.search.store import VIDEOS, Store

INDEXED = "status = 'indexed'"


class FindableVideos:
    """One version of the videos table. Only the videos of hits are read as records.

    Args:
        store: the library.
        version: of the table; None for the latest.

    Attributes:
        version: of the table.
    """

    def __init__(self, store: Store, version: int | None = None) -> None:
        self._store = store
        with storage_errors(store.root):
            self._table = store.table(VIDEOS, version)
            self.version: int = self._table.version
            columns = self._table.to_table(columns=["content"], with_row_address=True)
            self._addresses = columns["_rowaddr"].to_numpy()
            self._contents: pa.StringArray = columns["content"].combine_chunks()

    def matching(self, where: str | None = None) -> NDArray[np.int64]:
        """Places of the indexed videos for which an expression holds.

        Raises:
            BadFilter: the expression cannot be read.
        """
        with storage_errors(self._store.root):
            found = self._table.to_table(
                columns=["content"],
                filter=INDEXED if where is None else f"{expect_filter(self._table, where)} AND {INDEXED}",
                with_row_address=True,
            )
        return np.searchsorted(self._addresses, found["_rowaddr"].to_numpy())

    def owned(self, contents: pa.StringArray, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some contents belong to one of the videos at `places`."""
        owners = self._contents.take(pa.array(places))
        return pc.is_in(contents, value_set=owners).to_numpy(zero_copy_only=False)

    def owners(self, contents: list[str], places: NDArray[np.int64]) -> dict[str, list[VideoRow]]:
        """The videos at `places` that have one of some contents, by content, sorted by path."""
        mine = pc.is_in(self._contents.take(pa.array(places)), value_set=pa.array(contents, pa.string()))
        chosen = places[mine.to_numpy(zero_copy_only=False)]
        with storage_errors(self._store.root):
            rows = video_rows(self._table.take(chosen.tolist()))
        owners: dict[str, list[VideoRow]] = {content: [] for content in contents}
        for row in rows:
            if row.content in owners:
                owners[row.content].append(row)
        if without := [content for content, mine in owners.items() if not mine]:
            raise LibraryDamaged(
                f"{self._store.root}: the videos of {counted(len(without), 'clip')} cannot be found",
                suggestion="prost doctor --verify --repair",
            )
        return owners
