"""The clips of one version of a library that are worth scoring exactly for a sentence.

Packs and index know rows of data files. Here these rows are matched with the rows of the version that a search reads.
A clip that is gone is left out, even if a pack holds it. A clip that nothing knows yet counts as not covered, so that
the search can score it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prost.errors import NotCoded, PackDamaged
from prost.model.matching import TextPrototypes
from prost.search.candidates import Candidates
from prost.search.codes import Codebooks, CodedClips
from prost.search.event_index import EventIndex
from prost.search.fragments import OFFSET_BITS, Pages
from prost.search.packs import ATTEMPTS, Current, Pack, PackedRows, PackFolder
from prost.search.scan import QueryTables, refine, refined_count, scan

NOWHERE = -1


class Shortlist(Protocol):
    """A way to choose candidates."""

    @property
    def covered(self) -> NDArray[np.bool_]:
        """The clips that it knows `[n]`."""

    def find(
        self, text: TextPrototypes, object_phrase_weight: float, count: int, allowed: NDArray[np.bool_] | None
    ) -> Candidates:
        """The clips that may be among the best for one sentence.

        Args:
            text: prototypes of the sentence, on the CPU.
            object_phrase_weight: of the model's configuration.
            count: candidates at most.
            allowed: the clips that may be found `[n]`; None for all.
        """


@dataclass(frozen=True)
class TableRows:
    """The rows of one version of the clips table, in the order of its fragments.

    Attributes:
        addresses: Lance's address of each row: its fragment and its place in there `[n]`.
        fragments: number of each fragment, by the name of its data file.
    """

    addresses: NDArray[np.uint64]
    fragments: dict[str, int]

    def __len__(self) -> int:
        return len(self.addresses)

    def of(self, packed: PackedRows) -> NDArray[np.int64]:
        """The row of each packed row `[m]`; NOWHERE for one that is gone."""
        found = np.full(len(packed), NOWHERE, dtype=np.int64)
        for fragment, places in packed.slices():
            number = self.fragments.get(fragment.file)
            if number is None:
                continue
            first, last = np.searchsorted(
                self.addresses, np.array([number, number + 1], np.uint64) << np.uint64(OFFSET_BITS)
            )
            living = self.addresses[first:last] & np.uint64(2**OFFSET_BITS - 1)
            offsets = packed.offsets[places].astype(np.uint64)
            place = np.searchsorted(living, offsets)
            there = place < len(living)
            there[there] = living[place[there]] == offsets[there]
            found[places] = np.where(there, first + place, NOWHERE)
        return found


@dataclass(frozen=True, kw_only=True)
class _ScannedPack:
    """A pack, and the places of its clips in the version that is searched."""

    clips: CodedClips
    rows: NDArray[np.int64]
    living: NDArray[np.bool_]

    def allowed(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """The clips of the pack that may be found."""
        return self.living if allowed is None else self.living & allowed[self.rows]


class ScannedPacks:
    """Candidates by the scan.

    Args:
        rows: of the version that is searched.
        books: the codebooks.
        packs: coded with them.
    """

    def __init__(self, rows: TableRows, books: Codebooks, packs: Sequence[Pack]) -> None:
        self._books = books
        self._packs = []
        self.covered = np.zeros(len(rows), dtype=bool)
        for pack in packs:
            places = rows.of(pack.rows)
            living = places != NOWHERE
            self._packs.append(_ScannedPack(clips=pack.clips, rows=places, living=living))
            self.covered[places[living]] = True
        # The row of each packed clip, counted through all packs.
        self._rows = np.concatenate([np.empty(0, np.int64), *(pack.rows for pack in self._packs)])

    def find(
        self, text: TextPrototypes, object_phrase_weight: float, count: int, allowed: NDArray[np.bool_] | None
    ) -> Candidates:
        """The best clips by codes, and the best of these by 8-bit events."""
        tables = QueryTables.of(text, self._books, object_phrase_weight)
        parts = [pack.clips for pack in self._packs]
        masks = [pack.allowed(allowed) for pack in self._packs]
        wide = refined_count(count, parts[0].slots) if parts else count
        found = refine(tables, parts, scan(tables, parts, wide, masks))[0]
        return replace(found, rows=self._rows[found.rows]).best(count)


class IndexedEvents:
    """Candidates by an index over event prototypes: only the event-sentence score chooses them.

    Args:
        rows: of the version that is searched.
        packed: the clips that the index holds.
        index: the index.
    """

    def __init__(self, rows: TableRows, packed: PackedRows, index: EventIndex) -> None:
        self._index = index
        self._rows = rows.of(packed)
        self._living = self._rows != NOWHERE
        self.covered = np.zeros(len(rows), dtype=bool)
        self.covered[self._rows[self._living]] = True

    def find(
        self, text: TextPrototypes, object_phrase_weight: float, count: int, allowed: NDArray[np.bool_] | None
    ) -> Candidates:
        """The clips whose best event is nearest to the sentence."""
        mask = self._living if allowed is None else self._living & allowed[self._rows]
        found = self._index.find(text, count, mask)
        return Candidates(self._rows[found.rows], found.scores)


@dataclass(frozen=True, kw_only=True)
class OpenedPacks:
    """The files that `current.json` named at one moment.

    Attributes:
        current: its contents.
        books: the codebooks.
        packs: the undamaged ones.
        index: the index and the clips that it holds; None if there is none, it was not asked for, or it is damaged.
        damaged: what is wrong with the others, a line each.
    """

    current: Current
    books: Codebooks
    packs: tuple[Pack, ...]
    index: tuple[PackedRows, EventIndex] | None
    damaged: tuple[str, ...]

    @property
    def pages(self) -> dict[str, dict[str, Pages]]:
        """Where data files hold their prototypes row after row, by name."""
        return {
            fragment.file: fragment.pages
            for pack in self.packs
            for fragment in pack.rows.fragments
            if fragment.pages is not None
        }

    def only(self, files: set[str]) -> OpenedPacks:
        """The same with the packed clips of some data files alone; their codes are copied."""
        packs = tuple(part for pack in self.packs if (part := pack.only(files)) is not None)
        return replace(self, packs=packs)

    def shortlist(self, rows: TableRows, coarse: str) -> Shortlist:
        """A way to choose candidates: `scan` or `index`.

        Raises:
            NotCoded: there is no index.
        """
        if coarse == "scan":
            return ScannedPacks(rows, self.books, self.packs)
        if self.index is None:
            raise NotCoded(
                "the library has no index over event prototypes",
                "coarse='scan' or coarse='exact'",
                "prost optimize --index hnsw",
            )
        return IndexedEvents(rows, *self.index)


def open_packs(folder: PackFolder, *, with_index: bool = False) -> OpenedPacks | None:
    """Open the files in use; None if none were made yet.

    Raises:
        PackDamaged: the codebooks are damaged or of another model, so no pack can be read.
    """
    for _ in range(ATTEMPTS):
        current = folder.current()
        if current is None:
            return None
        try:
            return _opened(folder, current, with_index)
        except FileNotFoundError as error:
            # A writer committed in between and removed the file, or the file is lost.
            if folder.current() == current:
                raise PackDamaged(f"{error.filename}: it is gone", suggestion="prost optimize") from None
    raise PackDamaged(f"{folder.path}: it changes all the time", suggestion="search again")


def _opened(folder: PackFolder, current: Current, with_index: bool) -> OpenedPacks:
    books = folder.codebooks(current.codebooks)
    packs, damaged, index = [], [], None
    for name in current.packs:
        try:
            packs.append(folder.pack(name, current.codebooks))
        except PackDamaged as damage:
            damaged.append(damage.arrived)
        except FileNotFoundError as error:
            damaged.append(_gone(folder, current, error))
    if with_index and current.index is not None:
        try:
            packed, kind, data = folder.index(current.index)
            index = packed, EventIndex.from_bytes(kind, data)
        except PackDamaged as damage:
            damaged.append(damage.arrived)
        except FileNotFoundError as error:
            damaged.append(_gone(folder, current, error))
    return OpenedPacks(current=current, books=books, packs=tuple(packs), index=index, damaged=tuple(damaged))


def _gone(folder: PackFolder, current: Current, error: FileNotFoundError) -> str:
    """What is wrong with a lost file; raises the error if a writer removed it after a commit."""
    if folder.current() != current:
        raise error
    return f"{error.filename}: it is gone"
