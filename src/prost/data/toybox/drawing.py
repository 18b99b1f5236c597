"""The things of Toybox, each a small function that draws one.

A drawing lives on a square whose corners are (-1, -1) and (1, 1), y downward. What a function adds with `pen.body`
takes the thing's colour and texture; what it adds with `pen.detail` keeps its own colour. All is drawn large and
shrunk, so the edges are smooth, and gets a thin light rim, so that a thing stands out from any background.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Points = list[tuple[float, float]]

PALETTE: dict[str, Colour] = {
    "red": (222, 42, 46),
    "orange": (247, 138, 22),
    "yellow": (252, 219, 40),
    "green": (52, 160, 70),
    "blue": (40, 98, 218),
    "purple": (138, 62, 186),
    "pink": (250, 142, 192),
    "brown": (138, 84, 46),
    "white": (250, 250, 250),
    "black": (46, 46, 54),
    "grey": (150, 152, 160),
}
_ROOM = 0.94
"""Fraction of the canvas for the drawing, so that there is room for the outline and the rim."""

COLOURS = tuple(name for name in PALETTE if name != "grey")
"""The colours of things. Grey is for walls only, because in small pictures it is too close to black and white."""

INK: Colour = (30, 26, 40)
CREAM: Colour = (255, 246, 222)
GLASS: Colour = (190, 228, 250)
WOOD: Colour = (120, 78, 44)
LEAF: Colour = (70, 150, 66)
GOLD: Colour = (250, 204, 60)
FLAME: Colour = (255, 150, 40)


def disc(
    x: float, y: float, rx: float, ry: float | None = None, start: float = 0, stop: float = 360
) -> Points:
    """Points on an ellipse around (x, y), clockwise from `start` to `stop` degrees (0 points right)."""
    ry = rx if ry is None else ry
    steps = max(8, round(abs(stop - start) / 6))
    angles = (math.radians(start + (stop - start) * i / steps) for i in range(steps + 1))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def rectangle(left: float, top: float, right: float, bottom: float) -> Points:
    """The four corners."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _tones(colour: Colour) -> tuple[Colour, Colour]:
    """A colour, and the colour of its stripes or dots: lighter, or darker if it is already light."""
    target = 90 if sum(colour) > 600 else 255
    share = 0.45 if sum(colour) > 600 else 0.62
    red, green, blue = (round(c + (target - c) * share) for c in colour)
    return colour, (red, green, blue)


class Pen:
    """Draw one thing in its colour and texture on a square canvas of `side` pixels."""

    def __init__(self, side: int, colour: str, texture: str) -> None:
        self.side = side
        self.canvas = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        self.colour = colour
        self.paint = self._body_paint(PALETTE[colour], texture)

    def _body_paint(self, colour: Colour, texture: str) -> Image.Image:
        side = self.side
        tone, mark = _tones(colour)
        paint = Image.new("RGB", (side, side), tone)
        draw = ImageDraw.Draw(paint)
        if texture == "striped":
            for i in range(-4, 9):
                x = (i * 0.25) * side
                draw.polygon(
                    [(x, 0), (x + 0.115 * side, 0), (x - 0.385 * side, side), (x - 0.5 * side, side)], mark
                )
        elif texture == "dotted":
            step, radius = 0.2 * side, 0.062 * side
            for row in range(7):
                for column in range(7):
                    x, y = (column + 0.5 * (row % 2) - 0.25) * step, (row - 0.1) * step
                    draw.ellipse([x - radius, y - radius, x + radius, y + radius], mark)
        # A little light from above.
        shade = np.linspace(1.1, 0.82, side)[:, None, None]
        return Image.fromarray(np.clip(np.asarray(paint) * shade, 0, 255).astype(np.uint8))

    def _pixels(self, points: Points) -> Points:
        half, reach = self.side / 2, _ROOM * self.side / 2
        return [(half + x * reach, half + y * reach) for x, y in points]

    def _stroke(self, points: Points, width: float, colour: Colour) -> None:
        draw = ImageDraw.Draw(self.canvas)
        pixels = self._pixels(points)
        thickness = width * self.side / 2
        draw.line(pixels, (*colour, 255), round(thickness), joint="curve")
        for x, y in (pixels[0], pixels[-1]):
            radius = thickness / 2
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], (*colour, 255))

    def _fill(self, points: Points, paint: Image.Image | Colour, opacity: float) -> None:
        mask = Image.new("L", self.canvas.size, 0)
        ImageDraw.Draw(mask).polygon(self._pixels(points), round(255 * opacity))
        self.canvas.paste(paint, (0, 0, *self.canvas.size) if isinstance(paint, tuple) else (0, 0), mask)

    def _shapes(self, shapes: Iterable[Points], paint: Image.Image | Colour, outline: float) -> None:
        shapes = list(shapes)
        # All outlines are drawn first, so that the shapes of one call become one.
        if outline:
            for points in shapes:
                self._stroke([*points, points[0], points[1]], outline, INK)
        for points in shapes:
            self._fill(points, paint, 1.0)

    def body(self, *shapes: Points) -> None:
        """Draw shapes in the thing's colour and texture, with one outline around all of them."""
        self._shapes(shapes, self.paint, 0.13)

    def detail(self, colour: Colour, *shapes: Points, outline: float = 0.1) -> None:
        """Draw shapes in another colour."""
        self._shapes(shapes, colour, outline)

    def gleam(self, points: Points) -> None:
        """Draw a translucent highlight."""
        self._fill(points, (255, 255, 255), 0.5)

    def line(self, points: Points, width: float = 0.1, colour: Colour = INK) -> None:
        """Draw a line with round ends."""
        self._stroke(points, width, colour)

    def eye(self, x: float, y: float, radius: float = 0.13) -> None:
        """Draw a round eye that looks slightly to the right."""
        self.detail((255, 255, 255), disc(x, y, radius), outline=0.05)
        self.detail(INK, disc(x + 0.25 * radius, y, 0.58 * radius), outline=0)


