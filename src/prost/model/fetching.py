"""Pulling models by name: each file continues where it was interrupted, and is compared with its published hash.

Files arrive in a hidden folder beside the final one and are moved there together, so that a model is whole or not here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from prost.errors import DownloadFailed, ModelNotHere, StorageError, UsageError
from prost.locking import lock_file
from prost.model import hosts
from prost.model.catalogue import BUNDLED, ENTRIES
from prost.model.hosts import Interrupted, Listing, RemoteFile, list_files, open_at, page_of
from prost.model.locating import (
    RECORD,
    PulledModel,
    find_named,
    is_hub_name,
    locate,
    models_folder,
    pulled_folder,
)
from prost.model.model_files import files_of_model
from prost.printable import format_bytes
from prost.progress import Advance

CHUNK = 1 << 20


def pull(name: str, progress: Advance | None = None, *, offline: bool = False) -> Path:
    """Download a model by its name, unless it is on this machine.

    An interrupted download continues: only what is missing is read. Another process that pulls the same model is waited
    for.

    Args:
        name: of the catalogue, or `owner/name` on the Hugging Face hub.
        progress: called with the bytes that are there, the bytes in all, and the name of the file.
        offline: ask no host, as `HF_HUB_OFFLINE=1` does.

    Returns:
        the folder of the model.

    Raises:
        UsageError: no such name.
        DownloadFailed: the host cannot be reached or refuses, or what it sent is not what it lists.
        StorageError: no space, no permission.
    """
    source = source_of(name)
    if (found := find_named(name)) is not None:
        return found
    host, _, repository = source.partition(":")
    if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DownloadFailed(
            f"{name} is not on this machine, and downloads are switched off (--offline, HF_HUB_OFFLINE)",
            suggestion=_by_hand(name, host, repository),
        )
    folder, partial = pulled_folder(name), _partial_folder(name)
    with _storage_errors(folder), _alone(name):
        if (found := find_named(name)) is not None:  # another process has pulled it meanwhile
            return found
        listing = _listing(name, host, repository)
        chosen = _chosen(listing, host, repository)
        if folder.exists():  # a file of it was lost: the others need not be read again
            shutil.rmtree(partial, ignore_errors=True)
            os.replace(folder, partial)
        partial.mkdir(parents=True, exist_ok=True)
        (partial / RECORD).unlink(missing_ok=True)
        _Download(name, host, partial, chosen, progress).run()
        record = PulledModel(
            name=name,
            source=source,
            revision=listing.revision,
            files={file.name: file.size for file in chosen},
            digests={file.name: file.digest for file in chosen if file.digest},
        )
        for stray in partial.iterdir():  # of an older revision
            if stray.is_file() and stray.name not in record.files:
                stray.unlink()
        _write_flushed(partial / RECORD, json.dumps(asdict(record), indent=2).encode() + b"\n")
        os.replace(partial, folder)
    return folder


def pull_or_locate(name_or_path: str) -> Path:
    """Find a model on this machine; one that is known by name and is not here is pulled. For errors see both."""
    try:
        return locate(name_or_path)
    except ModelNotHere:
        return pull(name_or_path)


def remove(name: str) -> int:
    """Delete a pulled model, and what there is of an interrupted download.

    Returns:
        the bytes that became free.

    Raises:
        UsageError: there is none, it is bundled, or other programs own it.
        StorageError: no permission.
    """
    if name == BUNDLED:
        raise UsageError(f"{name} is bundled with prost and cannot be removed")
    source_of(name)
    folders = [folder for folder in (pulled_folder(name), _partial_folder(name)) if folder.is_dir()]
    if not folders:
        found = find_named(name)
        raise UsageError(
            f"{name} was not pulled",
            suggestion="" if found is None else f"it is in the hub's own cache, {found}: hf cache rm",
        )
    with _storage_errors(folders[0]), _alone(name):
        nbytes = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
        for folder in folders:
            shutil.rmtree(folder)
    return nbytes


def is_interrupted(name: str) -> bool:
    """Whether a download of this model was begun and is not whole."""
    return _partial_folder(name).is_dir()


def source_of(name: str) -> str:
    """Where a name is published: "bundled", "hub:OWNER/NAME" or "modelscope:OWNER/NAME".

    Raises:
        UsageError: the name is neither in the catalogue nor possible on the hub.
    """
    if name in ENTRIES:
        return ENTRIES[name].source
    if is_hub_name(name):
        return f"hub:{name}"
    raise UsageError(
        f"{name} is no name of a model",
        f"{', '.join(ENTRIES)}, or owner/name on the Hugging Face hub",
        "prost models list",
    )


class _Download:
    """The files of one model on their way into a folder.

    Args:
        name: of the model.
        host: of its repository.
        folder: where the files go.
        files: which.
        progress: see `pull`.
    """

    def __init__(
        self, name: str, host: str, folder: Path, files: list[RemoteFile], progress: Advance | None
    ) -> None:
        self._name, self._host, self._folder = name, host, folder
        self._files, self._progress = files, progress
        self._total = sum(file.size for file in files)
        self._done = 0

    def run(self) -> None:
        missing = [file for file in self._files if not self._is_there(file)]
        needed = sum(file.size - _size(self._part(file)) for file in missing)
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise StorageError(
                f"{self._name} needs {format_bytes(needed)} more, and {format_bytes(free)} are free in {self._folder}",
                suggestion="free some space; what was downloaded is kept",
            )
        self._done = self._total - sum(file.size for file in missing)
        for file in missing:
            self._fetch(file)

    def _is_there(self, file: RemoteFile) -> bool:
        path = self._folder / file.name
        if _size(path) != file.size or not path.is_file():
            return False
        with path.open("rb") as content:
            return _matches(file, _hash_of(file, content))

    def _part(self, file: RemoteFile) -> Path:
        """The file while it is incomplete; its name holds the hash, so that parts of two revisions never mix."""
        return self._folder / f"{file.name}.{file.digest[-12:] or file.size}.part"

    def _fetch(self, file: RemoteFile) -> None:
        """Read one file; after a broken connection go on from the last byte, as long as bytes arrive."""
        part, failures = self._part(file), 0
        if _size(part) > file.size:
            part.unlink()
        while not part.exists() or _size(part) < file.size:
            before = _size(part)
            try:
                self._read(file, part)
                reason = "the connection ended early"
            except Interrupted as error:
                reason = str(error)
            size = _size(part)
            if part.exists() and size >= file.size:
                break
            failures = 1 if size > before else failures + 1
            if failures >= hosts.ATTEMPTS:
                raise DownloadFailed(
                    f"{file.url}: {size} of {file.size} bytes arrived ({reason})",
                    suggestion=f"prost models pull {self._name} again, which continues there",
                )
            time.sleep(hosts.WAIT_SECONDS * 2 ** (failures - 1))
        with part.open("rb") as content:
            digest = _hash_of(file, content)
            os.fsync(content.fileno())
        if _size(part) != file.size or not _matches(file, digest):
            part.unlink()
            raise DownloadFailed(
                f"{file.url}: what arrived is not what the host lists ({_size_or_digest(file)})",
                suggestion="pull it again; if that does not help, the host or a proxy changes the file",
            )
        os.replace(part, self._folder / file.name)
        self._done += file.size

    def _read(self, file: RemoteFile, part: Path) -> None:
        with open_at(self._host, file.url, _size(part)) as (response, start):
            if start > _size(part):
                raise Interrupted(f"the host sent bytes from {start} on")
            # Unbuffered, and each piece as it comes: what has arrived is kept if this process is killed.
            with part.open("r+b" if part.exists() else "wb", buffering=0) as target:
                target.truncate(start)
                target.seek(start)
                while start <= file.size and (piece := response.read1(CHUNK)):
                    target.write(piece)
                    start += len(piece)
                    self._report(file, start)

    def _report(self, file: RemoteFile, size: int) -> None:
        if self._progress is not None:
            self._progress(min(self._done + size, self._total), self._total, file.name)


def _listing(name: str, host: str, repository: str) -> Listing:
    try:
        return list_files(host, repository)
    except DownloadFailed as error:
        if error.suggestion:
            raise
        raise DownloadFailed(error.arrived, suggestion=_by_hand(name, host, repository)) from None


def _chosen(listing: Listing, host: str, repository: str) -> list[RemoteFile]:
    by_name = {file.name: file for file in listing.files}
    names = files_of_model(by_name)
    if not names:
        raise DownloadFailed(
            f"{page_of(host, repository)} holds no weights that prost opens",
            "model.safetensors, pytorch_model.bin or their open_clip forms at the top of the repository",
        )
    return [by_name[name] for name in names]


def _by_hand(name: str, host: str, repository: str) -> str:
    return (
        f"from another machine, copy the configuration (*.json), the weights (*.safetensors or *.bin) and the "
        f"vocabulary of {page_of(host, repository)} into {pulled_folder(name)}"
    )


def _hash_of(file: RemoteFile, content: BinaryIO) -> str:
    kind = file.digest.partition(":")[0]
    digest = hashlib.sha1(f"blob {file.size}\0".encode()) if kind == "git" else hashlib.sha256()
    while chunk := content.read(CHUNK):
        digest.update(chunk)
    return f"{kind}:{digest.hexdigest()}"


def _matches(file: RemoteFile, digest: str) -> bool:
    return not file.digest or digest == file.digest


def _size_or_digest(file: RemoteFile) -> str:
    return file.digest or f"{file.size} bytes"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _partial_folder(name: str) -> Path:
    folder = pulled_folder(name)
    return folder.with_name(f".{folder.name}.partial")


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Context that one process enters at a time for a model; others wait."""
    models_folder().mkdir(parents=True, exist_ok=True)
    with (models_folder() / f".{pulled_folder(name).name}.lock").open("a") as file:
        lock_file(file, wait=True)
        yield


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written ({error.strerror or error})",
            suggestion="free some space or check the permissions; what was downloaded is kept",
        ) from None


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
