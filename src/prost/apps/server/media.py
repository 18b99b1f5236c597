"""Files over HTTP: whole, or one range of bytes (RFC 9110, section 14), and only files that are what was indexed."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prost.apps.server.problems import Problem
from prost.apps.server.workers import Workers
from prost.errors import VideoError
from prost.object_store import is_remote
from prost.printable import printable
from prost.search.records import VideoRow
from prost.video.files import content_hash_of
from prost.video.reasons import Reason, reason_not_opened
from prost.video.remote import at_hand, look_at_object, modified_ns

logger = logging.getLogger("prost.server")

Found = TypeVar("Found")

CHUNK = 256 << 10
# A file that stands at its path is looked at again after so many bytes.
LOOK_AGAIN = 4 << 20
# More bytes than any file has.
BEYOND = 10**19
# Files behind links whose content was compared; beyond these the oldest one is compared again.
MOST_VERIFIED = 10_000
MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".ogv": "video/ogg",
    ".ts": "video/mp2t",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
}
CHANGED = "the file is not what was indexed: its size, time or content is another; index its folder again"


@dataclass(kw_only=True)
class OpenFile:
    """A file that is open for reading.

    Attributes:
        file: at any place.
        size: bytes.
        modified: seconds since 1970.
        etag: a strong one, quoted.
        name: for people.
        media_type: of the content.
        path: where it was; None for a file that nobody else knows.
    """

    file: IO[bytes]
    size: int
    modified: float
    etag: str
    name: str
    media_type: str
    path: str | None = None


class KnownFiles:
    """Opens files of the library after a check that they are still what was indexed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verified: OrderedDict[tuple[int, int, int], str] = OrderedDict()

    def open(self, row: VideoRow, *copies: VideoRow) -> OpenFile:
        """Open the file of a row; or where that cannot be, of a row with the same content.

        A link is followed where it led when the file was indexed: it counts as unchanged only if size, time and
        content are the same.

        Of a video on an object store a copy is opened; the first time, this waits until all of it is here.

        Raises:
            Problem: 404 if the file failed, is gone or no file; 409 if another file is there now.
            StorageError: the object store refuses.
        """
        return _first((row, *copies), self._open)[1]

    def expect(self, row: VideoRow, *copies: VideoRow) -> VideoRow:
        """The row whose file `open` would open, for programs that open it themselves.

        Raises:
            Problem: as `open`.
        """
        return _first((row, *copies), self._expect)[0]

    def _expect(self, row: VideoRow) -> None:
        if is_remote(row.path):
            _expect_object(row)
        else:
            self._open(row).file.close()

    def _open(self, row: VideoRow) -> OpenFile:
        if is_remote(row.path):
            return _opened_copy(row)
        handle = self._opened(row)
        try:
            return self._checked(row, handle)
        except BaseException:
            os.close(handle)
            raise

    def _opened(self, row: VideoRow) -> int:
        if not row.indexed:
            raise Problem(404, f"the file could not be read when it was indexed: {row.reason}")
        try:
            # A pipe in the place of the file would block; a device would do anything.
            return os.open(row.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        except PermissionError:
            raise Problem(404, "the file may not be read") from None
        except OSError as error:
            reason = reason_not_opened(error)
            if reason is Reason.GONE:
                raise Problem(404, "the file is gone") from None
            raise Problem(503, f"{reason} ({error.strerror})") from None

    def _checked(self, row: VideoRow, handle: int) -> OpenFile:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Problem(404, "there is no regular file any more")
        if (status.st_size, status.st_mtime_ns) != (row.size, row.modified):
            raise Problem(409, CHANGED)
        if not _is_without_links(row.path, status):
            self._expect_content(row, handle, status)
        path = Path(row.path)
        return OpenFile(
            file=os.fdopen(handle, "rb", buffering=0),
            size=status.st_size,
            modified=status.st_mtime,
            # Of the content, so that a download can go on from a copy.
            etag=f'"{row.content}-{status.st_size:x}"',
            name=printable(path.name),
            media_type=MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream"),
            path=row.path,
        )

    def _expect_content(self, row: VideoRow, handle: int, status: os.stat_result) -> None:
        """A link may lead elsewhere today, to a file made to look alike: so its content is compared, once.

        The open file is read, since the link may lead elsewhere again by now.
        """
        key = (status.st_dev, status.st_ino, status.st_ctime_ns)
        with self._lock:
            known = self._verified.get(key)
        if known is None:
            try:
                with os.fdopen(handle, "rb", closefd=False) as file:
                    known = content_hash_of(file, status.st_size)
            except OSError:  # a disk that was unplugged
                raise Problem(404, "the file can no longer be read") from None
            with self._lock:
                self._verified[key] = known
                while len(self._verified) > MOST_VERIFIED:
                    self._verified.popitem(last=False)
        if known != row.content:
            raise Problem(409, CHANGED)


def _first(rows: Sequence[VideoRow], look: Callable[[VideoRow], Found]) -> tuple[VideoRow, Found]:
    """The first row that a look allows, and what it gives.

    Raises:
        Problem: that of the first row, where none is allowed.
    """
    problem: Problem | None = None
    for row in rows:
        try:
            return row, look(row)
        except Problem as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _expect_object(row: VideoRow) -> None:
    """Check that an object is still what was indexed.

    Raises:
        Problem: as `KnownFiles.open`.
    """
    if not row.indexed:
        raise Problem(404, f"the file could not be read when it was indexed: {row.reason}")
    found = look_at_object(row.path)
    if found is None:
        raise Problem(404, "the file is gone")
    if (found.size, modified_ns(found)) != (row.size, row.modified):
        raise Problem(409, CHANGED)


def _opened_copy(row: VideoRow) -> OpenFile:
    _expect_object(row)
    try:
        with at_hand(row.path) as copy:
            file = open(copy, "rb", buffering=0)  # noqa: SIM115  # it is closed once it was sent
    except VideoError as error:
        raise Problem(404, f"the file cannot be copied from the object store: {error.reason}") from None
    name = os.path.basename(row.path)
    return OpenFile(
        file=file,
        size=row.size,
        modified=row.modified / 1e9,
        etag=f'"{row.content}-{row.size:x}"',
        name=printable(name),
        media_type=MEDIA_TYPES.get(os.path.splitext(name)[1].lower(), "application/octet-stream"),
    )


def _is_without_links(path: str, status: os.stat_result) -> bool:
    """Whether an open file is the one at a path, and neither the path nor a folder of it is a link."""
    try:
        there = os.lstat(path)
    except OSError:
        return False
    folder = os.path.dirname(os.path.abspath(path))
    return (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino) and os.path.realpath(
        folder
    ) == folder


def parse_range(header: str, size: int) -> range | None:
    """The bytes that a Range header asks for; None for all of them.

    Several ranges are answered by the whole file, as RFC 9110 allows; so are units other than bytes.

    Raises:
        Problem: 400 for a range that is malformed, 416 for one that holds none of the bytes.

    >>> parse_range("bytes=0-9", 100), parse_range("bytes=-10", 100), parse_range("bytes=95-", 100)
    (range(0, 10), range(90, 100), range(95, 100))
    >>> parse_range("bytes=0-1,5-6", 100), parse_range("lines=1-2", 100)
    (None, None)
    """
    unit, _, given = header.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    if "," in given:
        return None
    match = re.fullmatch(r"\s*([0-9]*)-([0-9]*)\s*", given)
    if match is None:
        raise _malformed(header)
    first, last = map(_place, match.groups())
    if first is None:
        if last is None:
            raise _malformed(header)
        start, end = max(0, size - last), size
    else:
        if last is not None and last < first:
            raise _malformed(header)
        start, end = first, size if last is None else min(size, last + 1)
    if start >= end:
        raise Problem(416, f"the range is not within the {size} bytes", {"Content-Range": f"bytes */{size}"})
    return range(start, end)


def _place(digits: str) -> int | None:
    """A number of a range; None where it is left out. Numbers beyond the end of any file are all alike.

    >>> _place("12"), _place(""), _place("0" * 30 + "7"), _place("9" * 5000) == BEYOND
    (12, None, 7, True)
    """
    if not digits:
        return None
    digits = digits.lstrip("0")
    return BEYOND if len(digits) > 19 else int(digits or "0")


def _malformed(header: str) -> Problem:
    return Problem(
        400, f"the range {header[:80]!r} cannot be read; expected: bytes=FIRST-LAST, FIRST <= LAST"
    )


class FileResponse(Response):
    """An open file, or one range of it; the file is closed at the end.

    A file that is deleted, replaced or cut short meanwhile ends the answer: the connection is closed before all of it
    was sent, so that the client knows.

    Args:
        file: what is sent.
        request: with its Range and conditions.
        workers: threads that read.
        stopping: whether the server is about to end.
        headers: further ones.
    """

    def __init__(
        self,
        file: OpenFile,
        request: Request,
        *,
        workers: Workers,
        stopping: Callable[[], bool],
        headers: dict[str, str] | None = None,
    ) -> None:
        self._file, self._workers, self._stopping = file, workers, stopping
        self.background = None
        self.body = b""
        modified = formatdate(file.modified, usegmt=True)
        shared = {
            "ETag": file.etag,
            "Last-Modified": modified,
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, no-cache",
            "Content-Disposition": f"inline; filename*=UTF-8''{quote(file.name, safe='')}",
            **(headers or {}),
        }
        self._bytes = range(0, file.size)
        self.status_code = 200
        # Ranges and conditions are not for an export, which is a POST. HEAD comes as a GET without a range.
        wanted = request.headers.get("range") if request.method == "GET" else None
        if request.method == "GET" and _unchanged(request, file):
            self.status_code, self._bytes = 304, range(0)
        elif wanted is not None and _if_range_holds(request, file.etag, modified):
            try:
                part = parse_range(wanted, file.size)
            except Problem:
                file.file.close()
                raise
            if part is not None:
                self.status_code, self._bytes = 206, part
                shared["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.size}"
        self.media_type = file.media_type
        if self.status_code != 304:
            shared["Content-Length"] = str(len(self._bytes))
            shared["Content-Type"] = file.media_type
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in shared.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or as much of it as the client stays for."""
        # Once the client has left, sending does nothing and says nothing.
        left = asyncio.create_task(_until_left(receive))
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            sent = 0
            async for chunk in self._chunks():
                if left.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                sent += len(chunk)
            if sent < len(self._bytes):
                return  # without an end: the connection is closed
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._file.file.close()
            left.cancel()

    async def _chunks(self) -> AsyncIterator[bytes]:
        place, unseen = self._bytes.start, 0
        while place < self._bytes.stop and not self._stopping():
            if unseen >= LOOK_AGAIN:
                unseen = 0
                if reason := await self._workers.run(self._changed):
                    logger.warning("%s: %s while it was sent", printable(self._file.path or ""), reason)
                    return
            size = min(CHUNK, self._bytes.stop - place)
            chunk = await self._workers.run(lambda place=place, size=size: self._read(place, size))  # type: ignore[misc]
            if not chunk:
                logger.warning("%s: cut short while it was sent", printable(self._file.path or ""))
                return
            place += len(chunk)
            unseen += len(chunk)
            yield chunk

    def _read(self, place: int, size: int) -> bytes:
        with suppress(OSError):  # a disk that was unplugged
            self._file.file.seek(place)
            return self._file.file.read(size)
        return b""

    def _changed(self) -> str:
        """What has happened to the file; empty where nothing has."""
        if self._file.path is None:
            return ""
        mine = os.fstat(self._file.file.fileno())
        try:
            there = os.stat(self._file.path)
        except OSError:
            return "deleted"
        if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            return "replaced"
        return "" if mine.st_size == self._file.size else "changed"


async def _until_left(receive: Receive) -> None:
    """Wait until the client has left, or sends a body that is refused."""
    with suppress(Problem):
        while (await receive())["type"] != "http.disconnect":
            pass


def _unchanged(request: Request, file: OpenFile) -> bool:
    """Whether the client has this version already."""
    known = request.headers.get("if-none-match")
    if known is not None:
        given = [each.strip().removeprefix("W/") for each in known.split(",")]
        return "*" in given or file.etag in given
    since = request.headers.get("if-modified-since")
    if since is None or request.headers.get("range") is not None:
        return False
    with suppress(ValueError, TypeError, OverflowError):  # no date, or one beyond those that Python has
        return int(file.modified) <= parsedate_to_datetime(since).timestamp()
    return False


def _if_range_holds(request: Request, etag: str, modified: str) -> bool:
    """Whether a range is wanted of this version of the file; a weak ETag never matches."""
    condition = request.headers.get("if-range")
    return condition is None or condition.strip() in (etag, modified)
