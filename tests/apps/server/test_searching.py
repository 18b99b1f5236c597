"""Searches over HTTP give what the library gives."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.apps.server.conftest import Running

import prost
from prost.apps.server.services import READERS
from prost.search.library import Library

QUERY = "a red ball falls"


def test_a_search_is_that_of_the_library(running: Running) -> None:
    answer = running.get("/api/search", params={"q": QUERY, "limit": 5})
    expected = running.library.search(QUERY, limit=6)
    assert [hit["video"]["name"] for hit in answer["hits"]] == [
        hit.video.path.rpartition("/")[2] for hit in expected
    ][:5]
    best, moment = answer["hits"][0]["moment"], expected[0].moments[0]
    assert (best["start"], best["end"], best["score"]) == pytest.approx(
        (moment.start, moment.end, moment.score)
    )
    assert answer["next_offset"] == 5 and answer["query"] == QUERY and len(best["strip"]) == 6
    rest = running.get("/api/search", params={"q": QUERY, "limit": 5, "offset": 5})
    assert len(rest["hits"]) == 3 and rest["next_offset"] is None


def test_addresses_of_a_hit_lead_somewhere(running: Running) -> None:
    hit = running.get("/api/search", params={"q": QUERY, "limit": 1})["hits"][0]
    for address in (hit["moment"]["thumbnail"], hit["moment"]["strip"][5], hit["video"]["media"]):
        assert running.client.get(address).status_code == 200
    assert "/" not in hit["video"]["id"]


def test_filters(running: Running) -> None:
    folders = {folder["name"]: folder["id"] for folder in running.get("/api/folders")["folders"]}

    def names(**filters: object) -> set[str]:
        hits = running.get("/api/search", params={"q": QUERY, "limit": 50, **filters})["hits"]
        return {hit["video"]["name"] for hit in hits}

    everything = names()
    assert len(everything) == 8
    assert len(names(folder=folders["more"])) == 2
    assert names(max_duration=0.1) == set() and names(min_duration=0.1) == everything
    assert names(tag="toys") == everything and names(tag="o'brien\\") == set()
    assert names(after="2001-01-01T00:00:00Z") == everything and names(before="2001-01-01") == set()
    assert names(words="off") == everything and names(words="only") == set()


def test_many_clients_at_once_get_their_own_answers(running: Running) -> None:
    queries = [
        f"a {colour} {thing}" for colour in ("red", "blue", "green") for thing in ("ball", "boat", "tree")
    ]
    alone = {query: running.get("/api/search", params={"q": query})["hits"] for query in queries}
    with ThreadPoolExecutor(9) as clients:
        together = list(
            clients.map(lambda query: running.get("/api/search", params={"q": query}), queries * 3)
        )
    for answer in together:
        assert [hit["video"]["id"] for hit in answer["hits"]] == [
            hit["video"]["id"] for hit in alone[answer["query"]]
        ]
        # A batch of sentences is another matrix product, so the last digits may differ.
        assert answer["hits"][0]["moment"]["score"] == pytest.approx(
            alone[answer["query"]][0]["moment"]["score"], abs=1e-5
        )


def test_confidence_is_that_of_the_library(
    serve: Callable[..., Any], indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prost.search.confidence.FEWEST_CLIPS", 1)
    path = tmp_path / "known.prost"
    shutil.copytree(indexed, path)
    Library(path, prost.load("toybox")).optimize()
    with serve(path) as running:
        answer = running.get("/api/search", params={"q": QUERY})
        expected = running.library.search(QUERY, limit=25)
        assert expected.confidence is not None and answer["confidence"] is not None
        assert answer["confidence"]["level"] == expected.confidence.level
        assert answer["confidence"]["statement"] == expected.confidence.statement
        assert answer["hits"][0]["confidence"]["false_alarm_rate"] == pytest.approx(
            expected[0].confidence.false_alarm_rate, abs=0.01
        )
        like = running.get(f"/api/search/like/{running.first('0')['id']}")
        assert like["confidence"] is None and like["hits"][0]["confidence"] is None


def test_a_video_finds_others(running: Running) -> None:
    video = running.first("0")
    answer = running.get(f"/api/search/like/{video['id']}", params={"limit": 50})
    assert len(answer["hits"]) == 7
    assert video["id"] not in {hit["video"]["id"] for hit in answer["hits"]}


def test_searches_by_a_video_do_not_hold_up_other_requests(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than there are threads that read wait for a search that takes long; the status is told meanwhile."""
    video = running.first("0")
    begun, go_on = threading.Event(), threading.Event()
    search_like = Library.search_like

    def slow(*args: Any, **choices: Any) -> Any:
        begun.set()
        go_on.wait(60)
        return search_like(*args, **choices)

    monkeypatch.setattr(Library, "search_like", slow)
    with ThreadPoolExecutor(READERS) as clients:
        address = f"/api/search/like/{video['id']}"
        answers = [clients.submit(running.get, address, params={"limit": 50}) for _ in range(READERS)]
        try:
            assert begun.wait(30)
            while len(running.server.server_state.tasks) < READERS:
                time.sleep(0.01)
            assert running.client.get("/api/status", timeout=20).status_code == 200
        finally:
            go_on.set()
        assert all(len(answer.result()["hits"]) == 7 for answer in answers)


