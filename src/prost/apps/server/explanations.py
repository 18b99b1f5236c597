"""Evidence for moments, computed one after another and kept for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from prost.apps.server.identity import find_video
from prost.apps.server.media import KnownFiles
from prost.apps.server.problems import Problem
from prost.apps.server.served import ServedLibrary
from prost.apps.server.workers import Workers
from prost.model.evidence import Evidence
from prost.search.hits import PICTURE, Hit
from prost.search.library import Library
from prost.search.records import VideoRow
from prost.search.schema import path_key

# Evidence that is kept in memory, with maps of about a megabyte each.
KEPT = 16
# A moment whose end is not given is as long as this, seconds.
USUAL_MOMENT = 1.0


class Explanations:
    """Evidence that was asked for last, so that the maps of its frames need no further encoding.

    Args:
        served: the library.
        files: checks files before they are decoded.
        slow: a single thread, so that clips are encoded one after another.
    """

    def __init__(self, served: ServedLibrary, files: KnownFiles, slow: Workers) -> None:
        self._served, self._files, self._slow = served, files, slow
        self._kept: OrderedDict[tuple[object, ...], Evidence] = OrderedDict()

    async def get(self, video: str, query: str, start: float | None, end: float | None) -> Evidence:
        """Evidence for a moment of a video; for its best one where none is named.

        Raises:
            Problem: the video or its file is not there, or another one.
            ProstError: as `Library.explain`.
        """
        model = await asyncio.to_thread(self._served.use, lambda library: library.description.fingerprint)
        key = (model, video, query, start, end)
        if key not in self._kept:

            def explain(library: Library) -> Evidence:
                row = self._files.expect(*library.files_of(find_video(library, video)))
                return library.explain(query, _hit(library, row, query, start, end))

            found = await self._slow.run(lambda: self._kept.get(key) or self._served.use(explain))
            self._kept[key] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found
        return self._kept[key]


def _hit(library: Library, row: VideoRow, query: str, start: float | None, end: float | None) -> Hit:
    if start is not None:
        return library.hit_at(query, row, start, start + USUAL_MOMENT if end is None else end)
    hits = library.search(query, limit=1, where=f"key = '{path_key(row.path)}'", sources=(PICTURE,))
    if not hits:
        raise Problem(422, f"the video has no clips: {row.reason or row.status}")
    return hits[0]
