"""Heat maps as pictures to lay over frames."""

import numpy as np

from prost.page.heat import strongest_heat, veil


def test_the_veil_is_thin_where_there_is_heat() -> None:
    heat = np.zeros((6, 6), np.float32)
    heat[1, 4] = 1.0
    covered = veil(heat, strongest_heat(np.array([0.0, 1.0])), 60)[..., 3]
    assert covered.shape == (60, 60)
    assert covered[15, 45] < 0.3 * covered.max()  # the middle of that patch
    assert covered[45, 15] == covered.max()
    # Without any heat the whole frame is covered, and nothing divides by zero.
    assert (veil(np.zeros((6, 6), np.float32), 0.0, 12)[..., 3] == covered.max()).all()
    assert (veil(-heat, 1.0, 12)[..., 3] == covered.max()).all()
