"""The app: all endpoints, behind the checks of `limits` and `access`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from prost import __version__
from prost.apps.server import exports, job_endpoints, moments, pages, problems, searching, videos
from prost.apps.server.access import Access, SecurityHeaders
from prost.apps.server.limits import Bounded
from prost.apps.server.methods import Methods
from prost.apps.server.problems import ProblemOut, UnexpectedErrors
from prost.apps.server.services import Services
from prost.apps.server.settings import ServerSettings
from prost.search.library import Library


def create_app(library: Library, settings: ServerSettings) -> FastAPI:
    """The HTTP API of a library.

    Args:
        library: open, with its model.
        settings: how it is served.
    """
    services = Services.of(library, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await services.close()

    app = FastAPI(
        title="prost",
        version=__version__,
        summary="Find the right video, and the right moment in it, for a sentence.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these fetch scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses=problems.responses(422),
        separate_input_output_schemas=False,
    )
    app.state.services = services
    problems.install(app)
    for part in (searching, videos, moments, job_endpoints, exports, pages):
        app.include_router(part.router)
    app.mount("/static", pages.static)
    # The last one that is added sees a request first.
    app.add_middleware(Access, settings=settings)
    app.add_middleware(Bounded, limits=settings.limits)
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Methods)
    described = app.openapi

    def with_problems() -> dict[str, Any]:
        schema = described()
        schema["components"]["schemas"].setdefault("ProblemOut", ProblemOut.model_json_schema())
        return schema

    app.openapi = with_problems  # type: ignore[method-assign]
    return app
