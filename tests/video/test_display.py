"""Orientations against a plain reference that moves one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest

from prost.video.display import Orientation, size_with_short_side

ONE = 1 << 16
MATRICES = [
    (a, b, c, d)
    for a, b, c, d in (
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (-1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, 1, -1, 0),
        (0, -1, 1, 0),
        (0, -1, -1, 0),
    )
]


def shown_by_the_matrix(pixels: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Each stored point (x, y) goes to (ax + cy, bx + dy); the whole is then moved to begin at (0, 0)."""
    moved = {
        (a * x + c * y, b * x + d * y): pixels[y, x]
        for y in range(pixels.shape[0])
        for x in range(pixels.shape[1])
    }
    left, top = min(x for x, _ in moved), min(y for _, y in moved)
    right, bottom = max(x for x, _ in moved), max(y for _, y in moved)
    shown = np.empty((bottom - top + 1, right - left + 1, 3), dtype=pixels.dtype)
    for (x, y), colour in moved.items():
        shown[y - top, x - left] = colour
    return shown


@pytest.mark.parametrize(("a", "b", "c", "d"), MATRICES)
def test_all_eight_orientations(a: int, b: int, c: int, d: int) -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    orientation = Orientation.from_matrix([a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30])
    np.testing.assert_array_equal(orientation.apply(pixels), shown_by_the_matrix(pixels, a, b, c, d))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_clockwise(degrees: int) -> None:
    turn = np.deg2rad(degrees)
    matrix = [round(value * ONE) for value in (np.cos(turn), np.sin(turn), 0, -np.sin(turn), np.cos(turn))]
    orientation = Orientation.from_matrix([*matrix, 0, 0, 0, 1 << 30])
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert orientation.rotation == degrees
    np.testing.assert_array_equal(orientation.apply(pixels), np.rot90(pixels, k=-degrees // 90))


def test_a_crooked_turn_goes_to_the_nearest_quarter() -> None:
    turn = np.deg2rad(80)
    matrix = [int(value * ONE) for value in (np.cos(turn), np.sin(turn), 0, -np.sin(turn), np.cos(turn))]
    assert Orientation.from_matrix([*matrix, 0, 0, 0, 1 << 30]).rotation == 90


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(640, 360, (398, 224)), (360, 640, (224, 398)), (100, 100, (224, 224)), (3, 2, (336, 224))],
)
def test_size_with_short_side_rounds_down(width: int, height: int, expected: tuple[int, int]) -> None:
    assert size_with_short_side(width, height, 224) == expected
