"""What `Library.add` does with files that come, stay, change, move, go, and break."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import pytest

import prost.model.encoding as encoding
import prost.search.index_run as index_run
from prost.errors import MissingPath, NoVideos, UsageError
from prost.search.index_run import AddReport, IndexProgress
from prost.search.library import Library
from prost.search.records import VideoRow
from prost.search.store import Store
from prost.video.reader import ReadEnd, ReadWindow
from prost.video.reasons import Reason

Paint = Callable[..., Path]


def names(paths: list[str]) -> list[str]:
    return [Path(path).name for path in paths]


def scratch(film: Path, start: float, end: float) -> None:
    """Overwrite the pictures between two times, seconds; the rest of the file stays as it is."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        pictures = [
            (packet.pos, packet.size)
            for packet in container.demux(stream)
            if packet.pts is not None and start <= float(packet.pts * stream.time_base) < end
        ]
    with film.open("r+b") as file:
        for place, size in pictures:
            file.seek(place)
            file.write(b"\xff" * size)


def found(library: Library, colour: str) -> str:
    return Path(library.search(colour)[0].path).name


class TestReport:
    def test_the_first_time_all_is_added(self, library: Library, folder: Path, decoded: list[str]) -> None:
        report = library.add(folder)
        assert report.added == [str(folder / name) for name in ("green.mp4", "red.mp4", "sea/blue.mp4")]
        assert (report.unchanged, report.moved, report.removed, report.failed) == ([], [], [], [])
        assert decoded == ["green.mp4", "red.mp4", "blue.mp4"]
        assert str(report) == "3 added, 0 unchanged, 0 moved, 0 removed, 0 failed"

    def test_the_second_time_nothing_is_decoded(self, library, folder, decoded, paint) -> None:  # type: ignore[no-untyped-def]
        library.add(folder)
        decoded.clear()
        paint(folder / "white.mp4", ("white", 1))
        report = library.add([folder, folder / "red.mp4"])
        assert names(report.added) == decoded == ["white.mp4"]
        assert names(report.unchanged) == ["green.mp4", "red.mp4", "blue.mp4"]

    def test_progress(self, library: Library, folder: Path) -> None:
        (folder / "bad.mp4").write_text("no video")
        library.add(folder / "red.mp4")
        told: list[IndexProgress] = []
        library.add(folder, progress=told.append)
        assert [each.done for each in told] == [1, 2, 3, 4]
        assert {each.total for each in told} == {4}
        assert told[-1].failed == 1
        assert {Path(each.path).name for each in told} == {"bad.mp4", "green.mp4", "red.mp4", "blue.mp4"}

    def test_progress_within_a_long_film(self, library: Library, folder: Path, paint: Paint) -> None:
        film = paint(folder / "long.mp4", *[("red", 10), ("blue", 10)] * 3)
        told: list[IndexProgress] = []
        report = library.add([folder / "red.mp4", film], progress=told.append)
        windows = library.videos("path LIKE '%long.mp4'")[0].clips
        assert windows > 4
        within = [
            (each.clips_done, each.clips_total)
            for each in told
            if Path(each.path) == film and each.clips_total
        ]
        assert within == [(done, windows) for done in range(1, windows)]
        assert [each.done for each in told if not each.clips_total] == [1, 2]
        assert report.seconds > 0

    def test_paths_that_lead_nowhere(self, library: Library, folder: Path, tmp_path: Path) -> None:
        library.add(folder)
        (tmp_path / "empty").mkdir()
        for wrong, error in ((tmp_path / "none", MissingPath), (tmp_path / "empty", NoVideos)):
            with pytest.raises(error):
                library.add(wrong)
        assert library.stats().videos == 3

    def test_tags_are_added_to(self, library: Library, folder: Path, decoded: list[str]) -> None:
        library.add(folder / "sea", tags=["wet"])
        report = library.add(folder, tags=["all", "wet"])
        assert decoded == ["blue.mp4", "green.mp4", "red.mp4"]
        assert names(report.unchanged) == ["blue.mp4"]
        assert {Path(row.path).name: row.tags for row in library.videos()} == {
            "green.mp4": ("all", "wet"),
            "red.mp4": ("all", "wet"),
            "blue.mp4": ("wet", "all"),
        }

    def test_one_text_is_one_tag(self, library: Library, folder: Path) -> None:
        library.add(folder / "sea", tags="holiday")
        assert [row.tags for row in library.videos()] == [("holiday",)]
        for wrong in ("", [""], [3], ["a", None]):
            with pytest.raises(UsageError, match="tag"):
                library.add(folder / "sea", tags=wrong)  # type: ignore[arg-type]

    def test_paths_as_bytes(self, library: Library, folder: Path) -> None:
        assert len(library.add(os.fsencode(folder)).added) == 3  # type: ignore[arg-type]

    def test_a_name_that_is_no_text(self, library: Library, folder: Path) -> None:
        odd = Path(os.fsdecode(bytes(folder) + b"/caf\xe9.mp4"))
        (folder / "red.mp4").rename(odd)
        library.add(folder)
        assert library.search("red")[0].path == str(odd)
        assert Path(library.search("red")[0].path).exists()
        assert library.add(folder).unchanged[0] == str(odd)


