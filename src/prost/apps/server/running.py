"""Running an app under uvicorn: clients that hang are left, and a signal ends all answers in order."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from prost.apps.server.services import Services
from prost.apps.server.settings import ServerSettings
from prost.errors import UsageError

# Seconds that an idle connection is kept, and that running answers get when the server ends.
KEEP_ALIVE = 30
GRACE = 5
# Bytes of the head of a request.
LONGEST_HEAD = 32 << 10
BACKLOG = 256


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: name or address.
        port: 0 for any that is free.

    Raises:
        UsageError: the port is in use, or the host is not one of this machine.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
    except OSError as error:
        raise UsageError(f"host {host}: {error.strerror or error}", "an address of this machine") from None
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"port {port} of {host} cannot be used: {error.strerror}", "a free port", f"--port {port + 1}"
        ) from None
    return listening


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with a limit on the time in which the head of a request must be there; uvicorn itself has none."""

    header_seconds = 15.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for the first head."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take some bytes."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on with the next request, of which a part may be here already."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Wait for the rest of a head if one has begun, or if none has come on this connection."""
        unfinished = self.cycle is None or bool(self.conn.trailing_data[0])
        if self.conn.their_state is not h11.IDLE or not unfinished:
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.header_seconds, self._expire)

    def _expire(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """A server that tells its endpoints when it is about to end, so that streams end by themselves.

    Args:
        app: of `create_app`.
        settings: the same.
        on_start: called once requests are answered.
    """

    def __init__(
        self, app: FastAPI, settings: ServerSettings, on_start: Callable[[], None] | None = None
    ) -> None:
        limits = settings.limits

        class Protocol(PatientProtocol):
            header_seconds = limits.header_seconds

        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                # Not uvloop, which uvicorn takes where it is installed: it forks by itself to start child processes, of
                # which Lance warns.
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=GRACE,
                h11_max_incomplete_event_size=LONGEST_HEAD,
                proxy_headers=False,
            )
        )
        # Its warnings are about what clients do.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._services: Services = app.state.services
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started and self._on_start is not None:
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._services.stopping.set()
        await super().shutdown(sockets)
