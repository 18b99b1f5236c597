"""The page: HTML for people, made from what the API answers. It works without scripts; they fetch the same pages."""

from __future__ import annotations

import http
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ValidationError

from prost.apps.server import exports, job_endpoints, moments, searching, videos, views
from prost.apps.server.problems import Problem, lines_of, status_of
from prost.apps.server.schemas import ExportAsked, JobAsked, SearchAnswer, SearchHit, Video
from prost.apps.server.searches import Search
from prost.apps.server.services import Here, Services
from prost.errors import ProstError
from prost.page.rendering import length, render, static_folder
from prost.printable import counted
from prost.search.fusing import SOURCES

VIDEOS_AT_START = 12
MOST_FAILED = 100
HITS_OF_A_PICTURE = 100
# Scripts that put hits in place need no list of folders; it can be long.
PART = "Prost-Part"
# Pages show what a library holds at the moment.
HEADERS = {"Cache-Control": "no-store", "Vary": PART}

Values = dict[str, Any]
Fields = TypeVar("Fields", bound=BaseModel)


class PageRoute(APIRoute):
    """A route that answers people: what goes wrong is a page, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, with its errors as pages."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except (Problem, ProstError, RequestValidationError) as error:
                return _page("problem.html", _status(error), here="", problem=_told(error))

        return handle


router = APIRouter(route_class=PageRoute, include_in_schema=False)
static = StaticFiles(directory=static_folder())


@router.get("/")
async def search_page(request: Request, here: Here) -> Response:
    """The search box, and hits: of a sentence, of what is like a video, or without either some videos."""
    asked = views.Asked.of(request.query_params)
    given, status = dict(request.query_params), 200
    try:
        if given.get("like"):
            example = _read(searching.Example, given, "start", "end", "offset")
            found = await searching.search_like(here, given["like"], example)
            shown = _hits(found, "Moments like this one", given, first=example.offset)
        elif asked.q:
            sentence = _read(searching.Asked, given, *asked.given, "offset")
            found = await searching.search(here, sentence)
            shown = _hits(found, f"Moments for “{asked.q}”", given, first=sentence.offset, asked=asked)
        else:
            shown = await _start(here)
    except (Problem, ProstError) as error:
        status = _status(error)
        told = _told(error)
        shown = _shown(heading="This cannot be searched for", said=told["detail"], problem=told)
    needs_folders = PART not in request.headers
    return _page("search.html", status, **await _form(here, asked, needs_folders), **shown)


@router.post("/picture")
async def picture_page(here: Here, picture: Annotated[UploadFile, File()]) -> Response:
    """Hits of a search by a picture."""
    found = await searching.search_picture(here, picture, searching.Filters(limit=HITS_OF_A_PICTURE))
    # No address leads to further hits, since the picture is not kept.
    found = found.model_copy(update={"next_offset": None})
    shown = _hits(found, "Moments like the picture", {}, first=0)
    return _page("search.html", **await _form(here, views.Asked(), True), **shown)


@router.get("/video/{video_id}")
async def video_page(request: Request, here: Here, video_id: str) -> Response:
    """A video in a player that opens at a moment; with `why=1` the evidence for the sentence."""
    asked = _read(views.Watched, request.query_params, *views.Watched.model_fields)
    video = await videos.video(here, video_id)
    duration = video.duration or 0.0
    # An address that names a moment beyond the end, as of another version of the file, shows the whole video.
    start = asked.start if asked.start < duration else 0.0
    end = duration if asked.end is None or asked.end <= start else min(asked.end, duration)
    problem = None
    hit, relevance = None, None
    if video.status == "failed":
        problem = {"title": "This file could not be read", "detail": f"{video.reason}."}
    elif asked.q:
        hit = await _hit_of(here, video, asked.q)
        relevance = await videos.relevance(here, video.id, asked.q)
    spoken = [] if hit is None else hit.words
    here_is = views.video_address(video.id, asked.q, start, end, why=1)
    why = None
    if asked.why and asked.q and problem is None:
        evidence = await moments.evidence(here, video.id, asked.q, start, end)
        why = views.why_of(evidence, here=here_is, chosen=asked.slot)
    return _page(
        "video.html",
        here="",
        video=video,
        query=asked.q,
        back=views.address("/", q=asked.q),
        facts=views.facts_of(video),
        problem=problem,
        start=start,
        end=end,
        media=video.media,
        preview=views.address(video.preview, start=f"{start:.3f}", end=f"{end:.3f}"),
        poster=views.frame_address(video, start, end),
        moments=views.moment_rows(video, [] if hit is None else hit.moments, asked.q, start, end),
        spoken=[
            {
                "start": cue.start,
                "text": cue.text,
                "address": views.video_address(video.id, asked.q, cue.start, cue.end),
            }
            for cue in spoken
        ],
        curve=None if relevance is None else views.curve_of(relevance, duration),
        curve_said=views.curve_said(relevance),
        like=views.address("/", like=video.id, start=f"{start:.3f}", end=f"{end:.3f}"),
        selection=views.selection_of(video.id, start, end),
        forms=_forms(),
        why_address=here_is if asked.q else "",
        why=why,
    )


@router.get("/library")
async def library_page(request: Request, here: Here) -> Response:
    """What the library holds, what could not be read and why, and the folders."""
    listed = _read(videos.Listed, {**request.query_params, "status": "indexed"}, "status", "offset")
    state = await videos.status(here)
    shown = await videos.videos(here, listed)
    failed = await videos.videos(here, videos.Listed(limit=MOST_FAILED, status="failed"))
    folders = views.folder_rows((await videos.folders(here)).folders)
    before = listed.offset - listed.limit
    return _page(
        "library.html",
        here="library",
        library=state,
        facts=[
            counted(state.counts.videos, "video"),
            length(state.seconds),
            counted(state.counts.clips, "clip"),
            f"model {state.model}",
            f"prost {state.version}",
        ],
        folders=folders,
        may_index=any(folder.may_index for folder in folders),
        jobs=[views.job_row(job) for job in (await job_endpoints.listed(here)).jobs],
        failed=failed.videos,
        failed_left=failed.total - len(failed.videos),
        videos=[views.video_row(video) for video in shown.videos],
        previous=views.address("/library", offset=before or "") if before >= 0 else "",
        next=views.address("/library", offset=shown.next_offset) if shown.next_offset else "",
    )


@router.post("/library/index")
async def index_folder(here: Here, folder: Annotated[str, Form()]) -> Response:
    """Start to index a folder, and show how far it is."""
    await job_endpoints.start(here, _read(JobAsked, {"folder": folder}, "folder"), Response())
    return RedirectResponse("/library#jobs", status_code=303)


@router.post("/library/cancel")
async def cancel_job(here: Here, job: Annotated[str, Form()]) -> Response:
    """Stop a job."""
    await job_endpoints.cancel(here, job)
    return RedirectResponse("/library#jobs", status_code=303)


@router.post("/export")
async def export(
    request: Request,
    here: Here,
    form: Annotated[str, Form()],
    selection: Annotated[list[str], Form()] = [],  # noqa: B006  # FastAPI copies it
    q: Annotated[str, Form()] = "",
) -> Response:
    """The selected moments as a file."""
    if not selection:
        raise Problem(400, "no moment is selected")
    asked = _validated(
        ExportAsked,
        {"form": form, "query": q.strip() or "moments", "selection": list(map(views.selected, selection))},
    )
    return await exports.export(here, asked, request)


async def _start(here: Services) -> Values:
    """Some videos of the library, where nothing is asked for."""
    found = await videos.videos(here, videos.Listed(limit=VIDEOS_AT_START, status="indexed"))
    if not found.videos:
        empty = {
            "title": "No videos yet",
            "detail": "Index a folder, then describe what should be seen.",
            "address": "/library",
            "action": "Go to the library",
        }
        return _shown(heading="Your library is empty", said="The library is empty.", empty=empty)
    return _shown(
        heading=f"{counted(found.total, 'video')} to search",
        said="",
        cards=[views.video_card(video) for video in found.videos],
    )


def _hits(
    found: SearchAnswer,
    heading: str,
    given: Mapping[str, str],
    *,
    first: int,
    asked: views.Asked | None = None,
) -> Values:
    """Hits as the template takes them.

    Args:
        found: the answer of the API.
        heading: above them.
        given: the fields of the address, for that of the next hits.
        first: how many hits were before these.
        asked: the form, where it was used.
    """
    filters = 0 if asked is None else asked.filters
    empty = {
        "title": "Nothing was found",
        "detail": "No video passes the filters." if filters else "The library has nothing to show for it.",
        "address": asked.without_filters if asked is not None and filters else "",
        "action": "Clear filters",
    }
    following = {name: value for name, value in given.items() if value and name != "offset"}
    return _shown(
        heading=heading,
        said=views.said_of(len(found.hits), found.next_offset is not None, found.confidence),
        milliseconds=found.milliseconds,
        confidence=found.confidence,
        notes=found.notes,
        cards=[views.hit_card(hit, rank, found.query) for rank, hit in enumerate(found.hits, first + 1)],
        more=None if found.next_offset is None else views.address("/", **following, offset=found.next_offset),
        empty=empty,
    )


def _shown(**values: Any) -> Values:
    """What `hits.html` takes, with nothing in the places that are not given."""
    nothing: Values = {
        "problem": None,
        "confidence": None,
        "notes": [],
        "cards": [],
        "more": None,
        "empty": None,
        "milliseconds": None,
    }
    return {**nothing, **values}


async def _form(here: Services, asked: views.Asked, needs_folders: bool) -> Values:
    """What the form of the search page takes."""
    folders = views.folder_rows((await videos.folders(here)).folders) if needs_folders else []
    return {
        "here": "search",
        "asked": asked,
        "folders": [folder for folder in folders if folder.videos],
        "forms": _forms(),
    }


async def _hit_of(here: Services, video: Video, query: str) -> SearchHit | None:
    """What a search finds in one video."""
    # With room for another hit, all moments of this one are listed.
    only = Search(query=query, limit=2, where=f"key = '{video.id.partition('-')[0]}'", sources=SOURCES)
    hits = await here.searches.search(only)
    return SearchHit.of(hits[0]) if hits else None


def _read(kind: type[Fields], given: Mapping[str, str], *names: str) -> Fields:
    """The named fields of an address, as the API reads them; a field that was left empty is one that was not given.

    Raises:
        Problem: 400 for a value that cannot be read.
    """
    return _validated(kind, {name: given[name].strip() for name in names if given.get(name, "").strip()})


def _validated(kind: type[Fields], values: Mapping[str, Any]) -> Fields:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise Problem(400, _lines(error)) from None


def _forms() -> list[tuple[str, str]]:
    """Forms of an export, each with its name for people."""
    return [(form, views.FORMS[form]) for form in videos.export_forms()]


def _lines(error: ValidationError | RequestValidationError) -> str:
    return "; ".join(lines_of(error.errors())[:5])


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(render(template, **values), status_code=status, headers=HEADERS)


def _status(error: Exception) -> int:
    if isinstance(error, Problem):
        return error.status_code
    return status_of(error) if isinstance(error, ProstError) else 400


def _told(error: Exception) -> dict[str, str]:
    """An error as a heading and a sentence."""
    status = _status(error)
    titles = {
        400: "This cannot be read",
        404: "This is not here",
        409: "This has changed",
        429: "Too much at once",
    }
    title = titles.get(status, "This cannot be done now" if status >= 500 else "This cannot be done")
    if isinstance(error, RequestValidationError):
        detail = _lines(error)
    else:
        detail = str(error.detail) if isinstance(error, Problem) else str(error)
    return {"title": title, "detail": detail or http.HTTPStatus(status).phrase}
