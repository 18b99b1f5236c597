"""A loopback server that speaks the interfaces of both hosts of models, and that can be broken on purpose.

The hub (Hugging Face): `/api/models/ID/revision/main`, `/api/models/ID/tree/SHA` in pages, `/ID/resolve/SHA/FILE`,
which redirects large files to a storage. ModelScope: `/api/v1/models/ID/repo/files?Recursive=true` and
`/api/v1/models/ID/repo?Revision=master&FilePath=FILE`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SHA = "5f0d" * 10
PAGE = 3
# Larger files are stored by their SHA-256 and served by the storage, as with Git LFS.
LARGE = 10_000


@dataclass
class HubServer:
    """Repositories, what was asked for, and what goes wrong.

    Attributes:
        repositories: for each ID its files.
        requests: method, path and the header Range of each request.
        sent: bytes of file contents that were sent, by file name.
        tokens: the header Authorization of the last request for each path.
        status: an error code for each ID.
        cut_after: the connection of a file's contents ends after so many bytes, for the first `cuts` requests.
        cuts: how many requests are cut.
        changed: files whose contents differ from what the list says.
        seconds_a_chunk: pause before each 16 KiB.
        ignores_range: whole files are sent whatever was asked for.
        failures: how many of the next requests are answered by 503.
        answering: how many files are being sent.
        private: for each ID that was made whether it was to be private.
        cards: cards that were sent to be validated.
        uploaded: contents of large files by their SHA-256, before and after they are committed.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, str | None] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    cut_after: int = 0
    cuts: int = 0
    changed: set[str] = field(default_factory=set)
    seconds_a_chunk: float = 0.0
    ignores_range: bool = False
    failures: int = 0
    answering: int = 0
    private: dict[str, bool] = field(default_factory=dict)
    cards: list[str] = field(default_factory=list)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    url: str = ""

    def add(self, repository: str, folder: Path) -> None:
        """Publish the files of a folder."""
        self.repositories[repository] = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def contents(self, name: str) -> list[tuple[str, str | None]]:
        """The requests for the contents of a file: path and range."""
        return [
            (path, asked) for _, path, asked in self.requests
            if path.endswith(f"/{name}") or path.endswith(f"FilePath={name}")
        ]  # fmt: skip


