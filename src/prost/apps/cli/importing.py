"""Imports that a user waits for."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """Import torch and what needs it without looking for garbage among the objects that they make, now and later.

    They are hundreds of thousands, and they stay. Python would go through them again and again: while they are made,
    and in later collections. Together this took 0.4 s of a search. Nothing is done where torch was imported before.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
