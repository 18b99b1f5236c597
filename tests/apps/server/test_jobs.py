"""Indexing from the page: progress, one at a time, cancelling, and what may be indexed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.apps.server.conftest import Running

from prost.apps.server import indexing
from prost.apps.server import jobs as jobs_module
from prost.apps.server.jobs import Jobs, RunningJob
from prost.apps.server.problems import TooBusy
from prost.apps.server.settings import Limits, ServerSettings


def folder_named(running: Running, name: str) -> dict[str, Any]:
    return next(each for each in running.get("/api/folders")["folders"] if each["name"] == name)


def test_a_body_that_is_not_json_is_told(running: Running) -> None:
    for body, said in (
        ("{", "the body is not JSON"),
        ("[]", "the body: expected an object"),
        ("", "the body: "),
    ):
        answer = running.client.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text
        (line,) = answer.json()["errors"]
        assert line.startswith(said) and "body." not in line


def events(running: Running, job: str) -> list[tuple[str, Any]]:
    """All events of a job, until its end."""
    found = []
    with running.client.stream("GET", f"/api/jobs/{job}/events", timeout=120) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((name, json.loads(line[6:])))
    return found


@pytest.fixture
def inbox(tmp_path: Path, films: Path) -> Path:
    """A folder with two new films in a folder below it, and one that is no film."""
    folder = tmp_path / "inbox"
    (folder / "new").mkdir(parents=True)
    for name, path in zip(("x.mp4", "y.mp4"), sorted(films.glob("*0*.mp4")), strict=False):
        # Another content, since free space at the end is no part of the film.
        (folder / "new" / name).write_bytes(path.read_bytes() + b"\0\0\0\x0cfree" + name[:4].encode())
    (folder / "new" / "broken.mp4").write_text("text")
    return folder


def test_a_folder_is_indexed_and_served(serve: Callable[..., Any], inbox: Path) -> None:
    with serve(roots=(inbox,), model="toybox") as running:
        before = running.get("/api/status")
        answer = running.client.post("/api/jobs", json={"folder": folder_named(running, "new")["id"]})
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert answer.headers["location"] == f"/api/jobs/{job['id']}" and job["state"] in (
            "queued",
            "running",
        )
        told = events(running, job["id"])
        assert {name for name, _ in told[:-1]} <= {"progress"}
        assert any(data["total"] == 3 for name, data in told if name == "progress")
        name, end = told[-1]
        assert name == "end" and end["state"] == "done" and end["failed"] == 1 and "2" in end["summary"], end
        after = running.get("/api/status")
        assert after["counts"]["videos"] == before["counts"]["videos"] + 2
        assert after["library_version"] != before["library_version"] and after["jobs_running"] == 0
        found = running.get(
            "/api/search", params={"q": "a ball", "folder": folder_named(running, "new")["id"]}
        )
        assert {hit["video"]["name"] for hit in found["hits"]} == {"x.mp4", "y.mp4"}
        assert running.get("/api/jobs")["jobs"][0]["id"] == job["id"]
        assert events(running, job["id"]) == [("end", end)]


def test_only_folders_that_were_named_are_indexed(
    serve: Callable[..., Any], inbox: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (inbox / "link").symlink_to(outside)
    with serve(roots=(inbox,)) as running:
        names = {each["name"]: each for each in running.get("/api/folders")["folders"]}
        assert "link" not in names and names["new"]["may_index"] and not names["more"]["may_index"]
        assert running.client.post("/api/jobs", json={"folder": names["more"]["id"]}).status_code == 403
        for folder in (str(outside), "../outside", "/", "0" * 24):
            answer = running.client.post("/api/jobs", json={"folder": folder})
            assert answer.status_code in (404, 422), answer.text
        assert running.get("/api/jobs") == {"jobs": []}


def test_a_job_is_cancelled(serve: Callable[..., Any], inbox: Path) -> None:
    with serve(roots=(inbox,), model="toybox") as running:
        first = running.client.post("/api/jobs", json={"folder": folder_named(running, "new")["id"]}).json()
        second = running.client.post(
            "/api/jobs", json={"folder": folder_named(running, "inbox")["id"]}
        ).json()
        again = running.client.post("/api/jobs", json={"folder": folder_named(running, "inbox")["id"]}).json()
        assert again["id"] == second["id"] and second["state"] == "queued"
        for job in (second, first):
            assert running.client.delete(f"/api/jobs/{job['id']}").status_code == 202
        for job in (first, second):
            assert events(running, job["id"])[-1][1]["state"] == "cancelled"
        assert running.client.delete("/api/jobs/" + "0" * 32).status_code == 404
        assert running.get("/api/search", params={"q": "a ball"})["hits"]


@pytest.mark.slow
def test_a_job_that_cannot_work_says_why(serve: Callable[..., Any], inbox: Path, tmp_path: Path) -> None:
    with serve(roots=(inbox,), model=str(tmp_path / "no model")) as running:
        job = running.client.post("/api/jobs", json={"folder": folder_named(running, "new")["id"]}).json()
        end = events(running, job["id"])[-1][1]
        assert end["state"] == "failed" and "no model" in end["problem"]


def test_the_queue_is_bounded() -> None:
    jobs = Jobs("a.prost", ServerSettings(limits=Limits(jobs=2)))
    for path in ("/a", "/b"):
        jobs._jobs[path] = RunningJob(path=path)
    with pytest.raises(TooBusy):
        jobs.add("/c")
    assert jobs.add("/a").path == "/a"


PRINTING = """
import sys
from prost.apps.server import indexing
from prost.apps.server import jobs as jobs_module
from prost.search.library import Library

