"""How a picture that is not square becomes the square, or the squares, that the model sees."""

from __future__ import annotations

import math
from typing import Literal, cast, get_args

from prost.errors import UsageError
from prost.video.display import size_with_short_side

Fit = Literal["crop", "pad", "stretch", "tiles"]
"""`crop` keeps the square in the middle, `pad` the whole picture between two bars, `stretch` the whole picture without
its shape, `tiles` the whole picture as several squares that overlap."""

# Where along the long side of a picture a square lies: 0 is its left or upper end, 1 the other one.
MIDDLE = 0.5

# Bars are mid-grey: close to the mean colour that preprocessing subtracts, so that they are close to no signal.
PADDING = 127

# Beyond this shape a square is a few pixels blown up, and scaling would fill the memory.
LONGEST_SHAPE = 64

# Fraction of the short side that one square may leave out, so that a picture that is nearly square stays one tile.
LEFT_OUT = 0.1


def checked_fit(value: str, place: float = MIDDLE) -> Fit:
    """A value as one of the four.

    Args:
        value: what should be one of them.
        place: of a square along the long side, which is checked, too.

    Raises:
        UsageError: it is none of them, or the place lies outside the picture.
    """
    if value not in get_args(Fit):
        raise UsageError(f"fit {value!r}", "crop, pad, stretch or tiles")
    if not 0 <= place <= 1:
        raise UsageError(f"place {place}", "0 to 1")
    return cast("Fit", value)


def square_places(width: int, height: int, fit: Fit) -> list[float]:
    """Where along the long side of a picture its squares lie, see `MIDDLE`.

    As many tiles as cover the picture, at equal distances from end to end; with another fit one square.

    >>> [square_places(1920, 1080, fit) for fit in ("crop", "tiles")]
    [[0.5], [0.0, 1.0]]
    >>> square_places(320, 300, "tiles"), square_places(2560, 1080, "tiles")
    ([0.5], [0.0, 0.5, 1.0])
    """
    shape = min(max(width, height) / min(width, height), LONGEST_SHAPE)
    count = math.ceil(shape - LEFT_OUT) if fit == "tiles" else 1
    return [MIDDLE] if count == 1 else [tile / (count - 1) for tile in range(count)]


def scaled_size(width: int, height: int, size: int, fit: Fit) -> tuple[int, int]:
    """Width and height to which a picture is scaled before it is cut or padded to `size` x `size`.

    >>> [scaled_size(1920, 1080, 224, fit) for fit in ("crop", "pad", "stretch", "tiles")]
    [(398, 224), (224, 126), (224, 224), (398, 224)]
    """
    if fit == "stretch":
        return size, size
    if fit != "pad":
        return size_with_short_side(width, height, size)
    longest = max(width, height)
    return max(1, round(size * width / longest)), max(1, round(size * height / longest))
