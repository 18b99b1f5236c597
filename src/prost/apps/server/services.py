"""What the endpoints share: the library, queues, pools and caches of one server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from prost.apps.server.cache import DiskCache
from prost.apps.server.explanations import Explanations
from prost.apps.server.identity import Folders, find_video
from prost.apps.server.jobs import Jobs
from prost.apps.server.media import KnownFiles
from prost.apps.server.pictures import Pictures
from prost.apps.server.searches import SearchQueue
from prost.apps.server.served import ServedLibrary
from prost.apps.server.settings import ServerSettings
from prost.apps.server.workers import Workers
from prost.places import cache_folder
from prost.search.library import Library
from prost.search.records import VideoRow

READERS = 4
Result = TypeVar("Result")


@dataclass(kw_only=True)
class Services:
    """One of each, for one server.

    Attributes:
        settings: of the server.
        served: the library.
        searches: searches by sentences.
        reading: threads that read tables and look at files.
        downloads: threads that read files which are sent.
        likeness: the thread that searches by videos of the library, so that those that wait leave the threads of
            `reading` to others.
        slow: the thread for work that takes seconds, one piece at a time: previews, evidence, exports, encoding of
            pictures.
        pictures: frames of videos.
        cache: of pictures and previews.
        folders: that clients may name.
        files: opens files of the library.
        jobs: indexing of folders.
        explanations: evidence that was asked for last.
        open_streams: streams of events.
        stopping: set when the server is about to end.
    """

    settings: ServerSettings
    served: ServedLibrary
    searches: SearchQueue
    reading: Workers
    downloads: Workers
    likeness: Workers
    slow: Workers
    pictures: Pictures
    cache: DiskCache
    folders: Folders
    files: KnownFiles
    jobs: Jobs
    explanations: Explanations
    stopping: asyncio.Event
    open_streams: int = 0

    @classmethod
    def of(cls, library: Library, settings: ServerSettings) -> Services:
        """Start them."""
        limits = settings.limits
        served = ServedLibrary(library, settings.load_model)
        files = KnownFiles()
        slow = Workers("previews, exports and explanations", 1, limits.slow)
        cache = DiskCache(settings.cache or cache_folder() / "serve", limits.cache_bytes)
        return cls(
            settings=settings,
            served=served,
            searches=SearchQueue(served, limits.searches),
            reading=Workers("requests", READERS, limits.requests),
            downloads=Workers("downloads", READERS, limits.requests),
            likeness=Workers("searches by a video", 1, limits.searches),
            slow=slow,
            pictures=Pictures(cache, limits.pictures),
            cache=cache,
            folders=Folders(settings.videos),
            files=files,
            jobs=Jobs(library.path, settings),
            explanations=Explanations(served, files, slow),
            stopping=asyncio.Event(),
        )

    async def read(self, work: Callable[[Library], Result]) -> Result:
        """Read from the library in a thread."""
        return await self.reading.run(lambda: self.served.use(work))

    async def video(self, identifier: str) -> VideoRow:
        """The row of a video.

        Raises:
            Problem: 404 where there is none.
        """
        return await self.read(lambda library: find_video(library, identifier))

    async def files_of(self, identifier: str) -> list[VideoRow]:
        """The row of a video, and those of its copies.

        Raises:
            Problem: 404 where there is none.
        """
        return await self.read(lambda library: library.files_of(find_video(library, identifier)))

    async def present(self, identifier: str) -> VideoRow:
        """The row of a video, or of a copy of it, whose file is there and is what was indexed.

        Raises:
            Problem: 404 or 409; see `KnownFiles.open`.
        """
        rows = await self.files_of(identifier)
        return await self.reading.run(lambda: self.files.expect(*rows))

    async def close(self) -> None:
        """End threads, and close the decoders."""
        self.stopping.set()
        await self.jobs.close()
        self.searches.close()
        self.pictures.close()
        for workers in (self.reading, self.downloads, self.likeness, self.slow):
            workers.close()


def services_of(request: Request) -> Services:
    """The services of the server that a request came to."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


Here = Annotated[Services, Depends(services_of)]