add = Library.add

def loudly(*given, **choices):
    print("a library that prints", flush=True)
    return add(*given, **choices)

Library.add = loudly
sys.exit(indexing.main())
"""


@pytest.mark.slow
def test_what_a_library_prints_is_no_answer(
    serve: Callable[..., Any], inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "CHILD", PRINTING)
    with serve(roots=(inbox,), model="toybox") as running:
        job = running.client.post("/api/jobs", json={"folder": folder_named(running, "new")["id"]}).json()
        assert events(running, job["id"])[-1][1]["state"] == "done"


def test_a_child_that_answers_nonsense_does_not_hold_up_other_jobs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jobs_module, "CHILD", "print('no JSON', flush=True)")

    async def run() -> tuple[RunningJob, RunningJob]:
        jobs = Jobs("a.prost", ServerSettings())
        first, second = jobs.add("/a"), jobs.add("/b")
        while not second.ended:
            await asyncio.sleep(0.01)
        await jobs.close()
        return first, second

    for job in asyncio.run(run()):
        assert (job.state, job.problem) == ("failed", "an error of prost, which the server's log tells")
    assert "JSONDecodeError" in caplog.text


def test_a_server_that_ends_stops_its_jobs(serve: Callable[..., Any], inbox: Path) -> None:
    """Also a stream of events ends then, by itself."""
    with serve(roots=(inbox,), model="toybox") as running:
        job = running.client.post("/api/jobs", json={"folder": folder_named(running, "new")["id"]}).json()
        told: list[Any] = []
        listener = threading.Thread(target=lambda: told.extend(events(running, job["id"])))
        listener.start()
        deadline = time.monotonic() + 60
        while (
            not told
            and running.get(f"/api/jobs/{job['id']}")["state"] == "queued"
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        started = time.monotonic()
        running.server.should_exit = True
        listener.join(30)
        assert not listener.is_alive() and time.monotonic() - started < 30


def test_the_child_ends_when_its_parent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its standard input closes, and it interrupts itself."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *given: sent.append(given))
    monkeypatch.setattr(indexing, "GRACE", 0.0)
    monkeypatch.setattr(os, "_exit", lambda code: sent.append((0, code)))
    read, write = os.pipe()
    os.close(write)
    with os.fdopen(read) as closed:
        monkeypatch.setattr("sys.stdin", closed)
        indexing._end_with_parent()
    assert sent == [(os.getpid(), signal.SIGINT), (0, 130)]


@pytest.mark.slow
def test_a_killed_server_takes_its_job_along(inbox: Path, indexed: Path, tmp_path: Path) -> None:
    """`kill -9` of the server: the indexing ends by itself."""
    import subprocess
    import sys

    import httpx

    library = tmp_path / "own.prost"
    shutil.copytree(indexed, library)
    command = [sys.executable, "-m", "prost", "serve", "--library", library, "--model", "toybox", "--port", "0",
               "--videos", inbox]  # fmt: skip
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            folders = httpx.get(f"{address}api/folders").json()["folders"]
            new = next(each["id"] for each in folders if each["name"] == "new")
            assert httpx.post(f"{address}api/jobs", json={"folder": new}).status_code == 202
            children: list[int] = []
            deadline = time.monotonic() + 60
            while not children and time.monotonic() < deadline:
                children = [
                    pid
                    for pid in _processes()
                    if "prost.apps.server.indexing" in _command(pid) and _parent(pid) == server.pid
                ]
        finally:
            server.kill()
    assert children
    deadline = time.monotonic() + 60
    while any(_alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in children)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
