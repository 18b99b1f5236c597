"""Signals that ask to stop, put off until a piece of work has ended: a step of training, a commit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

# Ctrl-C; a scheduler that is about to kill the process; a terminal that was closed (not on Windows).
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interruption:
    """Notes that a stop was asked for; a second signal stops at once.

    Args:
        patient: wait for the end of the work after several signals, too: `torchrun` passes on a Ctrl-C that has
            reached its processes already.

    Attributes:
        asked: whether a stop was asked for.
        received: the first signal that asked; SIGINT where none was received.
    """

    def __init__(self, patient: bool = False) -> None:
        self.asked = False
        self.received: signal.Signals = signal.SIGINT
        self._patient = patient
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Python allows handlers in the main thread only. A signal that is ignored, as by nohup, stays ignored.
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._ask)
                for number in SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and not self._patient:
            raise KeyboardInterrupt
        if not self.asked:
            self.received = signal.Signals(number)
        self.asked = True


@contextmanager
def put_off() -> Iterator[None]:
    """Let some milliseconds of work end before a signal that asks to stop takes its usual effect; a second one stops
    the work at once.

    An error of the work goes first: it is told, rather than the stop.
    """
    with Interruption() as interruption:
        try:
            yield
        except KeyboardInterrupt:  # the second signal; the first is raised below, since its exit code counts
            if not interruption.asked:
                raise
    if interruption.asked:
        signal.raise_signal(interruption.received)
