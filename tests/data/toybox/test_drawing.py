"""The drawings: enough of them, each another, each in its own colour and texture."""

import itertools

import numpy as np
import pytest

from prost.data.toybox.drawing import COLOURS, COVERS, DRAWINGS, KINDS, PALETTE, extent, sprite
from prost.data.toybox.scene import TEXTURES


def _on_grey(kind: str, colour: str, texture: str, side: int = 32) -> np.ndarray:
    pixels = sprite(kind, colour, texture, side).astype(float)
    return pixels[..., :3] + 150 * (1 - pixels[..., 3:] / 255)


def test_there_are_enough_kinds_and_colours() -> None:
    assert len(KINDS) >= 24
    assert len(COLOURS) >= 8
    assert set(KINDS) | set(COVERS) == set(DRAWINGS)


@pytest.mark.parametrize("kind", DRAWINGS)
def test_drawing_is_premultiplied_and_not_cut_off(kind: str) -> None:
    pixels = sprite(kind, "red", "plain", 256)
    assert pixels.shape == (256, 256, 4)
    assert (pixels[..., :3].max(-1) <= pixels[..., 3]).all()
    # Something is drawn, and nothing is cut off by the edge.
    assert (pixels[..., 3] > 200).mean() > 0.15
    assert (pixels[[0, -1], :, 3] < 128).all() and (pixels[:, [0, -1], 3] < 128).all()


@pytest.mark.parametrize("kind", KINDS)
def test_its_colour_is_the_commonest_of_its_body(kind: str) -> None:
    pixels = sprite(kind, "blue", "plain", 64).astype(int)
    opaque = pixels[pixels[..., 3] > 250][:, :3]
    names = tuple(PALETTE)
    distance = np.abs(opaque[:, None] - np.array([PALETTE[name] for name in names])).sum(-1)
    votes = np.bincount(distance.argmin(1), minlength=len(names))
    # Ink counts as black; every outline has it.
    votes[names.index("black")] = 0
    assert names[votes.argmax()] == "blue"


def test_kinds_colours_and_textures_differ_when_small() -> None:
    kinds = [_on_grey(kind, "green", "plain", 16) for kind in KINDS]
    colours = [_on_grey("ball", colour, "plain", 16) for colour in COLOURS]
    textures = [_on_grey("ball", "red", texture, 16) for texture in TEXTURES]
    for looks in (kinds, colours, textures):
        for one, other in itertools.combinations(looks, 2):
            assert np.abs(one - other).mean() > 5


def test_extent_of_a_ball_is_its_circle() -> None:
    # A circle of radius 0.86 with half an outline of 0.13, and a thin rim.
    assert extent("ball") == pytest.approx((-0.93, -0.93, 0.93, 0.93), abs=0.05)
