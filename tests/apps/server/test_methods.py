"""HEAD, and the methods of addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.apps.server.conftest import Running

# Headers that change from one answer to the next, or say how the connection goes on.
OF_ONE_ANSWER = ("date", "content-length")


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/library",
        "/video/{video}",
        "/static/page.css",
        "/login",
        "/api/openapi.json",
        "/api/status",
        "/api/search?q=a+ball",
        "/api/search",
        "/api/videos/{video}",
        "/api/videos/{video}/frame?time=1",
        "/api/videos/{video}/preview?start=0&end=1",
        "/api/videos/{video}/media",
        "/api/nothing",
    ],
)
def test_head_is_get_without_the_body(running: Running, address: str) -> None:
    address = address.format(video=running.first("0")["id"])
    whole, head = running.client.get(address), running.client.head(address)
    assert head.status_code == whole.status_code and head.content == b""
    assert "content-length" in head.headers
    for name in set(whole.headers) | set(head.headers):
        assert name in OF_ONE_ANSWER or head.headers[name] == whole.headers[name], name


def test_a_range_is_for_get_alone(running: Running) -> None:
    media = running.first("0")["media"]
    head = running.client.head(media, headers={"Range": "bytes=0-3"})
    assert head.status_code == 200 and int(head.headers["content-length"]) > 4
    etag = head.headers["etag"]
    assert running.client.head(media, headers={"If-None-Match": etag}).status_code == 304


def test_a_connection_goes_on_after_head(running: Running) -> None:
    """Also where the body would have been long."""
    media = running.first("0")["media"]
    for _ in range(3):
        assert running.client.head(media).status_code == 200
        assert running.client.get("/api/status").status_code == 200


def test_head_of_a_stream_of_events_ends(serve: Callable[..., Any]) -> None:
    with serve() as running:
        folder = next(each for each in running.get("/api/folders")["folders"] if each["may_index"])
        job = running.client.post("/api/jobs", json={"folder": folder["id"]}).json()
        head = running.client.head(f"/api/jobs/{job['id']}/events", timeout=20)
        assert head.status_code == 200 and head.headers["content-type"].startswith("text/event-stream")
        running.client.delete(f"/api/jobs/{job['id']}")


@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/api/status", "GET, HEAD"),
        ("DELETE", "/api/jobs", "GET, HEAD, POST"),
        ("POST", "/api/jobs/" + "0" * 32, "GET, HEAD, DELETE"),
        ("HEAD", "/api/export", "POST"),
        ("GET", "/library/index", "POST"),
        ("POST", "/static/page.css", "GET, HEAD"),
        ("POST", "/api/openapi.json", "GET, HEAD"),
    ],
)
def test_another_method_is_told_those_that_there_are(
    running: Running, method: str, address: str, allowed: str
) -> None:
    answer = running.client.request(method, address)
    assert answer.status_code == 405 and answer.headers["allow"] == allowed
