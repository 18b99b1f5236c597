"""Who is answered: hosts, tokens, other sites; and what is too much."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from tests.apps.server.conftest import Running

from prost.apps.server.limits import RateLimit
from prost.apps.server.problems import TooBusy
from prost.apps.server.settings import Limits, ServerSettings
from prost.errors import UsageError

TOKEN = "a-token-of-more-than-32-characters-0123456789"


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, indexed: Any, films: Any, toybox_model: Any
) -> Iterator[Running]:
    """A server that asks for a token."""
    from tests.apps.server.conftest import serving

    from prost.search.library import Library

    with serving(
        Library(indexed, toybox_model), films, tmp_path_factory.mktemp("cache"), token=TOKEN
    ) as running:
        yield running


@pytest.mark.parametrize("given", [None, "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\u00e9" * 40])
@pytest.mark.parametrize(
    "path", ["/api/status", "/api/openapi.json", "/api/search?q=a", "/nothing", "/api/../api/status"]
)
def test_a_wrong_token(guarded: Running, path: str, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": f"Bearer {given}".encode()}
    for sent in (headers, {} if not given else {"Cookie": f"prost_token={given}".encode()}):
        answer = guarded.client.get(path, headers=sent)
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_right_token(guarded: Running) -> None:
    for headers in (
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bearer {TOKEN}"},
        {"Cookie": f"prost_token={TOKEN}"},
    ):
        assert guarded.client.get("/api/status", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "others", ["odd[name]=x", '{"a": 1}', "a b=c", "\u00e9=\u00e9", "=", 'x="open', "expires=never; path"]
)
def test_the_right_token_beside_odd_cookies_of_other_apps(guarded: Running, others: str) -> None:
    for cookies in (f"{others}; prost_token={TOKEN}", f"prost_token={TOKEN}; {others}"):
        answer = guarded.client.get("/api/status", headers={"Cookie": cookies.encode("latin-1")})
        assert answer.status_code == 200, cookies


def test_logging_in(guarded: Running) -> None:
    with httpx.Client(base_url=guarded.client.base_url) as browser:
        sent = browser.get("/", headers={"Accept": "text/html"})
        assert sent.status_code == 303 and sent.headers["location"] == "/login"
        form = browser.get("/login")
        assert (
            form.status_code == 200
            and "<form" in form.text
            and "script-src 'self'" in form.headers["content-security-policy"]
        )
        wrong = browser.post("/login", data={"token": "no"})
        assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
        right = browser.post("/login", data={"token": TOKEN})
        assert right.status_code == 303 and right.headers["location"] == "/"
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert browser.get("/api/status").status_code == 200


def test_tokens_cannot_be_tried_out(serve: Callable[..., Any]) -> None:
    with serve(token=TOKEN, limits=Limits(log_ins=3)) as running:
        codes = [running.client.post("/login", data={"token": "no"}).status_code for _ in range(5)]
        assert codes == [401, 401, 401, 429, 429]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1", "", "[", "a:b"],
)
def test_another_host_name_is_refused_on_loopback(running: Running, host: str) -> None:
    answer = running.client.get("/api/status", headers={"Host": host})
    assert answer.status_code == 421, answer.text


def test_names_of_this_machine(running: Running) -> None:
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:9"):
        assert running.client.get("/api/status", headers={"Host": host}).status_code == 200


def test_other_sites_change_nothing(running: Running) -> None:
    body = {"folder": "0" * 24}
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://["},
                    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
                    {"Origin": f"http://127.0.0.1:{running.port + 1}"}):  # fmt: skip
        assert running.client.post("/api/jobs", json=body, headers=headers).status_code == 403
        assert (
            running.client.post("/api/search/picture", files={"picture": b"a"}, headers=headers).status_code
            == 403
        )
    own = {"Origin": f"http://127.0.0.1:{running.port}", "Sec-Fetch-Site": "same-origin"}
    assert running.client.post("/api/jobs", json=body, headers=own).status_code == 404
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = running.client.post("/api/jobs", content=json.dumps(body), headers={"Content-Type": kind})
        assert answer.status_code == 415, answer.text
    preflight = running.client.options(
        "/api/status", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    )
    assert "access-control-allow-origin" not in preflight.headers
    assert (
        "access-control-allow-origin"
        not in running.client.get("/api/status", headers={"Origin": "https://evil.example"}).headers
    )


def test_headers_that_protect_the_page(running: Running) -> None:
    for path in ("/api/status", "/api/nothing", "/api/search", "/api/jobs/x"):
        headers = running.client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"


def test_a_huge_body_is_refused_unread(running: Running) -> None:
    for path, size in (("/api/export", 2 << 20), ("/api/search/picture", 40 << 20), ("/login", 5 << 10)):
        kind = "Content-Type: application/json"
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {size}\r\n\r\n"
        with raw(running, head.encode() + b"{") as connection:
            answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 413"), answer


def test_a_body_that_grows_past_the_limit(running: Running) -> None:
    """Without a length, in chunks."""
    chunks = (b'"' + b"a" * 65536 for _ in range(40))
    answer = running.client.post("/api/export", content=chunks, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413, answer.text


def test_a_body_that_is_no_json(running: Running) -> None:
    for body in (
        b"{",
        b"\xff\xfe",
        b"[" * 5000,
        b"null",
        b'{"folder": "' + b"\\u0000" * 10 + b'"}',
        b'{"folder": NaN}',
    ):
        answer = running.client.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"


def test_too_many_requests(serve: Callable[..., Any]) -> None:
    with serve(limits=Limits(rate=0.5, burst=5)) as running:
        answers = [running.client.get("/api/jobs") for _ in range(8)]
        assert [answer.status_code for answer in answers].count(429) >= 2
        late = next(answer for answer in answers if answer.status_code == 429)
        assert int(late.headers["retry-after"]) >= 1


def test_a_token_bucket() -> None:
    bucket = RateLimit(2.0, 3)
    for _ in range(3):
        bucket.take("a", 100.0)
    with pytest.raises(TooBusy):
        bucket.take("a", 100.1)
    bucket.take("b", 100.1)
    bucket.take("a", 100.7)


def raw(running: Running, sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    connection.sendall(sent)
    return connection


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    answer = io.BytesIO()
    while part := connection.recv(65536):
        answer.write(part)
    return answer.getvalue()


def test_clients_that_hang_are_left(serve: Callable[..., Any]) -> None:
    """Half a head, half a body, and a download that nobody takes; others are answered meanwhile."""
    with serve(limits=Limits(header_seconds=0.5, body_seconds=0.5, send_seconds=0.5)) as running:
        silent = raw(running, b"")
        half_head = raw(running, b"GET /api/status HTTP/1.1\r\nHost: local")
        second_head = raw(running, b"GET /api/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert second_head.recv(12) == b"HTTP/1.1 200"
        second_head.sendall(b"GET /api/")
        half_body = raw(
            running,
            b"POST /api/export HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99\r\n\r\n{",
        )
        assert running.client.get("/api/status").status_code == 200
        started = time.monotonic()
        for connection in (silent, half_head, second_head):
            received(connection)
        assert received(half_body).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started < 15
        for connection in (silent, half_head, second_head, half_body):
            connection.close()


EXPORT = (
    b"POST /api/export HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n"
)


def test_a_body_that_comes_a_byte_at_a_time_is_given_up(serve: Callable[..., Any]) -> None:
    """Each byte comes in time, but all of them would take 50 times as long as a body may."""
    with serve(limits=Limits(body_seconds=0.5)) as running, raw(running, EXPORT % 250) as connection:
        connection.settimeout(0.1)
        answer = b""
        for _ in range(250):
            connection.sendall(b" ")
            with suppress(TimeoutError):
                answer = connection.recv(100)
                break
        assert answer.startswith(b"HTTP/1.1 408")


def test_a_body_on_a_slow_line_may_take_longer(serve: Callable[..., Any]) -> None:
    """It takes longer than the time for a small one, and is above the lowest rate."""
    with (
        serve(limits=Limits(body_seconds=1.5, body_rate=100.0)) as running,
        raw(running, EXPORT % 2000) as connection,
    ):
        for _ in range(5):
            connection.sendall(b" " * 400)
            time.sleep(0.5)
        assert received(connection).startswith(b"HTTP/1.1 422")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /api/status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n0\r\n\r\n",
        b"GET /api/videos/%00/media HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /api/videos/..%2f..%2f..%2fetc%2fpasswd/media HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /static/../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /static/%2e%2e/%2e%2e/app.py HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
def test_broken_and_hostile_requests(running: Running, sent: bytes) -> None:
    with raw(running, sent) as connection:
        answer = received(connection)
    status = answer[9:12]
    assert status in (b"400", b"404", b"405", b"414", b"415", b"421", b"422", b"431", b"505"), answer[:200]
    assert b"root:" not in answer and b"Traceback" not in answer
    assert running.client.get("/api/jobs").status_code == 200


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "0.0.0.0"}, "without a token"),
        ({"host": "192.168.1.2"}, "without a token"),
        ({"host": "example.org"}, "without a token"),
        ({"host": "::"}, "without a token"),
        ({"host": "0.0.0.0", "token": "short"}, "5 characters"),
        ({"token": "a" * 31}, "31 characters"),
        ({"token": "\u00e9" * 32}, "ASCII"),
    ],
)
def test_settings_that_are_not_safe(settings: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ServerSettings(**settings)  # type: ignore[arg-type]


def test_settings_that_are_safe() -> None:
    assert ServerSettings(host="0.0.0.0", token="a" * 32).token
    assert ServerSettings(host="::1").token is None
