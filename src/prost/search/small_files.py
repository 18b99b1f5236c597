"""Small files of a library, each written in one step: in its folder, or as objects on an object store."""

from __future__ import annotations

import os
from collections.abc import Mapping

from prost.durable import write_whole
from prost.object_store import ObjectStore, is_remote
from prost.search.storage_errors import storage_errors


def read_small(root: str, name: str, storage_options: Mapping[str, str] | None = None) -> bytes | None:
    """A file of a library; None where there is none.

    Args:
        root: the library's folder or URI.
        name: of the file.
        storage_options: what is needed to reach an object store.

    Raises:
        StorageError: the disk or the store refuses.
    """
    if is_remote(root):
        found = ObjectStore(root, storage_options).read(name)
        return None if found is None else found.data
    try:
        with storage_errors(root), open(os.path.join(root, name), "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_small(root: str, name: str, data: bytes, storage_options: Mapping[str, str] | None = None) -> None:
    """Write a file of a library in one step.

    Args:
        root: the library's folder or URI.
        name: of the file.
        data: its content.
        storage_options: what is needed to reach an object store.

    Raises:
        StorageError: the disk or the store refuses; what was there before is kept.
    """
    if is_remote(root):
        ObjectStore(root, storage_options).write(name, data)
        return
    with storage_errors(root):
        write_whole(os.path.join(root, name), data)
