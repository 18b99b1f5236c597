import numpy as np
import pytest
from scipy.stats import ks_2samp

from prost.bench.generator import Generator, Recombination
from prost.bench.real import RealPrototypes
from prost.bench.realism import (
    TURNS,
    fit_recombination,
    histogram,
    judge,
    ks_statistic,
    nearest_distances,
)
from prost.model.matching import TextPrototypes


def test_ks_statistic_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.3, 5.0):
        one, other = rng.standard_normal(200), rng.standard_normal(130) + shift
        assert ks_statistic(one, other) == pytest.approx(ks_2samp(one, other).statistic)
    assert ks_statistic(np.ones(4), np.ones(9)) == 0


def test_nearest_distances_skip_the_clip_itself() -> None:
    # Two clips of one slot and two frames: inside a clip the vectors are the same, between clips they are not.
    east, north, north_east = [1.0, 0.0], [0.0, 1.0], [0.5**0.5, 0.5**0.5]
    tracks = np.array([[[east, east]], [[north, north_east]]], np.float32)
    distances = sorted(nearest_distances(tracks).tolist())
    assert distances == pytest.approx([1 - 0.5**0.5] * 3 + [1.0])


def test_nearest_distances_are_those_of_a_plain_search(held_out: RealPrototypes) -> None:
    tracks = held_out.object[:12]
    flat = tracks.reshape(12, -1, tracks.shape[-1]).astype(np.float64)
    plain = [
        1 - max((flat[other] @ vector).max() for other in range(12) if other != clip)
        for clip in range(12)
        for vector in flat[clip]
    ]
    np.testing.assert_allclose(np.sort(nearest_distances(tracks)), np.sort(plain), atol=1e-6)


def test_histogram_shares_sum_to_one_whatever_lies_outside() -> None:
    rng = np.random.default_rng(1)
    real, other, made = (rng.standard_normal(5000) for _ in range(3))
    found = histogram(real, other, made + 1)
    assert sum(found.real) == pytest.approx(1)
    assert sum(found.generated) == pytest.approx(1)
    assert found.ks > 0.3 > 0.05 > found.ks_real
    assert histogram(np.ones(5), np.ones(5), np.ones(5)).ks == 0


def test_the_fit_takes_the_turn_that_made_the_target(real: RealPrototypes) -> None:
    """Clips made with one turn are found to be made with it, or with a neighbour of it."""
    made = Generator(real, Recombination(seed=11, object_turn=TURNS[2], event_turn=TURNS[5]))
    target = made.materialise(made.block(0, 200))
    fitted = fit_recombination(real, target, seed=12)
    assert fitted.seed == 12
    assert abs(TURNS.index(fitted.object_turn) - 2) <= 1
    assert abs(TURNS.index(fitted.event_turn) - 5) <= 1


def test_generated_clips_are_judged_like_real_ones(
    generator: Generator, held_out: RealPrototypes, text: TextPrototypes
) -> None:
    found = judge(generator, held_out, text, 1.5)
    assert found.clips == 20
    assert found.score.ks < 0.3
    still = Generator(
        RealPrototypes(object=generator.tracks[:3], event=generator.events[:3, :, 0]),
        Recombination(object_turn=0.0),
    )
    assert judge(still, held_out, text, 1.5).object_distance.ks > 0.9  # twenty clips from three videos
