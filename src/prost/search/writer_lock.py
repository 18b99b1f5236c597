"""One writer at a time: a lock on a file of the library, released by the system when its process ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prost.errors import LibraryBusy, StorageError
from prost.locking import NO_LOCKS, Taken, held
from prost.search.storage_errors import storage_errors

LOCK = "writer.lock"


@contextmanager
def writer_lock(root: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a local library; the file holds the writer's process id meanwhile.

    Args:
        root: the library's folder.
        wait: wait until the other writer is done, instead of raising.

    Raises:
        LibraryBusy: another process or thread holds it.
        StorageError: the disk refuses.
    """
    with storage_errors(root):
        file = open(os.path.join(root, LOCK), "a+", encoding="ascii")  # noqa: SIM115
    with file, ExitStack() as lock:
        try:
            lock.enter_context(held(file, wait=wait))
        except Taken as taken:
            raise LibraryBusy(
                f"{root} is being written by process {taken.holder}",
                "one writer at a time; searching is possible meanwhile",
                "again when that process is done, or wait for it (wait=True)",
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                with storage_errors(root):
                    raise
            raise StorageError(
                f"{root}: the file system knows no locks ({error.strerror})",
                "a file system on which a writer can be alone",
                "a library on a local disk or on an object store",
            ) from None
        yield
