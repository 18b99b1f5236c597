"""Temporary files of one request."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prost.errors import StorageError


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Context with a folder that is removed at the end.

    Raises:
        StorageError: the disk refuses the folder, or what is written in the context.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="prost-") as folder:
            yield Path(folder)
    except OSError as error:
        raise StorageError(
            f"the folder of temporary files cannot be used ({error.strerror or error})",
            "free space, and the permission to write there",
            "TMPDIR names another folder",
        ) from None
