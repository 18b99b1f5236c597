"""Errors as `application/problem+json` (RFC 9457): one table says which error has which status."""

from __future__ import annotations

import http
import json
import logging
import os
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from prost import errors
from prost.printable import printable

logger = logging.getLogger("prost.server")

PROBLEM = "application/problem+json"

# The first class in this list that an error belongs to decides. What the client could have asked differently is 4xx.
STATUS: tuple[tuple[type[errors.ProstError], int], ...] = (
    (errors.EmptyQuery, 400),
    (errors.BadFilter, 400),
    (errors.MissingPath, 404),
    (errors.NoVideos, 404),
    (errors.ModelNotHere, 503),
    (errors.NeedsTokenizer, 503),
    (errors.UsageError, 400),
    (errors.VideoError, 422),
    (errors.LibraryBusy, 409),
    (errors.ModelMismatch, 503),
    (errors.LibraryDamaged, 503),
    (errors.PackDamaged, 503),
    (errors.NotCoded, 503),
    (errors.ShardsGone, 503),
    (errors.LibraryError, 409),
    (errors.StorageError, 503),
    (errors.OutOfMemory, 503),
    (errors.CheckpointError, 503),
)
RETRY_SECONDS = 2


class ProblemOut(BaseModel):
    """Why a request was not answered (RFC 9457)."""

    type: str = Field(description="`about:blank`: the status says what kind of problem it is.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="One line for people.")
    errors: list[str] = Field(default=[], description="Of a request with wrong values: one line for each.")


class Problem(HTTPException):
    """A request that is not answered.

    Args:
        status: HTTP status.
        detail: one line.
        headers: for the answer.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)

    def answer(self) -> Response:
        """The answer to that request."""
        return problem(self.status_code, str(self.detail), headers=dict(self.headers or {}))


class TooBusy(Problem):
    """More is asked for at once than this server does."""

    def __init__(self, detail: str, seconds: int = RETRY_SECONDS, status: int = 429) -> None:
        super().__init__(status, detail, {"Retry-After": str(seconds)})


def problem(
    status: int, detail: str, *, lines: list[str] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """The answer to a request that is not answered."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": printable(detail),
    }
    if lines:
        body["errors"] = [printable(line) for line in lines]
    return Response(json.dumps(body), status_code=status, headers=headers, media_type=PROBLEM)


def status_of(error: errors.ProstError) -> int:
    """The HTTP status of an error of prost.

    >>> status_of(errors.EmptyQuery("an empty query")), status_of(errors.LibraryDamaged("a.prost"))
    (400, 503)
    """
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problems of an endpoint, for its description."""
    return {
        status: {
            "description": http.HTTPStatus(status).phrase,
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Let an app answer its errors as problems."""

    async def of_prost(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.ProstError)
        status = status_of(error)
        if status >= 500:
            logger.warning("%s: %s", request.url.path, error)
        headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None
        return problem(status, str(error), headers=headers)

    async def of_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # The values themselves are left out: they can be of any size, and no JSON.
        lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        return problem(422, "the request has wrong values", lines=lines[:20])

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        return problem(error.status_code, str(error.detail), headers=dict(error.headers or {}))

    app.add_exception_handler(errors.ProstError, of_prost)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(StarletteHTTPException, of_http)


class UnexpectedErrors:
    """The outermost part of the app: a fault in prost is one line in the log, and a problem for the client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        started = False

        async def noting(message: Any) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if os.environ.get("PROST_DEBUG") == "1":
                logger.exception("%s", scope.get("path"))
            else:
                line = f"unexpected {type(error).__name__} in {scope.get('path')}: {error}"
                logger.error("%s", printable(line)[:500])
            if scope["type"] == "http" and not started:
                await problem(500, "a fault in prost; its log says more")(scope, receive, send)
