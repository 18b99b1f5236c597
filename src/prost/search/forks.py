"""A library does not survive a fork: its threads exist only in the process that started them."""

from __future__ import annotations

import os

from prost.errors import LibraryError

_used_in: int | None = None


def expect_no_fork() -> None:
    """Refuse to work in a process that was forked from one that has used a library.

    The threads of Lance and of OpenMP do not exist in a forked process, so a search there would wait for them for ever.

    Raises:
        LibraryError: this process is such a fork.
    """
    global _used_in
    process = os.getpid()
    if _used_in is None:
        _used_in = process
    if process != _used_in:
        raise LibraryError(
            f"process {process} was forked from process {_used_in}, which has used a library",
            "a new process, or a fork from before the first use of a library",
            "multiprocessing.get_context('spawn'), and open the library in the new process",
        )
