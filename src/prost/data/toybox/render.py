"""From a scene to pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np

from .background import VARIANTS, backdrop
from .drawing import sprite
from .marks import marks, marks_side
from .motion import events_of, pose_at
from .scene import Scene

SPRITE_SIDES = (16, 32, 64, 128, 256)
"""Sides of the stored drawings in pixels; the one closest to twice the needed size is scaled."""


@numba.njit(nogil=True)
def _stamp(
    frame: np.ndarray,
    image: np.ndarray,
    x: float,
    y: float,
    side: float,
    cos: float,
    sin: float,
    opacity: float,
) -> None:
    """Paste a drawing `[S, S, 4]` on a frame `[H, W, 3]`, rotated and centred at pixel (x, y).

    Each pixel is the mean of four points of the drawing, read bilinearly.
    """
    height, width = frame.shape[0], frame.shape[1]
    source = image.shape[0]
    scale = source / side
    reach = (abs(cos) + abs(sin)) * side / 2 + 1.0
    for row in range(max(0, int(y - reach)), min(height, int(y + reach) + 1)):
        for column in range(max(0, int(x - reach)), min(width, int(x + reach) + 1)):
            red = green = blue = alpha = 0.0
            for point in range(4):
                dx = column + (0.75 if point & 1 else 0.25) - x
                dy = row + (0.75 if point >> 1 else 0.25) - y
                u = (cos * dx + sin * dy) * scale + source / 2 - 0.5
                v = (cos * dy - sin * dx) * scale + source / 2 - 0.5
                left, top = math.floor(u), math.floor(v)
                if left < -1 or top < -1 or left >= source or top >= source:
                    continue
                for corner in range(4):
                    i, j = left + (corner & 1), top + (corner >> 1)
                    if 0 <= i < source and 0 <= j < source:
                        across = u - left if corner & 1 else left + 1 - u
                        down = v - top if corner >> 1 else top + 1 - v
                        weight = opacity * across * down / 4
                        red += weight * image[j, i, 0]
                        green += weight * image[j, i, 1]
                        blue += weight * image[j, i, 2]
                        alpha += weight * image[j, i, 3]
            if alpha > 0:
                rest = 1 - alpha / 255
                frame[row, column, 0] = int(frame[row, column, 0] * rest + red + 0.5)
                frame[row, column, 1] = int(frame[row, column, 1] * rest + green + 0.5)
                frame[row, column, 2] = int(frame[row, column, 2] * rest + blue + 0.5)


def render(scene: Scene, times: Sequence[float] | np.ndarray, size: int | None = None) -> np.ndarray:
    """Pictures of a scene.

    Args:
        scene: what to draw.
        times: seconds from the video's start, one a picture.
        size: side in pixels of the central square, which is then all that is drawn, as it looks after scaling the
            short side to `size` and cropping the centre; without it, the whole picture at the scene's size.

    Returns:
        `[T, H, W, 3]` uint8, red, green, blue. The same scene and times give the same bytes.
    """
    width, height = (size, size) if size is not None else (scene.width, scene.height)
    stage = min(width, height)
    left, top = (width - stage) / 2, (height - stage) / 2
    frames = np.empty((len(times), height, width, 3), np.uint8)
    frames[:] = backdrop(scene.background, scene.seed % VARIANTS, width, height)
    for index, thing in enumerate(scene.objects):
        events = events_of(scene, index)
        for frame, time in zip(frames, times, strict=True):
            pose = pose_at(scene, thing, events, float(time))
            x, y = left + pose.x * stage, top + pose.y * stage
            for event in events:
                if event.start < time < event.end:
                    side = marks_side(pose.side) * stage
                    _stamp(frame, marks(event.action, _kept_side(side)), x, y, side, 1.0, 0.0, 1.0)
            if pose.opacity <= 0:
                continue
            side = pose.side * stage
            angle = math.radians(pose.angle)
            image = sprite(thing.kind, thing.colour, thing.texture, _kept_side(side))
            _stamp(frame, image, x, y, side, math.cos(angle), math.sin(angle), pose.opacity)
    return frames


def _kept_side(side: float) -> int:
    return min(SPRITE_SIDES, key=lambda kept: abs(math.log(kept / (2 * side))))
