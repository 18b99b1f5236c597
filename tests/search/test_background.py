"""The stored scores of unrelated sentences: made, kept up to date, lost, damaged, and doing without."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prost.errors import PackDamaged
from prost.model.checkpoint import load_prost
from prost.search import background as background_module
from prost.search import ranking as ranking_module
from prost.search.background import (
    BACKGROUND,
    FEW,
    TEXTS,
    Background,
    BackgroundFile,
    EncodedSentences,
    score_unrelated,
)
from prost.search.library import Library
from prost.search.packs import pack_folder
from prost.search.shortlist import OpenedPacks, open_packs
from prost.search.snapshot import ClipSnapshot
from prost.search.store import Store
from prost.search.unrelated import COUNT


def stored(library: Library) -> Background | None:
    file = BackgroundFile.of(Store.open(library.tables))
    assert file is not None
    return file.read()


def clips_then(library: Library) -> int:
    """Clips of the library when its background was made."""
    background = stored(library)
    assert background is not None
    return int(background.clips.sum())


def test_indexing_stores_how_unrelated_sentences_score(library: Library, folder: Path) -> None:
    library.add(folder)
    background = stored(library)
    assert background is not None and len(background.best) == COUNT
    hits = library.search("red")
    assert hits.notes == []
    assert hits.confidence is not None and hits.confidence.level == "good"
    assert hits[0].confidence is not None
    assert hits[0].confidence.false_alarm_rate == hits.confidence.false_alarm_rate
    assert hits[-1].confidence is not None and hits[-1].confidence.level == "none"
    rates = [hit.confidence.false_alarm_rate for hit in hits if hit.confidence is not None]
    assert rates == sorted(rates) and len(rates) == len(hits)


def test_where_nothing_fits_the_statement_says_so(library: Library, folder: Path) -> None:
    library.add(folder)
    confidence = library.search("a day without any colour").confidence
    assert confidence is not None and confidence.level == "none"
    assert confidence.statement.startswith("Nothing in this library fits well: ")


def test_under_a_filter_the_statement_is_about_what_the_filter_leaves(library: Library, folder: Path) -> None:
    library.add(folder)
    assert library.search("red").confidence.level == "good"  # type: ignore[union-attr]
    confidence = library.search("red", where="name = 'blue.mp4'").confidence
    assert confidence is not None and confidence.level == "none"
    assert confidence.statement.startswith("Nothing among the filtered videos fits well: ")


def test_a_picture_that_words_push_out_still_tells_that_something_fits(
    library: Library, folder: Path
) -> None:
    (folder / "green.srt").write_text("1\n00:00:00,000 --> 00:00:01,500\nred\n")
    library.add(folder)
    hits = library.search("red", limit=1)
    assert [Path(hit.path).name for hit in hits] == ["green.mp4"]
    assert hits[0].confidence is not None and hits[0].confidence.level == "none"
    assert hits.confidence is not None and hits.confidence.level == "good"
    assert hits.confidence == library.search("red", sources=("picture",)).confidence


class TestClipsWithoutCodes:
    """A library that is scanned, in which codes cover a part of the clips or none; it is scored as without codes."""

    @pytest.fixture(autouse=True)
    def large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (background_module, ranking_module):
            monkeypatch.setattr(module, "SCAN_FROM", 200)

    def scored(self, library: Library, model: Any, opened: OpenedPacks | None) -> Background | None:
        sentences = EncodedSentences.of(model, ["red", "green blue", "white"])
        return score_unrelated(sentences, ClipSnapshot(Store.open(library.tables), memory=0), opened, 1.0)

    def test_the_rest_is_scored_exactly(
        self, filled: Library, model: Any, fill_store: Callable[..., None]
    ) -> None:
        filled.optimize()
        fill_store(Store.open(filled.tables), 200, 40)
        opened = open_packs(pack_folder(Store.open(filled.tables)))
        assert opened is not None
        none = replace(opened, packs=())
        exact = self.scored(filled, model, None)
        assert exact is not None
        for each in (opened, none):
            found = self.scored(filled, model, each)
            assert found is not None and found.best == pytest.approx(exact.best)

    def test_too_many_of_them_are_not_scored(
        self, filled: Library, model: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filled.optimize()
        monkeypatch.setattr(background_module, "MOST_CLIPS", 200)
        opened = open_packs(pack_folder(Store.open(filled.tables)))
        assert opened is not None and self.scored(filled, model, opened) is not None
        assert self.scored(filled, model, replace(opened, packs=())) is None

    def test_a_search_with_damaged_packs_says_how_well_hits_fit(self, filled: Library, model: Any) -> None:
        filled.optimize()
        Path(filled.tables, BACKGROUND).unlink()
        for pack in Path(filled.tables, "packs").glob("*.pack"):
            pack.write_bytes(b"")
        hits = Library(filled.path, model).search("red")
        assert hits.confidence is not None


def test_an_empty_library_has_no_background(library: Library, folder: Path) -> None:
    assert library.search("red").confidence is None
    library.add(folder)
    library.remove(folder)
    assert not Path(library.tables, BACKGROUND).exists()
    hits = library.search("red")
    assert (list(hits), hits.confidence, hits.notes) == ([], None, [])


def test_one_clip_is_enough(library: Library, folder: Path) -> None:
    library.add(folder / "red.mp4")
    confidence = library.search("red").confidence
    assert confidence is not None and 0 < confidence.false_alarm_rate < 0.05


def test_it_follows_the_clips(library: Library, folder: Path, paint: Callable[..., Path]) -> None:
    library.add(folder)
    assert clips_then(library) == 3
    paint(folder / "white.mp4", ("white", 2))
    library.add(folder)
    assert clips_then(library) == 4
    library.remove(folder / "sea")
    assert clips_then(library) == 3


def test_a_change_of_few_clips_waits_for_optimize(filled: Library) -> None:
    filled.optimize()
    assert clips_then(filled) == 240
    filled.remove("/videos/content00005.mp4")
    assert clips_then(filled) == 240
    assert filled.search("red").notes == []
    assert filled.optimize().background
    assert clips_then(filled) == 238


def test_without_a_model_the_stored_sentences_are_scored(filled: Library) -> None:
    assert not Library(filled.path).optimize().background
    assert stored(filled) is None
    filled.optimize()
    plain = Library(filled.path)
    plain.remove("/videos/content00005.mp4")
    assert plain.optimize().background
    assert clips_then(filled) == 238


def test_an_old_library_is_searched_without_being_written_to(filled: Library) -> None:
    before = sorted(path.name for path in Path(filled.tables).iterdir())
    hits = filled.search("red")
    assert hits.confidence is not None
    assert len(hits.notes) == 1 and f"estimated from {FEW} sentences" in hits.notes[0]
    assert sorted(path.name for path in Path(filled.tables).iterdir()) == before
    filled.optimize()
    assert filled.search("red").notes == []


@pytest.mark.parametrize("harm", ["cut", "changed", "other"])
def test_a_damaged_file_is_one_note_and_made_again(
    library: Library, folder: Path, harm: str, model: Any
) -> None:
    library.add(folder)
    file = Path(library.tables, BACKGROUND)
    whole = file.read_bytes()
    half = len(whole) // 2
    harmed = {
        "cut": whole[:half],
        "changed": whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
        "other": b"something else",
    }
    file.write_bytes(harmed[harm])
    with pytest.raises(PackDamaged):
        stored(library)
    hits = library.search("red")
    assert [note for note in hits.notes if BACKGROUND in note and "prost optimize" in note]
    assert hits[0].path.endswith("red.mp4") and hits.confidence is not None
    library.add(folder)
    assert stored(library) is not None
    assert Library(library.path, model).search("red").notes == []


def test_damaged_prototypes_of_the_sentences_are_made_again(library: Library, folder: Path) -> None:
    library.add(folder)
    Path(library.tables, TEXTS).write_bytes(b"")
    Path(library.tables, BACKGROUND).unlink()
    library.add(folder)
    assert stored(library) is not None and Path(library.tables, TEXTS).stat().st_size > 0


def test_another_weight_than_that_of_the_model_is_not_compared_with_stored_scores(
    library: Library, folder: Path, model: Any
) -> None:
    library.add(folder)
    model.config = model.config.model_copy(update={"object_phrase_weight": 0.0})
    hits = Library(library.path, model).search("red")
    assert hits.confidence is not None and "estimated" in hits.notes[0]


def test_neither_filter_nor_scan_changes_the_confidence_of_a_hit(filled: Library) -> None:
    filled.optimize()
    exact = filled.search("red", coarse="exact")
    scanned = filled.search("red", coarse="scan")
    filtered = filled.search("red", where=f"path = '{exact[0].path}'")
    assert exact[0].confidence is not None
    for other in (scanned[0], filtered[0]):
        assert other.path == exact[0].path and other.confidence is not None
        assert other.confidence.false_alarm_rate == pytest.approx(
            exact[0].confidence.false_alarm_rate, rel=1e-3
        )


def test_hits_of_words_alone_have_no_confidence(library: Library, folder: Path) -> None:
    (folder / "red.srt").write_text("1\n00:00:00,000 --> 00:00:01,500\nhello there\n")
    library.add(folder)
    hits = library.search("hello there", sources=("words",))
    assert [hit.confidence for hit in hits] == [None] and hits.confidence is None
    both = library.search("hello there")
    assert both[0].words and both.confidence is not None and both.confidence.level == "none"


def test_a_model_without_a_vocabulary_indexes_tags_removes_and_finds_what_is_alike(
    tmp_path: Path, untrained_folder: Path, folder: Path
) -> None:
    weights = shutil.copytree(
        untrained_folder, tmp_path / "weights", ignore=shutil.ignore_patterns("tokenizer.json")
    )
    model = load_prost(weights, "cpu")
    assert model.tokenizer is None
    library = Library(tmp_path / "own.prost", model)
    assert len(library.add(folder).added) == 3
    assert len(library.tag(folder, "mine")) == 3
    assert library.remove(folder / "sea") == [str(folder / "sea" / "blue.mp4")]
    hits = library.search_like(folder / "red.mp4")
    assert [hit.path for hit in hits] == [str(folder / "green.mp4")] and hits.notes == []
    assert not library.optimize().background


def test_a_search_by_example_says_nothing_of_unrelated_sentences(library: Library, folder: Path) -> None:
    library.add(folder)
    Path(library.tables, BACKGROUND).unlink()
    hits = library.search_like(folder / "red.mp4")
    assert len(hits) == 2 and hits.confidence is None and hits.notes == []


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from tests.search.conftest import ColourModel
import prost.search.mapped as mapped
from prost.search.library import Library
replace = os.replace
def killing(source, target):
    if str(target).endswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
mapped.os.replace = killing
Library(sys.argv[1], ColourModel()).optimize()
"""


@pytest.mark.parametrize("name", [BACKGROUND, TEXTS])
def test_a_writer_killed_while_it_stores_leaves_a_whole_file_or_none(
    filled: Library, name: str, model: Any
) -> None:
    top = str(Path(__file__).parents[2])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, filled.path, name, top], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert stored(filled) is None
    assert filled.search("red").confidence is not None
    assert Library(filled.path, model).optimize().background
    background = stored(filled)
    assert background is not None and np.isfinite(background.best).all()