@contextmanager
def serve() -> Iterator[HubServer]:
    """Run a server on a free port of the loopback interface."""
    hub = HubServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        hub.requests.append((self.command, self.path, self.headers.get("Range")))
        hub.tokens[url.path] = self.headers.get("Authorization")
        if hub.failures:
            hub.failures -= 1
            self._answer(503, b"busy")
            return
        path, query = unquote(url.path), parse_qs(url.query)
        forms = (
            (r"/api/models/([^/]+/[^/]+)/revision/main", self._revision),
            (rf"/api/models/([^/]+/[^/]+)/tree/(?:{SHA}|main)", self._tree),
            (rf"/([^/]+/[^/]+)/resolve/{SHA}/(.+)", self._resolve),
            (r"/storage/([^/]+/[^/]+)/(.+)", self._contents),
            (r"/api/v1/models/([^/]+/[^/]+)/repo/files", self._modelscope_files),
            (r"/api/v1/models/([^/]+/[^/]+)/repo", self._modelscope_file),
        )
        for form, method in forms:
            if found := re.fullmatch(form, path):
                repository = found[1]
                if code := hub.status.get(repository) or (repository not in hub.repositories and 404):
                    kind = "GatedRepo" if code == 403 else "RepoNotFound"
                    self._answer(code, b"no", {"X-Error-Code": kind, "X-Error-Message": "no access"})
                    return
                method(*found.groups(), query)  # type: ignore[operator]
                return
        self._answer(404, b"no such path")

    def do_HEAD(self) -> None:
        """What the hub's own library asks before it reads a file."""
        hub = self.hub
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", unquote(urlsplit(self.path).path))
        content = hub.repositories.get(found[1], {}).get(found[2]) if found else None
        self.send_response(404 if content is None else 200)
        if content is not None:
            digest = hashlib.sha256(content).hexdigest()
            headers = {"X-Repo-Commit": SHA, "ETag": f'"{digest}"', "Content-Length": str(len(content))}
            for header, value in headers.items():
                self.send_header(header, value)
        self.end_headers()

    def do_POST(self) -> None:
        """The interface for uploads, as far as one commit needs it."""
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, self.path, None))
        hub.tokens[path] = self.headers.get("Authorization")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if code := hub.status.get(name):
                self._answer(code, b"no", {"X-Error-Message": "no access"})
                return
            hub.private[name] = asked.get("private") or asked.get("visibility") == "private"
            hub.repositories.setdefault(name, {})
            self._json({"url": f"{hub.url}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            hub.cards.append(json.loads(body)["content"])
            self._json({"errors": [], "warnings": []})
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["size"] > LARGE else "regular",
                    "shouldIgnore": False,
                }
                for f in files
            ]
            self._json({"files": modes})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {
                    "oid": f["oid"],
                    "size": f["size"],
                    "actions": {"upload": {"href": f"{hub.url}/lfs/{f['oid']}"}},
                }
                for f in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._commit(found[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._answer(404, b"no such path")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == f"/lfs/{hashlib.sha256(content).hexdigest()}"
        self.hub.uploaded[hashlib.sha256(content).hexdigest()] = content
        self._answer(200, b"")

    def _commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        files = dict(self.hub.repositories[repository])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploaded[value["oid"]]
        self.hub.repositories[repository] = files
        self._json(
            {"success": True, "commitOid": SHA, "commitUrl": f"{self.hub.url}/{repository}/commit/{SHA}"}
        )

    def _revision(self, repository: str, _: dict[str, list[str]]) -> None:
        self._json({"id": repository, "sha": SHA, "siblings": []})

    def _tree(self, repository: str, query: dict[str, list[str]]) -> None:
        files, start = self.hub.repositories[repository], int(query.get("cursor", ["0"])[0])
        entries: list[dict[str, Any]] = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
            for folder in sorted({name.split("/")[0] for name in files if "/" in name})
        ]
        for name, content in files.items():
            if "/" in name:
                continue
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, Any] = {"type": "file", "oid": blob, "size": len(content), "path": name}
            if len(content) > LARGE:
                entry["lfs"] = {
                    "oid": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "pointerSize": 134,
                }
            entries.append(entry)
        link = f'<{self.hub.url}{urlsplit(self.path).path}?cursor={start + PAGE}>; rel="next"'
        more = start + PAGE < len(entries)
        self._json(entries[start : start + PAGE], {"Link": link} if more else {})

    def _resolve(self, repository: str, name: str, query: dict[str, list[str]]) -> None:
        content = self.hub.repositories[repository].get(name)
        if content is None:
            self._answer(404, b"no", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "no such file"})
        elif len(content) > LARGE:
            self._answer(
                302, b"", {
                    "Location": f"{self.hub.url}/storage/{repository}/{name}", "X-Repo-Commit": SHA,
                    "X-Linked-Size": str(len(content)),
                    "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                },
            )  # fmt: skip
        else:
            self._contents(repository, name, query)

    def _modelscope_files(self, repository: str, query: dict[str, list[str]]) -> None:
        assert query["Recursive"] == ["true"]
        files = [
            {
                "Name": name.rsplit("/", 1)[-1], "Path": name, "Type": "blob", "Size": len(content),
                "Sha256": hashlib.sha256(content).hexdigest().upper(), "Revision": SHA,
                "CommittedDate": 1_690_000_000, "IsLFS": len(content) > LARGE,
            }
            for name, content in self.hub.repositories[repository].items()
        ]  # fmt: skip
        folders = sorted({name.split("/")[0] for name in self.hub.repositories[repository] if "/" in name})
        files += [
            {"Name": folder, "Path": folder, "Type": "tree", "Size": 0, "Sha256": ""} for folder in folders
        ]
        self._json({"Code": 200, "Data": {"Files": files}, "Message": "success", "Success": True})

    def _modelscope_file(self, repository: str, query: dict[str, list[str]]) -> None:
        assert query["Revision"] == ["master"]
        self._contents(repository, query["FilePath"][0], query)

    def _contents(self, repository: str, name: str, _: dict[str, list[str]]) -> None:
        hub, content = self.hub, self.hub.repositories[repository][name]
        if name in hub.changed:
            content = bytes([content[0] ^ 1]) + content[1:]
        start, headers = 0, {"Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and not hub.ignores_range:
            start = int(asked[1])
            if start >= len(content):
                self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if "Content-Range" in headers else 200)
        for header, value in {**headers, "Content-Length": str(len(content) - start)}.items():
            self.send_header(header, value)
        self.end_headers()
        end = len(content)
        if hub.cuts and end > LARGE:
            hub.cuts -= 1
            end = min(end, start + hub.cut_after)
        hub.answering += 1
        try:
            for place in range(start, end, 1 << 14):
                time.sleep(hub.seconds_a_chunk)
                piece = content[place : min(place + (1 << 14), end)]
                self.wfile.write(piece)
                hub.sent[name] = hub.sent.get(name, 0) + len(piece)
        except OSError:  # the reader has left
            pass
        finally:
            hub.answering -= 1
        self.close_connection = True

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self._answer(200, content, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for header, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(content)