def _ball(pen: Pen) -> None:
    pen.body(disc(0, 0, 0.86))
    pen.gleam(disc(-0.34, -0.4, 0.24, 0.16))


def _square(pen: Pen) -> None:
    pen.body(rectangle(-0.76, -0.76, 0.76, 0.76))


def _triangle(pen: Pen) -> None:
    pen.body([(0, -0.84), (0.88, 0.74), (-0.88, 0.74)])


def _star(pen: Pen) -> None:
    radii = (0.92, 0.4)
    corners = [(radii[i % 2], math.radians(36 * i - 90)) for i in range(10)]
    pen.body([(r * math.cos(a), 0.06 + r * math.sin(a)) for r, a in corners])


def _heart(pen: Pen) -> None:
    turns = [math.tau * i / 60 for i in range(60)]
    xs = [16 * math.sin(t) ** 3 for t in turns]
    ys = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turns]
    pen.body([(x / 18.5, -y / 18.5 - 0.08) for x, y in zip(xs, ys, strict=True)])
    pen.gleam(disc(-0.42, -0.42, 0.17, 0.13))


def _ring(pen: Pen) -> None:
    pen.body([*disc(0, 0, 0.88), *disc(0, 0, 0.44, start=360, stop=0)])


def _cross(pen: Pen) -> None:
    a, b = 0.28, 0.84
    upper = [(-b, -a), (-a, -a), (-a, -b), (a, -b), (a, -a), (b, -a)]
    pen.body([*upper, *[(-x, -y) for x, y in upper]])


def _moon(pen: Pen) -> None:
    outer = disc(0.05, 0, 0.86, start=50, stop=310)
    inner = disc(0.42, 0, 0.68, start=285, stop=75)
    pen.body([*outer, *inner])


def _boat(pen: Pen) -> None:
    pen.line([(-0.02, -0.85), (-0.02, 0.3)], 0.12, WOOD)
    pen.body([(0.1, -0.8), (0.74, 0.16), (0.1, 0.16)])
    pen.detail(CREAM, [(-0.14, -0.62), (-0.14, 0.16), (-0.66, 0.16)])
    pen.body([(-0.9, 0.32), (0.9, 0.32), (0.58, 0.84), (-0.58, 0.84)])


def _house(pen: Pen) -> None:
    pen.detail((104, 86, 96), rectangle(0.34, -0.76, 0.56, -0.3), outline=0.08)
    pen.body(rectangle(-0.72, -0.2, 0.72, 0.86))
    pen.detail((104, 86, 96), [(-0.9, -0.18), (0, -0.82), (0.9, -0.18)])
    pen.detail(CREAM, rectangle(-0.46, 0.34, -0.1, 0.86), outline=0.07)
    pen.detail(GLASS, rectangle(0.12, 0.12, 0.48, 0.46), outline=0.07)
    pen.line([(0.3, 0.12), (0.3, 0.46)], 0.05)
    pen.line([(0.12, 0.29), (0.48, 0.29)], 0.05)


