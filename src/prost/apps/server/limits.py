"""How much one client, and all of them together, may ask for; and how long a client may take."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prost.apps.server.access import LOGIN, PICTURE
from prost.apps.server.problems import Problem, TooBusy
from prost.apps.server.settings import Limits

MOST_CLIENTS = 10_000
LONGEST_ADDRESS = 16 << 10
# The addresses to which something large may be sent: those of the API and of the page.
PICTURES = (PICTURE, "/picture")
# A form with a token, which anybody may send.
LOGIN_BYTES = 4 << 10


class RateLimit:
    """A token bucket for each client.

    Args:
        rate: requests a second.
        burst: requests at once.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now: float) -> None:
        """Count a request.

        Raises:
            TooBusy: the client has asked too often.
        """
        left, since = self._left.pop(client, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._rate)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        while len(self._left) > MOST_CLIENTS:
            self._left.popitem(last=False)
        if not allowed:
            raise TooBusy("too many requests of this client", seconds=max(1, round((1 - left) / self._rate)))


class Bounded:
    """Bounds on rate, number and size of requests, and on the time that a client may take.

    Args:
        app: what is protected.
        limits: of the server.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._rate = RateLimit(limits.rate, limits.burst)
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._rate.take(scope["client"][0] if scope["client"] else "", time.monotonic())
            if self._running >= self._limits.requests:
                raise TooBusy("too many requests at a time")
            if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_ADDRESS:
                raise Problem(414, f"an address of more than {LONGEST_ADDRESS} bytes")
            most = self._most(scope["path"])
            length = Headers(scope=scope).get("content-length", "0")
            if not length.isdigit() or int(length) > most:
                raise _too_large(most)
        except Problem as refused:
            answer = refused.answer()
            # What is left of the body is not read: the connection ends with the answer.
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            return
        self._running += 1
        try:
            await self._pass(scope, receive, send, most)
        finally:
            self._running -= 1

    def _most(self, path: str) -> int:
        """Bytes of a body that is sent to an address."""
        if path == LOGIN:
            return LOGIN_BYTES
        return self._limits.picture_bytes if path in PICTURES else self._limits.body_bytes

    async def _pass(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        received, started, body_ended = 0, False, False
        limits, begun = self._limits, time.monotonic()

        async def bounded_receive() -> Message:
            nonlocal received, body_ended
            if body_ended:  # what follows is the end of the connection, which may take as long as it likes
                return await receive()
            # Each part in time would not do: a byte now and then could keep a request open for ever.
            left = begun + limits.body_seconds + received / limits.body_rate - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), min(limits.body_seconds, max(left, 0)))
            except TimeoutError:
                raise Problem(408, "the body came too slowly", {"Connection": "close"}) from None
            received += len(message.get("body", b""))
            body_ended = not message.get("more_body", False)
            if received > most:
                raise _too_large(most)
            return message

        async def bounded_send(message: Message) -> None:
            nonlocal started
            started = True
            try:
                await asyncio.wait_for(send(message), self._limits.send_seconds)
            except TimeoutError:
                raise _Left from None

        try:
            await self._app(scope, bounded_receive, bounded_send)
        except _Left:
            return  # without an end: the connection is closed
        except Problem as refused:
            if not started:
                await refused.answer()(scope, receive, send)


class _Left(Exception):
    """The client takes nothing any more."""


def _too_large(most: int) -> Problem:
    return Problem(413, f"a body of more than {most} bytes", {"Connection": "close"})
