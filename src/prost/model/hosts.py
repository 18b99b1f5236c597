"""The two hosts of published models: which files a repository holds, and reading one of them from any byte on.

Only what the hub's own library does not do is here. Its downloader starts a file anew after an interruption, since it
keeps no part of it, and it does not compare hashes; and ModelScope has another interface.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from prost.errors import DownloadFailed

TIMEOUT_SECONDS = 30.0
# Attempts for one answer, if the host or the network fails for a moment, and the wait before the first repetition.
ATTEMPTS = 4
WAIT_SECONDS = 1.0
MODELSCOPE_REVISION = "master"


class Interrupted(Exception):
    """An answer that ended early or did not come, which another attempt may mend."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a repository.

    Attributes:
        name: without folders.
        size: bytes.
        digest: "sha256:..." or "git:..." (the id of a blob in git); empty where the host states none.
        url: where it is read.
    """

    name: str
    size: int
    digest: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files at the top of a repository.

    Attributes:
        revision: the commit.
        files: without those in folders.
    """

    revision: str
    files: tuple[RemoteFile, ...]


def page_of(host: str, repository: str) -> str:
    """Address of a repository's page, for people."""
    return f"{_endpoint(host)}/{'models/' if host == 'modelscope' else ''}{repository}"


def list_files(host: str, repository: str) -> Listing:
    """Ask a host which files a repository holds.

    Args:
        host: "hub" or "modelscope".
        repository: OWNER/NAME.

    Raises:
        DownloadFailed: no network, no such repository, no permission, or an answer that cannot be read.
    """
    try:
        return _list_modelscope(repository) if host == "modelscope" else _list_hub(repository)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadFailed(
            f"{page_of(host, repository)}: the list of files cannot be read ({type(error).__name__}: {error})",
            suggestion="check that a proxy or a login page does not answer in the host's place",
        ) from None


@contextmanager
def open_at(host: str, url: str, start: int) -> Iterator[tuple[http.client.HTTPResponse, int]]:
    """Read a file from a byte on; one attempt.

    Args:
        host: "hub" or "modelscope".
        url: of the file.
        start: the first byte that is wanted.

    Yields:
        the answer, and the byte that it begins with: `start`, or 0 if the host sends whole files only.

    Raises:
        Interrupted: another attempt may help.
        DownloadFailed: it will not.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    with _request(host, url, url, headers) as response:
        begin = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        yield response, int(begin[1]) if response.status == 206 and begin else 0


def _list_hub(repository: str) -> Listing:
    base = _endpoint("hub")
    head, _ = _json("hub", repository, f"{base}/api/models/{repository}/revision/main")
    revision = str(head["sha"])
    files = []
    page: str | None = f"{base}/api/models/{repository}/tree/{revision}"
    while page:
        entries, headers = _json("hub", repository, page)
        for entry in entries:
            if entry["type"] == "file":
                large = entry.get("lfs")
                files.append(
                    RemoteFile(
                        name=entry["path"],
                        size=int(large["size"] if large else entry["size"]),
                        digest=f"sha256:{large['oid']}" if large else f"git:{entry['oid']}",
                        url=f"{base}/{repository}/resolve/{revision}/{quote(entry['path'])}",
                    )
                )
        following = re.search(r'<([^>]+)>;\s*rel="next"', headers.get("Link", ""))
        page = following[1] if following else None
    return Listing(revision=revision, files=tuple(files))


def _list_modelscope(repository: str) -> Listing:
    base = f"{_endpoint('modelscope')}/api/v1/models/{repository}/repo"
    answer, _ = _json("modelscope", repository, f"{base}/files?Recursive=true")
    files = answer["Data"]["Files"]
    newest = max(files, key=lambda file: file.get("CommittedDate", 0))
    return Listing(
        revision=str(newest.get("Revision") or MODELSCOPE_REVISION),
        files=tuple(
            RemoteFile(
                name=file["Path"],
                size=int(file["Size"]),
                digest=f"sha256:{file['Sha256'].lower()}" if file.get("Sha256") else "",
                url=f"{base}?{urlencode({'Revision': MODELSCOPE_REVISION, 'FilePath': file['Path']})}",
            )
            for file in files
            if file["Type"] != "tree"
        ),
    )


def _json(host: str, repository: str, url: str) -> tuple[Any, Message]:
    """An answer in JSON with its headers; a host that fails for a moment is asked again."""
    page = page_of(host, repository)
    for attempt in range(ATTEMPTS):
        try:
            with _request(host, url, page, {}) as response:
                return json.load(response), response.headers
        except Interrupted as error:
            if attempt + 1 == ATTEMPTS:
                raise DownloadFailed(f"{page} cannot be reached ({error})") from None
            time.sleep(WAIT_SECONDS * 2**attempt)
    raise AssertionError("unreachable")


@contextmanager
def _request(
    host: str, url: str, shown: str, headers: Mapping[str, str]
) -> Iterator[http.client.HTTPResponse]:
    """One attempt at a request; messages name the address `shown`."""
    request = Request(url, headers={"User-Agent": "prost", **headers})
    if host == "hub":
        from huggingface_hub import get_token

        if token := get_token():
            # Unredirected: a redirect leads to a storage of another owner, who must not see it.
            request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        response = urlopen(request, timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        with error:
            if error.code in (408, 429) or error.code >= 500:
                raise Interrupted(f"the host answers {error.code}") from None
            raise _refusal(host, shown, error) from None
    except URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadFailed(
                f"{shown}: the certificate cannot be verified ({reason.verify_message})",
                suggestion="set SSL_CERT_FILE to the certificates of your network",
            ) from None
        raise Interrupted(str(reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(str(error) or type(error).__name__) from None
    with response:
        try:
            yield response
        except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
            raise Interrupted(str(error) or type(error).__name__) from None


def _refusal(host: str, shown: str, error: HTTPError) -> DownloadFailed:
    """Explain an answer of 4xx."""
    said = error.headers.get("X-Error-Message") or error.reason
    if host == "hub" and (error.code in (401, 403) or error.headers.get("X-Error-Code") == "GatedRepo"):
        return DownloadFailed(
            f"{shown}: not allowed ({error.code}: {said})",
            "the name of a public model, or a login with access to it",
            "check the name; for a gated model accept its terms on its page, then `hf auth login` or HF_TOKEN",
        )
    if error.code == 404:
        return DownloadFailed(f"{shown}: not found ({said})", suggestion="check the name on the host's page")
    return DownloadFailed(f"{shown}: the host answers {error.code} ({said})")


def _endpoint(host: str) -> str:
    variable, usual = {
        "hub": ("HF_ENDPOINT", "https://huggingface.co"),
        "modelscope": ("MODELSCOPE_ENDPOINT", "https://www.modelscope.cn"),
    }[host]
    return (os.environ.get(variable) or usual).rstrip("/")
