"""Ctrl-C lets the step end first, so that what is kept is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

# Schedulers of clusters send the second one before they kill.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether a stop was asked for, from the keyboard or by a scheduler; a second time stops at once.

    Args:
        patient: wait for the end of the step however often it is asked for: `torchrun` hands a Ctrl-C on that has
            reached its processes already.
    """

    def __init__(self, patient: bool = False) -> None:
        self.asked = False
        self._patient = patient
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # only there may a handler be set
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and not self._patient:
            raise KeyboardInterrupt
        self.asked = True
