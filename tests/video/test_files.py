"""Finding files on a real disk: hidden, linked, looping, misnamed, missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.video.conftest import MakeVideo

from prost.errors import MissingPath, NoVideos, VideoError
from prost.video.files import BLOCK_BYTES, WHOLE_FILE_BYTES, content_hash, find_videos
from prost.video.probe import probe
from prost.video.reasons import Reason


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_folders_are_walked_to_the_bottom_and_sorted(tmp_path: Path) -> None:
    wanted = [touch(tmp_path / name) for name in ("b.MP4", "a/c.mkv", "a/b/d.webm", "e.mov")]
    for other in ("notes.txt", "a/picture.jpg", "clip.mp4.part", "mp4"):
        touch(tmp_path / other)
    assert find_videos(tmp_path).videos == sorted(wanted)


def test_what_is_no_video_is_counted(tmp_path: Path) -> None:
    video = touch(tmp_path / "a.mp4")
    for name in ("notes.txt", "sub/picture.jpg", "sub/unknown.xyz", "no_extension", ".hidden"):
        touch(tmp_path / name)
    found = find_videos([tmp_path, tmp_path / "sub"])
    assert (found.videos, found.passed_over) == ([video], 4)


SNIFFED = [
    ("mp4", "libx264", "yuv420p"),
    ("mov", "libx264", "yuv420p"),
    ("matroska", "libx264", "yuv420p"),
    ("webm", "libvpx", "yuv420p"),
    ("avi", "mpeg4", "yuv420p"),
    ("mpegts", "libx264", "yuv420p"),
    ("vob", "mpeg2video", "yuv420p"),
    ("mpeg2video", "mpeg2video", "yuv420p"),
    ("h264", "libx264", "yuv420p"),
    ("hevc", "libx265", "yuv420p"),
    ("flv", "libx264", "yuv420p"),
    ("asf", "wmv2", "yuv420p"),
    ("mxf", "mpeg2video", "yuv420p"),
    ("nut", "mpeg4", "yuv420p"),
    ("ivf", "libvpx", "yuv420p"),
    ("yuv4mpegpipe", "rawvideo", "yuv420p"),
]


@pytest.mark.parametrize(("format", "codec", "pix_fmt"), SNIFFED, ids=[row[0] for row in SNIFFED])
def test_a_video_of_any_name_is_known_by_its_content(
    make_video: MakeVideo, tmp_path: Path, format: str, codec: str, pix_fmt: str
) -> None:
    made = make_video("film.xyz", 30, fps=25, codec=codec, pix_fmt=pix_fmt, format=format)
    made.path.rename(tmp_path / "no_extension")
    assert find_videos(tmp_path).videos == [tmp_path / "no_extension"]


def test_sound_and_pictures_of_any_name_are_no_videos(make_video: MakeVideo, tmp_path: Path) -> None:
    video = make_video("film.mp4")
    for name, head in (
        ("wave", b"RIFF\x00\x10\x00\x00WAVEfmt "),
        ("webp", b"RIFF\x00\x10\x00\x00WEBPVP8 "),
        ("m4a", b"\x00\x00\x00\x20ftypM4A \x00\x00\x02\x00"),
        ("heic", b"\x00\x00\x00\x18ftypheic"),
        ("opus", b"OggS\x00\x02" + bytes(22) + b"OpusHead"),
        ("jpeg", b"\xff\xd8\xff\xe0"),
        ("text", b"G" * 5000),
        ("zeros", bytes(5000)),
    ):
        touch(tmp_path / name, head + b"rest")
    assert find_videos(tmp_path).videos == [video.path]


@pytest.mark.parametrize("extension", [".ts", ".mts", ".m2ts", ".trp", ".unknown"])
def test_transport_streams_that_begin_anywhere_are_found(
    make_video: MakeVideo, tmp_path: Path, extension: str
) -> None:
    data = make_video("whole.ts", 50).path.read_bytes()
    folder = tmp_path / "folder"
    packets = [data[at : at + 188] for at in range(0, len(data) - 187, 188)]
    files = [
        touch(folder / f"{name}{extension}", content)
        for name, content in (
            ("after_junk", bytes(range(1, 256)) + data),
            ("mid_packet", data[100:]),
            ("of_204", b"".join(packet + b"\xff" * 16 for packet in packets)),
            ("of_192", b"".join(bytes(4) + packet for packet in packets)),
        )
    ]
    assert find_videos(folder).videos == sorted(files)
    for file in files:
        assert probe(file).duration == pytest.approx(5.0, abs=0.3)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    seen = touch(tmp_path / "seen.mp4")
    touch(tmp_path / ".hidden.mp4")
    touch(tmp_path / "._seen.mp4")
    touch(tmp_path / ".trash" / "old.mp4")
    assert find_videos([tmp_path]).videos == [seen]


def test_a_hidden_folder_that_is_named_is_walked(tmp_path: Path) -> None:
    video = touch(tmp_path / ".cache" / "a.mp4")
    assert find_videos(tmp_path / ".cache").videos == [video]


def test_a_named_file_needs_no_extension(tmp_path: Path) -> None:
    video = touch(tmp_path / "recording")
    assert find_videos(str(video)).videos == [video]


def test_each_path_comes_once_however_often_it_is_given(tmp_path: Path) -> None:
    video = touch(tmp_path / "a" / "v.mp4")
    assert find_videos([tmp_path, tmp_path / "a", video, tmp_path / "a" / ".." / "a" / "v.mp4"]).videos == [
        video
    ]


def test_relative_paths_and_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = touch(tmp_path / "Videos" / "v.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_videos("Videos").videos == find_videos("~/Videos").videos == [video]


def test_loops_of_links_end(tmp_path: Path) -> None:
    video = touch(tmp_path / "films" / "v.mp4")
    (tmp_path / "films" / "again").symlink_to(tmp_path / "films")
    (tmp_path / "films" / "up").symlink_to(tmp_path)
    (tmp_path / "films" / "self").symlink_to(tmp_path / "films" / "self")
    assert find_videos(tmp_path / "films").videos == [video]


def test_linked_folders_are_walked_once_by_their_real_path_where_there_is_one(tmp_path: Path) -> None:
    outside = touch(tmp_path / "drive" / "w.mp4")
    inside = touch(tmp_path / "films" / "long" / "way" / "v.mp4")
    (tmp_path / "films" / "a").symlink_to(inside.parent)
    (tmp_path / "films" / "drive").symlink_to(outside.parent)
    assert find_videos(tmp_path / "films").videos == [tmp_path / "films" / "drive" / "w.mp4", inside]


@pytest.mark.parametrize("order", [("films", "odd"), ("odd", "films")])
def test_a_folder_that_two_places_reach_is_walked_once(tmp_path: Path, order: tuple[str, str]) -> None:
    """`odd/loop` leads to the folder above both."""
    for name in ("films/a.mp4", "odd/b.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "odd" / "loop").symlink_to(tmp_path)
    (tmp_path / "odd" / "c.mp4").symlink_to(tmp_path / "films" / "a.mp4")  # a file of its own
    found = find_videos([tmp_path / name for name in order])
    assert found.videos == [tmp_path / "films/a.mp4", tmp_path / "odd/b.mp4", tmp_path / "odd/c.mp4"]


def test_hard_links_are_files_of_their_own(tmp_path: Path) -> None:
    video = touch(tmp_path / "a.mp4")
    os.link(video, tmp_path / "b.mp4")
    assert find_videos(tmp_path).videos == [video, tmp_path / "b.mp4"]


def test_broken_links_and_pipes_are_found_so_that_their_failure_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.ts")
    assert find_videos(tmp_path).videos == [tmp_path / "gone.mp4", tmp_path / "pipe.ts"]


def test_typescript_is_no_transport_stream(tmp_path: Path) -> None:
    touch(tmp_path / "index.ts", b"Generic<T> = 0;\n" * 40)
    touch(tmp_path / "module.mts", b"export {}\n")
    touch(tmp_path / "wide.ts", "export const π = 3;\n".encode("utf-16"))
    touch(tmp_path / "cut.ts", ("// " + "é" * 3000).encode()[:4096])
    packet = b"G" + bytes(187)
    stream = touch(tmp_path / "tv.ts", packet * 3)
    camera = touch(tmp_path / "camera.MTS", (bytes(4) + packet) * 3)
    empty = touch(tmp_path / "empty.ts", b"")
    assert find_videos(tmp_path).videos == [camera, empty, stream]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    with open(raw, "wb") as file:
        file.write(b"x")
    (found,) = find_videos(tmp_path).videos
    assert os.fsencode(found) == raw
    assert find_videos([found]).videos == [found]
    assert find_videos(os.fsencode(found.parent).decode()).videos == [found]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_without_permission_is_reported(tmp_path: Path) -> None:
    video = touch(tmp_path / "a.mp4")
    closed = tmp_path / "closed"
    touch(closed / "b.mp4")
    closed.chmod(0)
    try:
        found = find_videos(tmp_path)
    finally:
        closed.chmod(0o700)
    assert (found.videos, found.unreadable) == ([video], [closed])


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, for root too: the system call refuses one folder."""
    video = touch(tmp_path / "a.mp4")
    closed = tmp_path / "closed"
    touch(closed / "b.mp4")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path == str(closed):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_videos(tmp_path)
    assert (found.videos, found.unreadable) == ([video], [closed])


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingPath, match=r"nowhere is not there"):
        find_videos([tmp_path / "nowhere"])