class TestChanges:
    def test_a_change_of_equal_size_and_time_is_seen_by_reading(
        self, library: Library, folder: Path, paint: Paint, decoded: list[str]
    ) -> None:
        library.add(folder)
        red, black = folder / "red.mp4", paint(folder.parent / "black.mp4", ("black", 2))
        before, size = red.stat(), max(red.stat().st_size, black.stat().st_size)
        for path in (red, black):  # padded to one size: players read no further than the last box
            path.write_bytes(path.read_bytes().ljust(size + 64, b"\0"))
        library.add(folder)
        stamp = red.stat()
        red.write_bytes(black.read_bytes())
        os.utime(red, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert before.st_size != stamp.st_size == red.stat().st_size
        decoded.clear()
        report = library.add(folder)
        assert len(report.unchanged) == 3 and decoded == []
        report = library.add(folder, verify=True)
        assert [Path(path).name for path in report.added] == ["red.mp4"] == decoded
        assert len(report.unchanged) == 2
        assert found(library, "black") == "red.mp4"
        assert library.add(folder, verify=True).added == []

    def test_a_touched_file_is_not_decoded(self, library: Library, folder: Path, decoded: list[str]) -> None:
        library.add(folder)
        decoded.clear()
        os.utime(folder / "red.mp4", (1, 1))
        assert sorted(names(library.add(folder).unchanged)) == ["blue.mp4", "green.mp4", "red.mp4"]
        assert decoded == []

    def test_a_file_with_a_new_content_is_indexed_anew(self, library, folder, decoded, paint) -> None:  # type: ignore[no-untyped-def]
        library.add(folder)
        decoded.clear()
        library.add(folder / "red.mp4", tags=["mine"])
        paint(folder / "red.mp4", ("yellow", 1))
        assert names(library.add(folder).added) == decoded == ["red.mp4"]
        assert library.search("yellow")[0].video.tags == ("mine",)
        assert found(library, "yellow") == "red.mp4"
        assert library.search("red")[0].score < 0.5
        assert library.stats().clips == 3

    def test_a_moved_file_keeps_its_clips(self, library: Library, folder: Path, decoded: list[str]) -> None:
        library.add(folder, tags=["first"])
        before = {row.added for row in library.videos()}
        decoded.clear()
        (folder / "red.mp4").rename(folder / "sea" / "crimson.mp4")
        report = library.add(folder)
        assert report.moved == [str(folder / "sea" / "crimson.mp4")]
        assert (report.added, report.removed, decoded) == ([], [], [])
        assert found(library, "red") == "crimson.mp4"
        assert library.search("red")[0].video.tags == ("first",)
        assert {row.added for row in library.videos()} == before
        assert library.stats().videos == 3

    def test_the_time_when_a_file_was_first_added_stays(self, library, folder, decoded, paint) -> None:  # type: ignore[no-untyped-def]
        def added() -> dict[str, str]:
            return {Path(row.path).name: row.added for row in library.videos()}

        library.add(folder)
        library._store.put_videos([replace(row, added="2020-01-01T00:00:00Z") for row in library.videos()])
        (folder / "red.mp4").write_text("no video")  # breaks
        shutil.copy(folder / "sea" / "blue.mp4", folder / "green.mp4")
        first, again = library.add(folder), library.add(folder)
        assert (names([path for path, _ in first.failed]), first.not_retried) == (["red.mp4"], [])
        assert again.failed == first.failed and names(again.not_retried) == ["red.mp4"]
        assert library.add(folder, retry_failed=True).not_retried == []
        paint(folder / "red.mp4", ("red", 1))  # is whole again
        assert library.add(folder).failed == []
        assert set(added().values()) == {"2020-01-01T00:00:00Z"} and len(added()) == 3

    def test_two_files_that_swap_their_names(self, library, folder, decoded) -> None:  # type: ignore[no-untyped-def]
        library.add(folder)
        decoded.clear()
        (folder / "red.mp4").rename(folder / "x")
        (folder / "green.mp4").rename(folder / "red.mp4")
        (folder / "x").rename(folder / "green.mp4")
        library.add(folder)
        assert found(library, "red") == "green.mp4"
        assert found(library, "green") == "red.mp4"
        assert decoded == []
        assert library.stats().videos == 3

    def test_a_file_that_is_gone_is_found_no_more(self, library: Library, folder: Path) -> None:
        library.add(folder)
        (folder / "red.mp4").unlink()
        assert library.add(folder / "sea").removed == []  # it was in another folder
        assert names(library.add(folder).removed) == ["red.mp4"]
        assert names([hit.path for hit in library.search("red")]) == ["green.mp4", "blue.mp4"]
        assert library.stats().clips == 2


class TestMissingFiles:
    def test_an_emptied_folder_is_kept_and_reported(self, library: Library, folder: Path) -> None:
        library.add(folder)
        (folder / "sea" / "blue.mp4").unlink()
        with pytest.raises(NoVideos):
            library.add(folder / "sea")
        for given in (folder, [folder / "red.mp4", folder / "sea"]):
            report = library.add(given)
            assert report.removed == []
            assert report.missing == [str(folder / "sea" / "blue.mp4")]
            assert str(report).endswith("0 removed, 0 failed, 1 missing")
        assert library.stats().videos == 3

    def test_an_unmounted_disk_is_no_deletion(self, library: Library, folder: Path, tmp_path: Path) -> None:
        library.add(folder, tags="holiday")
        # The mount point stays as an empty folder; what lay deeper on the disk does not show at all.
        (folder / "disk" / "cards" / "deep").mkdir(parents=True)
        shutil.copytree(folder / "sea", folder / "disk" / "cards" / "sea")
        (folder / "red.mp4").rename(folder / "disk" / "cards" / "deep" / "red.mp4")
        library.add(folder)
        (folder / "disk" / "cards").rename(tmp_path / "away")
        (folder / "disk" / "cards").mkdir()
        report = library.add(folder)
        assert report.removed == []
        assert sorted(names(report.missing)) == ["blue.mp4", "red.mp4"]
        (folder / "disk" / "cards").rmdir()
        (tmp_path / "away").rename(folder / "disk" / "cards")
        assert (library.add(folder).missing, len(library.add(folder).unchanged)) == ([], 4)
        assert library.search("red")[0].video.tags == ("holiday",)

    def test_below_a_link_that_leads_nowhere(self, library: Library, folder: Path, tmp_path: Path) -> None:
        (folder / "sea").rename(tmp_path / "sea")
        (folder / "sea").symlink_to(tmp_path / "sea")
        library.add(folder)
        (tmp_path / "sea").rename(tmp_path / "elsewhere")
        assert names(library.add(folder).missing) == ["blue.mp4"]
        assert library.stats().videos == 3

    def test_a_deleted_folder_beside_living_videos_is_removed(self, library: Library, folder: Path) -> None:
        library.add(folder)
        shutil.rmtree(folder / "sea")
        assert names(library.add(folder).removed) == ["blue.mp4"]

    def test_many_at_once_are_kept_until_told(self, library: Library, folder: Path) -> None:
        library.add(folder)
        shutil.rmtree(folder / "sea")
        (folder / "red.mp4").unlink()
        report = library.add(folder)
        assert (report.removed, names(report.missing)) == ([], ["red.mp4", "blue.mp4"])
        report = library.add(folder, remove_missing=True)
        assert (names(report.removed), report.missing) == (["red.mp4", "blue.mp4"], [])
        assert (library.stats().videos, library.stats().clips) == (1, 1)

    def test_a_folder_that_is_gone_or_empty_can_be_removed(self, library: Library, folder: Path) -> None:
        library.add(folder)
        (folder / "sea" / "blue.mp4").unlink()
        assert names(library.add(folder / "sea", remove_missing=True).removed) == ["blue.mp4"]
        with pytest.raises(NoVideos):
            library.add(folder / "sea", remove_missing=True)
        shutil.rmtree(folder)
        with pytest.raises(MissingPath):
            library.add(folder)
        assert len(library.add(folder, remove_missing=True).removed) == 2
        with pytest.raises(MissingPath):
            library.add(folder, remove_missing=True)
        assert (library.stats().videos, library.search("red")) == (0, [])


class TestCopies:
    def test_copies_and_links_share_one_decoding(
        self, library: Library, folder: Path, decoded: list[str]
    ) -> None:
        shutil.copy(folder / "red.mp4", folder / "copy.mp4")
        os.link(folder / "red.mp4", folder / "link.mp4")
        (folder / "soft.mp4").symlink_to(folder / "red.mp4")
        report = library.add(folder)
        assert len(report.added) == 6
        assert sorted(decoded) == ["blue.mp4", "copy.mp4", "green.mp4"]
        assert library.stats().clips == 3

    def test_they_are_one_hit(self, library: Library, folder: Path, decoded: list[str]) -> None:
        library.add(folder)
        decoded.clear()
        shutil.copy(folder / "red.mp4", folder / "copy.mp4")
        assert names(library.add(folder).added) == ["copy.mp4"]
        hits = library.search("red")
        assert names([hit.path for hit in hits]) == ["copy.mp4", "green.mp4", "blue.mp4"]
        assert names(list(hits[0].copies)) == ["red.mp4"]
        assert decoded == []
        assert names([hit.path for hit in library.search("red", where="name <> 'copy.mp4'")])[0] == "red.mp4"

    def test_one_may_go_and_the_other_stays(self, library: Library, folder: Path) -> None:
        shutil.copy(folder / "red.mp4", folder / "copy.mp4")
        library.add(folder)
        (folder / "copy.mp4").unlink()
        assert names(library.add(folder).removed) == ["copy.mp4"]
        assert found(library, "red") == "red.mp4"


class TestFailures:
    @pytest.fixture
    def many_short(self, tmp_path: Path, paint: Paint) -> Path:
        """Twenty videos of a second."""
        colours = ("red", "green", "blue", "yellow", "white", "cyan", "black")
        for place in range(20):
            shade = colours[place % 7]
            paint(tmp_path / "short" / f"{place:02} {shade}.mp4", (shade, 1 + place / 10))
        return tmp_path / "short"

    @pytest.fixture
    def bad(self, folder: Path) -> Path:
        (folder / "bad.mp4").write_text("no video")
        (folder / "empty.mp4").touch()
        (folder / "whole.mp4").write_bytes((folder / "red.mp4").read_bytes()[:-700])
        (folder / "dangling.mp4").symlink_to(folder / "nowhere.mp4")
        return folder

    def test_a_bad_file_never_stops_a_run(self, library: Library, bad: Path) -> None:
        report = library.add(bad)
        assert len(report.added) == 3
        reasons = {Path(path).name: reason for path, reason in report.failed}
        assert reasons.keys() == {"bad.mp4", "empty.mp4", "whole.mp4", "dangling.mp4"}
        assert reasons["bad.mp4"] == Reason.NOT_A_VIDEO
        assert reasons["empty.mp4"] == Reason.EMPTY
        assert reasons["dangling.mp4"] == Reason.GONE
        stored = {Path(row.path).name: row.reason for row in library.videos("status = 'failed'")}
        assert stored == reasons
        assert len(library.search("red")) == 3

    def test_it_is_not_tried_again_until_it_changes(self, library, bad, paint, watched) -> None:  # type: ignore[no-untyped-def]
        first = library.add(bad)
        watched.opened.clear()

        assert sorted(library.add(bad).failed) == sorted(first.failed)
        assert watched.opened == []
        os.utime(bad / "bad.mp4", (1, 1))
        shutil.copy(bad / "whole.mp4", bad / "copy of whole.mp4")
        assert len(library.add(bad).failed) == 5
        assert watched.opened == []  # touched, or a copy of a known-bad file: the content is the same

        assert len(library.add(bad, retry_failed=True).failed) == 5
        assert sorted(watched.opened) == ["bad.mp4", "copy of whole.mp4", "empty.mp4"]

        paint(bad / "bad.mp4", ("yellow", 1))
        paint(bad / "nowhere.mp4", ("white", 1))
        assert sorted(names(library.add(bad).added)) == ["bad.mp4", "dangling.mp4", "nowhere.mp4"]
        assert found(library, "yellow") == "bad.mp4"

    def test_a_file_that_breaks_is_found_no_more(self, library: Library, folder: Path) -> None:
        library.add(folder)
        (folder / "red.mp4").write_text("no video any more")
        assert names([path for path, _ in library.add(folder).failed]) == ["red.mp4"]
        assert len(library.search("red")) == 2
        assert library.stats().clips == 2

    def test_clips_without_finite_numbers_are_damaged_clips(
        self, tmp_path, make_model, folder, paint
    ) -> None:  # type: ignore[no-untyped-def]
        paint(folder / "all sick.mp4", ("magenta", 4))
        # 200 s are several batches of clips; the bad frames are in the first clip.
        paint(folder / "sick.mp4", ("magenta", 4), ("white", 196), fps=2)
        shutil.copy(folder / "sick.mp4", folder / "too.mp4")
        library = Library(tmp_path / "library.prost", make_model(sick=True))
        report = library.add(folder)
        assert report.failed == [(str(folder / "all sick.mp4"), "the model gave numbers that are not finite")]
        sick = library.videos("name = 'sick.mp4'")[0]
        assert (sick.detail, sick.clips) == ("1 of 22 clips damaged", 21)
        assert library.stats().clips == 3 + 21
        assert library.add(folder).added == []

    def test_a_file_that_is_still_being_written_is_tried_again(self, library, folder, watched) -> None:  # type: ignore[no-untyped-def]
        growing = folder / "green.mp4"

        def grow(event):  # type: ignore[no-untyped-def]
            if isinstance(event, ReadWindow) and event.request.path == str(growing):
                with growing.open("ab") as file:
                    file.write(b"\0\0\0\x08free")
            return event

        watched.change = grow
        report = library.add(folder)
        assert report.failed == [(str(growing), "still being written")]
        assert len(library.search("green")) == 2
        watched.change = lambda event: event
        assert library.add(folder).added == [str(growing)]
        assert found(library, "green") == "green.mp4"

    def test_an_indexed_file_stays_while_it_is_rewritten(self, library, folder, watched) -> None:  # type: ignore[no-untyped-def]
        growing = folder / "green.mp4"
        library.add(folder)

        def grow(event):  # type: ignore[no-untyped-def]
            if isinstance(event, ReadEnd) and event.failure is not None:
                growing.write_bytes(growing.read_bytes() + bytes(8))
            return event

        growing.write_bytes(growing.read_bytes()[:500])
        watched.change = grow
        assert library.add(folder).failed == [(str(growing), "still being written")]
        assert found(library, "green") == "green.mp4"

    def test_damage_costs_a_clip_not_the_film(self, library, folder, paint) -> None:  # type: ignore[no-untyped-def]
        # A keyframe every 4 s; the clips start at 0, 9, 18, 27 and 28 s.
        film = paint(folder / "film.mp4", ("white", 30), ("yellow", 10), fps=2)
        scratch(film, 8, 24)
        assert str(film) in library.add(folder).added
        best = library.search("yellow")[0]
        assert best.path == str(film)
        assert 28 <= best.start < best.end <= 40.5
        assert best.video.detail == "1 of 5 clips damaged"
        assert best.video.clips == 4

    def test_frames_of_several_short_files_are_encoded_together(
        self, library, many_short, monkeypatch
    ) -> None:  # type: ignore[no-untyped-def]
        batches: list[int] = []
        video_head = library.model.video_head

        def watched_head(tokens):  # type: ignore[no-untyped-def]
            batches.append(len(tokens))
            return video_head(tokens)

        monkeypatch.setattr(library.model, "video_head", watched_head)
        told: list[int] = []
        library.add(many_short, progress=lambda at: told.append(at.done))
        assert batches == [16, 4]  # 96 frames at once are 16 clips of 6
        assert told == list(range(1, 21))
        colours = {Path(row.path).stem: row.clips for row in library.videos()}
        assert set(colours.values()) == {1}
        for colour in ("red", "green", "blue"):
            assert found(library, colour).split()[1] == f"{colour}.mp4"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_what_may_not_be_read_is_told_and_kept(self, library: Library, folder: Path) -> None:
        library.add(folder)
        (folder / "sea").chmod(0)
        try:
            report = library.add(folder)
        finally:
            (folder / "sea").chmod(0o700)
        assert report.failed == [(str(folder / "sea"), "the folder cannot be read")]
        assert report.removed == []
        assert library.stats().videos == 3

    def test_a_film_of_nothing_but_damage(self, library, folder) -> None:  # type: ignore[no-untyped-def]
        for name in ("red.mp4", "green.mp4", "sea/blue.mp4"):
            scratch(folder / name, 0, 60)
        report = library.add(folder)
        assert report.added == []
        assert len(report.failed) == 3
        assert library.search("red") == []


KILLED = """
import os, runpy, signal, sys
import prost.model.encoding as encoding
import prost.search.index_run as index_run
from prost.search.library import Library
from prost.search.store import Store
root, folder, conftest, when = sys.argv[1:]
index_run.COMMIT_VIDEOS = 2
commits = 0
def killed_instead(self, videos, remove=(), put=Store.put_videos):
    global commits
    commits += 1
    if commits == 2 and when == "between clips and videos":
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, videos, remove=remove)
    if commits == 2:
        os.kill(os.getpid(), signal.SIGKILL if when == "after a commit" else signal.SIGINT)
Store.put_videos = killed_instead
Library(root, runpy.run_path(conftest)["ColourModel"]()).add(folder)
"""


class TestInterruptions:
    @pytest.fixture
    def many(self, tmp_path: Path, paint: Paint) -> Path:
        """Seven different videos."""
        colours = ("red", "green", "blue", "yellow", "white", "cyan", "black")
        for place, colour in enumerate(colours):
            paint(tmp_path / "many" / f"{place} {colour}.mp4", (colour, 1))
        return tmp_path / "many"

    @pytest.mark.parametrize(
        ("when", "kept"), [("between clips and videos", 2), ("after a commit", 4), ("by Ctrl-C", 4)]
    )
    def test_what_was_committed_is_kept_and_the_rest_comes_next_time(
        self, tmp_path: Path, model, decoded: list[str], many: Path, when: str, kept: int
    ) -> None:  # type: ignore[no-untyped-def]
        root = tmp_path / "library.prost"
        conftest = Path(__file__).with_name("conftest.py")
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, root, many, conftest, when],
            capture_output=True,
            text=True,
            check=False,
        )
        assert killed.returncode in (-signal.SIGKILL, -signal.SIGINT), killed.stderr

        library = Library(root, model)
        assert library.stats().videos >= kept if when == "by Ctrl-C" else library.stats().videos == kept
        assert len(library.search("red")) == library.stats().videos
        before = library.stats().videos
        report = library.add(many)
        assert len(report.unchanged) == before
        assert len(report.added) == 7 - before
        assert library.stats().clips == 7
        assert found(library, "cyan") == "5 cyan.mp4"

    def test_ctrl_c_keeps_what_is_finished(self, library, many, decoded, monkeypatch) -> None:  # type: ignore[no-untyped-def]
        monkeypatch.setattr(index_run, "COMMIT_VIDEOS", 100)

        def interrupt(progress: IndexProgress) -> None:
            if progress.done == 5:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            library.add(many, progress=interrupt)
        kept = library.stats().videos
        assert kept == 5
        decoded.clear()
        assert len(library.add(many).added) == len(decoded) == 2

    def test_ctrl_c_within_a_commit_keeps_the_whole_commit(
        self, library: Library, many: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index_run, "COMMIT_VIDEOS", 5)
        put_videos = Store.put_videos

        def interrupted(store: Store, videos: Sequence[VideoRow], *, remove: Sequence[str] = ()) -> None:
            monkeypatch.setattr(Store, "put_videos", put_videos)
            os.kill(os.getpid(), signal.SIGINT)
            put_videos(store, videos, remove=remove)

        monkeypatch.setattr(Store, "put_videos", interrupted)
        with pytest.raises(KeyboardInterrupt):
            library.add(many)
        assert library.stats().videos == 5
        assert len(library.search("red")) == 5
        decoded.clear()
        assert len(library.add(many).added) == len(decoded) == 2

    def test_an_error_of_the_model_stops_the_run_and_keeps_what_is_finished(
        self, library: Library, many: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        video_head, calls = library.model.video_head, []

        def out_of_memory(tokens):  # type: ignore[no-untyped-def]
            calls.append(1)
            if len(calls) == 2:
                raise MemoryError
            return video_head(tokens)

        monkeypatch.setattr(library.model, "video_head", out_of_memory)
        monkeypatch.setattr(encoding, "CPU_BATCH_FRAMES", 18)  # three clips
        with pytest.raises(MemoryError):
            library.add(many)
        assert library.stats().videos == 3

    def test_long_videos_are_committed_in_parts(self, library, folder, paint, monkeypatch) -> None:  # type: ignore[no-untyped-def]
        monkeypatch.setattr(index_run, "COMMIT_BYTES", 1)
        film = paint(folder / "film.mp4", ("white", 300), ("yellow", 10), fps=2)
        report = library.add(folder)
        assert isinstance(report, AddReport)
        assert library.stats().clips == 3 + 35
        assert library.search("yellow")[0].path == str(film)
        keys = library._store.clips().to_table(columns=["key"])["key"].to_pylist()
        assert len(set(keys)) == len(keys) == 38
