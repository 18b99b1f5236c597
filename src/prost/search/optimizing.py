"""Upkeep of a library, for a writer who holds its lock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from prost.errors import UsageError
from prost.progress import Advance
from prost.search.coding import Coding, CodingReport
from prost.search.event_index import KINDS, EventIndex
from prost.search.packs import Current, PackedRows, PackFolder
from prost.search.storage_errors import storage_errors
from prost.search.store import Store


@dataclass(kw_only=True)
class OptimizeReport:
    """What `Library.optimize` did.

    Attributes:
        coding: what became of codebooks and packs.
        fragments: of the clips table, before and after.
        index: kind of the index over event prototypes; empty where there is none.
        nbytes: bytes on disk by what they are for: the tables, and each part of the packs.
    """

    coding: CodingReport
    fragments: tuple[int, int]
    index: str = ""
    nbytes: dict[str, int] = field(default_factory=dict)


def bring_up_to_date(store: Store, packs: PackFolder) -> CodingReport:
    """After writing: code what is new, and make again what is damaged."""
    with storage_errors(store.root):
        return Coding(store, packs).run()


def optimize(
    store: Store,
    packs: PackFolder | None,
    *,
    retrain: bool = False,
    index: str | None = None,
    progress: Advance | None = None,
) -> OptimizeReport:
    """Compact the tables, bring the packs up to date, and make an index where one is asked for.

    Raises:
        UsageError: a library on an object store, an unknown kind of index, or faiss is not installed.
    """
    if packs is None:
        raise UsageError(
            f"{store.root} lies on an object store, where codes cannot be mapped",
            "a library in a folder",
            "search it without optimizing: every clip is scored exactly",
        )
    if index is not None and index not in KINDS:
        raise UsageError(f"an index of kind {index!r}", "hnsw or ivf-pq")
    with storage_errors(store.root):
        before = len(store.clips().get_fragments())
        store.tidy(thorough=True)
        after = len(store.clips().get_fragments())
        coding = Coding(store, packs, progress=progress).run(retrain=retrain, smallest=1)
        report = OptimizeReport(coding=coding, fragments=(before, after))
        current = packs.current()
        if current is not None and current.packs:
            report.index = _bring_index_up_to_date(store, packs, current, index)
        report.nbytes = {"tables": store.nbytes() - sum(packs.nbytes().values()), **packs.nbytes()}
    return report


def _bring_index_up_to_date(store: Store, folder: PackFolder, current: Current, wanted: str | None) -> str:
    """Index all clips that have codes, unless the index of that kind holds just these; returns its kind."""
    packs = [folder.pack(name, current.codebooks) for name in current.packs]
    rows = PackedRows.joined([pack.rows for pack in packs])
    if current.index is not None:
        indexed, kind, _ = folder.index(current.index)
        same = [(each.file, each.rows) for each in indexed.fragments] == [
            (each.file, each.rows) for each in rows.fragments
        ]
        if wanted in (None, kind) and same:
            return kind
        wanted = wanted or kind
    if wanted is None:
        return ""
    data = EventIndex.build(wanted, [pack.clips for pack in packs]).to_bytes()
    name = folder.write_index(rows, wanted, data, store.clips().version)
    folder.commit(replace(current, index=name))
    return wanted
