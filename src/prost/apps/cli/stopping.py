"""Signals that ask the program to stop: Ctrl-C, `kill`, a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from prost.interruption import SIGNALS


class StopSignals:
    """Within this context SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, so that finished work is kept.

    A signal that is ignored when the program starts (as nohup does) stays ignored. After the first signal SIGTERM and
    SIGHUP are ignored, since a closing session sends several of them; a second Ctrl-C still interrupts.

    Attributes:
        received: the first signal; SIGINT where none was received.
    """

    def __init__(self) -> None:
        self.received: signal.Signals = signal.SIGINT
        self._stopping = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Python allows handlers in the main thread only.
        if threading.current_thread() is threading.main_thread():
            default = (signal.SIG_DFL, signal.default_int_handler)
            self._before = {
                number: signal.signal(number, self._stop)
                for number in SIGNALS
                if signal.getsignal(number) in default
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as shells have it: 130 for Ctrl-C."""
        return 128 + self.received

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping and number != signal.SIGINT:
            return
        if not self._stopping:
            self.received = signal.Signals(number)
        self._stopping = True
        raise KeyboardInterrupt
