"""Changing the model of a library: beside the old tables, resumable, switched in one step."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.search import bucket_writers
from tests.search.bucket_server import BUCKET, BucketServer
from tests.search.conftest import ColourModel, paint_video

from prost.errors import LibraryBusy, LibraryDamaged, MissingPath, ModelMismatch, UsageError
from prost.object_store import ObjectStore
from prost.search.changing_model import change_model
from prost.search.generations import (
    POINTER,
    Switch,
    current_generation,
    generation_for,
    other_generations,
    remove_generation,
)
from prost.search.lease import Holder, hold_lease
from prost.search.library import Library
from prost.search.store import Store
from prost.search.writer_lock import LOCK, writer_lock

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
    with Library(generation_for(str(root), NEW), NEW, clips=Library(root).description.clips) as new:
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


class RenamedModel(ColourModel):
    """The new model under another fingerprint, as a later rule of fingerprints gives it."""

    def __init__(self) -> None:
        super().__init__(fingerprint="1a7er")

    def former_fingerprints(self, name: str) -> frozenset[str]:
        return frozenset({NEW.fingerprint})


def test_a_change_that_was_begun_under_a_former_fingerprint_goes_on(root: Path, folder: Path) -> None:
    begun = generation_for(str(root), NEW)
    with Library(begun, NEW) as new:
        new.add(folder / "red.mp4")
    change = change_model(root, RenamedModel())
    assert change.place == begun
    assert len(change.report.added) == 2 and len(change.report.unchanged) == 1
    with pytest.raises(UsageError, match="already"):
        change_model(root, RenamedModel())


def test_a_change_that_began_before_another_one_does_not_undo_it(root: Path, folder: Path) -> None:
    with Library(generation_for(str(root), NEW), NEW) as new:
        new.add(folder)
    begun = new.path
    with Library(root, OLD) as before:
        Switch.of(str(root)).to(begun)
        with pytest.raises(ModelMismatch), before.as_it_is():
            pass


@pytest.mark.slow
class TestOnObjectStorage:
    @pytest.fixture
    def root(self, environment: BucketServer, folder: Path, request: pytest.FixtureRequest) -> str:
        root = f"s3://{BUCKET}/{request.node.name}.prost"
        with Library(root, OLD) as library:
            library.add(folder)
            library.tag(folder / "red.mp4", "warm")
        return root

    def test_searches_go_on_and_then_use_the_new_model(self, root: str, folder: Path) -> None:
        white = paint_video(folder.parent / "white.mp4", ("white", 2))
        with Library(root, OLD) as before:

            def look(place: str) -> None:
                assert current_generation(root) == root
                assert Library(place).stats().videos == 4
                assert Path(before.search("red")[0].path).name == "red.mp4"

            change = change_model(root, NEW, also=[white], before_switch=look)
            assert change.switched and len(change.report.added) == 4
            assert Path(before.search("blue")[0].path).name == "blue.mp4"
            with pytest.raises(ModelMismatch, match="was changed while it was open"):
                before.add(white)
        with pytest.raises(ModelMismatch):
            Library(root, OLD)
        with Library(root, NEW) as library:
            assert Path(library.search("white")[0].path).name == "white.mp4"
            assert (library.path, library.tables) == (root, change.place)
            assert [row.tags for row in library.videos() if row.path.endswith("red.mp4")] == [("warm",)]
            assert library.verify() == []
        with pytest.raises(UsageError, match="already"):
            change_model(root, NEW)

    def test_former_tables_are_removed_on_request(self, root: str) -> None:
        change = change_model(root, NEW)
        assert other_generations(root) == [root]
        with hold_lease(ObjectStore(root)), pytest.raises(LibraryBusy):
            remove_generation(root, root)
        remove_generation(root, root)
        assert other_generations(root) == []
        assert ObjectStore(root).names() == {POINTER, change.place.rsplit("/", 1)[-1]}
        assert change_model(root, OLD).switched
        assert other_generations(root) == [change.place]
        remove_generation(root, change.place)
        assert ObjectStore(change.place).sizes() == {}
        with Library(root, OLD) as library:
            assert Path(library.search("green")[0].path).name == "green.mp4"
        with pytest.raises(ValueError, match="in use"):
            remove_generation(root, current_generation(root))

    def test_a_switch_prepared_before_a_takeover_fails(self, root: str, folder: Path) -> None:
        """The former holder slept; the next writer adds a video, which the new tables do not have."""
        white = paint_video(folder.parent / "white.mp4", ("white", 2))

        def taken_over(place: str) -> None:
            ObjectStore(root).write(LOCK, Holder(owner="dead", process=1, host="x", seconds=-60).to_json())
            Library(root, OLD).add(white)

        for _ in range(2):  # with no pointer before, and with one that the takeover wrote
            with pytest.raises(LibraryBusy, match="lease"):
                change_model(root, NEW, before_switch=taken_over)
            assert current_generation(root) == root
        change = change_model(root, NEW)
        assert change.switched and str(white) in change.report.unchanged

        def taken_over_again(place: str) -> None:
            dead = Holder(owner="dead", process=1, host="x", seconds=-60)
            ObjectStore(change.place).write(LOCK, dead.to_json())
            with Store.open(root).writing():
                pass

        with pytest.raises(LibraryBusy, match="lease"):
            change_model(root, OLD, before_switch=taken_over_again)
        assert current_generation(root) == change.place
        assert change_model(root, OLD).switched

    @pytest.mark.slow
    def test_a_killed_change_goes_on_where_it_was(
        self, root: str, environment: BucketServer, folder: Path
    ) -> None:
        writer = bucket_writers.start(
            bucket_writers.change_slowly, root, environment.environment, NEW.fingerprint
        )
        assert writer.hear()[0] == "committed"
        os.kill(writer.process.pid, signal.SIGKILL)
        writer.process.join()
        with Library(root, OLD) as library:
            assert Path(library.search("red")[0].path).name == "red.mp4"
            assert library.verify() == []
        change = change_model(root, NEW, wait=True)
        assert change.switched
        assert len(change.report.unchanged) >= 1 and len(change.report.added) <= 2
        with Library(root, NEW) as library:
            assert len(library.videos()) == 3 and library.verify() == []

    @pytest.mark.slow
    def test_a_change_that_slept_past_its_lease_does_not_switch(
        self, root: str, environment: BucketServer, folder: Path
    ) -> None:
        white = paint_video(folder.parent / "white.mp4", ("white", 2))
        writer = bucket_writers.start(
            bucket_writers.switch_late, root, environment.environment, NEW.fingerprint, 3.0
        )
        word, process = writer.hear()
        assert word == "ready"
        os.kill(process, signal.SIGSTOP)
        Library(root, OLD).add(white, wait=True)
        writer.said.send("go on")
        os.kill(process, signal.SIGCONT)
        assert writer.hear()[0] == "LibraryBusy"
        writer.process.join()
        with Library(root, OLD) as library:
            assert Path(library.search("white")[0].path).name == "white.mp4"
        assert change_model(root, NEW).report.added == [str(white)]
