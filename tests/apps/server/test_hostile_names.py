"""Names, tags and words that are made to do harm, in JSON and in headers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prost.model.prost import ProST
from prost.search.library import Library

NAMES = [
    b"<script>alert(1)<\\script>.mp4",
    b"a\r\nSet-Cookie: x=1.mp4",
    b'quote".mp4',
    b"it's; DROP TABLE videos; --.mp4",
    b"not utf-8 \xff\xfe.mp4",
    "\u202egnp.mp4".encode(),
    b"new\nline.mp4",
    b"%2e%2e%2f.mp4",
]


@pytest.fixture(scope="module")
def harmful(tmp_path_factory: pytest.TempPathFactory, films: Path, toybox_model: ProST) -> Library:
    folder = tmp_path_factory.mktemp("harmful")
    film = sorted(films.glob("*0*.mp4"))[0]
    for place, name in enumerate(NAMES):
        below = os.fsencode(folder) + (b"" if place % 2 else b"/'folder' %' OR 1=1")
        os.makedirs(below, exist_ok=True)
        path = below + b"/" + name
        shutil.copy(os.fsencode(film), path)
        with open(path, "ab") as file:  # each is a content of its own
            file.write(b"\0\0\0\x0cfree" + b"%04d" % place)
    (folder / "'folder' %' OR 1=1" / 'quote".srt').write_text(
        "1\n00:00:00,000 --> 00:00:02,000\nred </script><script>alert(1)</script>\n"
    )
    library = Library(tmp_path_factory.mktemp("library") / "harmful.prost", toybox_model)
    report = library.add(folder, tags=["<b>tag</b>", "o'brien"], workers=1)
    assert len(report.added) == len(NAMES), report
    return library


def test_nothing_gets_out_of_its_place(harmful: Library, serve: Callable[..., Any]) -> None:
    with serve(Path(harmful.path)) as running:
        videos = running.get("/api/videos")["videos"]
        assert len(videos) == len(NAMES)
        for video in videos:
            assert not any(
                ord(letter) < 32 or letter == "\u202e" for letter in video["name"] + video["folder"]
            )
            assert video["tags"] == ["<b>tag</b>", "o'brien"]
            media = running.client.get(video["media"], headers={"Range": "bytes=0-3"})
            assert media.status_code == 206 and "set-cookie" not in media.headers
            disposition = media.headers["content-disposition"]
            assert disposition.isascii() and not set(disposition) & set('\r\n"<>\\')
            assert running.client.get(f"/api/videos/{video['id']}/frame?time=0.5").status_code == 200
        assert running.get("/api/videos", params={"tag": "o'brien"})["total"] == len(NAMES)
        answer = running.client.get("/api/search", params={"q": "red", "words": "only"})
        assert answer.headers["content-type"] == "application/json"
        (hit,) = answer.json()["hits"]
        assert "red" in hit["words"][0]["text"]


def test_folders_are_filters_and_not_sql(harmful: Library, serve: Callable[..., Any]) -> None:
    with serve(Path(harmful.path)) as running:
        folders = running.get("/api/folders")["folders"]
        strange = next(folder for folder in folders if "OR 1=1" in folder["name"])
        assert running.get("/api/videos", params={"folder": strange["id"]})["total"] == strange["videos"] == 4
        found = running.get("/api/search", params={"q": "a ball", "limit": 50, "folder": strange["id"]})
        assert len(found["hits"]) <= 4 and found["hits"]


def test_what_clients_send_comes_back_as_text(harmful: Library, serve: Callable[..., Any]) -> None:
    script = "<script>alert(1)</script>\x00\u202e\ud7ff"
    with serve(Path(harmful.path)) as running:
        answer = running.client.get("/api/search", params={"q": script})
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
        assert json.loads(answer.text)["query"] == script
        for path in (
            f"/api/{script.replace(chr(0), chr(32))}",
            f"/api/videos/{script.replace(chr(0), chr(32))}",
        ):
            problem = running.client.get(path)
            assert problem.headers["content-type"] == "application/problem+json"
            assert problem.headers["x-content-type-options"] == "nosniff"
