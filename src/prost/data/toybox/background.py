"""The backgrounds of scenes: skies, hills, rooms. Captions do not mention them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

VARIANTS = 4
"""Number of variants of each background."""

_OVERSAMPLING = 2


class Backdrop:
    """A canvas in stage coordinates: (0, 0)..(1, 1) is the central square; the picture can extend beyond it."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width * _OVERSAMPLING, height * _OVERSAMPLING
        self.side = min(self.width, self.height)
        self.left = -(self.width - self.side) / 2 / self.side
        self.top = -(self.height - self.side) / 2 / self.side
        self.image = Image.new("RGB", (self.width, self.height))

    def sky(self, upper: Colour, lower: Colour) -> None:
        """Fill the picture with a vertical gradient from the top of the stage to its bottom."""
        depth = (np.arange(self.height) + 0.5) / self.side + self.top
        share = np.clip(depth, 0, 1)[:, None, None]
        column = np.array(upper) * (1 - share) + np.array(lower) * share
        pixels = np.broadcast_to(column, (self.height, self.width, 3)).astype(np.uint8)
        self.image = Image.fromarray(np.ascontiguousarray(pixels))

    def ground(self, colour: Colour, height: Callable[[float], float]) -> None:
        """Fill everything below a line `y = height(x)`."""
        xs = np.linspace(self.left, 1 - self.left, 160)
        line = [self._pixel(float(x), height(float(x))) for x in xs]
        ImageDraw.Draw(self.image).polygon([*line, (self.width, self.height), (0, self.height)], colour)

    def disc(self, colour: Colour, x: float, y: float, rx: float, ry: float | None = None) -> None:
        """Fill an ellipse."""
        left, top = self._pixel(x - rx, y - (ry or rx))
        right, bottom = self._pixel(x + rx, y + (ry or rx))
        ImageDraw.Draw(self.image).ellipse([left, top, right, bottom], colour)

    def panel(self, colour: Colour, left: float, top: float, right: float, bottom: float) -> None:
        """Fill a rectangle."""
        ImageDraw.Draw(self.image).rectangle([*self._pixel(left, top), *self._pixel(right, bottom)], colour)

    def _pixel(self, x: float, y: float) -> tuple[float, float]:
        return (x - self.left) * self.side, (y - self.top) * self.side


def _wave(depth: float, swell: float, length: float, shift: float) -> Callable[[float], float]:
    return lambda x: depth + swell * math.sin(math.tau * (x / length + shift))


def _meadow(drop: Backdrop, shift: float) -> None:
    drop.sky((176, 216, 244), (226, 242, 250))
    drop.ground((196, 226, 180), _wave(0.68, 0.02, 1.3, shift))
    drop.ground((180, 216, 162), _wave(0.84, 0.02, 0.9, shift + 0.3))


def _hills(drop: Backdrop, shift: float) -> None:
    drop.sky((204, 226, 246), (250, 244, 232))
    drop.ground((196, 212, 226), _wave(0.56, 0.09, 0.9, shift))
    drop.ground((184, 214, 196), _wave(0.7, 0.06, 0.7, shift + 0.4))
    drop.ground((204, 226, 182), _wave(0.86, 0.03, 1.1, shift))


def _sea(drop: Backdrop, shift: float) -> None:
    drop.sky((206, 232, 248), (248, 244, 230))
    drop.ground((160, 206, 226), _wave(0.62, 0.004, 0.2, shift))
    drop.ground((146, 196, 220), _wave(0.76, 0.012, 0.3, shift))
    drop.ground((238, 222, 184), _wave(0.9, 0.02, 1.7, shift))


def _evening(drop: Backdrop, shift: float) -> None:
    drop.sky((214, 190, 222), (252, 216, 184))
    drop.disc((255, 234, 200), 0.2 + 0.6 * shift, 0.6, 0.13)
    drop.ground((188, 164, 184), _wave(0.72, 0.05, 0.8, shift))
    drop.ground((168, 148, 172), _wave(0.86, 0.03, 1.2, shift + 0.5))


def _night(drop: Backdrop, shift: float) -> None:
    drop.sky((66, 76, 122), (128, 132, 176))
    for i in range(40):
        x, y = (i * 0.618 + shift) % 1 * 2.2 - 0.6, (i * 0.414 + shift) % 1 * 0.95 - 0.3
        drop.disc((196, 200, 226), x, y, 0.004 + 0.003 * (i % 3))
    drop.ground((88, 96, 138), _wave(0.82, 0.04, 0.9, shift))


def _room(drop: Backdrop, shift: float) -> None:
    walls = ((240, 224, 206), (214, 228, 222), (226, 218, 236), (236, 230, 204))
    drop.sky(walls[int(shift * VARIANTS)], walls[int(shift * VARIANTS)])
    drop.panel((250, 250, 246), 0.58, 0.08, 0.9, 0.42)
    drop.panel((200, 226, 240), 0.6, 0.1, 0.88, 0.4)
    drop.panel((250, 250, 246), 0.735, 0.1, 0.745, 0.4)
    drop.ground((214, 188, 160), lambda x: 0.78)
    drop.ground((224, 200, 174), lambda x: 0.795)


def _desert(drop: Backdrop, shift: float) -> None:
    drop.sky((190, 222, 238), (252, 238, 212))
    drop.ground((240, 214, 172), _wave(0.66, 0.05, 1.0, shift))
    drop.ground((232, 202, 156), _wave(0.82, 0.04, 0.8, shift + 0.35))


def _snow(drop: Backdrop, shift: float) -> None:
    drop.sky((176, 198, 222), (216, 228, 240))
    drop.ground((204, 218, 234), _wave(0.6, 0.08, 0.7, shift))
    drop.ground((232, 240, 248), _wave(0.78, 0.03, 1.2, shift))


def _paper(drop: Backdrop, shift: float) -> None:
    sheets = ((236, 234, 226), (222, 232, 238), (240, 228, 228), (226, 236, 220))
    drop.sky(sheets[int(shift * VARIANTS)], sheets[int(shift * VARIANTS)])


BACKGROUNDS: dict[str, Callable[[Backdrop, float], None]] = {
    "meadow": _meadow,
    "hills": _hills,
    "sea": _sea,
    "evening": _evening,
    "night": _night,
    "room": _room,
    "desert": _desert,
    "snow": _snow,
    "paper": _paper,
}


@lru_cache(maxsize=384)
def backdrop(name: str, variant: int, width: int, height: int) -> np.ndarray:
    """One background, `[height, width, 3]` uint8, read-only. Its central square does not depend on the shape.

    Args:
        name: in `BACKGROUNDS`.
        variant: from 0 to below `VARIANTS`.
        width: pixels.
        height: pixels.
    """
    drop = Backdrop(width, height)
    BACKGROUNDS[name](drop, variant / VARIANTS)
    pixels = np.array(drop.image.reduce(_OVERSAMPLING))
    pixels.setflags(write=False)
    return pixels
