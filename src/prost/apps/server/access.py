"""Who may ask: the host that was meant, the token, and no requests that another site has a browser send."""

from __future__ import annotations

import hmac
import time
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prost.apps.server.problems import Problem
from prost.apps.server.settings import ServerSettings, is_loopback
from prost.page.rendering import render

COOKIE = "prost_token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
LOGIN = "/login"
API = "/api/"
# The one address of the API that takes a form, with a file.
PICTURE = "/api/search/picture"
# What the form of the login needs; it holds nothing of the library.
OPEN_PREFIX = "/static/"
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self'; script-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    # Other sites are told nothing. With `no-referrer` the page's own forms would come with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class SecurityHeaders:
    """Adds the headers by which browsers protect a page to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class Access:
    """Checks each request before the app sees it.

    Args:
        app: what is protected.
        settings: of the server.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings
        self._token = None if settings.token is None else settings.token.encode("ascii")
        self._local = is_loopback(settings.host)
        self._attempts = _Attempts(settings.limits.log_ins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._refusal(scope, receive)
        except Problem as refused:
            answer = refused.answer()
        if answer is not None:
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope, receive: Receive) -> Response | None:
        headers = Headers(scope=scope)
        self._expect_host(headers)
        if scope["method"] not in SAFE_METHODS:
            _expect_same_site(headers)
            _expect_json(scope["path"], headers)
        if scope["path"] == LOGIN and self._token is not None:
            return await self._login(scope, receive)
        if self._token is None or scope["path"].startswith(OPEN_PREFIX) or self._may(headers):
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse(LOGIN, status_code=303)
        raise Problem(401, "a token is needed", {"WWW-Authenticate": 'Bearer realm="prost"'})

    def _expect_host(self, headers: Headers) -> None:
        """On the loopback interface a site elsewhere can reach this server under its own name (DNS rebinding)."""
        if not self._local:
            return
        try:
            parts = urlsplit(f"//{headers.get('host', '')}")
            name, _ = parts.hostname or "", parts.port
        except ValueError:
            name = ""
        if not is_loopback(name):
            raise Problem(421, "this server answers to localhost only")

    def _may(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(given.strip()):
            return True
        # Other apps on this machine set cookies for the same host, and some of them are malformed. The standard
        # library's cookie class stops at the first of those.
        return self._is_token(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))

    def _is_token(self, given: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token)

    async def _login(self, scope: Scope, receive: Receive) -> Response | None:
        if scope["method"] == "GET":
            return HTMLResponse(render("login.html", here="", wrong=""))
        if scope["method"] != "POST":
            raise Problem(405, "GET or POST", {"Allow": "GET, HEAD, POST"})
        client = scope["client"][0] if scope["client"] else ""
        self._attempts.note(client)
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            raise Problem(400, "the body ended early") from None
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        if not self._is_token(given):
            return HTMLResponse(
                render("login.html", here="", wrong="That is not the token."), status_code=401
            )
        self._attempts.forget(client)
        answer = RedirectResponse("/", status_code=303)
        assert self._settings.token is not None
        answer.set_cookie(
            COOKIE,
            self._settings.token,
            httponly=True,
            samesite="strict",
            secure=scope["scheme"] == "https",
            max_age=30 * 24 * 3600,
        )
        return answer


class _Attempts:
    """Counts attempts to log in, so that nobody can try many tokens."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: dict[str, list[float]] = {}

    def note(self, client: str) -> None:
        now = time.monotonic()
        self._seen = {
            each: recent
            for each, times in self._seen.items()
            if (recent := [at for at in times if at > now - 60])
        }
        times = self._seen.setdefault(client, [])
        if len(times) >= self._most:
            raise Problem(429, "too many attempts to log in", {"Retry-After": "60"})
        times.append(now)

    def forget(self, client: str) -> None:
        self._seen.pop(client, None)


def _expect_json(path: str, headers: Headers) -> None:
    """Refuse bodies that a form of another site could send, where JSON is expected."""
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and path.startswith(API) and path != PICTURE and kind != "application/json":
        raise Problem(415, "a body of the type application/json is expected")


def _expect_same_site(headers: Headers) -> None:
    """Refuse a change that another site has a browser ask for.

    Browsers send an origin with every request that is no GET; programs other than browsers send none.
    """
    origin = headers.get("origin")
    if origin is not None:
        try:
            host = urlsplit(origin).netloc.lower()
        except ValueError:
            raise Problem(403, "the origin of the request is no address") from None
        if host != headers.get("host", "").lower():
            raise Problem(403, "the request comes from another site")
    elif headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Problem(403, "the request comes from another site")
