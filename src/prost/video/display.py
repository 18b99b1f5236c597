"""How a stored picture is meant to be shown: turned, mirrored, with pixels that are not square."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
from av.video.frame import VideoFrame

# A pixel more than ten times as wide as high is a broken header, no picture.
WIDEST_PIXEL = 10


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture down: transpose first, then mirror, then flip.

    Attributes:
        transposed: rows become columns.
        mirrored: left and right change places.
        flipped: top and bottom change places.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @classmethod
    def from_matrix(cls, matrix: Sequence[int]) -> Orientation:
        """The orientation nearest to a display matrix of nine numbers, row by row.

        FFmpeg's matrix (a b u; c d v; x y w) shows the stored point (x, y), y downwards, at
        (a x + c y, b x + d y). Turns that are no quarter turns go to the nearest one.

        >>> Orientation.from_matrix([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30]).rotation
        90
        """
        a, b, _, c, d = matrix[:5]
        if abs(b) > abs(a):
            return cls(transposed=True, mirrored=c < 0, flipped=b < 0)
        return cls(transposed=False, mirrored=a < 0, flipped=d < 0)

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """The orientation that a decoded frame carries; upright where it carries none."""
        # PyAV's stub names one kind of side data only.
        side_data = cast("Mapping[str, bytes]", frame.side_data)
        if "DISPLAYMATRIX" not in side_data:
            return cls()
        matrix = np.frombuffer(side_data["DISPLAYMATRIX"], dtype=np.int32)
        return cls.from_matrix(matrix.tolist())

    @property
    def rotation(self) -> int:
        """Degrees clockwise (0, 90, 180, 270) by which the picture's own right-hand direction turns."""
        if self.transposed:
            return 270 if self.flipped else 90
        return 180 if self.mirrored else 0

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Stored pixels [H, W, 3] as they are shown: [H, W, 3], or [W, H, 3] when transposed."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        if self.mirrored:
            pixels = pixels[:, ::-1]
        if self.flipped:
            pixels = pixels[::-1]
        return pixels


def display_size(frame: VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Width and height, in square pixels, of a frame as it is shown.

    Non-square pixels widen or narrow the stored width (players do the same), then the frame is turned.
    """
    width, height = frame.width, frame.height
    if pixel_aspect and 1 / WIDEST_PIXEL <= pixel_aspect <= WIDEST_PIXEL:
        width = max(1, round(width * pixel_aspect))
    return (height, width) if Orientation.of(frame).transposed else (width, height)


def size_with_short_side(width: int, height: int, short_side: int) -> tuple[int, int]:
    """The size with the same shape and the given short side, as CLIP's preprocessing rounds it (down).

    >>> size_with_short_side(1920, 1080, 224)
    (398, 224)
    """
    long_side = math.floor(short_side * max(width, height) / min(width, height))
    return (long_side, short_side) if width >= height else (short_side, long_side)
