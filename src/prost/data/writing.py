"""Writing files: completely or not at all, and with one error when the disk refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prost.durable import replaced_whole
from prost.errors import StorageError, UsageError


def expect_writable(*files: Path | None) -> None:
    """Check, before long work, that files can be written when it is done; a disk can still fill up meanwhile.

    Args:
        files: they may exist, their folders need not; None is no file.

    Raises:
        UsageError: a folder has the name of a file.
        StorageError: the folder of a file cannot be made, or not be written to.
    """
    for file in (file for file in files if file is not None):
        with writing_errors(file):
            is_folder = file.is_dir()
            lowest = next((place for place in file.absolute().parents if os.path.lexists(place)), None)
            if lowest is None:  # a drive that is not there
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            if not lowest.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(lowest, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if is_folder:
            raise UsageError(f"{file} is a folder", "the name of a file to write")


@contextmanager
def writing_errors(place: Path, *also: type[Exception]) -> Iterator[None]:
    """Turn an error of the file system into a StorageError; for the calls that write, and nothing else.

    Args:
        place: the file or folder that is written, for the message.
        also: other exceptions by which a library reports such an error.
    """
    refusals: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except refusals as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(
            f"{place} cannot be written: {reason}", "a writable folder with free space", "another folder"
        ) from None


@contextmanager
def written_whole(path: Path, *also: type[Exception]) -> Iterator[Path]:
    """A temporary path beside a file; it replaces the file at the end, or is removed after an exception.

    The body contains only the calls that write: their OSError becomes a StorageError.

    Args:
        path: the file; its folder is created.
        also: see `writing_errors`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing_errors(path, *also):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_whole(path, partial):
            yield partial
