"""The endpoint that exports moments, in the forms of `prost export`."""

from __future__ import annotations

import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from fastapi import APIRouter, Request, Response

from prost.apps.server.identity import find_video
from prost.apps.server.media import FileResponse, OpenFile
from prost.apps.server.problems import Problem, responses
from prost.apps.server.schemas import ExportAsked
from prost.apps.server.services import Here, Services
from prost.apps.server.temporary import temporary_folder
from prost.export.clips import clip_name, cut_clip
from prost.export.tables import write_hits
from prost.export.timelines import write_timeline
from prost.search.hits import Hit, SearchResult
from prost.search.library import Library

router = APIRouter(prefix="/api", tags=["export"])

# Seconds of video that one export of clips may hold.
LONGEST_CLIPS = 1_800.0
MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "edl": "text/plain; charset=utf-8",
    "fcpxml": "application/xml",
    "otio": "application/json",
    "clips": "application/zip",
}


@router.post(
    "/export",
    summary="Moments as files of other programs",
    response_class=Response,
    responses={
        200: {
            "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()},
            "description": "The file; clips as a ZIP.",
        },
        **responses(400, 401, 403, 404, 409, 413, 422, 429, 503),
    },
)
async def export(here: Here, asked: ExportAsked, request: Request) -> Response:
    """Write moments as JSON, CSV, a timeline, or MP4 files in a ZIP, in the order in which they are given."""
    for each in asked.selection:
        if each.end <= each.start:
            raise Problem(400, f"a moment from {each.start:g} to {each.end:g} s; expected: start < end")
    if asked.form == "clips" and sum(each.end - each.start for each in asked.selection) > LONGEST_CLIPS:
        raise Problem(400, f"more than {LONGEST_CLIPS:g} seconds of clips")
    file = await here.slow.run(lambda: _written(here, asked))
    suffix = "zip" if asked.form == "clips" else asked.form
    size = file.seek(0, 2)
    answer = OpenFile(
        file=file,
        size=size,
        modified=0.0,
        etag=f'"{id(file):x}-{size:x}"',
        name=f"prost.{suffix}",
        media_type=MEDIA_TYPES[asked.form],
    )
    headers = {"Content-Disposition": f'attachment; filename="prost.{suffix}"', "Accept-Ranges": "none"}
    return FileResponse(
        answer, request, workers=here.downloads, stopping=here.stopping.is_set, headers=headers
    )


def _written(here: Services, asked: ExportAsked) -> IO[bytes]:
    """The file, open, without a name.

    Raises:
        StorageError: the disk of temporary files refuses.
    """
    hits = here.served.use(lambda library: _hits(library, asked))
    with temporary_folder() as folder, ExitStack() as opened:
        file = opened.enter_context(tempfile.TemporaryFile())
        if asked.form == "clips":
            _write_clips(here, hits, file, folder)
        else:
            output = folder / f"hits.{asked.form}"
            if asked.form in ("json", "csv"):
                write_hits(output, hits, query=asked.query)
            else:
                write_timeline(output, hits, title=asked.query)
            file.write(output.read_bytes())
        file.flush()
        opened.pop_all()  # it is closed once it was sent
    return file


def _hits(library: Library, asked: ExportAsked) -> SearchResult:
    return SearchResult(
        library.hit_at(asked.query, find_video(library, each.video), each.start, each.end)
        for each in asked.selection
    )


def _write_clips(here: Services, hits: SearchResult, file: IO[bytes], folder: Path) -> None:
    """Each moment as an MP4 file in a ZIP, without further compression."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for rank, hit in enumerate(hits, 1):
            moment = hit.moments[0]
            output = folder / clip_name(rank, hit, moment)
            cut_clip(_file_of(here, hit), moment.start, moment.end, output, cancelled=here.stopping.is_set)
            archive.write(output, output.name)
            output.unlink()


def _file_of(here: Services, hit: Hit) -> str:
    """The hit's file, or a copy of it, which is still what was indexed.

    Raises:
        Problem: as `KnownFiles.open`.
    """
    rows = here.served.use(lambda library: library.files_of(hit.video))
    return here.files.expect(*rows).path
