"""Videos on a real S3 server: found, recognised, indexed, shown and cut, from copies on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.search.bucket_server import BUCKET
from tests.search.conftest import ColourModel, environment, paint_video, server  # noqa: F401

import prost.video.remote as remote_module
from prost.apps.server.media import KnownFiles
from prost.apps.server.problems import Problem
from prost.errors import MissingPath, StorageError, VideoError
from prost.export.clips import cut_clip
from prost.object_store import ObjectStore
from prost.search.library import Library
from prost.search.missing_files import gone_among
from prost.search.watching import Watcher
from prost.video.files import content_hash, find_videos, look_at
from prost.video.isolation import IsolatedDecoder
from prost.video.remote import IN_USE, address_of, at_hand, copy_of, videos_cache

WORDS = b"1\n00:00:00,000 --> 00:00:01,000\nthe lighthouse at night\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for colour in ("red", "green", "blue"):
        paint_video(tmp_path / "videos" / f"{colour}.mp4", (colour, 1))
    return tmp_path / "videos"


@pytest.fixture
def address(environment: Any, folder: Path, request: pytest.FixtureRequest) -> str:  # noqa: F811
    """A folder on the store with a red, a green and a blue video, files that are none, and files to be passed over."""
    address = f"s3://{BUCKET}/{request.node.name}"
    objects = ObjectStore(address)
    objects.write("red film #1%.mp4", (folder / "red.mp4").read_bytes())
    objects.write("no extension", (folder / "green.mp4").read_bytes())
    objects.write("sea/blue.mp4", (folder / "blue.mp4").read_bytes())
    objects.write("sea/blue.srt", WORDS)
    objects.write("text.mp4", b"no video")
    objects.write("empty.mp4", b"")
    objects.write("notes.txt", b"no video")
    objects.write(".hidden/red.mp4", b"hidden")
    return address


def rows(library: Library) -> dict[str, str]:
    return {Path(row.path).name: row.reason or row.status for row in library.videos()}


def test_addresses() -> None:
    assert address_of("S3://films/a/") == address_of(Path("s3://films/a")) == "s3://films/a"
    assert [address_of(path) for path in ("/s3:/films", "s3:", "films", "s3:///films")] == [None] * 4


def test_they_are_found_by_the_rules_of_folders(address: str) -> None:
    ObjectStore(address).write("sea/.prostignore", b"# none\n*.avi\n")
    ObjectStore(address).write("sea/a.avi", b"x")
    found = find_videos(address, exclude=["text*"])
    assert [str(path).removeprefix(f"{address}/") for path in found.videos] == [
        "empty.mp4",
        "no extension",
        "red film #1%.mp4",
        "sea/blue.mp4",
    ]
    assert (found.passed_over, found.excluded, found.folders) == (2, 2, [address])
    one = find_videos(Path(address) / "sea" / "blue.mp4")
    assert (one.videos, one.folders) == ([f"{address}/sea/blue.mp4"], [])
    assert one.seen[one.videos[0]] == look_at(f"{address}/sea/blue.mp4")
    with pytest.raises(MissingPath):
        find_videos(f"{address}/nothing")


def test_content_is_known_by_the_hash_of_files(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert content_hash(f"{address}/sea/blue.mp4") == content_hash(folder / "blue.mp4")
    monkeypatch.setattr("prost.video.files.WHOLE_FILE_BYTES", 100)
    monkeypatch.setattr("prost.video.files.BLOCK_BYTES", 60)
    assert content_hash(f"{address}/sea/blue.mp4") == content_hash(folder / "blue.mp4")


def test_indexing_moving_removing(address: str, folder: Path, tmp_path: Path) -> None:
    objects = ObjectStore(address)
    with Library(tmp_path / "l.prost", ColourModel()) as library:
        assert library.add(address, workers=1).counts["added"] == 3
        states = {"text.mp4": "not a video", "empty.mp4": "empty file"}
        states |= dict.fromkeys(("red film #1%.mp4", "no extension", "blue.mp4"), "indexed")
        assert rows(library) == states
        hit = library.search("blue")[0]
        assert (hit.path, hit.missing) == (f"{address}/sea/blue.mp4", False)
        assert library.search("lighthouse", sources=["words"])[0].path == f"{address}/sea/blue.mp4"
        assert library.add(address, workers=1).counts["unchanged"] == 3
        # A file of the same content is a copy, and an object that moved keeps its clips: nothing is decoded.
        assert library.add(folder, workers=1).counts["added"] == 3
        assert library.stats().clips == 3
        objects.write("sea/moved.mp4", (folder / "blue.mp4").read_bytes())
        objects.remove(["sea/blue.mp4"])
        assert library.add(address, workers=1).moved == [f"{address}/sea/moved.mp4"]
        objects.remove(["sea/moved.mp4"])
        assert library.add(address, workers=1).removed == [f"{address}/sea/moved.mp4"]
        assert gone_among([f"{address}/sea/moved.mp4", f"{address}/text.mp4", str(folder / "x.mp4")]) == {
            f"{address}/sea/moved.mp4",
            str(folder / "x.mp4"),
        }
        assert library.remove(f"{address}/no extension") == [f"{address}/no extension"]
        assert library.verify() == []
    assert os.listdir(videos_cache() / IN_USE) == []


def test_playing_pictures_and_clips(address: str, folder: Path, tmp_path: Path) -> None:
    with Library(tmp_path / "l.prost", ColourModel()) as library:
        library.add(f"{address}/sea", workers=1)
        (row,) = library.videos("status = 'indexed'")
    with IsolatedDecoder() as decoder:
        shown = decoder.decode(row.path, [0.5], 16).pixels
        assert (shown == decoder.decode(folder / "blue.mp4", [0.5], 16).pixels).all()
    cut = cut_clip(row.path, 0.0, 0.5, tmp_path / "cut.mp4", method="encode")
    assert cut.path == row.path and cut.output.stat().st_size > 0
    files = KnownFiles()
    opened = files.open(row)
    with opened.file:
        assert opened.file.read() == (folder / "blue.mp4").read_bytes()
    assert (opened.name, opened.media_type, files.expect(row)) == ("blue.mp4", "video/mp4", row)
    ObjectStore(address).write("sea/blue.mp4", b"another one")
    with pytest.raises(Problem) as refused:
        files.open(row)
    assert refused.value.status_code == 409
    ObjectStore(address).remove(["sea/blue.mp4"])
    with pytest.raises(Problem) as refused:
        files.open(row)
    assert refused.value.status_code == 404
    with pytest.raises(VideoError, match="gone"), at_hand(row.path):
        pass


def test_watching(address: str, tmp_path: Path) -> None:
    with Library(tmp_path / "l.prost", ColourModel()) as library:
        watcher = Watcher(library, [f"{address}/sea"], workers=1)
        assert list(watcher.poll()) == []
        assert [report.added for report in watcher.poll()] == [[f"{address}/sea/blue.mp4"]]


def test_copies_are_bounded_and_what_is_read_stays(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = look_at(f"{address}/sea/blue.mp4").size
    with at_hand(f"{address}/sea/blue.mp4") as used:
        monkeypatch.setattr(remote_module, "CACHE_BYTES", size)
        first = copy_of(f"{address}/sea/blue.mp4")
        copy_of(f"{address}/red film #1%.mp4")
        assert not first.exists()
        assert Path(used).name == "blue.mp4" and Path(used).stat().st_size == size
    killed = videos_cache() / IN_USE / f"{remote_module.socket.gethostname()}-{2**22 + 1}-0"
    killed.mkdir()
    copy_of(f"{address}/sea/blue.mp4")
    assert not killed.exists() and not Path(used).exists()


def test_an_object_that_changes_while_it_is_copied(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "PIECE_BYTES", 100)
    read, reads = remote_module.ObjectReader.read, []

    def rewritten(self: remote_module.ObjectReader, size: int) -> bytes:
        data = read(self, size)
        if not reads:
            reads.append(1)
            ObjectStore(address).write("sea/blue.mp4", b"x" * 1000)
        return data

    monkeypatch.setattr(remote_module.ObjectReader, "read", rewritten)
    with pytest.raises((VideoError, StorageError)):
        copy_of(f"{address}/sea/blue.mp4")
    assert [path.name for path in videos_cache().iterdir() if path.is_file()] == []


def test_without_credentials(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StorageError, match="no credentials") as refused:
        Library(tmp_path / "l.prost", ColourModel()).add(address)
    assert "\n" not in str(refused.value)
