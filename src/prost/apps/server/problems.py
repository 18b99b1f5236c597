"""Errors as `application/problem+json` (RFC 9457): one table says which error has which status."""

from __future__ import annotations

import http
import json
import logging
import os
from collections.abc import Mapping, Sequence
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
# What FastAPI calls the parts of a request.
PARTS = ("body", "query", "path", "header", "cookie")
# FastAPI says this of a field of a form that is no file.
NO_FILE = "Expected UploadFile"


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


def lines_of(wrong: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the values of a request, a line for each, without what only Python knows.

    The values themselves are left out: they can be of any size, and no JSON.

    Args:
        wrong: the errors of pydantic or of FastAPI.

    >>> lines_of([{"loc": ("query", "limit"), "type": "greater_than_equal", "msg": "Input should be 1 or more"}])
    ['limit: input should be 1 or more']
    >>> lines_of([{"loc": ("body", 1), "type": "json_invalid", "msg": "JSON decode error"}])
    ['the body is not JSON']
    """
    return [_line_of(each) for each in wrong]


def _line_of(wrong: Mapping[str, Any]) -> str:
    if wrong["type"] == "json_invalid":
        return "the body is not JSON"
    part, *rest = (str(each) for each in wrong["loc"])
    if part not in PARTS:
        rest = [part, *rest]
    return f"{'.'.join(rest) or f'the {part}'}: {_said(wrong)}"


def _said(wrong: Mapping[str, Any]) -> str:
    if NO_FILE in wrong["msg"]:
        return "expected a file"
    if wrong["type"] == "model_attributes_type":
        return "expected an object"
    message = str(wrong["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


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
        return problem(422, "the request has wrong values", lines=lines_of(error.errors())[:20])

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
