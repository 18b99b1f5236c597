"""Addresses where no Ray cluster answers, each with the words that tell why."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NOBODY, SILENT, WEB, OTHER_GRPC = "nobody", "silent", "web", "another gRPC service"
LISTENERS = (NOBODY, SILENT, WEB, OTHER_GRPC)
# Addresses that are none, or whose name nobody has (RFC 6761).
WRONG = {
    "": "--ray ",
    "nowhere": "--ray nowhere",
    "10.0.0.5": "--ray 10.0.0.5",
    "127.0.0.1:": "--ray 127.0.0.1:",
    "127.0.0.1:port": "--ray 127.0.0.1:port",
    "127.0.0.1:99999": "--ray 127.0.0.1:99999",
    "ray://127.0.0.1:10001": "--ray ray://127.0.0.1:10001",
    "nowhere.invalid:6379": "no Ray cluster answers at nowhere.invalid:6379",
    "no..name:6379": "no Ray cluster answers at no..name:6379",
}


class Web(BaseHTTPRequestHandler):
    """A web server that keeps its log to itself."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening(kind: str) -> Iterator[tuple[str, str]]:
    """The address where something listens that is no Ray cluster, or nothing does, and the words about it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        if kind == SILENT:
            yield address, f"what answers at {address} is no Ray cluster"
            return
    if kind == NOBODY:
        yield address, f"no Ray cluster answers at {address}"
    elif kind == WEB:
        with ThreadingHTTPServer(("127.0.0.1", 0), Web) as web:
            threading.Thread(target=web.serve_forever, daemon=True).start()
            try:
                yield _told(web.server_address[1])
            finally:
                web.shutdown()
    else:
        import grpc

        with ThreadPoolExecutor(1) as workers:
            server = grpc.server(workers)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            try:
                yield _told(port)
            finally:
                server.stop(0).wait()


def _told(port: int) -> tuple[str, str]:
    return f"127.0.0.1:{port}", f"what answers at 127.0.0.1:{port} is no Ray cluster"
