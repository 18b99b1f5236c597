"""Processes that write to a library on an object store, for tests and for `benchmarks/racing_writers.py`."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.search.conftest import ColourModel

import prost.search.index_run as index_run
import prost.search.lease as lease_module
from prost.errors import LibraryBusy, ProstError
from prost.search.changing_model import change_model
from prost.search.generations import Switch
from prost.search.library import Library
from prost.search.store import Store

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.search.bucket_writers"])


@dataclass(kw_only=True)
class Writer:
    """A process that writes.

    Attributes:
        process: it.
        said: what it reports: a tuple of a word and a value.
    """

    process: Any
    said: Connection

    def hear(self, seconds: float = 60) -> tuple[str, Any]:
        """What it reports next."""
        if not self.said.poll(seconds):
            raise TimeoutError("the writer says nothing")
        return self.said.recv()


@dataclass(kw_only=True)
class Outcome:
    """What one writer came to.

    Attributes:
        landed: paths whose `add` ended well.
        busy: how often another writer was there.
        failed: other errors.
    """

    landed: list[str] = field(default_factory=list)
    busy: int = 0
    failed: list[str] = field(default_factory=list)


def start(target: Any, root: str, environment: Mapping[str, str], *args: Any) -> Writer:
    """Start a process that runs `target(root, say, *args)`."""
    here, there = _context.Pipe()
    process = _context.Process(target=_run, args=(target, root, dict(environment), there, args))
    process.start()
    there.close()
    return Writer(process=process, said=here)


def _run(target: Any, root: str, environment: dict[str, str], said: Connection, args: Sequence[Any]) -> None:
    os.environ.update(environment)
    target(root, said, *args)
    said.close()


def add_each(root: str, said: Connection, paths: Sequence[str], wait: bool) -> None:
    """Add files one by one, each by a library opened anew; what is busy is tried again when `wait` is false."""
    outcome = Outcome()
    for path in paths:
        while True:
            try:
                Library(root, ColourModel()).add(path, wait=wait, workers=1)
                outcome.landed.append(path)
                break
            except LibraryBusy:
                outcome.busy += 1
                time.sleep(0.2)
            except ProstError as error:
                outcome.failed.append(f"{type(error).__name__}: {error}")
                break
    said.send(("outcome", outcome))


def stop_before_commit(root: str, said: Connection, path: str, seconds: float) -> None:
    """Hold a lease of some seconds, and wait in the middle of a commit until a word comes: then commit."""
    lease_module.LEASE_SECONDS = seconds
    commit = Store.put_videos

    def paused(self: Store, *args: Any, **kwargs: Any) -> None:
        said.send(("ready", os.getpid()))
        said.recv()
        commit(self, *args, **kwargs)

    Store.put_videos = paused  # type: ignore[method-assign]
    try:
        Library(root, ColourModel()).add(path, workers=1)
        said.send(("landed", path))
    except ProstError as error:
        said.send((type(error).__name__, str(error)))


def change_slowly(root: str, said: Connection, fingerprint: str) -> None:
    """Change the model of a library; after the first commit of new clips wait for a word."""
    commit = Store.put_videos

    def paused(self: Store, *args: Any, **kwargs: Any) -> None:
        commit(self, *args, **kwargs)
        said.send(("committed", os.getpid()))
        said.recv()

    Store.put_videos = paused  # type: ignore[method-assign]
    index_run.COMMIT_VIDEOS = 1
    change_model(root, ColourModel(fingerprint=fingerprint), workers=1)


def switch_late(root: str, said: Connection, fingerprint: str, seconds: float) -> None:
    """Change the model of a library with leases of some seconds, and wait for a word right before the switch."""
    lease_module.LEASE_SECONDS = seconds
    switch = Switch.to

    def paused(self: Switch, generation: str) -> None:
        said.send(("ready", os.getpid()))
        said.recv()
        switch(self, generation)

    Switch.to = paused  # type: ignore[method-assign]
    try:
        change_model(root, ColourModel(fingerprint=fingerprint), workers=1)
        said.send(("landed", root))
    except ProstError as error:
        said.send((type(error).__name__, str(error)))


def held_by(folder: Path) -> list[str]:
    """The videos of a folder, as a library names them."""
    return sorted(map(str, folder.rglob("*.mp4")))
