"""A real server on the loopback interface, in a thread of the test, with a library of real films."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from prost.apps.server.app import create_app
from prost.apps.server.running import Server, bound_socket
from prost.apps.server.settings import ServerSettings
from prost.model.prost import ProST
from prost.search.library import Library


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server that runs, and a client of it.

    Attributes:
        client: without a token.
        server: uvicorn's.
        port: where it listens.
        library: a second handle on the library that it serves.
        videos: the folder with the films.
    """

    client: httpx.Client
    server: Server
    port: int
    library: Library
    videos: Path

    def get(self, path: str, **choices: Any) -> Any:
        """The JSON of an answer that must be 200."""
        answer = self.client.get(path, **choices)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def first(self, name: str = "") -> dict[str, Any]:
        """A video, by a part of its name."""
        return next(each for each in self.get("/api/videos")["videos"] if name in each["name"])


@contextmanager
def serving(library: Library, videos: Path, cache: Path, **settings: Any) -> Iterator[Running]:
    """Serve a library for as long as the context lasts."""
    chosen = ServerSettings(cache=cache, videos=settings.pop("roots", (videos,)), **settings)
    listening = bound_socket("127.0.0.1", 0)
    port = listening.getsockname()[1]
    started = threading.Event()
    server = Server(create_app(library, chosen), chosen, on_start=started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    assert started.wait(60)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            second = Library(library.path, library.model)
            yield Running(client=client, server=server, port=port, library=second, videos=videos)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory, toybox_folder: Path) -> Path:
    """A folder of in two folders, and a file that is no film."""
    folder = tmp_path_factory.mktemp("films")
    paths = sorted(toybox_folder.glob("*.mp4"))
    (folder / "more").mkdir()
    for place, path in enumerate(paths):
        shutil.copy2(path, folder / "more" if place >= 6 else folder)
    (folder / "broken.mp4").write_text("this is a text")
    return folder


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory, films: Path, toybox_model: ProST) -> Path:
    """A library of the films; not to be changed by tests that share it."""
    path = tmp_path_factory.mktemp("library") / "films.prost"
    library = Library(path, toybox_model)
    library.add(films, tags=["toys"], workers=1)
    return path


@pytest.fixture(scope="session")
def running(
    tmp_path_factory: pytest.TempPathFactory, films: Path, indexed: Path, toybox_model: ProST
) -> Iterator[Running]:
    """A server that most tests share; they change nothing."""
    with serving(Library(indexed, toybox_model), films, tmp_path_factory.mktemp("cache")) as running:
        yield running


@pytest.fixture
def serve(tmp_path: Path, films: Path, indexed: Path, toybox_model: ProST) -> Callable[..., Any]:
    """Serve a copy of the library, or another one, with settings of one's own."""

    def start(library: Path | None = None, **settings: Any) -> Any:
        if library is None:
            library = tmp_path / "own.prost"
            shutil.copytree(indexed, library)
        return serving(Library(library, toybox_model), films, tmp_path / "cache", **settings)

    return start
