"""Connecting to a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from prost.errors import ProstError, UsageError, install_extra
from prost.printable import first_line

LOCAL = "local"
# Seconds until a machine that is there takes a connection, and until a cluster that is there answers.
CONNECT_SECONDS = 5.0
# What the extra brings: Ray without it lacks grpc.
NEEDED = ("ray", "grpc")
INSTALL = install_extra("ray")
# The head of a cluster answers this call; it takes no argument.
ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
# Shared memory of a cluster that is started here: clips on their way from decoding to encoding wait in it.
OBJECT_STORE_BYTES = 1 << 30
ADDRESSES = "`local`, or HOST:PORT of a cluster that this machine belongs to"


@contextmanager
def connected(address: str, *, core_log_level: str | None = None) -> Iterator[None]:
    """Context in which this process is connected to a cluster; one that the program connected to before is kept.

    Args:
        address: `HOST:PORT` of the head of a cluster that runs on this machine too (`ray start`); or `local`, which
            starts one here that ends with the context.
        core_log_level: of the lines that Ray's core writes to stderr, such as `fatal`; Ray tells a given level in a
            line of its own. None for Ray's default, errors.

    Raises:
        UsageError: Ray is not installed, the address is none, or nobody answers there.
        ProstError: something answers that is no cluster, or one that this machine does not belong to.
    """
    expect_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    # A process that died is told by what it leaves undone; Ray would tell it on stdout, among the results.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    if core_log_level is not None:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", core_log_level)
    import ray

    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = (
        {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES} if address == LOCAL else {}
    )
    try:
        with warnings.catch_warnings(), _own_handlers():
            # The processes that Ray forks here run other programs at once.
            warnings.filterwarnings("ignore", "lance is not fork-safe")
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
        raise ProstError(
            f"Ray at {address} does not take this machine ({first_line(error)})",
            "a cluster of the same version of Ray and Python that this machine belongs to",
            "`ray start --address HOST:PORT` here, or --ray local",
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Context after which SIGTERM does what it did before: Ray would leave the process at once, with exit code 15."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def expect_reachable(address: str) -> None:
    """Look whether Ray is installed, and whether a cluster answers at an address: `ray.init` would try for minutes.

    Args:
        address: as for `connected`.

    Raises:
        UsageError: none answers within some seconds, the address is none, or Ray is not installed.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"--ray without the package {missing[0]}", "the extra `ray`", INSTALL)
    if address == LOCAL:
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"--ray {address}", ADDRESSES, "--ray local")
    refusal = _refusal(host.strip("[]"), int(port))
    if refusal is not None:
        raise UsageError(f"no Ray cluster answers at {address} ({refusal})", ADDRESSES, "--ray local")
    if os.environ.get("RAY_USE_TLS", "0") == "0" and not _is_head(address):
        raise UsageError(f"what answers at {address} is no Ray cluster", ADDRESSES, "--ray local")


def _refusal(host: str, port: int) -> str | None:
    """Why nobody takes a connection; None where somebody does.

    A thread of its own tries, since neither looking up a name nor trying all its addresses has a limit.
    """
    outcome: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def connect() -> None:
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
        except OSError as error:
            outcome.put(error.strerror or str(error))
        except UnicodeError:  # of IDNA
            outcome.put("no host name")
        else:
            outcome.put(None)

    threading.Thread(target=connect, name="prost-connect", daemon=True).start()
    try:
        return outcome.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        return "timed out"


def _is_head(address: str) -> bool:
    """Whether what listens is the head of a Ray cluster, also one that wants to know who asks."""
    import grpc

    strangers = (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
    )
    # Ray does not use a proxy either.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(ALIVE)(b"", timeout=CONNECT_SECONDS)
        except grpc.RpcError as error:
            return error.code() not in strangers
    return True
