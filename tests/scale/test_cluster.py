"""Addresses that are none or that nobody answers, and a machine without Ray."""

from __future__ import annotations

import importlib.util
import socket

import pytest

import prost.scale.cluster as cluster_module
from prost.errors import UsageError
from prost.scale.cluster import expect_reachable

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")


@needs_ray
@pytest.mark.parametrize("address", ["", "nowhere", "ray://127.0.0.1:10001", "127.0.0.1:", "127.0.0.1:99999"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        expect_reachable(address)


@needs_ray
def test_an_address_that_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(UsageError, match=f"no Ray cluster answers at {address}"):
        expect_reachable(address)


@needs_ray
def test_an_address_where_something_else_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"what answers at {address} is no Ray cluster"):
            expect_reachable(address)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'prost-video\[ray\]'"):
        expect_reachable("local")
