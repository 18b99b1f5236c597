"""Errors of Lance and of the system, as errors of prost.

Only what is recognised is translated: an error that carries a place in Lance's Rust sources, a panic inside Lance,
and the system's refusals by their number. Everything else is a bug of prost or of its caller and passes through as
it is, so that it is never reported as damage to a library.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from prost.errors import NO_ANSWER, LibraryDamaged, ProstError, StorageError
from prost.object_store import is_remote, object_store_refusal
from prost.search.forks import expect_no_fork

REFUSALS = {
    errno.ENOSPC: ("no space left", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EFBIG: ("a file would exceed the size allowed", "raise the limit on file sizes"),
    errno.EACCES: ("no permission", "another folder, or change its permissions"),
    errno.EPERM: ("no permission", "another folder, or change its permissions"),
    errno.EROFS: ("the disk is read-only", "another folder"),
    errno.EIO: ("the disk reports an error", "check the disk"),
    errno.EMFILE: ("this process has too many files open", "raise the limit on open files (ulimit -n)"),
    errno.ENFILE: ("too many files are open on this machine", "close some programs"),
    errno.ENOMEM: ("no memory is left", "close some programs"),
    **dict.fromkeys(NO_ANSWER, ("the disk does not answer", "check that it is connected and mounted")),
}

# A request that the store did not answer as expected. 416 is its answer where an object is shorter than it should be,
# which is damage.
_OBJECT_STORE_ERROR = re.compile(r"Generic (?:S3|GCS) error(?!.*\b416 )", re.DOTALL)

_PLACE_IN_LANCE = re.compile(r",? ?(?:location: )?/[\w./@-]+\.rs:\d+:\d+")


@contextmanager
def storage_errors(root: str) -> Iterator[None]:
    """Context around calls of Lance and of the file system.

    Args:
        root: the library, named in messages.

    Raises:
        StorageError: the disk refused.
        LibraryDamaged: Lance cannot read a table.
        LibraryError: this process was forked from one that has used a library.
    """
    expect_no_fork()
    try:
        yield
    except ProstError:
        raise
    except BaseException as error:
        # BaseException, because a panic inside Lance is not an Exception.
        if translated := _translated(root, error):
            raise translated from error
        raise


def is_from_lance(error: BaseException) -> bool:
    """Whether Lance raised an error; pyarrow raises some of them for it."""
    return type(error).__name__ == "PanicException" or (
        isinstance(error, OSError | ValueError | RuntimeError) and bool(_PLACE_IN_LANCE.search(str(error)))
    )


def is_refusal(root: str, error: BaseException) -> bool:
    """Whether an error says that a disk or an object store cannot be used now, and nothing about what it holds."""
    return isinstance(_translated(root, error), StorageError)


def first_sentence(error: BaseException) -> str:
    """The words of a Lance error without the places in its source code."""
    text = _PLACE_IN_LANCE.sub("", str(error))
    # These are names of Lance's own columns; messages of ours list the library's.
    text = re.sub(r"\. Valid fields are .*", "", text)
    for noise in ("LanceError(IO): ", "External error: ", "Invalid user input: ", "Schema error: "):
        text = text.replace(noise, "")
    return text.strip().splitlines()[0][:200].rstrip(" .,") if text.strip() else type(error).__name__


def _translated(root: str, error: BaseException) -> StorageError | LibraryDamaged | None:
    lance = is_from_lance(error)
    # Lance gives the system's error number in its text only.
    in_text = re.search(r"os error (\d+)", str(error)) if lance else None
    number = int(in_text.group(1)) if in_text else getattr(error, "errno", None)
    if number in REFUSALS and (lance or isinstance(error, OSError)):
        what, suggestion = REFUSALS[number]
        return StorageError(f"{root}: {what}; what was stored is kept", suggestion=suggestion)
    if lance and is_remote(root):
        refusal = object_store_refusal(str(error))
        if refusal is None and _OBJECT_STORE_ERROR.search(str(error)):
            refusal = (f"the object store cannot be used ({first_sentence(error)})", "try again in a moment")
        if refusal:
            return StorageError(f"{root}: {refusal[0]}; what was stored is kept", suggestion=refusal[1])
    if lance:
        return LibraryDamaged(
            f"{root}: a table cannot be read ({first_sentence(error)})",
            suggestion="prost doctor --verify --repair, or restore the library from a backup",
        )
    return None
