"""Endpoints that search: by a sentence, by a video, by a picture."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, File, Query, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from prost.apps.server.identity import find_video
from prost.apps.server.problems import responses
from prost.apps.server.schemas import (
    ConfidenceOut,
    FolderId,
    Page,
    SearchAnswer,
    SearchHit,
    Seconds,
    Tag,
    VideoId,
    WordsChoice,
)
from prost.apps.server.schemas import Query as Sentence
from prost.apps.server.searches import Search
from prost.apps.server.services import Here, Services
from prost.search.filters import has_tag, in_folder, lasts
from prost.search.fusing import SOURCES
from prost.search.hits import PICTURE, WORDS, SearchResult

router = APIRouter(prefix="/api", tags=["search"])
LAST_OFFSET = 1_000
WORD_SOURCES: dict[str, tuple[str, ...]] = {"auto": SOURCES, "only": (WORDS,), "off": (PICTURE,)}


class Filters(BaseModel):
    """Which videos are searched."""

    model_config = ConfigDict(extra="forbid")

    limit: Page = 24
    offset: Annotated[int, Field(ge=0, le=LAST_OFFSET)] = 0
    folder: FolderId | None = None
    min_duration: Seconds | None = None
    max_duration: Seconds | None = None
    after: Annotated[datetime | None, Field(description="The file was changed then, or later.")] = None
    before: Annotated[datetime | None, Field(description="The file was changed before.")] = None
    tag: Tag | None = None


class Asked(Filters):
    """A search by a sentence."""

    q: Sentence
    words: WordsChoice = Field("auto", description="Whether subtitles and text tracks are searched as well.")


class Example(Filters):
    """A search by a part of a video."""

    start: Seconds = 0.0
    end: Seconds | None = None


async def condition(services: Services, filters: Filters) -> str | None:
    """The filter of a search; None for all videos.

    Raises:
        Problem: 404 for an unknown folder.
    """
    parts = []
    if filters.folder is not None:
        wanted = filters.folder
        folder = await services.read(lambda library: services.folders.find(library, wanted))
        parts.append(in_folder(folder.path))
    parts += lasts(filters.min_duration, filters.max_duration)
    if filters.after is not None:
        parts.append(f"modified >= {_nanoseconds(filters.after)}")
    if filters.before is not None:
        parts.append(f"modified < {_nanoseconds(filters.before)}")
    if filters.tag is not None:
        parts.append(has_tag(filters.tag))
    return " AND ".join(parts) or None


def _nanoseconds(time: datetime) -> int:
    """Nanoseconds since 1970, as far as 64 bits hold them; a time without a zone is UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return min(max(round(aware.timestamp()) * 10**9, -(2**63) + 1), 2**63 - 1)


def page_of(result: SearchResult, query: str, filters: Filters, started: float) -> SearchAnswer:
    """One page of a result that was computed as far as the page and one hit more."""
    shown = result[filters.offset : filters.offset + filters.limit]
    following = filters.offset + filters.limit
    more = len(result) > following and following <= LAST_OFFSET
    return SearchAnswer(
        query=query,
        confidence=ConfidenceOut.of(result.confidence),
        notes=result.notes,
        searched=result.searched,
        hits=[SearchHit.of(hit) for hit in shown],
        next_offset=following if more else None,
        milliseconds=1000 * (time.perf_counter() - started),
    )


@router.get("/search", summary="Search by a sentence", responses=responses(400, 401, 404, 429, 503))
async def search(here: Here, asked: Annotated[Asked, Query()]) -> SearchAnswer:
    """Find the moments that a sentence describes. Each page is a search of its own, so pages may overlap."""
    started = time.perf_counter()
    request = Search(
        query=asked.q,
        limit=asked.offset + asked.limit + 1,
        where=await condition(here, asked),
        sources=WORD_SOURCES[asked.words],
    )
    return page_of(await here.searches.search(request), asked.q, asked, started)


@router.get(
    "/search/like/{video_id}", summary="Search by a video", responses=responses(400, 401, 404, 422, 429, 503)
)
async def search_like(here: Here, video_id: VideoId, example: Annotated[Example, Query()]) -> SearchAnswer:
    """Find what looks like a video of the library, or like a part of it."""
    started = time.perf_counter()
    where = await condition(here, example)
    result = await here.likeness.run(
        lambda: here.served.use(
            lambda library: library.search_like(
                find_video(library, video_id),
                limit=example.offset + example.limit + 1,
                where=where,
                start=example.start,
                end=example.end,
            )
        )
    )
    return page_of(result, "", example, started)


@router.post(
    "/search/picture", summary="Search by a picture", responses=responses(400, 401, 404, 413, 429, 503)
)
async def search_picture(
    here: Here,
    picture: Annotated[UploadFile, File(description="JPEG, PNG, WebP or GIF.")],
    filters: Annotated[Filters, Query()],
) -> SearchAnswer:
    """Find what looks like a picture."""
    started = time.perf_counter()
    where = await condition(here, filters)
    content = await picture.read()
    result = await here.slow.run(
        lambda: here.served.use(
            lambda library: library.search_like(
                content, limit=filters.offset + filters.limit + 1, where=where
            )
        )
    )
    return page_of(result, "", filters, started)
