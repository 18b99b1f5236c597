"""Endpoints about a moment of a video: a preview that browsers play, and the evidence for its score."""

from __future__ import annotations

import io
import os
from typing import Annotated
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray
from PIL import Image

from prost.apps.server.media import FileResponse, OpenFile
from prost.apps.server.problems import Problem, responses
from prost.apps.server.schemas import Evidence, EvidenceFrame, Seconds, VideoId
from prost.apps.server.schemas import Query as Sentence
from prost.apps.server.services import Here, Services
from prost.apps.server.temporary import temporary_folder
from prost.export.clips import cut_clip
from prost.model import evidence as model_evidence
from prost.page.heat import strongest_heat, veil
from prost.search.records import VideoRow
from prost.video.sampling import stretch_within

router = APIRouter(prefix="/api/videos/{video_id}", tags=["moments"])

LONGEST_PREVIEW = 60.0
SHORTEST_PREVIEW = 0.5
PREVIEW_HEIGHT = 720
# Seconds that a preview may take.
PREVIEW_LIMIT = 180.0
PICTURE_SIDE = 224


@router.get(
    "/preview",
    summary="A moment as H.264",
    response_class=Response,
    responses={
        200: {"content": {"video/mp4": {}}, "description": "The whole preview."},
        206: {"content": {"video/mp4": {}}, "description": "The bytes of one range."},
        304: {"description": "The client has it already."},
        **responses(400, 401, 404, 409, 416, 422, 429, 503),
    },
)
async def preview(
    here: Here, video_id: VideoId, request: Request, start: Seconds = 0.0, end: Seconds | None = None
) -> Response:
    """A moment of a video as MP4 with H.264 and AAC, for what browsers do not play: 60 seconds at most, 720 lines at
    most. It is made when it is asked for the first time."""
    row = await here.present(video_id)
    start, last = stretch_within(row.duration, start, start + LONGEST_PREVIEW if end is None else end)
    last = min(max(last, start + SHORTEST_PREVIEW), start + LONGEST_PREVIEW)
    key = f"preview {video_id} {start:.3f} {last:.3f}"
    file = await here.reading.run(lambda: _cached(here, key))
    if file is None:
        file = await here.slow.run(lambda: _cached(here, key) or _made(here, key, row, start, last))
    return FileResponse(file, request, workers=here.downloads, stopping=here.stopping.is_set)


def _cached(here: Services, key: str) -> OpenFile | None:
    found = here.cache.open(key)
    if found is None:
        return None
    status = os.fstat(found.fileno())
    return OpenFile(
        file=found,
        size=status.st_size,
        modified=status.st_mtime,
        etag=f'"{here.cache.name(key)}"',
        name="preview.mp4",
        media_type="video/mp4",
    )


def _made(here: Services, key: str, row: VideoRow, start: float, end: float) -> OpenFile:
    """Make a preview; where the cache cannot keep it, it is sent all the same.

    Raises:
        StorageError: the disk of temporary files refuses.
    """
    with temporary_folder() as folder:
        output = folder / "preview.mp4"
        cut_clip(
            row.path,
            start,
            end,
            output,
            method="encode",
            most_height=PREVIEW_HEIGHT,
            time_limit=PREVIEW_LIMIT,
            cancelled=here.stopping.is_set,
        )
        content = output.read_bytes()
    here.cache.put(key, content)
    return _cached(here, key) or OpenFile(
        file=io.BytesIO(content),
        size=len(content),
        modified=row.modified / 1e9,
        etag=f'"{here.cache.name(key)}"',
        name="preview.mp4",
        media_type="video/mp4",
    )


@router.get(
    "/evidence", summary="Why a sentence fits", responses=responses(400, 401, 404, 409, 422, 429, 503)
)
async def evidence(
    here: Here,
    video_id: VideoId,
    q: Annotated[Sentence, Query()],
    start: Annotated[Seconds | None, Query(description="Of the moment; the best one without it.")] = None,
    end: Seconds | None = None,
) -> Evidence:
    """Which frames, words and regions the score of a moment comes from; its parts add up to it."""
    found = await here.explanations.get(video_id, q, start, end)
    asked = {"q": q, **({} if start is None else {"start": start}), **({} if end is None else {"end": end})}
    place = f"/api/videos/{video_id}"

    def heat(frame: int, slot: int | None) -> str:
        chosen = {**asked, "frame": frame, **({} if slot is None else {"slot": slot})}
        return f"{place}/heat?{urlencode(chosen)}"

    has_heat = found.heat is not None
    frames = [
        EvidenceFrame(
            time=time,
            picture=f"{place}/frame?time={time:.3f}&height={PICTURE_SIDE}&seen=true&place={found.place:g}",
            overlay=heat(frame, None) if has_heat else None,
            heat=[heat(frame, slot.slot) for slot in found.slots] if found.phrase_heat is not None else [],
        )
        for frame, time in enumerate(found.times.tolist())
    ]
    return Evidence(video=video_id, frames=frames, **found.to_dict())


@router.get(
    "/heat",
    summary="Where in a frame a sentence fits",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}}, "description": "A PNG with transparency."},
        **responses(400, 401, 404, 409, 422, 429, 503),
    },
)
async def heat(
    here: Here,
    video_id: VideoId,
    q: Annotated[Sentence, Query()],
    frame: Annotated[int, Query(ge=0, le=1000)],
    slot: Annotated[int | None, Query(ge=0, le=1000, description="All slots without it.")] = None,
    start: Seconds | None = None,
    end: Seconds | None = None,
) -> Response:
    """A veil to lay over a frame of the evidence: what speaks for the sentence is left open."""
    found = await here.explanations.get(video_id, q, start, end)
    maps = _maps(found, slot)
    if maps is None or frame >= len(found.times):
        raise Problem(404, "there is no such map; some models have none")
    picture = await here.reading.run(lambda: _png(veil(maps[frame], strongest_heat(maps), PICTURE_SIDE)))
    return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


def _maps(found: model_evidence.Evidence, slot: int | None) -> NDArray[np.float32] | None:
    """Maps of all frames `[L, G, G]`: of all slots, or by the phrase that is best for one."""
    if slot is None:
        return found.heat
    if found.phrase_heat is None or slot >= len(found.slots):
        return None
    maps: NDArray[np.float32] = found.phrase_heat[found.slots[slot].phrase]
    return maps


def _png(pixels: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(content, "PNG")
    return content.getvalue()
