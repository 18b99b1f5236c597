"""Heat maps as pictures to lay over frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# How much of a patch without heat the veil covers: what is there can still be made out.
OPACITY = 0.82
PALE = (250, 248, 244)
# Said wherever heat is shown.
CAVEAT = (
    "The patches of the vision tower have exchanged information before they are weighed, so heat may lie beside the "
    "thing that caused it."
)


def veil(heat: NDArray[np.float32], strongest: float, side: int) -> NDArray[np.uint8]:
    """One frame's map as a veil to lay over it: what has heat is seen through it, the rest is pale.

    A veil works on pictures of any colour, where coloured heat would vanish on things of its own colour.

    Args:
        heat: `[G, G]`; what is below zero speaks against the sentence and is covered like 0.
        strongest: the heat where nothing is covered, common to all frames of a clip.
        side: pixels.

    Returns:
        RGBA `[side, side, 4]`.
    """
    scaled = np.clip(heat / strongest if strongest > 0 else np.zeros_like(heat), 0, 1)
    smooth = Image.fromarray(scaled.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    covered = OPACITY * (1 - np.clip(np.asarray(smooth), 0, 1))
    colour = np.broadcast_to(np.array(PALE, np.float32), (side, side, 3))
    return np.concatenate([colour, 255 * covered[..., None]], axis=-1).round().astype(np.uint8)


def strongest_heat(heat: NDArray[np.float32]) -> float:
    """The heat that should be drawn most strongly: the 99th percentile of a map of any shape."""
    return float(np.percentile(heat, 99))