def test_no_videos_is_said(tmp_path: Path) -> None:
    touch(tmp_path / "notes.txt")
    with pytest.raises(NoVideos, match=r"no video in .*\.mp4"):
        find_videos(tmp_path)
    with pytest.raises(NoVideos):
        find_videos([])


def test_content_hash_stays_when_a_file_moves_and_changes_with_a_byte(tmp_path: Path) -> None:
    first = touch(tmp_path / "a.mp4", b"picture" * 1000)
    before = content_hash(first)
    moved = first.rename(tmp_path / "b.mp4")
    assert content_hash(moved) == before
    assert len(before) == 32
    assert content_hash(touch(moved, b"picture" * 999 + b"pictures")) != before


def test_content_hash_of_a_large_file_reads_head_middle_and_tail(tmp_path: Path) -> None:
    size = WHOLE_FILE_BYTES + 12345
    path = tmp_path / "large.mp4"
    with open(path, "wb") as file:
        file.truncate(size)
    hashes = {content_hash(path)}
    for offset in (0, size // 2, size - 1):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(b"!")
        hashes.add(content_hash(path))
    assert len(hashes) == 4
    with open(path, "r+b") as file:
        file.seek(BLOCK_BYTES + 1)
        file.write(b"!")
    assert content_hash(path) in hashes, "between the blocks nothing is read, as the docstring says"
    with open(path, "ab") as file:
        file.write(b"!")
    assert content_hash(path) not in hashes


def test_content_hash_of_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path, reason in [
        (tmp_path, Reason.NOT_REGULAR),
        (tmp_path / "pipe.mp4", Reason.NOT_REGULAR),
        (tmp_path / "gone.mp4", Reason.GONE),
    ]:
        with pytest.raises(VideoError) as caught:
            content_hash(path)
        assert caught.value.reason == reason
