"""Searches of many clients: those that wait together are encoded as one batch."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from prost.apps.server.problems import TooBusy
from prost.apps.server.served import ServedLibrary
from prost.errors import EmptyQuery, ProstError
from prost.model.matching import TextPrototypes
from prost.search.encode import PrototypeModel
from prost.search.hits import SearchResult
from prost.search.library import Library

# Sentences that are encoded together.
LARGEST_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search by a sentence; for the fields see `Library.search`."""

    query: str
    limit: int
    where: str | None
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    search: Search
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[SearchResult] = field(repr=False)

    def answer(self, result: SearchResult | Exception) -> None:
        # The loop is closed where the server has stopped meanwhile.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._set, result)

    def _set(self, result: SearchResult | Exception) -> None:
        if self.future.done():  # its client has left
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class SearchQueue:
    """One thread that searches: equal searches that wait together run once, and all texts are encoded in one batch.

    Args:
        served: the library.
        most: searches that may wait.
    """

    def __init__(self, served: ServedLibrary, most: int) -> None:
        self._served = served
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(most)
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="prost-search", daemon=True)
        self._thread.start()

    async def search(self, search: Search) -> SearchResult:
        """Search.

        Raises:
            TooBusy: too many searches wait.
            ProstError: as `Library.search`.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(search=search, loop=loop, future=loop.create_future())
        if self._closed:
            raise TooBusy("the server is stopping", status=503)
        try:
            self._waiting.put_nowait(waiting)
        except queue.Full:
            raise TooBusy("too many searches are waiting") from None
        return await waiting.future

    def close(self) -> None:
        """End the thread after the batch that it is at; searches that wait are refused."""
        self._closed = True
        self._refuse()
        self._waiting.put(None)

    def _refuse(self) -> None:
        with suppress(queue.Empty):
            while True:
                waiting = self._waiting.get_nowait()
                if waiting is not None:
                    waiting.answer(TooBusy("the server is stopping", status=503))

    def _serve(self) -> None:
        last = False
        while not last and (first := self._waiting.get()) is not None:
            batch = [first]
            with suppress(queue.Empty):
                while len(batch) < LARGEST_BATCH and not last:
                    following = self._waiting.get_nowait()
                    if following is None:
                        last = True
                    else:
                        batch.append(following)
            self._answer([waiting for waiting in batch if not waiting.future.cancelled()])
        self._refuse()  # what came while the queue was closed

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        by_search: dict[Search, list[_Waiting]] = {}
        for waiting in batch:
            by_search.setdefault(waiting.search, []).append(waiting)
        texts = _Texts(list(dict.fromkeys(search.query for search in by_search)))
        for search, clients in by_search.items():
            result: SearchResult | Exception
            try:
                result = self._served.use(partial(_search, search=search, texts=texts))
            except Exception as error:  # raised again where the search was asked for
                result = error
            for waiting in clients:
                waiting.answer(result)


class _Texts:
    """The prototypes of the sentences of a batch, by the model that the library has at that moment."""

    def __init__(self, queries: list[str]) -> None:
        self._queries = queries
        self._model: object = None
        self._encoded: dict[str, TextPrototypes] = {}

    def get(self, model: PrototypeModel, query: str) -> TextPrototypes:
        if self._model is not model:
            self._encoded, self._model = {}, model
            with suppress(ProstError):  # one of them cannot be encoded: each by itself
                batch = model.encode_text(self._queries)
                for row, each in enumerate(self._queries):
                    self._encoded[each] = TextPrototypes(
                        batch.phrase[row : row + 1], batch.sentence[row : row + 1]
                    )
        if query not in self._encoded:
            self._encoded[query] = model.encode_text([query])
        return self._encoded[query]


def _search(library: Library, search: Search, texts: _Texts) -> SearchResult:
    if not search.query.strip():
        raise EmptyQuery("an empty query", "a sentence", "a dog catches a frisbee")
    assert library.model is not None
    return library.search(
        search.query,
        limit=search.limit,
        where=search.where,
        sources=search.sources,
        text=texts.get(library.model, search.query),
    )
