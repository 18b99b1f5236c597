"""Values of a small configuration that every model can be built from."""

from typing import Any

import pytest


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Three frames of 32 x 32 pixels, four patches each; eight of twelve words."""
    clip = {
        "image_size": 32,
        "patch_size": 16,
        "vision_width": 64,
        "vision_layers": 2,
        "text_width": 64,
        "text_layers": 2,
        "vocabulary": 12,
        "text_positions": 16,
    }
    return {"clip": clip, "width": 64, "frames": 3, "max_words": 8}