def test_a_picture_finds_its_video(running: Running) -> None:
    video = running.first("0")
    picture = running.client.get(f"/api/videos/{video['id']}/frame?time=1&height=144").content
    answer = running.client.post("/api/search/picture?limit=3", files={"picture": ("a.jpg", picture)})
    assert answer.status_code == 200, answer.text
    assert answer.json()["hits"][0]["video"]["id"] == video["id"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/search", 422),
        ("/api/search?q=", 422),
        ("/api/search?q=%20", 400),
        ("/api/search?q=" + "a" * 1001, 422),
        ("/api/search?q=a&limit=0", 422),
        ("/api/search?q=a&limit=101", 422),
        ("/api/search?q=a&offset=-1", 422),
        ("/api/search?q=a&min_duration=nan", 422),
        ("/api/search?q=a&folder=..%2F..", 422),
        ("/api/search?q=a&folder=" + "0" * 24, 404),
        ("/api/search?q=a&where=1", 422),
        ("/api/search/like/{video}?start=300&end=400", 400),
        ("/api/search/like/{video}?start=2&end=1", 400),
        ("/api/search/like/" + "0" * 32 + "-" + "0" * 16, 404),
        ("/api/search/like/..%2f..%2fetc%2fpasswd", 404),
        ("/api/nothing", 404),
    ],
)
def test_wrong_requests_are_problems(running: Running, path: str, status: int) -> None:
    answer = running.client.get(path.replace("{video}", running.first("0")["id"]))
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status and body["title"] and "Traceback" not in answer.text


def test_a_text_in_the_place_of_a_picture_is_told_without_names_of_python(running: Running) -> None:
    answer = running.client.post("/api/search/picture", data={"picture": "hello"})
    assert answer.status_code == 422 and answer.json()["errors"] == ["picture: expected a file"]
    page = running.client.post("/picture", data={"picture": "hello"})
    assert page.status_code == 400 and "picture: expected a file" in page.text
    assert "UploadFile" not in answer.text + page.text


def test_a_wrong_value_is_told_by_its_name(running: Running) -> None:
    answer = running.client.get("/api/search?q=a&limit=0")
    assert answer.json()["errors"] == ["limit: input should be greater than or equal to 1"]


def test_no_picture_is_a_problem(running: Running) -> None:
    answer = running.client.post("/api/search/picture", files={"picture": ("a.jpg", b"text")})
    assert answer.status_code == 400 and "no picture" in answer.json()["detail"]
