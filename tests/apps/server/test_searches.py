"""The queue of searches: no client waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from prost.apps.server.problems import TooBusy
from prost.apps.server.searches import Search, SearchQueue

SEARCH = Search(query="a ball", limit=1, where=None, sources=())


class Slow:
    """Stands for a library whose searches take as long as the test wants."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def use(self, task: Callable[..., Any]) -> Any:
        self.begun.set()
        assert self.go_on.wait(10)
        return "found"


def test_each_search_is_answered_or_refused_when_the_queue_ends() -> None:
    served = Slow()

    async def run() -> list[Any]:
        searches = SearchQueue(served, 10)  # type: ignore[arg-type]
        first = asyncio.create_task(searches.search(SEARCH))
        await asyncio.to_thread(served.begun.wait, 10)
        # While the thread is at the first: one comes before the end of the queue, and one behind it.
        before = asyncio.create_task(searches.search(SEARCH))
        await asyncio.sleep(0)
        searches._waiting.put(None)
        behind = asyncio.create_task(searches.search(SEARCH))
        await asyncio.sleep(0)
        served.go_on.set()
        return await asyncio.wait_for(asyncio.gather(first, before, behind, return_exceptions=True), 10)

    first, before, behind = asyncio.run(run())
    assert (first, before) == ("found", "found")
    assert isinstance(behind, TooBusy)


def test_a_closed_queue_refuses() -> None:
    served = Slow()
    served.go_on.set()

    async def run() -> None:
        searches = SearchQueue(served, 10)  # type: ignore[arg-type]
        assert await searches.search(SEARCH) == "found"
        searches.close()
        with pytest.raises(TooBusy, match="stopping"):
            await searches.search(SEARCH)

    asyncio.run(run())
