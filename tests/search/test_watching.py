"""Watching real folders with a real library."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prost.errors import LibraryBusy
from prost.search.library import Library
from prost.search.store import Store
from prost.search.watching import Watcher, WatchReport

Paint = Callable[..., Path]


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


def added(reports: Any) -> list[str]:
    return sorted(Path(path).name for report in reports for path in report.added)


def poll(watcher: Watcher) -> list[WatchReport]:
    return list(watcher.poll())


def test_a_file_is_added_at_the_second_poll(library: Library, drop: Path, paint: Paint) -> None:
    watcher = Watcher(library, [drop], workers=1)
    assert poll(watcher) == []
    paint(drop / "red.mp4", ("red", 2))
    assert poll(watcher) == []
    assert added(poll(watcher)) == ["red.mp4"]
    assert poll(watcher) == poll(watcher) == []
    assert library.search("red")[0].path == str(drop / "red.mp4")


SRT = "1\n00:00:00,000 --> 00:00:01,000\n{}\n"


def test_subtitles_that_come_change_and_go(library: Library, drop: Path, paint: Paint) -> None:
    def found(word: str) -> list[str]:
        return [Path(hit.path).name for hit in library.search(word, sources=["words"])]

    for colour in ("red", "green"):
        paint(drop / f"{colour}.mp4", (colour, 2))
    library.add(drop)
    (drop / "green.srt").write_text(SRT.format("lighthouse"))  # before the watch
    watcher = Watcher(library, [drop], workers=1)
    assert poll(watcher) == poll(watcher) == [] and found("lighthouse") == ["green.mp4"]
    subtitles = drop / "red.srt"
    for text, word in (("an elephant", "elephant"), ("a submarine", "submarine")):
        subtitles.write_text(SRT.format(text))
        assert poll(watcher) == []  # it may still be written
        assert [report.words for report in poll(watcher)] == [[str(drop / "red.mp4")]]
        assert poll(watcher) == [] and found(word) == ["red.mp4"]
    assert found("elephant") == []
    subtitles.unlink()
    poll(watcher)
    assert [report.words for report in poll(watcher)] == [[str(drop / "red.mp4")]]
    assert found("submarine") == [] and found("lighthouse") == ["green.mp4"]


def test_a_film_that_comes_with_its_subtitles(library: Library, drop: Path, paint: Paint) -> None:
    watcher = Watcher(library, [drop], workers=1)
    poll(watcher)
    (drop / "red.srt").write_text(SRT.format("an elephant"))
    paint(drop / "red.mp4", ("red", 2))
    poll(watcher)
    assert added(poll(watcher)) == ["red.mp4"]
    assert poll(watcher) == poll(watcher) == []
    assert len(library.search("elephant", sources=["words"])) == 1


def test_a_file_that_is_copied_slowly(library: Library, drop: Path, paint: Paint, tmp_path: Path) -> None:
    data = paint(tmp_path / "green.mp4", ("green", 3)).read_bytes()
    watcher = Watcher(library, [drop], workers=1)
    third = len(data) // 3
    with open(drop / "green.mp4", "wb", buffering=0) as file:
        for part in (data[:third], data[third : 2 * third]):
            file.write(part)
            assert poll(watcher) == []
        (report,) = poll(watcher)  # the copy stands still long enough to be taken for a whole file
        assert [path for path, _ in report.failed] == [str(drop / "green.mp4")]
        assert poll(watcher) == []
        file.write(data[2 * third :])
    assert poll(watcher) == []
    assert added(poll(watcher)) == ["green.mp4"]
    assert [row.status for row in library.videos()] == ["indexed"]


def test_many_files_at_once_and_a_restart_in_the_middle(
    library: Library, drop: Path, paint: Paint, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prost.search.watching.BATCH_FILES", 8)
    for number in range(30):
        paint(drop / f"{number:02}.mp4", ("red", 0.2 + number / 10))
    watcher = Watcher(library, [drop], workers=1)
    assert poll(watcher) == []
    polling = watcher.poll()
    assert len(next(polling).added) == 8
    polling.close()  # as Ctrl-C between two batches does
    again = Watcher(Library(library.path, model), [drop], workers=1)
    assert poll(again) == []
    reports = poll(again)
    assert [len(report.added) for report in reports] == [8, 8, 6]
    assert sum(row.indexed for row in library.videos()) == 30


def test_moves_deletions_and_an_unmounted_folder(library: Library, folder: Path) -> None:
    watcher = Watcher(library, [folder], workers=1)
    poll(watcher), poll(watcher)
    (folder / "red.mp4").rename(folder / "sea" / "red.mp4")
    assert poll(watcher) == []
    (report,) = poll(watcher)
    assert report.moved == [str(folder / "sea" / "red.mp4")] and not report.added
    assert poll(watcher) == poll(watcher) == []
    (folder / "green.mp4").unlink()
    assert poll(watcher) == []
    assert poll(watcher) == [WatchReport(removed=[str(folder / "green.mp4")])]
    shutil.move(folder, folder.with_name("unmounted"))
    assert poll(watcher) == []
    (report,) = poll(watcher)
    away = report.missing
    assert not report.removed and len(away) == 2
    assert poll(watcher) == []
    shutil.move(folder.with_name("unmounted"), folder)
    assert poll(watcher) == [WatchReport(back=sorted(away))]
    assert poll(watcher) == []


def test_a_changed_file_is_not_a_new_one(library: Library, folder: Path, paint: Paint) -> None:
    watcher = Watcher(library, [folder], workers=1)
    poll(watcher), poll(watcher)
    paint(folder / "green.mp4", ("blue", 2))
    assert poll(watcher) == []
    assert poll(watcher) == [WatchReport(changed=[str(folder / "green.mp4")])]
    again = Watcher(library, [folder], workers=1)
    paint(folder / "green.mp4", ("red", 3))
    poll(again)
    assert poll(again) == [WatchReport(changed=[str(folder / "green.mp4")])]


def test_excluded_files_are_not_added(library: Library, folder: Path) -> None:
    (folder / ".prostignore").write_text("sea/\n")
    watcher = Watcher(library, [folder], exclude=["gre*"], workers=1)
    poll(watcher)
    assert added(poll(watcher)) == ["red.mp4"]


def test_another_writer_is_waited_for(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = Store.open(library.path).writing()
    told: list[LibraryBusy] = []

    def on_busy(busy: LibraryBusy) -> None:
        told.append(busy)
        writing.__exit__(None, None, None)

    watcher = Watcher(library, [folder], workers=1, on_busy=on_busy)
    poll(watcher)
    writing.__enter__()
    assert len(added(poll(watcher))) == 3
    assert len(told) == 1 and str(os.getpid()) in str(told[0])
