"""Endpoints about the library and its videos: state, lists, folders, pictures, files."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from prost import __version__
from prost.apps.server.identity import find_video, folder_id
from prost.apps.server.media import FileResponse
from prost.apps.server.problems import responses
from prost.apps.server.schemas import (
    CacheOut,
    ClipOut,
    ClipPage,
    Counts,
    ExportForm,
    FolderId,
    FolderOut,
    FolderTree,
    Page,
    Relevance,
    Seconds,
    Status,
    Tag,
    Video,
    VideoId,
    VideoPage,
)
from prost.apps.server.schemas import Query as Sentence
from prost.apps.server.services import Here
from prost.printable import printable
from prost.search.filters import has_tag, in_folder
from prost.search.library import Library
from prost.video.fit import MIDDLE
from prost.video.sampling import expect_time_within, stretch_within

router = APIRouter(prefix="/api", tags=["library"])

# A picture of a version of a file is always the same.
FOREVER = "private, max-age=604800, immutable"
JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "A JPEG."}}
EXTRAS = {"timeline": "opentimelineio", "plot": "matplotlib", "index": "faiss", "mcp": "mcp"}


def export_forms() -> list[ExportForm]:
    """Forms in which this installation can export."""
    forms: list[ExportForm] = ["json", "csv", "fcpxml", "clips"]
    if find_spec("opentimelineio"):
        forms.append("otio")
        if find_spec("otio_cmx3600_adapter") or find_spec("opentimelineio_cmx3600"):
            forms.append("edl")
    return forms


@router.get("/status", summary="What is served", responses=responses(401, 429, 503))
async def status(here: Here) -> Status:
    """The library in numbers, and what this server can do."""

    def read(library: Library) -> Status:
        stats, versions = library.stats(), library.versions()
        generation = Path(library.tables).name
        return Status(
            name=printable(Path(library.path).name),
            counts=Counts(videos=stats.videos, clips=stats.clips, failed=stats.failed),
            model=stats.model,
            seconds=stats.seconds,
            version=__version__,
            library_version=f"{generation}-{versions[0]}-{versions[1]}",
            jobs_running=here.jobs.running,
            export_forms=export_forms(),
            extras=[name for name, module in EXTRAS.items() if find_spec(module)],
            cache=CacheOut(nbytes=here.cache.nbytes, problem=here.cache.problem),
        )

    return await here.read(read)


class Listed(BaseModel):
    """Which videos are listed."""

    model_config = ConfigDict(extra="forbid")

    limit: Page = 50
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    status: Literal["indexed", "failed"] | None = None
    folder: FolderId | None = None
    tag: Tag | None = None


@router.get("/videos", summary="List videos", responses=responses(401, 404, 429, 503))
async def videos(here: Here, listed: Annotated[Listed, Query()]) -> VideoPage:
    """The files of the library, by path."""

    def read(library: Library) -> VideoPage:
        parts = []
        if listed.status is not None:
            parts.append(f"status = '{listed.status}'")
        if listed.folder is not None:
            parts.append(in_folder(here.folders.find(library, listed.folder).path))
        if listed.tag is not None:
            parts.append(has_tag(listed.tag))
        rows = library.videos(" AND ".join(parts) or None)
        following = listed.offset + listed.limit
        return VideoPage(
            videos=[Video.of(row) for row in rows[listed.offset : following]],
            total=len(rows),
            next_offset=following if following < len(rows) else None,
        )

    return await here.read(read)


@router.get("/videos/{video_id}", summary="One video", responses=responses(401, 404, 429, 503))
async def video(here: Here, video_id: VideoId) -> Video:
    """What the library knows of a file."""
    return Video.of(await here.video(video_id))


@router.get("/videos/{video_id}/clips", summary="Clips of a video", responses=responses(401, 404, 429, 503))
async def clips(here: Here, video_id: VideoId) -> ClipPage:
    """The windows of a video that are scored, by time; none of a file that failed."""
    found = await here.read(lambda library: library.clips_of(find_video(library, video_id)))
    return ClipPage(clips=[ClipOut(start=clip.start, end=clip.end) for clip in found])


@router.get(
    "/videos/{video_id}/relevance",
    summary="Where in a video a sentence fits",
    responses=responses(400, 401, 404, 422, 429, 503),
)
async def relevance(here: Here, video_id: VideoId, q: Annotated[Sentence, Query()]) -> Relevance:
    """How well each sampled frame of a video fits a sentence, on the scale of scores."""
    times, scores = await here.read(lambda library: library.relevance(q, find_video(library, video_id)))
    return Relevance(times=times.tolist(), scores=scores.tolist())


@router.get(
    "/videos/{video_id}/frame",
    summary="A picture of a video",
    response_class=Response,
    responses={**JPEG, **responses(400, 401, 404, 409, 422, 429, 503)},
)
async def frame(
    here: Here,
    video_id: VideoId,
    time: Annotated[Seconds | None, Query(description="Of the frame, or of the preferred one.")] = None,
    start: Annotated[Seconds | None, Query(description="With `end`: the most telling frame between.")] = None,
    end: Seconds | None = None,
    height: Annotated[int, Query(ge=16, le=1080)] = 180,
    seen: Annotated[bool, Query(description="Cut as the model sees it: a square of this height.")] = False,
    place: Annotated[
        float, Query(ge=0, le=1, description="With `seen`: where along the long side the square lies.")
    ] = MIDDLE,
) -> Response:
    """The frame at a time; or of a moment the frame on which most can be seen, which is never a black one if it has any
    other."""
    row = await here.present(video_id)
    if time is not None:
        expect_time_within(row.duration, time)
    if seen and time is not None:
        fit = await here.read(lambda library: library.description.clips.fit)
        picture = await here.pictures.seen(video_id, row, time, height, fit, place)
    elif start is not None and end is not None:
        start, end = stretch_within(row.duration, start, end)
        picture = await here.pictures.of_moment(video_id, row, start, end, time, height)
    elif time is not None:
        picture = await here.pictures.at(video_id, row, time, height)
    else:
        picture = await here.pictures.of_moment(video_id, row, 0.0, row.duration or 0.0, None, height)
    return Response(picture, media_type="image/jpeg", headers={"Cache-Control": FOREVER})


@router.get(
    "/videos/{video_id}/media",
    summary="The file itself",
    response_class=Response,
    responses={
        200: {"content": {"video/*": {}}, "description": "The whole file."},
        206: {"content": {"video/*": {}}, "description": "The bytes of one range."},
        304: {"description": "The client has it already."},
        **responses(400, 401, 404, 409, 416, 429, 503),
    },
)
async def media(here: Here, video_id: VideoId, request: Request) -> Response:
    """The file, or one range of its bytes; where it is gone, those of a copy. A request for several ranges is answered
    by the whole file."""
    rows = await here.files_of(video_id)
    file = await here.reading.run(lambda: here.files.open(*rows))
    return FileResponse(file, request, workers=here.downloads, stopping=here.stopping.is_set)


@router.get("/folders", summary="Folders", responses=responses(401, 429, 503))
async def folders(here: Here) -> FolderTree:
    """The folders that hold videos of the library, and those that may be indexed."""
    found = await here.read(here.folders.all)
    return FolderTree(
        folders=[
            FolderOut(
                id=identifier,
                name=printable(os.path.basename(folder.path) or folder.path),
                parent=parent if (parent := folder_id(os.path.dirname(folder.path))) in found else None,
                videos=folder.videos,
                may_index=folder.may_index,
            )
            for identifier, folder in found.items()
        ]
    )
