"""Locks between processes: the first to lock a file has it until the file is closed or the process ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

# The byte that Windows locks, far behind the content, since nobody else can read what is locked there.
FAR = 1 << 30
# What a file system says that knows no locks.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class Taken(Exception):
    """Another process or thread has the file.

    Args:
        holder: its process id, or "unknown".
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def held(file: IO[str], *, wait: bool = False) -> Iterator[None]:
    """Context that has the lock of a file, which holds the id of this process meanwhile.

    Args:
        file: opened for reading and appending.
        wait: wait while another has it.

    Raises:
        Taken: another has it, and `wait` is false.
        OSError: the file system knows no locks, or refuses to write.
    """
    try:
        lock_file(file, wait=wait)
    except BlockingIOError:
        file.seek(0)
        raise Taken(file.read().strip() or "unknown") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    try:
        yield
    finally:
        file.truncate(0)


def lock_file(file: IO[Any], *, wait: bool) -> None:
    """Lock an open file.

    Args:
        file: opened for writing.
        wait: wait while another process or thread has it.

    Raises:
        BlockingIOError: another has it, and `wait` is false.
        OSError: the file system knows no locks.
    """
    try:
        import fcntl
    except ImportError:
        _lock_on_windows(file, wait)
        return
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _lock_on_windows(file: IO[Any], wait: bool) -> None:
    import msvcrt

    locking: Any = msvcrt  # its names are known to type checkers on Windows only
    place = file.tell()
    try:
        while True:
            file.seek(FAR)
            try:
                # LK_LOCK gives up after ten seconds.
                locking.locking(file.fileno(), locking.LK_LOCK if wait else locking.LK_NBLCK, 1)
                return
            except OSError as error:
                if not wait:
                    raise BlockingIOError(*error.args) from None
    finally:
        file.seek(place)
