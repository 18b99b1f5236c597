"""Packs hold the clips that there are, each once; codebooks are trained when it is time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import prost.search.coding as coding
import prost.search.optimizing as optimizing
from prost.search.codes import code_clips
from prost.search.coding import Coding, CodingReport
from prost.search.library import Library
from prost.search.packs import Pack, PackFolder, pack_folder
from prost.search.store import Store

Fill = Callable[..., None]


@pytest.fixture
def store(filled: Library) -> Store:
    """120 videos of two clips in three fragments."""
    return Store.open(filled.path)


@pytest.fixture
def folder(store: Store) -> PackFolder:
    found = pack_folder(store)
    assert found is not None
    return found


def run(store: Store, folder: PackFolder, **choices) -> CodingReport:  # type: ignore[no-untyped-def]
    return Coding(store, folder).run(**{"smallest": 1, **choices})


def packs(folder: PackFolder) -> list[Pack]:
    current = folder.current()
    assert current is not None
    return [folder.pack(name, current.codebooks) for name in current.packs]


def test_small_libraries_get_no_codes(store: Store, folder: PackFolder) -> None:
    assert Coding(store, folder).run() == CodingReport()
    assert folder.current() is None
    assert not folder.path.exists()


def test_every_clip_is_coded_as_its_prototypes_say(store: Store, folder: PackFolder, unpack_codes) -> None:  # type: ignore[no-untyped-def]
    report = run(store, folder)
    assert (report.clips, report.coded, report.trained) == (240, 240, "there were none")
    (pack,) = packs(folder)
    current = folder.current()
    assert current is not None
    table = store.clips().to_table(columns=["object_codes", "event"])
    object = table["object_codes"].combine_chunks().flatten().to_numpy().reshape(240, 6, 3, 8)
    event = table["event"].combine_chunks().flatten().to_numpy().reshape(240, 2, 8)
    expected, errors = code_clips(folder.codebooks(current.codebooks), object, event)
    assert [unpack_codes(pack.clips, clip).tolist() for clip in range(240)] == [
        unpack_codes(expected, clip).tolist() for clip in range(240)
    ]
    assert pack.clips.event_codes.tolist() == expected.event_codes.tolist()
    assert report.object_error == pytest.approx(errors[0] / (240 * 18))
    assert report.event_error == pytest.approx(errors[1] / (240 * 2))
    # A dead slot: code 0 alone.
    assert set(unpack_codes(pack.clips, 7)[2].tolist()) == {0}


def test_a_second_run_does_nothing(store: Store, folder: PackFolder) -> None:
    run(store, folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.path.iterdir()}
    report = run(store, folder)
    assert (report.clips, report.coded, report.trained, report.damaged) == (240, 0, "", [])
    assert {path.name: path.stat().st_mtime_ns for path in folder.path.iterdir()} == before


def test_only_new_clips_are_coded_and_small_packs_are_merged(
    store: Store, folder: PackFolder, fill_store: Fill
) -> None:
    run(store, folder)
    counts = []
    for first in range(200, 280, 10):
        fill_store(store, first, 10)
        report = run(store, folder)
        assert (report.coded, report.trained) == (20, "")
        counts.append([len(pack) for pack in packs(folder)])
    assert counts[0] == [240, 20]
    assert sum(counts[-1]) == 240 + 160
    assert len(counts[-1]) < 6
    files = [file for pack in packs(folder) for file in pack.files]
    assert len(files) == len(set(files)) == len(store.clips().get_fragments())
    assert {path.name for path in folder.path.iterdir()} == {"current.json", *folder.current().files}  # type: ignore[union-attr]


def test_packs_of_fragments_that_are_gone_go_too(store: Store, folder: PackFolder) -> None:
    run(store, folder)
    store.tidy(thorough=True)
    assert len(store.clips().get_fragments()) == 1
    report = run(store, folder)
    assert (report.clips, report.coded, report.trained) == (240, 240, "")
    store.delete_videos([row.path for row in store.read_videos()])
    store.sweep()
    assert run(store, folder).clips == 0
    assert packs(folder) == []


def test_a_library_that_has_outgrown_its_codebooks_gets_larger_ones(
    store: Store, folder: PackFolder, fill_store: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coding, "codebook_size", lambda count: 16 if count < 10_000 else 64)
    run(store, folder)
    current = folder.current()
    assert current is not None and len(folder.codebooks(current.codebooks).object) == 16
    fill_store(store, 200, 400)
    report = run(store, folder)
    assert report.trained == "the library grew from 240 to 1040 clips"
    assert (report.clips, report.coded) == (1040, 1040)
    current = folder.current()
    assert current is not None and len(folder.codebooks(current.codebooks).object) == 64


def test_codebooks_that_have_drifted_are_trained_anew(
    store: Store, folder: PackFolder, fill_store: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coding, "codebook_size", lambda count: 48)
    first = run(store, folder)
    assert run(store, folder).trained == ""
    fill_store(store, 300, 120, world=999)  # its prototypes lie where no centroid is
    drifted = run(store, folder)
    assert drifted.object_error > coding.DRIFTED * first.object_error
    mended = run(store, folder)
    assert mended.trained.startswith("the quantisation error drifted")
    assert mended.object_error < drifted.object_error
    assert run(store, folder).trained == ""


def test_large_libraries_are_coded_in_several_packs(
    store: Store, folder: PackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coding, "PACK_CLIPS", 100)
    seen: list[tuple[int, int]] = []
    report = Coding(store, folder, progress=lambda done, total, _: seen.append((done, total))).run(smallest=1)
    assert [len(pack) for pack in packs(folder)] == [80, 80, 80]
    assert report.clips == 240
    assert seen[-1] == (240, 240)


def test_an_add_codes_by_itself(library: Library, paint, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(optimizing, "SCAN_FROM", 2)
    for colour in ("red", "green", "blue"):
        paint(tmp_path / "videos" / f"{colour}.mp4", (colour, 2))
    library.add(tmp_path / "videos")
    assert [Path(hit.path).name for hit in library.search("blue", coarse="scan", limit=1)] == ["blue.mp4"]
