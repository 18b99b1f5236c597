"""The marks around a thing that acts, as in comics: streaks behind what moves, a spring under what jumps.

A dozen frames of a video show where things are and seldom how they move; in real videos a single frame tells that all
the same (by posture, by blur, by the ball in the air). Marks are Toybox's way to tell it.

Marks are drawn on a square around the thing, from (-1, -1) to (1, 1), of which the thing itself fills the middle.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from .drawing import INK, Colour, Points, disc

WHITE: Colour = (255, 255, 255)
YELLOW: Colour = (255, 232, 80)
SKY: Colour = (110, 226, 255)
LIME: Colour = (160, 240, 90)
ROSE: Colour = (255, 120, 180)
CORAL: Colour = (255, 128, 80)
SMOKE: Colour = (196, 196, 206)
VIOLET: Colour = (190, 130, 255)
FLAME: Colour = (255, 176, 40)
AZURE: Colour = (70, 140, 255)

_WIDTH = 0.085
"""Width of a stroke; its dark edge adds half as much on either side."""


def marks_side(side: float) -> float:
    """Side of the square of a thing's marks, from the side of the thing; both are fractions of the stage.

    Small things get marks that are large for them, or nobody would see what they do.
    """
    return 1.25 * side + 0.19


def _turned(lines: list[Points], quarters: int) -> list[Points]:
    """The same lines, turned clockwise by a number of quarter turns."""
    for _ in range(quarters):
        lines = [[(-y, x) for x, y in line] for line in lines]
    return lines


def _moving(quarters: int) -> list[Points]:
    """Streaks behind and an arrowhead in front of a thing that moves right, down, left or up."""
    streaks = [[(-0.95, y), (-0.66, y)] for y in (-0.4, 0.0, 0.4)]
    head = [(0.7, -0.3), (0.93, 0.0), (0.7, 0.3)]
    return _turned([*streaks, head], quarters)


def _trail() -> list[Points]:
    """Steps that go round a corner."""
    return [disc(0.78 * math.cos(a), 0.78 * math.sin(a), 0.035) for a in np.linspace(0.2, 2.94, 7)]


def _calls() -> list[Points]:
    """Three lines of surprise above the thing."""
    calls: list[Points] = []
    for x in (-0.5, 0.0, 0.5):
        calls += [[(x, -0.96), (x, -0.76)], disc(x, -0.6, 0.02)]
    return calls


def _arrows(tip: float, tail: float) -> list[Points]:
    """Arrows in the four corners, from one distance from the centre to another."""
    one: list[Points] = [
        [(tail, tail), (tip, tip)],
        [
            (tip, tip - math.copysign(0.24, tip - tail)),
            (tip, tip),
            (tip - math.copysign(0.24, tip - tail), tip),
        ],
    ]
    return [line for quarters in range(4) for line in _turned(one, quarters)]


def _arcs() -> list[Points]:
    return [disc(0, 0, 0.82, start=start, stop=start + 62) for start in (10, 100, 190, 280)]


def _rays() -> list[Points]:
    turns = [math.tau * i / 10 for i in range(10)]
    return [
        [(0.66 * math.cos(a), 0.66 * math.sin(a)), (0.95 * math.cos(a), 0.95 * math.sin(a))] for a in turns
    ]


def _spring() -> list[Points]:
    return [[(0.32 * (-1) ** i, 0.6 + 0.09 * i) for i in range(5)], [(-0.5, 0.97), (0.5, 0.97)]]


def _zigzags() -> list[Points]:
    right: Points = [(0.72 + 0.11 * (-1) ** i, -0.6 + 0.24 * i) for i in range(6)]
    return [right, [(-x, y) for x, y in right]]


def _stars() -> list[Points]:
    def star(x: float, y: float) -> list[Points]:
        return [[(x - 0.16, y), (x + 0.16, y)], [(x, y - 0.16), (x, y + 0.16)]]

    return [line for x in (-0.74, 0.74) for y in (-0.74, 0.74) for line in star(x, y)]


def _puffs() -> list[Points]:
    return [
        disc(0.76 * math.cos(a), 0.76 * math.sin(a), 0.06)
        for a in np.linspace(0, math.tau, 6, endpoint=False)
    ]


MARKS: dict[str, tuple[Colour, list[Points]]] = {
    "moves right": (WHITE, _moving(0)),
    "falls": (AZURE, _moving(1)),
    "moves left": (VIOLET, _moving(2)),
    "rises": (FLAME, _moving(3)),
    "grows": (LIME, _arrows(0.92, 0.6)),
    "shrinks": (ROSE, _arrows(0.6, 0.92)),
    "spins": (SKY, _arcs()),
    "blinks": (YELLOW, _rays()),
    "jumps": (LIME, _spring()),
    "shakes": (CORAL, _zigzags()),
    "hides": (WHITE, _trail()),
    "comes out": (YELLOW, _calls()),
    "appears": (YELLOW, _stars()),
    "disappears": (SMOKE, _puffs()),
}
"""Colour and lines of each action's marks. The four directions also differ in colour: by their form alone, which
differs by a rotation, 1,800 training steps on frames distinguished them in one case of five."""


@lru_cache(maxsize=128)
def marks(action: str, side: int) -> np.ndarray:
    """The marks of an action.

    Args:
        action: a name in `MARKS`.
        side: of the image, in pixels.

    Returns:
        uint8 `[side, side, 4]` as of `drawing.sprite`. Read-only.
    """
    colour, lines = MARKS[action]
    large = 4 * side
    canvas = Image.new("RGBA", (large, large), (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    for paint, width in ((INK, 2 * _WIDTH), (colour, _WIDTH)):
        thickness = width * large / 2
        for line in lines:
            pixels = [((x + 1) * large / 2, (y + 1) * large / 2) for x, y in line]
            draw.line(pixels, (*paint, 255), round(thickness), joint="curve")
            for x, y in (pixels[0], pixels[-1]):
                radius = thickness / 2
                draw.ellipse([x - radius, y - radius, x + radius, y + radius], (*paint, 255))
    image = np.array(canvas.convert("RGBa").reduce(4))
    image.setflags(write=False)
    return image
