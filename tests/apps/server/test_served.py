"""The library changes, goes, or another one takes its place while it is served."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.apps.server.conftest import Running

import prost
from prost.apps.server.identity import Folders
from prost.model.prost import ProST
from prost.search.library import Library

QUERY = "a red ball falls"


@pytest.fixture
def other(tmp_path: Path, films: Path, toybox_model: ProST) -> Path:
    """A library of two of the films, made in as many steps as the served one, so that its versions are the same."""
    library = Library(tmp_path / "other.prost", toybox_model)
    library.add([films / "more"], tags=["toys"], workers=1)
    return Path(library.path)


def names(running: Running) -> set[str]:
    return {
        hit["video"]["name"] for hit in running.get("/api/search", params={"q": QUERY, "limit": 50})["hits"]
    }


def test_what_another_process_writes_is_found(serve: Callable[..., Any], films: Path) -> None:
    with serve() as running:
        assert len(names(running)) == 8
        running.library.remove(films / "more")
        assert len(names(running)) == 6
        running.library.optimize()
        assert len(names(running)) == 6
        running.library.add(films / "more", workers=1)
        assert len(names(running)) == 8


def test_another_library_in_its_place(serve: Callable[..., Any], other: Path, films: Path) -> None:
    """No answer mixes the two, also while many ask."""
    with serve() as running:
        path, small = Path(running.library.path), {each.name for each in (films / "more").glob("*.mp4")}
        everything = names(running)
        video = running.first("0")
        seen: list[set[str]] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                answer = running.client.get("/api/search", params={"q": QUERY, "limit": 50})
                if answer.status_code == 200:
                    seen.append({hit["video"]["name"] for hit in answer.json()["hits"]})
                else:
                    assert answer.status_code == 503 and answer.headers["retry-after"], answer.text

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        path.rename(path.with_name("away.prost"))
        answer = running.client.get("/api/search", params={"q": QUERY})
        assert answer.status_code == 503 and "not there" in answer.json()["detail"]
        shutil.copytree(other, path)
        assert names(running) == small
        stop.set()
        for asker in askers:
            asker.join()
        assert all(each in (everything, small) for each in seen)
        assert running.get("/api/status")["counts"]["videos"] == 2
        known = running.client.get(f"/api/videos/{video['id']}")
        assert known.status_code == (200 if video["name"] in small else 404)


def test_folders_are_those_of_the_library_that_took_its_place(
    tmp_path: Path, films: Path, toybox_model: ProST
) -> None:
    """Both libraries have the same path and the same versions."""
    path, folders = tmp_path / "films.prost", Folders([])
    videos = []
    for part in ("", "more"):
        library = Library(path, toybox_model)
        library.add(next((films / part).glob("*.mp4")), workers=1)
        videos.append((library.versions(), {folder.path for folder in folders.all(library).values()}))
        library.close()
        shutil.rmtree(path)
    (versions, first), (other_versions, second) = videos
    assert versions == other_versions
    assert first == {str(films)} and second == {str(films / "more")}


def test_a_library_of_another_model(
    serve: Callable[..., Any], films: Path, untrained_folder: Path, tmp_path: Path
) -> None:
    """Its model is loaded; where that cannot be done, a problem says so."""
    another = Library(tmp_path / "another.prost", prost.load(str(untrained_folder)))
    another.add([films / "more"], workers=1)
    loaded: list[str] = []

    def load(path: str) -> Any:
        loaded.append(path)
        return prost.load(str(untrained_folder))

    for load_model, status in ((load, 200), (None, 503)):
        with serve(load_model=load_model) as running:
            path = Path(running.library.path)
            assert len(names(running)) == 8
            shutil.rmtree(path)
            shutil.copytree(another.path, path)
            answer = running.client.get("/api/search", params={"q": QUERY})
            assert answer.status_code == status, answer.text
            if status == 200:
                assert len(answer.json()["hits"]) == 2 and running.get("/api/status")["model"] == "untrained"
        shutil.rmtree(path)
    assert len(loaded) == 1


def test_a_library_that_is_gone(serve: Callable[..., Any]) -> None:
    with serve() as running:
        shutil.rmtree(running.library.path)
        for path in ("/api/status", "/api/videos", "/api/search?q=a", "/api/folders"):
            answer = running.client.get(path)
            assert answer.status_code == 503 and answer.headers["content-type"] == "application/problem+json"