def _tree(pen: Pen) -> None:
    pen.detail(WOOD, rectangle(-0.15, 0.2, 0.15, 0.88))
    pen.body(disc(0, -0.44, 0.46), disc(-0.42, -0.02, 0.44), disc(0.42, -0.02, 0.44), disc(0, 0.08, 0.4))


def _fish(pen: Pen) -> None:
    pen.body([(-0.4, 0), (-0.9, -0.5), (-0.78, 0), (-0.9, 0.5)], disc(0.14, 0, 0.72, 0.52))
    pen.line(disc(0.12, 0, 0.36, 0.4, start=-55, stop=55), 0.07)
    pen.eye(0.58, -0.12, 0.15)


def _balloon(pen: Pen) -> None:
    pen.line([(0, 0.5), (0.08, 0.64), (-0.06, 0.78), (0.04, 0.92)], 0.07)
    pen.body([(0, 0.36), (0.15, 0.58), (-0.15, 0.58)], disc(0, -0.24, 0.58, 0.66))
    pen.gleam(disc(-0.24, -0.52, 0.13, 0.19))


def _car(pen: Pen) -> None:
    pen.body([(-0.56, 0.05), (-0.36, -0.5), (0.3, -0.5), (0.56, 0.05)], rectangle(-0.9, -0.04, 0.9, 0.46))
    pen.detail(GLASS, [(-0.38, -0.02), (-0.26, -0.36), (-0.06, -0.36), (-0.06, -0.02)], outline=0.05)
    pen.detail(GLASS, [(0.08, -0.02), (0.08, -0.36), (0.22, -0.36), (0.38, -0.02)], outline=0.05)
    for x in (-0.48, 0.48):
        pen.detail((60, 60, 66), disc(x, 0.46, 0.25))
        pen.detail((220, 220, 224), disc(x, 0.46, 0.1), outline=0)
    pen.detail(GOLD, disc(0.82, 0.14, 0.08), outline=0.03)


def _rocket(pen: Pen) -> None:
    pen.detail(FLAME, [(-0.2, 0.5), (0, 0.94), (0.2, 0.5)])
    pen.detail(
        (110, 110, 122),
        [(-0.24, 0.1), (-0.62, 0.64), (-0.24, 0.52)],
        [(0.24, 0.1), (0.62, 0.64), (0.24, 0.52)],
    )
    left = [(-0.36, y / 10) for y in range(-2, 6)]
    nose = disc(0, -0.2, 0.36, 0.7, start=180, stop=360)
    pen.body([*nose, *[(-x, y) for x, y in left], *reversed(left)])
    pen.detail(GLASS, disc(0, -0.2, 0.17), outline=0.08)


def _cat(pen: Pen) -> None:
    ear = [(0.76, -0.2), (0.74, -0.86), (0.16, -0.5)]
    pen.body([(-x, y) for x, y in ear], ear, disc(0, 0.12, 0.82, 0.7))
    pen.eye(-0.32, 0, 0.17)
    pen.eye(0.32, 0, 0.17)
    pen.detail((240, 120, 140), [(-0.1, 0.24), (0.1, 0.24), (0, 0.38)], outline=0.05)
    whisker = INK if pen.colour != "black" else (215, 215, 215)
    for y in (0.3, 0.46):
        pen.line([(0.26, 0.36), (0.72, y)], 0.05, whisker)
        pen.line([(-0.26, 0.36), (-0.72, y)], 0.05, whisker)


def _umbrella(pen: Pen) -> None:
    pen.line([(0, -0.8), (0, 0.66), *disc(0.16, 0.68, 0.16, start=180, stop=20)], 0.12)
    scallops = [p for i in range(4) for p in disc(0.66 - 0.44 * i, 0.06, 0.22, 0.14, start=0, stop=-180)]
    pen.body([*disc(0, 0.06, 0.88, 0.82, start=180, stop=360), *scallops])
    pen.line([(-0.22, 0), (-0.12, -0.44), (0, -0.76), (0.12, -0.44), (0.22, 0)], 0.05)


def _flower(pen: Pen) -> None:
    pen.line([(0, 0.1), (0, 0.9)], 0.13, LEAF)
    pen.detail(LEAF, disc(0.25, 0.66, 0.23, 0.12), outline=0.06)
    turns = [math.radians(60 * i + 30) for i in range(6)]
    pen.body(*[disc(0.4 * math.cos(a), -0.26 + 0.4 * math.sin(a), 0.27) for a in turns])
    pen.detail(WOOD if pen.colour in ("yellow", "orange") else GOLD, disc(0, -0.26, 0.22), outline=0.07)


