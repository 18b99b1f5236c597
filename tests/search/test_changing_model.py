"""Changing the model of a library: beside the old tables, resumable, switched in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.search.conftest import ColourModel, paint_video

from prost.errors import LibraryBusy, LibraryDamaged, MissingPath, ModelMismatch, UsageError
from prost.search.changing_model import change_model
from prost.search.generations import (
    POINTER,
    current_generation,
    next_generation,
    other_generations,
    remove_generation,
)
from prost.search.library import Library
from prost.search.writer_lock import writer_lock

OLD, NEW = ColourModel(), ColourModel(fingerprint="ne3")


@pytest.fixture
def root(library: Library, folder: Path) -> Path:
    library.add(folder)
    library.tag(folder / "red.mp4", "warm")
    library.close()
    return Path(library.path)


def best(root: Path, model: ColourModel, query: str) -> str:
    with Library(root, model) as library:
        return Path(library.search(query)[0].path).name


def test_searches_use_the_new_model_afterwards(root: Path, folder: Path) -> None:
    change = change_model(root, NEW)
    assert change.switched and not change.left_behind
    assert len(change.report.added) == 3
    assert best(root, NEW, "red") == "red.mp4"
    with pytest.raises(ModelMismatch):
        Library(root, OLD)
    with Library(root) as library:
        assert library.path == str(root) and library.tables == change.place
        assert {Path(row.path).name: row.tags for row in library.videos()} == {
            "red.mp4": ("warm",),
            "green.mp4": (),
            "blue.mp4": (),
        }
        assert library.verify() == []


def test_a_library_that_is_open_goes_on_with_the_old_model(root: Path) -> None:
    with Library(root, OLD) as before:
        assert Path(before.search("red")[0].path).name == "red.mp4"
        assert change_model(root, NEW).switched
        assert Path(before.search("blue")[0].path).name == "blue.mp4"


def test_clips_are_cut_as_before(tmp_path: Path, folder: Path) -> None:
    from prost.search.records import ClipSettings

    film = paint_video(folder / "long.mp4", ("red", 9))
    with Library(tmp_path / "l.prost", OLD, clips=ClipSettings(longest=3.0, overlap=0.0)) as library:
        library.add(film)
        clips = library.stats().clips
    change_model(tmp_path / "l.prost", NEW)
    with Library(tmp_path / "l.prost", NEW) as library:
        assert library.stats().clips == clips == 3


def test_former_tables_are_removed_on_request(root: Path) -> None:
    change = change_model(root, NEW)
    assert other_generations(str(root)) == [str(root)]
    remove_generation(str(root), str(root))
    assert other_generations(str(root)) == []
    assert sorted(os.listdir(root)) == sorted([POINTER, Path(change.place).name])
    assert best(root, NEW, "green") == "green.mp4"
    # And back again: the tables of the new model are now the former ones.
    assert change_model(root, OLD).switched
    assert other_generations(str(root)) == [change.place]
    remove_generation(str(root), change.place)
    assert best(root, OLD, "blue") == "blue.mp4"
    with pytest.raises(ValueError, match="in use"):
        remove_generation(str(root), current_generation(str(root)))


def test_videos_that_are_gone_keep_the_old_model_in_use(root: Path, folder: Path) -> None:
    (folder / "green.mp4").rename(folder.parent / "green.mp4")
    change = change_model(root, NEW)
    assert not change.switched
    assert [Path(path).name for path in change.left_behind] == ["green.mp4"]
    assert best(root, OLD, "green") == "green.mp4"
    (folder.parent / "green.mp4").rename(folder / "green.mp4")
    again = change_model(root, NEW)
    assert again.switched and [Path(path).name for path in again.report.added] == ["green.mp4"]
    assert len(again.report.unchanged) == 2


def test_they_are_left_behind_on_request(root: Path, folder: Path) -> None:
    (folder / "green.mp4").unlink()
    assert change_model(root, NEW, leave_behind=True).switched
    with Library(root, NEW) as library:
        assert {Path(row.path).name for row in library.videos()} == {"red.mp4", "blue.mp4"}


def test_further_videos_come_along(root: Path, folder: Path) -> None:
    white = paint_video(folder.parent / "white.mp4", ("white", 2))
    change_model(root, NEW, also=[white])
    assert best(root, NEW, "white") == "white.mp4"


def test_a_writer_of_the_old_tables_is_waited_for(root: Path) -> None:
    with Library(root, OLD) as old, old._store.writing(), pytest.raises(LibraryBusy):
        change_model(root, NEW)
    assert best(root, OLD, "red") == "red.mp4"
    assert change_model(root, NEW).switched


def test_who_had_it_open_does_not_write_to_the_former_tables(root: Path, folder: Path) -> None:
    white = paint_video(folder / "white.mp4", ("white", 2))
    with Library(root, OLD) as before:
        change = change_model(root, NEW)
        with pytest.raises(ModelMismatch, match="was changed while it was open"):
            before.add(white)
        with pytest.raises(ModelMismatch, match="was changed while it was open"):
            before.remove(folder / "red.mp4")
        remove_generation(str(root), str(root))
        with pytest.raises(ModelMismatch, match="was changed while it was open"):
            before.tag(folder / "red.mp4", "late")
    assert sorted(os.listdir(root)) == sorted([POINTER, Path(change.place).name])
    with Library(root, NEW) as library:
        assert library.add(white).added == [str(white)]


def test_what_was_removed_during_the_change_does_not_come_back(root: Path, folder: Path) -> None:
    with Library(
        next_generation(str(root), NEW.fingerprint), NEW, clips=Library(root).description.clips
    ) as new:
        new.add(folder)  # as far as an interrupted change came
    with Library(root, OLD) as library:
        library.remove(folder / "sea" / "blue.mp4")
    white = paint_video(folder.parent / "white.mp4", ("white", 2))
    change = change_model(root, NEW, also=[white])
    assert change.switched and change.report.added == [str(white)]
    with Library(root, NEW) as library:
        assert {Path(row.path).name for row in library.videos()} == {"red.mp4", "green.mp4", "white.mp4"}


def test_tables_that_are_being_written_are_not_removed(root: Path) -> None:
    change_model(root, NEW)
    with writer_lock(str(root)), pytest.raises(LibraryBusy):
        remove_generation(str(root), str(root))
    assert other_generations(str(root)) == [str(root)]


def test_no_library(tmp_path: Path) -> None:
    with pytest.raises(MissingPath):
        change_model(tmp_path / "none.prost", NEW)
    assert not (tmp_path / "none.prost").exists()


def test_a_pointer_that_cannot_be_read(root: Path) -> None:
    (root / POINTER).write_text("../elsewhere")
    with pytest.raises(LibraryDamaged, match="generation"):
        Library(root, OLD)


def test_the_model_that_made_the_library_is_no_change(root: Path) -> None:
    with pytest.raises(UsageError, match="already"):
        change_model(root, OLD)


def test_new_tables_are_complete_before_searches_use_them(root: Path) -> None:
    def look(place: str) -> None:
        assert current_generation(str(root)) == str(root)
        assert Library(place).stats().videos == 3

    assert change_model(root, NEW, before_switch=look).switched
