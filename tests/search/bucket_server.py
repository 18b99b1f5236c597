"""A real S3 server on this machine: moto's, which honours `If-None-Match` and `If-Match`."""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.server import ThreadedMotoServer

BUCKET = "films"


@dataclass(frozen=True, kw_only=True)
class BucketServer:
    """A running server with one empty bucket.

    Attributes:
        endpoint: its address.
        environment: variables by which any tool finds it.
    """

    endpoint: str

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def options(self) -> dict[str, str]:
        """The same as storage options."""
        return {
            "aws_endpoint": self.endpoint,
            "aws_access_key_id": "someone",
            "aws_secret_access_key": "secret",
            "aws_region": "us-east-1",
        }


@contextmanager
def bucket_server() -> Iterator[BucketServer]:
    """A server while the context lasts."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        found = BucketServer(endpoint=f"http://{host}:{port}")
        urllib.request.urlopen(urllib.request.Request(f"{found.endpoint}/{BUCKET}", method="PUT")).close()
        yield found
    finally:
        server.stop()


class _Overloaded(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def overloaded_server() -> Iterator[dict[str, str]]:
    """Storage options of a server that answers each request with 503 SlowDown while the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Overloaded)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        few_retries = {"client_max_retries": "1", "client_retry_timeout": "1"}
        yield {**BucketServer(endpoint=address).options, **few_retries}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def without_aws() -> dict[str, str]:
    """The environment of this process without a word of object stores."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
