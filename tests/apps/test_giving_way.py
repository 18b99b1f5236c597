"""Upkeep takes the processor time that is left over, and says so to the system."""

import os
import sys
from pathlib import Path

import pytest

import prost.apps.cli.optimize as optimize_module
from prost.apps.cli.giving_way import LOWEST, giving_way
from prost.search.library import Library

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the policy for idle time is Linux's")


def in_child(work) -> bytes:  # type: ignore[no-untyped-def]
    """What `work` returns in a forked process, whose priority is its own affair."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, work())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as said:
        return said.read()


@LINUX
def test_the_idle_policy_holds_within_the_block_and_for_what_starts_there() -> None:
    def work() -> bytes:
        with giving_way():
            inherited = in_child(lambda: bytes([os.sched_getscheduler(0)]))
            return bytes([os.sched_getscheduler(0)]) + inherited

    assert in_child(work) == bytes([os.SCHED_IDLE, os.SCHED_IDLE])


@LINUX
def test_a_policy_that_the_user_chose_stays() -> None:
    def work() -> bytes:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        with giving_way():
            within = os.sched_getscheduler(0)
        return bytes([within, os.sched_getscheduler(0), os.nice(0)])

    assert in_child(work) == bytes([os.SCHED_BATCH, os.SCHED_BATCH, os.nice(0)])


@LINUX
def test_the_lowest_priority_where_the_policy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)

    def work() -> bytes:
        with giving_way():
            return bytes([os.nice(0)])

    assert in_child(work) == bytes([LOWEST])


@LINUX
def test_an_error_of_the_work_is_not_swallowed() -> None:
    def work() -> bytes:
        try:
            with giving_way():
                raise PermissionError
        except PermissionError:
            return b"raised"

    assert in_child(work) == b"raised"


@LINUX
@pytest.mark.parametrize(("options", "policy"), [([], "SCHED_IDLE"), (["--eager"], "SCHED_OTHER")])
def test_optimize_gives_way_unless_it_is_eager(
    prost, indexed: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], policy: str
) -> None:  # type: ignore[no-untyped-def]
    found = []
    optimized = optimize_module._optimized

    def spy(*given):  # type: ignore[no-untyped-def]
        found.append(os.sched_getscheduler(0))
        return optimized(*given)

    monkeypatch.setattr(optimize_module, "_optimized", spy)
    assert prost("optimize", "--library", indexed, *options).code == 0
    assert found == [getattr(os, policy)]
    with Library(indexed) as library:
        assert library.stats().clips == 3
