"""Connecting to a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from prost.errors import ProstError, UsageError

LOCAL = "local"
# Seconds until a machine that is there takes a connection.
CONNECT_SECONDS = 5.0
# Shared memory of a cluster that is started here: clips on their way from decoding to encoding wait in it.
OBJECT_STORE_BYTES = 1 << 30
ADDRESSES = "`local`, or HOST:PORT of a cluster that this machine belongs to"


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Context in which this process is connected to a cluster; one that the program connected to before is kept.

    Args:
        address: `HOST:PORT` of the head of a cluster that runs on this machine too (`ray start`); or `local`, which
            starts one here that ends with the context.

    Raises:
        UsageError: Ray is not installed, the address is none, or nobody answers there.
        ProstError: something answers that is no cluster, or one that this machine does not belong to.
    """
    expect_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what goes wrong is told by exceptions
    import ray

    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = (
        {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES} if address == LOCAL else {}
    )
    try:
        with warnings.catch_warnings():
            # The processes that Ray forks here run other programs at once.
            warnings.filterwarnings("ignore", "lance is not fork-safe")
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
        raise ProstError(
            f"Ray at {address} does not take this machine ({_first_line(error)})",
            "a cluster of the same version of Ray and Python that this machine belongs to",
            "`ray start --address HOST:PORT` here, or --ray local",
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def expect_reachable(address: str) -> None:
    """Look whether Ray is installed, and whether anybody listens at an address.

    Args:
        address: as for `connected`.

    Raises:
        UsageError: nobody does within some seconds, the address is none, or Ray is not installed.
    """
    if find_spec("ray") is None:
        raise UsageError("--ray without the package ray", "the extra `ray`", "pip install 'prost-video[ray]'")
    if address == LOCAL:
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"--ray {address}", ADDRESSES, "--ray local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({error.strerror or error})", ADDRESSES, "--ray local"
        ) from None
    if os.environ.get("RAY_USE_TLS", "0") == "0":
        _expect_grpc(address)


def _expect_grpc(address: str) -> None:
    """Look whether what listens speaks Ray's protocol: `ray.init` would try for minutes.

    Raises:
        UsageError: it does not.
    """
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            raise UsageError(
                f"what answers at {address} is no Ray cluster", ADDRESSES, "--ray local"
            ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
