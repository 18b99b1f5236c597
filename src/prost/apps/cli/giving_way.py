"""Upkeep gives way to searches: it takes only the processor time that nobody else wants (decision 0060)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# The lowest priority that `nice` knows.
LOWEST = 19


@contextmanager
def giving_way() -> Iterator[None]:
    """Give way within the block; threads that are started there go on to do so.

    Linux has a policy for it: whoever wakes up takes the core from this process at once. Where the system refuses the
    policy, and on macOS, the process gets the lowest priority. Windows changes nothing. A process to which the user
    gave another policy keeps it. Systems let only privileged users raise a priority again, so the block should be
    nearly all that the process does.
    """
    if not hasattr(os, "nice"):
        yield
        return
    policy = _become_idle()
    before = os.nice(0) if policy is None else 0
    if policy is None:
        os.nice(LOWEST - before)
    try:
        yield
    finally:
        with suppress(PermissionError):
            if policy is None:
                os.nice(before - LOWEST)
            elif policy == os.SCHED_OTHER:
                os.sched_setscheduler(0, policy, os.sched_param(0))


def _become_idle() -> int | None:
    """The policy that this thread had; None where there is no policy for idle time, or the system refuses it."""
    if not hasattr(os, "SCHED_IDLE"):
        return None
    policy = os.sched_getscheduler(0)
    if policy == os.SCHED_OTHER:
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except PermissionError:  # in some containers
            return None
    return policy
