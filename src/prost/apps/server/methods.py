"""HEAD wherever there is GET, and which methods an address has."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Ranges are defined for GET alone.
OF_GET_ALONE = (b"range", b"if-range")


class Methods:
    """Answers HEAD as GET without the body, and names all methods of an address where another one was asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        ended = False

        async def without_body(message: Message) -> None:
            nonlocal ended
            if ended:
                return
            if message["type"] == "http.response.start" and message["status"] == 405:
                _name_methods(message, scope)
            await send(message)
            if is_head:
                # The answer ends at once, so that the app stops to read a file or to wait for events.
                ended = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(_as_get(scope) if is_head else dict(scope), receive, without_body)


def _as_get(scope: Scope) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if name not in OF_GET_ALONE]
    return {**scope, "method": "GET", "headers": headers}


def _name_methods(message: Message, scope: Scope) -> None:
    """Set the Allow header of an answer; what is no route has its own, or is a file of the page."""
    headers = MutableHeaders(scope=message)
    if methods := _methods_of(scope):
        headers["Allow"] = ", ".join(methods)
    else:
        headers.setdefault("Allow", "GET, HEAD")


def _methods_of(scope: Scope) -> list[str]:
    """The methods of the routes at the address of a request."""
    routes = [route for route in scope["app"].routes if not isinstance(route, Mount)]
    found = [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ["GET", "HEAD", *found[1:]] if "GET" in found else found
