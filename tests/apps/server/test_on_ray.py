"""Replicas on a real Ray cluster of this machine: the same answers, one that is killed, a new version, the end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.apps.server.conftest import Running, serving
from tests.scale.strangers import LISTENERS, WRONG, listening

from prost.apps.server import on_ray
from prost.scale import cluster
from prost.search.library import Library

QUERIES = ("a red ball falls", "a blue house", "a cat's face grows, then spins")
SECONDS = 120.0


@pytest.mark.parametrize("address", ["local", "127.0.0.1:6379"])
def test_without_ray_the_extra_is_named(
    prost: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said = prost("serve", "--library", "none", "--ray", address)
    assert said.code == 2 and ".[ray]" in said.err and said.err.count("\n") == 1


@pytest.mark.skipif(not find_spec("ray"), reason="needs Ray")
@pytest.mark.parametrize("address", WRONG)
def test_what_is_no_address(prost: Callable[..., Any], address: str) -> None:
    said = prost("serve", "--library", "none", "--ray", address)
    assert said.code == 2 and said.err.startswith(f"error: {WRONG[address]}")
    assert "HOST:PORT" in said.err and said.err.count("\n") == 1


@pytest.mark.skipif(not find_spec("ray"), reason="needs Ray")
@pytest.mark.parametrize("kind", LISTENERS)
def test_where_no_cluster_answers(
    prost: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with listening(kind) as (address, words):
        said = prost("serve", "--library", "none", "--port", 0, "--ray", address)
    assert said.code == 2 and said.err.startswith(f"error: {words}") and said.err.count("\n") == 1


def test_replicas_need_ray(prost: Callable[..., Any], indexed: Path) -> None:
    said = prost("serve", "--library", indexed, "--replicas", 2)
    assert said.code == 2 and "--replicas without --ray" in said.err and said.err.count("\n") == 1


def replica_processes() -> list[int]:
    """Processes of replicas of this user, in the order of their shards."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if name.startswith("ray::ServeReplica:prost-"):
            found.append((name, int(folder.name)))
    return [process for _, process in sorted(found)]


def until(condition: Callable[[], Any]) -> Any:
    """What a condition gives once it is true."""
    end = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.1)
    return value


def searched(running: Running, query: str) -> dict[str, Any]:
    """The answer to a search, without what differs each time; scores to five digits."""
    answer = running.get("/api/search", params={"q": query})
    answer.pop("milliseconds")
    return rounded(answer)


def found(answer: dict[str, Any]) -> list[tuple[str, float]]:
    """Names and scores of the hits."""
    return [(hit["video"]["name"], hit["moment"]["score"]) for hit in answer["hits"]]


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not find_spec("ray") or os.name != "posix", reason="needs Ray")
def test_a_library_on_two_replicas(
    tmp_path: Path, films: Path, toybox_model: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """One cluster for all of it, since starting one takes long."""
    path = tmp_path / "films.prost"
    alone = Library(path, toybox_model)
    for folder in (films / "more", films):  # a fragment each
        alone.add(folder, workers=1)
    library, said = Library(path, toybox_model), []
    on_terminate = signal.getsignal(signal.SIGTERM)
    with on_ray.served_through(library, "local", 5, said.append) as places:
        import ray

        assert places == ", with 2 replicas on Ray" and signal.getsignal(signal.SIGTERM) == on_terminate
        assert len(said) == 1 and said[0].startswith("2 replicas of 5 will run: each owns whole fragments")

        session = ray.get_runtime_context().get_session_name()
        assert processes_of(session)
        with (
            library,
            serving(library, films, tmp_path / "cache") as sharded,
            serving(alone, films, tmp_path / "other-cache") as single,
        ):
            expected = {query: searched(single, query) for query in QUERIES}
            assert all(answer["searched"] == 1 for answer in expected.values())
            assert {query: searched(sharded, query) for query in QUERIES} == expected

            first, _ = replica_processes()
            os.kill(first, signal.SIGKILL)
            partial = until(lambda: (told := searched(sharded, QUERIES[0]))["searched"] < 1 and told)
            assert 0 < partial["searched"] < 1 and "partial" in partial["notes"][0]
            until(lambda: searched(sharded, QUERIES[0])["searched"] == 1)
            assert {query: searched(sharded, query) for query in QUERIES} == expected

            os.kill(replica_processes()[1], signal.SIGKILL)
            until(lambda: "the answer is partial" in sharded.client.get("/", params={"q": QUERIES[0]}).text)
            until(lambda: searched(sharded, QUERIES[0])["searched"] == 1)

            alone.remove(films / "more")  # every search until it is taken up, and after, is answered whole
            latest = searched(single, QUERIES[0])
            assert latest != expected[QUERIES[0]]
            seen = []

            def taken_up() -> bool:
                seen.append(searched(sharded, QUERIES[0]))
                return bool(seen[-1] == latest)

            until(taken_up)
            # The stored background is always the latest, so only hits and their scores are those of one version.
            assert all(answer["searched"] == 1 for answer in seen)
            versions = [found(answer) for answer in (expected[QUERIES[0]], latest)]
            assert all(found(answer) in versions for answer in seen)
    until(lambda: not processes_of(session) and not replica_processes())
    assert capfd.readouterr().out == ""  # Ray would tell there which processes died


def processes_of(session: str) -> list[str]:
    """Command lines that name a cluster's session: those of its own processes, not of its workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if session in name:
            found.append(name)
    return found
