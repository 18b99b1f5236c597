"""Endpoints of jobs: start, list, cancel, and a stream of news."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from prost.apps.server.jobs import RunningJob
from prost.apps.server.problems import Problem, TooBusy, responses
from prost.apps.server.schemas import Job, JobAsked, JobPage
from prost.apps.server.services import Here

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

# Seconds after which a stream of events says that it is still there, and between two looks at the server's end.
HEARTBEAT = 15.0
LOOK_EVERY = 0.5

JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


@router.post(
    "",
    status_code=202,
    summary="Index a folder",
    responses=responses(400, 401, 403, 404, 413, 415, 422, 429, 503),
)
async def start(here: Here, asked: JobAsked, answer: Response) -> Job:
    """Bring the library up to date with a folder and all that is below it. One job runs at a time."""
    folder = await here.read(lambda library: here.folders.find(library, asked.folder))
    if not folder.may_index:
        raise Problem(403, "this folder may not be indexed; prost serve --videos FOLDER allows it")
    job = here.jobs.add(folder.path)
    answer.headers["Location"] = f"/api/jobs/{job.id}"
    return job.shown()


@router.get("", summary="Jobs", responses=responses(401, 429))
async def listed(here: Here) -> JobPage:
    """The jobs that run and wait, and the last ones that ended; the newest first."""
    return JobPage(jobs=[job.shown() for job in here.jobs.all()])


@router.get("/{job_id}", summary="One job", responses=responses(401, 404, 422, 429))
async def one(here: Here, job_id: JobId) -> Job:
    """How far a job is."""
    return here.jobs.get(job_id).shown()


@router.delete(
    "/{job_id}", status_code=202, summary="Cancel a job", responses=responses(401, 403, 404, 422, 429)
)
async def cancel(here: Here, job_id: JobId) -> Job:
    """Stop a job; what it has finished is kept."""
    job = here.jobs.get(job_id)
    here.jobs.cancel(job)
    return job.shown()


@router.get(
    "/{job_id}/events",
    summary="News of a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "Events `progress` (done, total, failed, name) and at last `end` (the job).",
        },
        **responses(401, 404, 422, 429),
    },
)
async def events(here: Here, job_id: JobId) -> StreamingResponse:
    """Server-sent events until the job ends."""
    job = here.jobs.get(job_id)
    if here.open_streams >= here.settings.limits.streams:
        raise TooBusy("too many streams of events")

    async def stream() -> AsyncIterator[str]:
        here.open_streams += 1
        try:
            async for event in _news(here.stopping, job):
                yield event
        finally:
            here.open_streams -= 1

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _news(stopping: asyncio.Event, job: RunningJob) -> AsyncIterator[str]:
    quiet = 0.0
    while not job.ended and not stopping.is_set():
        changed = job.changed
        yield _event(
            "progress", {"done": job.done, "total": job.total, "failed": job.failed, "name": job.current}
        )
        while not changed.is_set() and not stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), LOOK_EVERY)
                break
            quiet += LOOK_EVERY
            if quiet >= HEARTBEAT:
                quiet = 0.0
                yield ": still here\n\n"
    if job.ended:
        yield _event("end", job.shown().model_dump())


def _event(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
