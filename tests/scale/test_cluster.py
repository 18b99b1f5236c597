"""Addresses that are none or where no cluster answers, and a machine without Ray."""

from __future__ import annotations

import importlib.util
import re
import sys

import pytest
from tests.scale.strangers import LISTENERS, WRONG, listening

import prost.scale.cluster as cluster_module
from prost.errors import UsageError
from prost.scale.cluster import expect_reachable

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")


@needs_ray
@pytest.mark.parametrize("address", WRONG)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match=f"{re.escape(WRONG[address])}.*HOST:PORT"):
        expect_reachable(address)


@needs_ray
@pytest.mark.parametrize("kind", LISTENERS)
def test_where_no_cluster_answers(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    with listening(kind) as (address, words), pytest.raises(UsageError, match=words):
        expect_reachable(address)


@pytest.mark.parametrize("package", cluster_module.NEEDED)
def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=r"pip install '\.\[ray\]'"):
        expect_reachable("local")
