"""Searches by codes and by index give the answers of exact search, also while the library changes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import prost.search.event_index as event_index
import prost.search.ranking as ranking
import prost.search.view as view
from prost.errors import NotCoded, UsageError
from prost.search.coding import Coding
from prost.search.library import Library
from prost.search.packs import pack_folder
from prost.search.store import Store

QUERIES = ("red", "green blue", "yellow white cyan")


def answers(library: Library, coarse: str, **choices) -> list[list[tuple[str, float, float]]]:  # type: ignore[no-untyped-def]
    """Path, score to 5 digits and start of the hits of some queries."""
    return [
        [
            (hit.path, round(hit.score, 5), hit.start)
            for hit in library.search(query, coarse=coarse, **choices)
        ]
        for query in QUERIES
    ]


def test_the_scan_finds_what_exact_search_finds(filled: Library) -> None:
    filled.optimize()
    assert answers(filled, "scan") == answers(filled, "exact")
    assert all(filled.search(query, coarse="scan").notes == [] for query in QUERIES)


@pytest.mark.parametrize("kind", ["hnsw", "ivf-pq"])
def test_an_index_finds_most_of_what_exact_search_finds(filled: Library, kind: str) -> None:
    report = filled.optimize(index=kind)
    assert report.index == kind
    found, exact = answers(filled, "index", recall=1.0), answers(filled, "exact")
    for one, other in zip(found, exact, strict=True):
        assert len(one) == len(other)
        assert len(set(one) & set(other)) >= (9 if kind == "hnsw" else 5)
    assert answers(filled, "scan") == exact


def test_a_filter(filled: Library) -> None:
    filled.optimize(index="hnsw")
    where = "duration >= 30 AND duration < 35"
    exact = answers(filled, "exact", where=where)
    assert [len(hits) for hits in exact] == [5, 5, 5]
    assert answers(filled, "scan", where=where) == exact
    assert answers(filled, "index", where=where) == exact
    assert answers(filled, "scan", where="duration < 0") == [[], [], []]


def test_more_hits_than_there_are_videos(filled: Library) -> None:
    filled.optimize()
    assert answers(filled, "scan", limit=5000) == answers(filled, "exact", limit=5000)
    assert len(filled.search("red", limit=5000, coarse="scan")) == 120


def test_a_long_video_does_not_push_the_others_out(
    filled: Library, fill_store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "CANDIDATES", 8)
    fill_store(Store.open(filled.path), 500, 1, clips=150)
    filled.optimize()
    found, exact = answers(filled, "scan", recall=1.0), answers(filled, "exact")
    assert [len(hits) for hits in found] == [10, 10, 10]
    for one, other in zip(found, exact, strict=True):
        assert one[0][:2] == other[0][:2]


def test_small_libraries_are_scored_exactly_and_large_ones_scanned(
    filled: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    shortlist = view.View.shortlist
    monkeypatch.setattr(
        view.View, "shortlist", lambda seen, coarse: asked.append(coarse) or shortlist(seen, coarse)
    )
    filled.optimize()
    filled.search("red")
    assert asked == []
    monkeypatch.setattr(ranking, "SCAN_FROM", 100)
    filled.search("red")
    assert set(asked) == {"scan"}


@pytest.mark.parametrize(
    ("choices", "error", "words"),
    [
        ({"coarse": "scan"}, NotCoded, "prost optimize"),
        ({"coarse": "index"}, NotCoded, "prost optimize"),
        ({"coarse": "magic"}, UsageError, "scan, index or exact"),
        ({"recall": 0.0}, UsageError, "at most 1"),
        ({"recall": 1.5}, UsageError, "at most 1"),
    ],
)
def test_what_cannot_be(filled: Library, choices: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        filled.search("red", **choices)


def test_without_an_index_the_index_is_refused(filled: Library) -> None:
    filled.optimize()
    with pytest.raises(NotCoded, match="--index"):
        filled.search("red", coarse="index")


@pytest.mark.timeout(120)
def test_an_index_that_reaches_none_of_the_allowed_clips(
    filled: Library,
    model,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranking, "CANDIDATES", 1)
    monkeypatch.setattr(event_index, "WATCHED", 1)
    filled.optimize(index="hnsw")
    wheres = [f"name = 'content{number:05}.mp4'" for number in range(0, 120, 4)]

    def paths(library: Library) -> list[list[str]]:
        return [
            [hit.path for hit in library.search("red", coarse="index", where=where, limit=1)]
            for where in wheres
        ]

    expected = [[f"/videos/content{number:05}.mp4"] for number in range(0, 120, 4)]
    assert paths(filled) == expected
    # The same without codes, so that the scan cannot reach the clips either.
    for file in Path(filled.path, "packs").glob("*.pack"):
        damage(file, "flip")
    harmed = Library(filled.path, model)
    assert paths(harmed) == expected


def test_new_codebooks_keep_the_index(filled: Library) -> None:
    filled.optimize(index="hnsw")
    before = answers(filled, "index", recall=1.0)
    assert filled.optimize(retrain=True).index == "hnsw"
    assert answers(filled, "index", recall=1.0) == before
    store = Store.open(filled.path)
    packs = pack_folder(store)
    assert packs is not None
    assert Coding(store, packs).run(retrain=True).trained  # as an `add` does when it is due
    assert answers(filled, "index", recall=1.0) == before
    assert filled.search("red", coarse="index").notes == []


class TestChanges:
    def test_clips_without_codes_are_found(self, filled: Library, fill_store: Callable[..., None]) -> None:
        filled.optimize()
        fill_store(Store.open(filled.path), 200, 60)
        assert answers(filled, "scan") == answers(filled, "exact")
        assert len(filled.search("red", limit=999, coarse="scan")) == 180

    def test_removed_videos_are_not_found(self, filled: Library) -> None:
        filled.optimize(index="hnsw")
        best = [filled.search(query, coarse="scan")[0].path for query in QUERIES]
        packs = sorted(path.name for path in Path(filled.path, "packs").iterdir())

        store = Store.open(filled.path)
        store.delete_videos(best)  # the clips are swept later: their owners are gone

        assert sorted(path.name for path in Path(filled.path, "packs").iterdir()) == packs
        exact = answers(filled, "exact")
        assert not {hit[0] for hits in exact for hit in hits} & set(best)
        assert answers(filled, "scan") == exact
        store.sweep()
        assert answers(filled, "scan") == exact
        assert not {hit[0] for hits in answers(filled, "index") for hit in hits} & set(best)
        assert len(filled.search("red", limit=999, coarse="scan")) == 120 - len(set(best))

    def test_a_searcher_keeps_answering_when_packs_are_made_anew(self, filled: Library, model) -> None:  # type: ignore[no-untyped-def]
        filled.optimize()
        other = Library(filled.path, model)
        expected = answers(other, "scan")
        filled.optimize(retrain=True)
        assert answers(other, "scan") == expected


class TestDamage:
    @pytest.fixture
    def coded(self, filled: Library) -> Library:
        filled.optimize(index="ivf-pq")
        return filled

    @staticmethod
    def files(library: Library, ending: str) -> list[Path]:
        found = sorted(Path(library.path, "packs").glob(f"*{ending}"))
        assert found
        return found

    @pytest.mark.parametrize(
        ("ending", "harm"),
        [
            (ending, harm)
            for ending in (".pack", ".map", "current.json")
            for harm in ("cut", "flip", "front", "empty", "gone", "folder")
            if (ending, harm) != ("current.json", "flip")  # the names in it have no checksum
        ],
    )
    def test_answers_stay_right_and_the_damage_is_reported_and_repaired(
        self,
        coded: Library,
        model,  # type: ignore[no-untyped-def]
        ending: str,
        harm: str,
    ) -> None:
        exact = answers(coded, "exact")
        for file in self.files(coded, ending):
            damage(file, harm)
        harmed = Library(coded.path, model)

        if (ending, harm) == ("current.json", "gone"):
            with pytest.raises(NotCoded, match="prost optimize"):
                harmed.search("red", coarse="scan")
            assert harmed.optimize().index == "ivf-pq"
            assert answers(harmed, "scan") == exact
            return
        assert answers(harmed, "scan") == exact
        (note,) = harmed.search("red", coarse="scan").notes
        assert self.files(coded, "")[0].parent.name in note
        assert "prost optimize" in note

        report = harmed.optimize()
        assert report.coding.damaged
        assert report.index == "ivf-pq"
        assert harmed.search("red", coarse="scan").notes == []
        assert harmed.search("red", coarse="index").notes == []
        assert answers(harmed, "scan") == exact
        assert Library(coded.path, model).optimize().coding.damaged == []

    def test_the_codebooks_of_another_model(
        self,
        coded: Library,
        tmp_path: Path,
        make_model,  # type: ignore[no-untyped-def]
        fill_store: Callable[..., None],
    ) -> None:
        exact = answers(coded, "exact")
        foreign = Library(tmp_path / "foreign.prost", make_model(fingerprint="another"))
        fill_store(Store.open(foreign.path), 0, 30)
        foreign.optimize()
        shutil.rmtree(Path(coded.path, "packs"))
        shutil.copytree(Path(foreign.path, "packs"), Path(coded.path, "packs"))

        assert answers(coded, "scan") == exact
        (note,) = coded.search("red", coarse="scan").notes
        assert "another" in note
        assert coded.optimize().coding.damaged
        assert coded.search("red", coarse="scan").notes == []

    @pytest.mark.parametrize("harm", ["flip", "gone", "folder"])
    def test_a_damaged_index_is_scanned_instead_and_made_again(
        self, coded: Library, model, harm: str
    ) -> None:  # type: ignore[no-untyped-def]
        for file in self.files(coded, ".index"):
            damage(file, harm)
        harmed = Library(coded.path, model)
        exact = answers(harmed, "exact")
        assert answers(harmed, "scan") == exact
        assert answers(harmed, "index") == exact
        (note,) = harmed.search("red", coarse="index").notes
        assert "prost optimize" in note

        report = harmed.optimize()
        assert (report.index, len(report.coding.damaged)) == ("ivf-pq", 1)
        assert harmed.search("red", coarse="index").notes == []
        assert harmed.optimize().coding.damaged == []

    @pytest.mark.parametrize("harm", ["file", "loop"])
    def test_a_packs_folder_that_cannot_be_read(self, coded: Library, model, harm: str) -> None:  # type: ignore[no-untyped-def]
        exact = answers(coded, "exact")
        packs = Path(coded.path, "packs")
        shutil.rmtree(packs)
        if harm == "file":
            packs.write_text("no folder")
        else:
            packs.symlink_to(packs)
        harmed = Library(coded.path, model)
        assert answers(harmed, "scan") == exact
        (note,) = harmed.search("red", coarse="scan").notes
        assert "cannot be read" in note and "prost optimize" in note
        assert harmed.optimize().coding.damaged
        assert answers(harmed, "scan") == exact
        assert harmed.search("red", coarse="scan").notes == []

    def test_a_pack_of_another_library(
        self,
        coded: Library,
        tmp_path: Path,
        model,  # type: ignore[no-untyped-def]
        fill_store: Callable[..., None],
    ) -> None:
        exact = answers(coded, "exact")
        other = Library(tmp_path / "other.prost", model)
        fill_store(Store.open(other.path), 0, 30, world=3)
        other.optimize()
        (ours,), (theirs,) = self.files(coded, ".pack"), self.files(other, ".pack")
        shutil.copyfile(theirs, ours)
        harmed = Library(coded.path, model)
        assert answers(harmed, "scan") == exact
        (note,) = harmed.search("red", coarse="scan").notes
        assert "coded with" in note

        assert len(harmed.optimize().coding.damaged) == 1
        assert answers(harmed, "scan") == exact
        assert harmed.search("red", coarse="scan").notes == []

    def test_unfinished_files_of_killed_writers_are_removed(self, coded: Library) -> None:
        left = [
            Path(coded.path, name)
            for name in (
                "packs/0123-v7-0.pack.new",
                "packs/current.json.new",
            )
        ]
        for path in left:
            path.write_text("unfinished")
        coded.optimize()
        assert [path for path in left if path.exists()] == []
        assert coded.search("red", coarse="scan").notes == []


def damage(file: Path, harm: str) -> None:
    data = bytearray(file.read_bytes())
    if harm in ("gone", "folder"):
        file.unlink()
        if harm == "folder":
            file.mkdir()
            (file / "something").touch()
        return
    if harm == "cut":
        data = data[: len(data) // 2]
    elif harm == "flip":
        data[-100] ^= 0x10
    elif harm == "front":
        data[3] ^= 0xFF
    else:
        data = bytearray()
    file.write_bytes(bytes(data))


CUT_SHORT = """
import os, shutil, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import prost.search.mapped as mapped
from conftest import ColourModel
from prost.errors import LibraryDamaged
from prost.search.library import Library