def _key(pen: Pen) -> None:
    wards = [(0.78, 0.12), (0.78, 0.48), (0.58, 0.48), (0.58, 0.12), (0.44, 0.12), (0.44, 0.4), (0.24, 0.4)]
    shaft = [(-0.14, 0.12), (-0.14, -0.14), (0.9, -0.14), (0.9, 0.12), *wards, (0.24, 0.12)]
    pen.body(shaft, [*disc(-0.46, 0, 0.44), *disc(-0.46, 0, 0.19, start=360, stop=0)])


def _mushroom(pen: Pen) -> None:
    pen.detail(CREAM, [(-0.24, 0), (0.24, 0), (0.32, 0.82), (-0.32, 0.82)])
    pen.body(disc(0, 0.1, 0.88, 0.86, start=180, stop=360))
    pen.gleam(disc(-0.36, -0.36, 0.2, 0.13))


def _bird(pen: Pen) -> None:
    pen.detail(GOLD, [(0.6, -0.36), (0.94, -0.22), (0.6, -0.1)])
    pen.line([(-0.06, 0.6), (-0.1, 0.88)], 0.08, WOOD)
    pen.line([(0.14, 0.6), (0.14, 0.88)], 0.08, WOOD)
    pen.body(
        [(-0.4, 0.1), (-0.92, -0.22), (-0.78, 0.36)], disc(-0.04, 0.2, 0.58, 0.46), disc(0.36, -0.3, 0.38)
    )
    pen.line(disc(-0.16, 0.14, 0.3, 0.24, start=10, stop=170), 0.08)
    pen.eye(0.44, -0.36, 0.12)


def _cup(pen: Pen) -> None:
    pen.body([*disc(0.5, 0.1, 0.42, 0.42, start=-90, stop=90), *disc(0.5, 0.1, 0.2, 0.2, start=90, stop=-90)])
    pen.body([(-0.72, -0.5), (0.56, -0.5), (0.42, 0.8), (-0.58, 0.8)])
    pen.detail((96, 62, 44), disc(-0.08, -0.5, 0.62, 0.15))
    for x in (-0.3, 0.12):
        pen.line([(x, -0.72), (x + 0.06, -0.8), (x, -0.9)], 0.07, (170, 170, 178))


def _kite(pen: Pen) -> None:
    pen.line([(0.0, 0.45), (-0.1, 0.68), (-0.36, 0.74), (-0.56, 0.7), (-0.78, 0.86)], 0.08)
    pen.detail(GOLD, disc(-0.24, 0.73, 0.11), disc(-0.66, 0.76, 0.11), outline=0.05)
    top, right, bottom, left = (0.26, -0.92), (0.9, -0.2), (-0.04, 0.6), (-0.66, -0.34)
    pen.body([top, right, bottom, left])
    pen.line([top, bottom], 0.07)
    pen.line([left, right], 0.07)


def _cloud(pen: Pen) -> None:
    puffs = ((-0.48, 0.16, 0.4), (0.5, 0.18, 0.38), (-0.1, -0.16, 0.48), (0.24, 0.1, 0.42), (0, 0.22, 0.36))
    pen.body(*[disc(x, y, radius) for x, y, radius in puffs])


def _bell(pen: Pen) -> None:
    pen.detail((90, 70, 40), disc(0, 0.68, 0.17))
    left = [(-0.82, 0.6), (-0.62, 0.42), (-0.54, 0.1)]
    dome = disc(0, -0.12, 0.54, 0.56, start=180, stop=360)
    pen.detail((90, 70, 40), disc(0, -0.74, 0.13), outline=0.08)
    pen.body([*left, *dome, *[(-x, y) for x, y in reversed(left)]])
    pen.line([(-0.58, 0.36), (0.58, 0.36)], 0.06)


def _apple(pen: Pen) -> None:
    pen.line([(0, -0.4), (0.08, -0.8)], 0.12, WOOD)
    pen.body(disc(-0.3, 0.14, 0.52, 0.62), disc(0.3, 0.14, 0.52, 0.62))
    pen.detail(LEAF, [(0.1, -0.56), (0.3, -0.82), (0.64, -0.8), (0.46, -0.56)], outline=0.07)
    pen.gleam(disc(-0.46, -0.1, 0.13, 0.2))


