"""Threads for work that would block the loop, with a bound on what waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from prost.apps.server.problems import TooBusy

Result = TypeVar("Result")


class Workers:
    """A few threads for one kind of work.

    Args:
        name: of the work, in the plural, for messages.
        threads: number of them.
        most: pieces of work that may wait or run at a time.
    """

    def __init__(self, name: str, threads: int, most: int) -> None:
        self._name, self._most = name, most
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"prost-{name}")
        self._pending = 0
        self._lock = threading.Lock()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do a piece of work in one of the threads.

        Raises:
            TooBusy: too many wait already.
        """
        with self._lock:
            if self._pending >= self._most:
                raise TooBusy(f"too many {self._name} are waiting")
            self._pending += 1
        try:
            future = self._pool.submit(work)
        except RuntimeError:  # the pool is closed
            self._done(None)
            raise TooBusy("the server is stopping", status=503) from None
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what waits, and let what runs end by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: object) -> None:
        with self._lock:
            self._pending -= 1
