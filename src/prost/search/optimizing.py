"""Upkeep of a library, for a writer who holds its lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import lance
import numpy as np
from lance.optimize import RewriteResult

from prost.errors import PackDamaged, UsageError
from prost.progress import Advance
from prost.search.coding import PACK_CLIPS, SCAN_FROM, Coding, CodingReport
from prost.search.compaction import carry_codes
from prost.search.event_index import KINDS, EventIndex
from prost.search.packs import Current, PackedRows, PackFolder, open_or_damaged
from prost.search.storage_errors import storage_errors
from prost.search.store import Store


@dataclass(kw_only=True)
class OptimizeReport:
    """What `Library.optimize` did.

    Attributes:
        coding: changes of codebooks and packs.
        fragments: number of fragments of the clips table, before and after.
        index: kind of the index over event prototypes; empty if there is none.
        nbytes: bytes on disk by what they are for: the tables, and each part of the packs.
        background: whether the scores of unrelated sentences are up to date; making them can need the model.
    """

    coding: CodingReport
    fragments: tuple[int, int]
    index: str = ""
    nbytes: dict[str, int] = field(default_factory=dict)
    background: bool = False


def bring_up_to_date(store: Store, packs: PackFolder) -> None:
    """After writing: code new clips, make damaged packs again, merge many small fragments, remove unused files.

    Args:
        store: the library.
        packs: its packs.

    Raises:
        StorageError: the disk refuses.
    """
    _code_and_tidy(store, packs, smallest=SCAN_FROM)


def optimize(
    store: Store,
    packs: PackFolder,
    *,
    retrain: bool = False,
    index: str | None = None,
    progress: Advance | None = None,
) -> OptimizeReport:
    """Compact the tables, bring the packs up to date, and make an index if one is asked for.

    Args:
        store: the library.
        packs: its packs.
        retrain: train the codebooks again in any case.
        index: kind of the index; None keeps the one that there is up to date.
        progress: called with the clips coded and the clips to code.

    Raises:
        UsageError: an unknown kind of index, or faiss is not installed.
        StorageError: the disk refuses.
    """
    if index is not None and index not in KINDS:
        raise UsageError(f"an index of kind {index!r}", "hnsw or ivf-pq")
    before = _fragments(store)
    coding = _code_and_tidy(store, packs, retrain=retrain, smallest=1, thorough=True, progress=progress)
    report = OptimizeReport(coding=coding, fragments=(before, _fragments(store)))
    current = packs.current()
    if current is not None and current.packs:
        report.index = _bring_index_up_to_date(store, packs, current, index, coding)
    report.nbytes = {"tables": store.nbytes() - sum(packs.nbytes().values()), **packs.nbytes()}
    return report


def _code_and_tidy(
    store: Store,
    packs: PackFolder,
    *,
    smallest: int,
    retrain: bool = False,
    thorough: bool = False,
    progress: Advance | None = None,
) -> CodingReport:
    """Code first, so that every clip has codes that can follow it when fragments are merged."""
    report = Coding(store, packs, progress=progress).run(retrain=retrain, smallest=smallest)
    compacted = False

    def carry(table: lance.LanceDataset, rewrites: Sequence[RewriteResult]) -> None:
        nonlocal compacted
        compacted = True
        carry_codes(packs, table, rewrites, PACK_CLIPS, store.storage_options)

    store.tidy(thorough=thorough, before_compaction=carry)
    if compacted:
        # Packs of the old data files go, and what could not be carried over is coded again.
        after = Coding(store, packs, progress=progress).run(smallest=smallest)
        report = replace(
            after,
            coded=report.coded + after.coded,
            trained=report.trained or after.trained,
            damaged=report.damaged + after.damaged,
        )
    return report


def _fragments(store: Store) -> int:
    with storage_errors(store.root):
        return len(store.clips().get_fragments())


def _bring_index_up_to_date(
    store: Store, folder: PackFolder, current: Current, wanted: str | None, report: CodingReport
) -> str:
    """Index all clips that have codes, unless the index of that kind holds just these; returns its kind."""
    wanted = wanted or current.index_kind
    if wanted is None:
        return ""
    packs = [folder.pack(name, current.codebooks) for name in current.packs]
    rows = PackedRows.joined([pack.rows for pack in packs])
    if current.index is not None:
        name = current.index
        try:
            indexed, kind, _ = open_or_damaged(lambda: folder.index(name))
        except PackDamaged as damage:
            report.damaged.append(damage.arrived)
        else:
            if wanted == kind and _same_rows(indexed, rows):
                return kind
    data = EventIndex.build(wanted, [pack.clips for pack in packs]).to_bytes()
    with storage_errors(store.root):
        version = store.clips().version
    folder.commit(replace(current, index=folder.write_index(rows, wanted, data, version)))
    return wanted


def _same_rows(one: PackedRows, other: PackedRows) -> bool:
    places, others = one.by_file(), other.by_file()
    return places.keys() == others.keys() and all(
        np.array_equal(places[file], others[file]) for file in places
    )
