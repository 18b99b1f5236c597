"""Clips keep their codes when compaction gives them new data files."""

from __future__ import annotations

import numpy as np
import pytest

import prost.search.optimizing as optimizing
import prost.search.ranking as ranking
from prost.search.codes import code_clips
from prost.search.coding import Coding
from prost.search.compaction import carry_codes
from prost.search.fragments import column_array, data_file
from prost.search.library import Library
from prost.search.optimizing import optimize
from prost.search.packs import Pack, PackFolder, pack_folder
from prost.search.shortlist import IndexedEvents, ScannedPacks, TableRows, open_packs
from prost.search.snapshot import ClipSnapshot
from prost.search.store import Store


@pytest.fixture
def store(filled: Library) -> Store:
    """120 videos of two clips in three fragments."""
    return Store.open(filled.path)


@pytest.fixture
def folder(store: Store) -> PackFolder:
    found = pack_folder(store)
    assert found is not None
    return found


def rows_of(store: Store) -> TableRows:
    return ClipSnapshot(store, memory=0).rows


def shortlists(store: Store, folder: PackFolder) -> tuple[ScannedPacks, IndexedEvents]:
    opened = open_packs(folder, with_index=True)
    assert opened is not None and opened.index is not None
    rows = rows_of(store)
    return ScannedPacks(rows, opened.books, opened.packs), IndexedEvents(rows, *opened.index)


def packs(folder: PackFolder) -> list[Pack]:
    current = folder.current()
    assert current is not None
    return [folder.pack(name, current.codebooks) for name in current.packs]


def test_every_clip_has_codes_before_and_after_the_compaction(
    store: Store, folder: PackFolder, fill_store, unpack_codes
) -> None:  # type: ignore[no-untyped-def]
    optimize(store, folder, index="ivf-pq")
    # Deleted rows in one fragment, and a second one that the index does not know.
    fill_store(store, 500, 10)
    store.delete_videos([f"/videos/content{number:05}.mp4" for number in (0, 39, 40, 77)])
    store.sweep()
    Coding(store, folder).run(smallest=1)
    covered = []

    def carry(table, rewrites) -> None:  # type: ignore[no-untyped-def]
        carry_codes(folder, table, rewrites, 10**6)
        covered.append(shortlists(store, folder)[0].covered)

    files = {file for pack in packs(folder) for file in pack.files}
    store.tidy(thorough=True, before_compaction=carry)
    assert [each.all() for each in covered] == [True]
    scanned, indexed = shortlists(store, folder)
    assert scanned.covered.all() and len(scanned.covered) == 252
    assert indexed.covered.sum() == 232

    report = Coding(store, folder).run(smallest=1)
    assert (report.clips, report.coded) == (252, 0)
    assert not files & {file for pack in packs(folder) for file in pack.files}

    # The codes are those that the clips would get now.
    current = folder.current()
    assert current is not None
    books = folder.codebooks(current.codebooks)
    table = store.clips().to_table(columns=["object_codes", "event"])
    object, event = (column_array(table, name, folder.sizes) for name in ("object_codes", "event"))
    expected, _ = code_clips(books, object, event)
    for pack in packs(folder):
        places = rows_of(store).of(pack.rows)
        assert sorted(places.tolist()) == list(range(252))
        for clip, row in enumerate(places.tolist()):
            assert unpack_codes(pack.clips, clip).tolist() == unpack_codes(expected, row).tolist()
        assert pack.clips.event_codes.tolist() == expected.event_codes[places].tolist()


