"""Every reason why a video cannot be shown."""

from __future__ import annotations

import errno
from enum import StrEnum


class Reason(StrEnum):
    """The `reason` of a `VideoError`: a short phrase that stays the same, since libraries store it."""

    GONE = "file is gone"
    NO_PERMISSION = "no permission"
    NOT_READ = "the system refuses to read it"
    NOT_REGULAR = "not a regular file"
    EMPTY = "empty file"
    NOT_A_VIDEO = "not a video"
    INCOMPLETE = "incomplete file"
    NO_VIDEO_STREAM = "no video stream"
    UNKNOWN_CODEC = "unknown codec"
    ENCRYPTED = "encrypted"
    NOTHING_DECODED = "nothing could be decoded"
    DAMAGED_HERE = "damaged at the times asked for"
    BEYOND_END = "clip lies beyond the file's end"
    ABSURD_SHAPE = "absurd picture shape"
    TIMED_OUT = "decoding timed out"
    TOO_MUCH_MEMORY = "decoding took too much memory"
    CRASHED = "decoder crashed"
    OUR_ERROR = "an error of prost"


NOT_THE_FILES_FAULT = frozenset((Reason.NOT_READ, Reason.OUR_ERROR))
"""Reasons that say nothing about the file itself, so that it is read again by the next run."""

_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))


def reason_not_opened(error: OSError | ValueError) -> Reason:
    """Why the system does not open a file, or tell what it is.

    A ValueError is about a zero byte in the name, which no file has.
    """
    if isinstance(error, PermissionError):
        return Reason.NO_PERMISSION
    if isinstance(error, ValueError) or error.errno in _GONE:
        return Reason.GONE
    return Reason.NOT_READ
