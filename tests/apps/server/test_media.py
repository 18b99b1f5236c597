"""Files over HTTP: ranges, conditions, and files that are not what was indexed."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from tests.apps.server.conftest import Running

from prost.apps.server.media import FileResponse, KnownFiles, parse_range
from prost.apps.server.problems import Problem
from prost.model.prost import ProST
from prost.search.library import Library
from prost.search.records import VideoRow
from prost.video.files import content_hash_of


@pytest.fixture(scope="module")
def film(running: Running) -> tuple[str, bytes]:
    """Address and bytes of a film."""
    video = running.first("0")
    return video["media"], next(running.videos.rglob(video["name"])).read_bytes()


def get(running: Running, address: str, **headers: str) -> httpx.Response:
    return running.client.get(
        address, headers={name.replace("_", "-"): each for name, each in headers.items()}
    )


def test_the_whole_file(running: Running, film: tuple[str, bytes]) -> None:
    address, content = film
    answer = get(running, address)
    assert answer.status_code == 200 and answer.content == content
    assert answer.headers["content-type"] == "video/mp4" and answer.headers["accept-ranges"] == "bytes"
    head = running.client.head(address)
    assert head.status_code == 200 and head.content == b""
    assert head.headers["content-length"] == str(len(content))


@pytest.mark.parametrize(
    ("wanted", "start", "stop"), [("bytes=0-0", 0, 1), ("bytes=100-199", 100, 200), ("bytes=-7", -7, None),
                                  ("bytes=1000-", 1000, None), ("bytes=5-99999999999", 5, None), ("BYTES=0-4", 0, 5),
                                  ("bytes=5-" + "9" * 40, 5, None), ("bytes=-" + "9" * 5000, 0, None),
                                  ("bytes=" + "0" * 40 + "5-9", 5, 10)]
)  # fmt: skip
def test_one_range(
    running: Running, film: tuple[str, bytes], wanted: str, start: int, stop: int | None
) -> None:
    address, content = film
    answer = get(running, address, range=wanted)
    expected = content[start:stop]
    first = start % len(content)
    assert answer.status_code == 206 and answer.content == expected
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(content)}"


@pytest.mark.parametrize(
    "wanted",
    ["bytes=99999999-", "bytes=-0", "bytes=" + "9" * 40 + "-", f"bytes={'9' * 40}-{'9' * 50}"],
)
def test_a_range_without_bytes(running: Running, film: tuple[str, bytes], wanted: str) -> None:
    address, content = film
    answer = get(running, address, range=wanted)
    assert answer.status_code == 416 and answer.headers["content-range"] == f"bytes */{len(content)}"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "wanted", ["bytes=abc", "bytes=9-3", "bytes=-", "bytes=a-b", "bytes=", "bytes=0x1-2"]
)
def test_a_malformed_range_is_told_apart(running: Running, film: tuple[str, bytes], wanted: str) -> None:
    answer = get(running, film[0], range=wanted)
    assert answer.status_code == 400 and "content-range" not in answer.headers
    assert f"the range '{wanted}' cannot be read" in answer.json()["detail"]


@pytest.mark.parametrize(
    "wanted", ["bytes=0-1,5-6", "bytes=" + ",".join(["0-"] * 2000), "lines=1-2", "nonsense"]
)
def test_several_ranges_and_other_units_give_the_whole_file(
    running: Running, film: tuple[str, bytes], wanted: str
) -> None:
    address, content = film
    answer = get(running, address, range=wanted)
    assert answer.status_code == 200 and answer.content == content


def test_conditions(running: Running, film: tuple[str, bytes]) -> None:
    address, content = film
    first = get(running, address)
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    assert get(running, address, range="bytes=0-1", if_range=etag).status_code == 206
    assert get(running, address, range="bytes=0-1", if_range=modified).status_code == 206
    for other in ('"another"', f"W/{etag}", "Thu, 01 Jan 1970 00:00:00 GMT", "nonsense"):
        assert get(running, address, range="bytes=0-1", if_range=other).content == content
    assert get(running, address, if_none_match=etag).status_code == 304
    assert get(running, address, if_none_match='"other"').status_code == 200
    assert get(running, address, if_modified_since=modified).status_code == 304
    for odd in ("nonsense", "Thu, 01 Jan 99999999999999999999 00:00:00 GMT", "Thu, 01 Jan 0000 00:00:00 GMT"):
        assert get(running, address, if_modified_since=odd).status_code == 200


@pytest.mark.parametrize(
    ("header", "size", "status"),
    [("bytes=0-", 0, 416), ("bytes=-1", 0, 416), ("bytes=--1", 5, 400), ("bytes=1-2-3", 5, 400)],
)
def test_no_such_range(header: str, size: int, status: int) -> None:
    with pytest.raises(Problem) as refused:
        parse_range(header, size)
    assert refused.value.status_code == status


@pytest.fixture
def own(serve: Callable[..., Any], films: Path, tmp_path: Path, toybox_model: ProST) -> Any:
    """A server of a library whose films a test may change."""
    folder = tmp_path / "changing"
    folder.mkdir()
    for name, path in zip(("a.mp4", "b.mp4"), sorted(films.glob("*0*.mp4")), strict=False):
        shutil.copy2(path, folder / name)
    library = Library(tmp_path / "changing.prost", toybox_model)
    library.add(folder, workers=1)
    with serve(Path(library.path)) as running:
        yield folder, running


def test_only_what_was_indexed_is_sent(own: tuple[Path, Running]) -> None:
    folder, running = own
    media = running.first("a.mp4")["media"]
    a, b, content = folder / "a.mp4", folder / "b.mp4", (folder / "a.mp4").read_bytes()
    state = a.stat()
    kept = (state.st_atime_ns, state.st_mtime_ns)
    assert running.client.get(media).content == content
    # Another content of another time.
    a.write_bytes(content[:-1] + b"x")
    assert running.client.get(media).status_code == 409
    # A link to a secret that was made to look alike.
    secret = folder.parent / "secret"
    secret.write_bytes(b"s" * len(content))
    os.utime(secret, ns=kept)
    a.unlink()
    a.symlink_to(secret)
    answer = running.client.get(media)
    assert answer.status_code == 409 and b"sss" not in answer.content
    # A link to the same film elsewhere, as when a disk was moved.
    moved = folder.parent / "moved.mp4"
    moved.write_bytes(content)
    os.utime(moved, ns=kept)
    a.unlink()
    a.symlink_to(moved)
    assert running.client.get(media).content == content
    # A pipe, a folder, nothing.
    a.unlink()
    os.mkfifo(a)
    assert running.client.get(media).status_code == 404
    a.unlink()
    a.mkdir()
    assert running.client.get(media).status_code == 404
    a.rmdir()
    gone = running.client.get(media)
    assert gone.status_code == 404 and "gone" in gone.json()["detail"]
    for more in ("frame?time=1", "preview?start=0&end=1", "evidence?q=a+ball&start=0"):
        assert running.client.get(f"/api/videos/{running.first('a.mp4')['id']}/{more}").status_code == 404
    assert b.exists() and running.client.get(running.first("b.mp4")["media"]).status_code == 200


@pytest.mark.slow
def test_a_copy_is_shown_where_the_file_is_gone(
    serve: Callable[..., Any], films: Path, tmp_path: Path, toybox_model: ProST
) -> None:
    """The player, pictures, previews, evidence and clips, also where the copy has another name and time."""
    first, second = tmp_path / "one" / "first.mp4", tmp_path / "two" / "second.mkv"
    for path in (first, second):
        path.parent.mkdir()
        shutil.copyfile(next(films.glob("*0*.mp4")), path)
        os.utime(path, (0, 10 * len(path.name)))
    library = Library(tmp_path / "copies.prost", toybox_model)
    library.add(tmp_path / "one", workers=1)
    library.add(tmp_path / "two", workers=1)
    content = first.read_bytes()
    with serve(Path(library.path)) as running:
        video, copy = running.first("first"), running.first("second")
        selection = [{"video": video["id"], "start": 0.5, "end": 1.5}]
        whole = running.client.get(video["media"])
        first.unlink()
        again = running.client.get(video["media"])
        assert again.content == whole.content == content and again.headers["etag"] == whole.headers["etag"]
        for more in (
            "frame?time=1",
            "preview?start=0&end=1",
            "evidence?q=a+ball&start=0",
            "heat?q=a+ball&frame=0",
        ):
            answer = running.client.get(f"/api/videos/{video['id']}/{more}")
            assert answer.status_code == 200, answer.text
        for form, there in (("clips", b"PK"), ("json", str(second).encode())):
            asked = {"form": form, "query": "a ball", "selection": selection}
            answer = running.client.post("/api/export", json=asked)
            assert answer.status_code == 200 and there in answer.content
        # A copy that has changed is not one any more.
        second.write_bytes(content + b"x")
        assert running.client.get(video["media"]).status_code == 404
        assert running.client.get(copy["media"]).status_code == 409
        assert running.client.get(f"/api/videos/{video['id']}/frame?time=2").status_code == 404
        assert running.client.post("/api/export", json={**asked, "form": "clips"}).status_code == 409


def test_a_failed_file_is_not_sent(running: Running) -> None:
    assert running.client.get(running.first("broken")["media"]).status_code == 404


@pytest.fixture
def long_film(
    serve: Callable[..., Any], films: Path, tmp_path: Path, toybox_model: ProST
) -> Iterator[tuple[Path, Running]]:
    """A film of 24 MiB, and a server of a library that holds it."""
    folder = tmp_path / "long"
    folder.mkdir()
    path = folder / "long.mp4"
    # A film, and much that players pass over behind it.
    path.write_bytes(next(films.glob("*0*.mp4")).read_bytes() + (24 << 20).to_bytes(4, "big") + b"free")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 8 + (24 << 20))
    library = Library(tmp_path / "long.prost", toybox_model)
    library.add(folder, workers=1)
    with serve(Path(library.path)) as running:
        yield path, running


def test_a_file_deleted_while_it_plays_ends_the_answer(
    long_film: tuple[Path, Running], caplog: pytest.LogCaptureFixture
) -> None:
    """The reader takes a little, the file goes, the reader takes the rest: the connection ends early, with one line."""
    path, running = long_film
    media = running.first("long")["media"]
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(f"GET {media} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = len(connection.recv(1000))
        path.unlink()
        while part := connection.recv(1 << 20):
            received += len(part)
    assert received < 24 << 20
    lines = [record.getMessage() for record in caplog.records if record.name == "prost.server"]
    assert len(lines) == 1 and "deleted while it was sent" in lines[0]
    assert running.client.get("/api/status").status_code == 200


def test_a_client_that_leaves_ends_the_reading(
    long_film: tuple[Path, Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, running = long_film
    sizes: list[int] = []
    read = FileResponse._read

    def noting(response: FileResponse, place: int, size: int) -> bytes:
        sizes.append(size)
        return read(response, place, size)

    monkeypatch.setattr(FileResponse, "_read", noting)
    media = running.first("long")["media"]
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(f"GET {media} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    while running.server.server_state.tasks:
        time.sleep(0.01)
    assert 0 < sum(sizes) < 20 << 20


@pytest.fixture
def linked(films: Path, tmp_path: Path, toybox_model: ProST) -> tuple[VideoRow, Path, Path]:
    """The row of a film, a copy of it, and another file that has its size and time."""
    film, copy, secret = (tmp_path / name for name in ("film.mp4", "copy.mp4", "secret"))
    shutil.copy2(next(films.glob("*0*.mp4")), film)
    library = Library(tmp_path / "linked.prost", toybox_model)
    library.add(film, workers=1)
    shutil.copy2(film, copy)
    secret.write_bytes(b"s" * film.stat().st_size)
    shutil.copystat(film, secret)
    film.unlink()
    return next(iter(library.videos())), copy, secret


@pytest.mark.parametrize("then", ["another link", "the film"])
def test_a_link_that_is_replaced_once_it_was_opened(
    linked: tuple[VideoRow, Path, Path], monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """The file that is open is checked, not what is at the path after that."""
    row, copy, secret = linked
    path = Path(row.path)
    path.symlink_to(secret)
    os_open = os.open

    def opening(name: Any, *args: Any, **choices: Any) -> int:
        handle = os_open(name, *args, **choices)
        if name == row.path:
            path.unlink()
            path.symlink_to(copy) if then == "another link" else copy.rename(path)
        return handle

    monkeypatch.setattr(os, "open", opening)
    with pytest.raises(Problem) as refused:
        KnownFiles().open(row)
    assert refused.value.status_code == 409


def test_links_are_compared_once_and_a_bounded_number_is_remembered(
    linked: tuple[VideoRow, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    row, copy, _ = linked
    path, second = Path(row.path), copy.with_name("second.mp4")
    shutil.copy2(copy, second)
    compared: list[int] = []

    def noting(file: IO[bytes], size: int) -> str:
        compared.append(size)
        return content_hash_of(file, size)

    monkeypatch.setattr("prost.apps.server.media.content_hash_of", noting)
    monkeypatch.setattr("prost.apps.server.media.MOST_VERIFIED", 1)
    files = KnownFiles()
    for target, times in ((copy, 1), (copy, 1), (second, 2), (copy, 3)):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        with files.open(row).file as file:
            assert file.seek(0) == 0 and file.read() == target.read_bytes()
        assert len(compared) == times
