"""Backgrounds: quiet, and the same on the stage whatever the picture's shape."""

import numpy as np
import pytest

from prost.data.toybox.background import BACKGROUNDS, VARIANTS, backdrop


@pytest.mark.parametrize("name", BACKGROUNDS)
@pytest.mark.parametrize(("width", "height"), [(160, 96), (96, 160)])
def test_stage_does_not_depend_on_the_shape(name: str, width: int, height: int) -> None:
    whole = backdrop(name, 1, width, height).astype(int)
    left, top = (width - 96) // 2, (height - 96) // 2
    stage = whole[top : top + 96, left : left + 96]
    assert np.abs(stage - backdrop(name, 1, 96, 96)).mean() < 1


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_variants_differ(name: str) -> None:
    pictures = [backdrop(name, variant, 64, 64).tobytes() for variant in range(VARIANTS)]
    assert len(set(pictures)) == VARIANTS
