"""One version of the clips, as a search reads it; the prototypes stay in memory if they fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from prost.model.matching import TextPrototypes
from prost.search.exact import ClipPrototypes, ClipScores, score, total_scores
from prost.search.fragments import PROTOTYPES, Pages, RowReader, column_array, data_file
from prost.search.parts import Part, divide
from prost.search.quantise import dequantise
from prost.search.records import PrototypeSizes
from prost.search.shortlist import TableRows
from prost.search.storage_errors import storage_errors
from prost.search.store import CLIPS, Store

# What else is known of a clip; its prototypes are read without Lance where possible.
OTHER_COLUMNS = ["key", "frame_times", "object_scales", "event_attention"]

# Bytes of prototypes that are copied at once when only some clips are scored, or when they do not fit in memory.
PIECE_BYTES = 64 << 20
# Fewer than one clip in so many are read one by one; for more, all clips are read in order.
FEW = 4


@dataclass(frozen=True, kw_only=True)
class StoredClip:
    """Everything that is known of one clip.

    Attributes:
        key: of the clip.
        start: seconds.
        end: seconds.
        frame_times: `[L]` seconds.
        object: object prototypes `[L, N_o, D]`.
        event: event prototypes `[N_e, D]`.
        event_attention: `[N_e, L]`.
    """

    key: str
    start: float
    end: float
    frame_times: NDArray[np.float64]
    object: NDArray[np.float32]
    event: NDArray[np.float32]
    event_attention: NDArray[np.float32]


class ClipSnapshot:
    """One version of the clips table.

    Args:
        store: the library.
        memory: bytes of prototypes that may stay in memory once all clips were scored. If they take more, each search
            reads them from the disk.
        version: of the table; None for the latest.
        part: the part of its fragments whose clips are seen; None for all.

    Attributes:
        version: of the table.
        whole: number of clips of the whole table.
        contents: the contents that have clips.
        content_of: place in `contents` of each clip `[n]`.
        rows: where the clips are stored.
    """

    def __init__(
        self, store: Store, memory: int, *, version: int | None = None, part: Part | None = None
    ) -> None:
        self._store = store
        self._sizes = store.description.sizes
        with storage_errors(store.root):
            self._table: lance.LanceDataset = store.table(CLIPS, version)
            self.version: int = self._table.version
            self._fragments = self._table.get_fragments()
            self._counts = [each.count_rows() for each in self._fragments]
            self.whole = sum(self._counts)
            # Place of the first clip in the whole table.
            self._first = 0
            if part is not None:
                owned = part.owned(self._counts)
                self._first = sum(self._counts[: owned.start])
                self._fragments = self._fragments[owned]
            columns = self._columns(["content", "start", "end"])
            encoded = columns["content"].combine_chunks().dictionary_encode()
            self.contents: pa.StringArray = encoded.dictionary
            self.content_of = encoded.indices.to_numpy(zero_copy_only=False)
            self._starts = columns["start"].to_numpy()
            self._ends = columns["end"].to_numpy()
            fragments = {data_file(each): each.fragment_id for each in self._fragments}
            self.rows = TableRows(columns["_rowaddr"].to_numpy(), fragments)
        self._clips_at_once = max(1, PIECE_BYTES // _clip_bytes(self._sizes))
        self._fits = len(self) * _clip_bytes(self._sizes) <= memory
        self._resident: ClipPrototypes | None = None

    def __len__(self) -> int:
        return len(self.content_of)

    def clips_of_parts(self, count: int) -> list[int]:
        """Number of clips of each part, were the whole table divided into so many."""
        return [sum(self._counts[owned]) for owned in divide(self._counts, count)]

    def clips_at(self, content: str, start: float, end: float) -> NDArray[np.intp]:
        """The clips of a content that share most time with a stretch, seconds; none where the content has no clips.

        They are the tiles of one window; with another fit than `tiles` there is one clip.
        """
        rows = self.clips_of(content)
        if not len(rows):
            return rows
        shared = np.minimum(self._ends[rows], end) - np.maximum(self._starts[rows], start)
        return rows[self._starts[rows] == self._starts[rows[np.argmax(shared)]]]

    def clips_of(self, content: str) -> NDArray[np.intp]:
        """The clips of a content, in the order of time."""
        place = pc.index_in(pa.scalar(content, pa.string()), value_set=self.contents).as_py()
        if place is None:
            return np.empty(0, dtype=np.intp)
        rows = np.flatnonzero(self.content_of == place)
        return rows[np.argsort(self._starts[rows], kind="stable")]

    def score(self, text: TextPrototypes, rows: NDArray[np.intp], object_phrase_weight: float) -> ClipScores:
        """Exact scores of the clips at `rows`, ascending, in their order."""
        return ClipScores.joined([score(text, block, object_phrase_weight) for block in self._blocks(rows)])

    def total_scores(
        self, text: TextPrototypes, rows: NDArray[np.intp], object_phrase_weight: float
    ) -> NDArray[np.float32]:
        """Exact similarity of Q sentences to the clips at `rows`, ascending `[Q, n]`."""
        none = np.empty((len(text), 0), dtype=np.float32)
        blocks = self._blocks(rows) if len(rows) else ()
        parts = [total_scores(text, block, object_phrase_weight) for block in blocks]
        return np.concatenate([none, *parts], axis=1)

    def prototypes(self, rows: NDArray[np.intp], reader: RowReader) -> ClipPrototypes:
        """Prototypes of a few clips, in the order of `rows`.

        Args:
            rows: the clips.
            reader: of this snapshot.
        """
        return reader.read(rows) if self._resident is None else self._resident[torch.from_numpy(rows)]

    def stored_clips(self, rows: NDArray[np.intp], reader: RowReader) -> list[StoredClip]:
        """Everything that is known of a few clips, in the order of `rows`.

        Args:
            rows: the clips.
            reader: of this snapshot.
        """
        with storage_errors(self._store.root):
            table = self._table.take((rows + self._first).tolist(), columns=OTHER_COLUMNS)
        prototypes = self.prototypes(rows, reader)
        times, scales, attention = (column_array(table, name, self._sizes) for name in OTHER_COLUMNS[1:])
        object = dequantise(prototypes.object_codes.numpy(), scales)
        event = prototypes.event.numpy()
        return [
            StoredClip(
                key=key,
                start=start,
                end=end,
                frame_times=times[place],
                object=object[place],
                event=event[place],
                event_attention=attention[place],
            )
            for place, (key, start, end) in enumerate(
                zip(
                    table["key"].to_pylist(),
                    self._starts[rows].tolist(),
                    self._ends[rows].tolist(),
                    strict=True,
                )
            )
        ]

    def reader(self, pages: Mapping[str, Mapping[str, Pages]]) -> RowReader:
        """A reader of the prototypes of single clips.

        Args:
            pages: where data files hold them row after row, by the names of the files for which this is known.
        """
        with storage_errors(self._store.root):
            return RowReader(self._table, self.rows.addresses, pages, self._sizes, first=self._first)

    def keep(self) -> None:
        """Read all prototypes into memory, if they fit and are not there yet.

        Raises:
            LibraryDamaged: they cannot be read.
            StorageError: the disk refuses.
        """
        if self._fits and self._resident is None:
            with storage_errors(self._store.root):
                self._resident = self._load()

    def _blocks(self, rows: NDArray[np.intp]) -> Iterator[ClipPrototypes]:
        few = FEW * len(rows) < len(self)
        if not few:
            self.keep()
        if self._resident is not None:
            if len(rows) == len(self):
                yield self._resident
                return
            for piece in np.array_split(rows, -(-len(rows) // self._clips_at_once)):
                yield self._resident[torch.from_numpy(piece)]
            return
        if few:
            reader = self.reader({})
            for piece in np.array_split(rows, -(-len(rows) // self._clips_at_once)):
                yield reader.read(piece)
            return
        first = 0
        for batch in self._batches():
            wanted = rows[(rows >= first) & (rows < first + batch.num_rows)] - first
            first += batch.num_rows
            if len(wanted):
                codes, event = (column_array(batch, name, self._sizes)[wanted] for name in PROTOTYPES)
                yield ClipPrototypes.of(codes, event)

    def _load(self) -> ClipPrototypes:
        sizes = self._sizes
        codes = np.empty((len(self), sizes.frames, sizes.objects, sizes.width), dtype=np.int8)
        event = np.empty((len(self), sizes.events, sizes.width), dtype=np.float32)
        first = 0
        for batch in self._batches():
            rows = slice(first, first + batch.num_rows)
            codes[rows] = column_array(batch, "object_codes", sizes)
            event[rows] = column_array(batch, "event", sizes)
            first += batch.num_rows
        return ClipPrototypes.of(codes, event)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if not self._fragments:
            return
        scanner = self._table.scanner(
            columns=PROTOTYPES,
            fragments=self._fragments,
            batch_size=self._clips_at_once,
            scan_in_order=True,
        )
        with storage_errors(self._store.root):
            yield from scanner.to_batches()

    def _columns(self, names: list[str]) -> pa.Table:
        """Columns of the clips, and their addresses."""
        if not self._fragments:
            empty = self._table.schema.empty_table().select(names)
            return empty.append_column("_rowaddr", pa.array([], pa.uint64()))
        return self._table.scanner(
            columns=names, fragments=self._fragments, with_row_address=True, scan_in_order=True
        ).to_table()


def _clip_bytes(sizes: PrototypeSizes) -> int:
    return sizes.frames * sizes.objects * (sizes.width + 4) + sizes.events * sizes.width * 4