def test_rows_may_be_split_over_several_new_files(store: Store, folder: PackFolder, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    Coding(store, folder).run(smallest=1)
    monkeypatch.setattr(Store, "rows_per_fragment", lambda store: 100)
    store.delete_videos(["/videos/content00050.mp4"])
    store.sweep()
    store.tidy(
        thorough=True, before_compaction=lambda table, rewrites: carry_codes(folder, table, rewrites, 150)
    )
    sizes = [fragment.count_rows() for fragment in store.clips().get_fragments()]
    assert len(sizes) > 1 and sum(sizes) == 238
    report = Coding(store, folder).run(smallest=1)
    assert (report.clips, report.coded) == (238, 0)
    rows = rows_of(store)
    places = np.concatenate([rows.of(pack.rows) for pack in packs(folder)])
    assert sorted(places.tolist()) == list(range(238))


def test_files_with_uncoded_clips_are_coded_as_a_whole(store: Store, folder: PackFolder, fill_store) -> None:  # type: ignore[no-untyped-def]
    Coding(store, folder).run(smallest=1)
    fill_store(store, 500, 3)
    store.tidy(
        thorough=True, before_compaction=lambda table, rewrites: carry_codes(folder, table, rewrites, 10**6)
    )
    report = Coding(store, folder).run(smallest=1)
    assert (report.clips, report.coded) == (246, 246)


def test_optimize_codes_no_clip_twice(filled: Library, fill_store, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    filled.optimize(index="ivf-pq")
    fill_store(Store.open(filled.path), 500, 30)
    filled.search("red", coarse="scan")
    report = filled.optimize()
    assert (report.coding.coded, report.coding.clips, report.fragments) == (60, 300, (2, 1))
    monkeypatch.setattr(ranking, "_exact", None)  # every clip is covered
    assert len(filled.search("red", coarse="scan", limit=999)) == 150
    assert len(filled.search("red", coarse="index")) == 10


@pytest.mark.slow
def test_a_search_at_any_step_of_a_compaction_is_answered_by_codes(
    filled: Library, model, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    filled.optimize(retrain=True)
    monkeypatch.setattr(Store, "rows_per_fragment", lambda store: 100)  # files that are merged and split
    store = Store.open(filled.path)
    store.delete_videos(["/videos/content00050.mp4"])
    store.sweep()
    exact = [(hit.path, hit.moments) for hit in filled.search("red", coarse="exact", limit=999)]
    reader = Library(filled.path, model)
    monkeypatch.setattr(ranking, "_exact", None)  # no clip lacks codes
    steps = []

    def search(step: str) -> None:
        for each in (reader, Library(filled.path, model)):  # one has an older version open
            found = each.search("red", coarse="scan", limit=999)
            assert [(hit.path, hit.moments) for hit in found] == exact
            assert not found.notes
        steps.append(step)

    def carry(*given) -> None:  # type: ignore[no-untyped-def]
        search("files written")
        carry_codes(*given)
        search("codes carried")

    monkeypatch.setattr(optimizing, "carry_codes", carry)
    search("before")
    before = {data_file(each) for each in store.clips().get_fragments()}
    report = filled.optimize()
    search("after")
    assert steps == ["before", "files written", "codes carried", "after"]
    assert report.coding.coded == 0
    assert not before & {data_file(each) for each in store.clips().get_fragments()}


def test_an_older_version_can_be_read_after_a_compaction(filled: Library, fill_store) -> None:  # type: ignore[no-untyped-def]
    store = Store.open(filled.path)
    for first in range(500, 520):  # more small files than are left alone
        fill_store(store, first, 1)
    folder = pack_folder(store)
    Coding(store, folder).run(smallest=1)
    older = ClipSnapshot(store, memory=0)
    rows = np.arange(len(older))
    before = older.stored_clips(rows, older.reader({}))
    optimizing.bring_up_to_date(store, folder)
    now = ClipSnapshot(store, memory=0)
    assert now.version > older.version
    assert not older.rows.fragments.keys() & now.rows.fragments.keys()
    after = older.stored_clips(rows, older.reader({}))
    assert [each.key for each in after] == [each.key for each in before]
    assert all(np.array_equal(one.object, other.object) for one, other in zip(before, after, strict=True))
