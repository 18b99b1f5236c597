"""Every reason why a video cannot be shown."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The `reason` of a `VideoError`: a short phrase that stays the same, since libraries store it."""

    GONE = "file is gone"
    NO_PERMISSION = "no permission"
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
