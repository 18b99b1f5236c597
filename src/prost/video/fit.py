"""How a picture that is not square becomes the square that the model sees."""

from __future__ import annotations

from typing import Literal, cast, get_args

from prost.errors import UsageError
from prost.video.display import size_with_short_side

Fit = Literal["crop", "pad", "stretch"]
"""`crop` keeps the square in the middle, `pad` the whole picture between two bars, `stretch` the whole picture without
its shape."""


def checked_fit(value: str) -> Fit:
    """A value as one of the three.

    Raises:
        UsageError: it is none of them.
    """
    if value not in get_args(Fit):
        raise UsageError(f"fit {value!r}", "crop, pad or stretch")
    return cast("Fit", value)


def scaled_size(width: int, height: int, size: int, fit: Fit) -> tuple[int, int]:
    """Width and height to which a picture is scaled before it is cropped or padded to `size` x `size`.

    >>> [scaled_size(1920, 1080, 224, fit) for fit in ("crop", "pad", "stretch")]
    [(398, 224), (224, 126), (224, 224)]
    """
    if fit == "stretch":
        return size, size
    if fit == "crop":
        return size_with_short_side(width, height, size)
    longest = max(width, height)
    return max(1, round(size * width / longest)), max(1, round(size * height / longest))