def _crown(pen: Pen) -> None:
    peaks = [(-0.9, -0.5), (-0.44, 0.02), (0, -0.74), (0.44, 0.02), (0.9, -0.5)]
    pen.body([(-0.72, 0.66), *peaks, (0.72, 0.66)])
    pen.detail((232, 60, 90) if pen.colour != "red" else GLASS, disc(0, 0.36, 0.13), outline=0.06)
    for x, y in ((-0.88, -0.54), (0, -0.76), (0.88, -0.54)):
        pen.detail(CREAM, disc(x, y, 0.09), outline=0.06)


def _butterfly(pen: Pen) -> None:
    pen.line([(0, -0.4), (-0.24, -0.84)], 0.07)
    pen.line([(0, -0.4), (0.24, -0.84)], 0.07)
    for side in (-1, 1):
        pen.body(disc(side * 0.48, -0.26, 0.42, 0.44), disc(side * 0.4, 0.42, 0.34, 0.38))
    pen.detail((70, 56, 60), disc(0, 0.06, 0.12, 0.56), outline=0.05)


def _box(pen: Pen) -> None:
    pen.body(rectangle(-0.88, -0.88, 0.88, 0.88))
    pen.line([(-0.8, -0.6), (0.8, -0.6)], 0.06)
    pen.line([(-0.8, 0.6), (0.8, 0.6)], 0.06)
    pen.line([(-0.76, 0.5), (0.76, -0.5)], 0.12, WOOD)


def _wall(pen: Pen) -> None:
    pen.body(rectangle(-0.88, -0.88, 0.88, 0.88))
    for row in range(5):
        top = -0.88 + row * 0.352
        pen.line([(-0.86, top), (0.86, top)], 0.05, (96, 98, 108))
        for x in (-0.44, 0.44) if row % 2 else (0.0,):
            pen.line([(x, top), (x, top + 0.352)], 0.05, (96, 98, 108))


DRAWINGS: dict[str, Callable[[Pen], None]] = {
    "ball": _ball,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "ring": _ring,
    "cross": _cross,
    "moon": _moon,
    "boat": _boat,
    "house": _house,
    "tree": _tree,
    "fish": _fish,
    "balloon": _balloon,
    "car": _car,
    "rocket": _rocket,
    "cat": _cat,
    "umbrella": _umbrella,
    "flower": _flower,
    "key": _key,
    "mushroom": _mushroom,
    "bird": _bird,
    "cup": _cup,
    "kite": _kite,
    "cloud": _cloud,
    "bell": _bell,
    "apple": _apple,
    "crown": _crown,
    "butterfly": _butterfly,
    "box": _box,
    "wall": _wall,
}
COVERS = {"box": "brown", "wall": "grey"}
"""Things to hide behind, and their fixed colours."""

KINDS = tuple(kind for kind in DRAWINGS if kind not in COVERS)
"""Things that can act."""

ROUND_KINDS = frozenset({"ball", "ring"})
"""Things that look the same at every angle if they have no texture."""


@lru_cache(maxsize=4096)
def sprite(kind: str, colour: str, texture: str, side: int) -> np.ndarray:
    """A drawing of one thing, to be pasted on a picture.

    Returns:
        `[side, side, 4]` uint8: red, green, blue (each already multiplied with alpha) and alpha. Read-only.
    """
    factor = max(3, 256 // side)
    pen = Pen(side * factor, colour, texture)
    DRAWINGS[kind](pen)
    alpha = pen.canvas.getchannel("A")
    # A blur with a low threshold widens the outline of the drawing: the rim.
    rim = alpha.filter(ImageFilter.GaussianBlur(0.012 * pen.side)).point(lambda a: 235 if a > 24 else 0)
    sticker = Image.new("RGBA", pen.canvas.size, (255, 255, 255, 0))
    sticker.putalpha(rim)
    sticker.alpha_composite(pen.canvas)
    pixels = np.array(sticker.convert("RGBa").reduce(factor))
    pixels.setflags(write=False)
    return pixels


@cache
def extent(kind: str) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the drawing of a kind, in -1..1 of its square."""
    side = 256
    rows, columns = np.nonzero(sprite(kind, "red", "plain", side)[..., 3] > 127)
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    left, top, right, bottom = (2 * int(edge) / side - 1 for edge in edges)
    return left, top, right, bottom