mapped.READ_WHOLE = int(sys.argv[3])
library = Library(sys.argv[1], ColourModel())

def search(coarse="scan", **choices):
    return [(hit.path, round(hit.score, 5)) for hit in library.search("red", coarse=coarse, **choices)]

def notes():
    return library.search("red", coarse="scan").notes

expected = search()
(pack,) = Path(library.path, "packs").glob("*.pack")
whole = pack.read_bytes()

def overwrite(data):
    with open(pack, "wb") as file:  # as `cp` does
        file.write(data)

for data in (whole[: len(whole) // 2], b"", bytes(len(whole)), whole[:-1] + b"x"):
    overwrite(data)
    assert search() == expected
    assert bool(notes()) == (mapped.READ_WHOLE == 0), notes()
    overwrite(whole)
    assert search() == expected
    assert notes() == [], notes()

for file in Path(library.path, "clips.lance", "data").iterdir():
    os.truncate(file, file.stat().st_size // 2)
for coarse in ("scan", "exact"):
    try:
        search(coarse)
    except LibraryDamaged as error:
        assert "restore" in str(error)
    else:
        sys.exit(f"{coarse} read clips that are gone")
"""


@pytest.mark.slow
@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_files_cut_short_under_an_open_library(filled: Library, in_memory: int) -> None:
    filled.optimize()
    here = str(Path(__file__).parent)
    subprocess.run(
        [sys.executable, "-c", CUT_SHORT, filled.path, here, str(in_memory)], check=True, timeout=180
    )


@pytest.mark.slow
def test_one_process_writes_while_another_searches(filled: Library, model) -> None:  # type: ignore[no-untyped-def]
    filled.optimize()
    before = answers(filled, "scan")
    here = str(Path(__file__).parent)
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, sys.argv[2])\n"
            "from conftest import ColourModel, fill\n"
            "from prost.search.library import Library\n"
            "from prost.search.store import Store\n"
            "library = Library(sys.argv[1], ColourModel())\n"
            "for first in range(1000, 1080, 10):\n"
            "    with library._store.writing():\n"
            "        fill(library._store, first, 10)\n"
            "    library.optimize(retrain=first % 20 == 0)\n"
            "    library.remove([f'/videos/content{first:05}.mp4'])\n",
            filled.path,
            here,
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    reader = Library(filled.path, model)
    searches, grown = 0, 0
    while writer.poll() is None or searches < 3:
        hits = reader.search("red", limit=999, coarse="scan")
        paths = [hit.path for hit in hits]
        assert len(set(paths)) == len(paths)
        # All that was there from the start is there, with its score, and nothing is found twice.
        assert len([path for path in paths if path < "/videos/content01000"]) == 120
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        kept = [
            (hit.path, round(hit.score, 5), hit.start) for hit in hits if hit.path < "/videos/content01000"
        ]
        assert kept[:3] == before[0][:3]
        grown = max(grown, len(paths))
        searches += 1
    assert writer.wait() == 0, writer.stderr.read() if writer.stderr else ""
    assert answers(reader, "scan") == answers(reader, "exact")
    assert len(reader.search("red", limit=999, coarse="scan")) == 120 + 8 * 9
    assert grown > 120
