import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from prost.search.quantise import dequantise, quantise

vectors = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    elements=st.floats(-1e6, 1e6, width=32),
)


@given(vectors)
def test_no_component_moves_by_more_than_half_a_scale(vectors: np.ndarray) -> None:
    codes, scales = quantise(vectors)

    error = np.abs(dequantise(codes, scales).astype(np.float64) - vectors)
    half_a_scale = np.abs(vectors).max(axis=-1, keepdims=True) / 254
    rounding = 1e-6 * np.abs(vectors) + np.finfo(np.float32).tiny * 128
    assert (error <= half_a_scale + rounding).all()


@given(vectors, st.integers(0, 3))
def test_zero_vectors_stay_exactly_zero(vectors: np.ndarray, dead: int) -> None:
    vectors[dead % len(vectors)] = 0

    codes, scales = quantise(vectors)

    assert scales[dead % len(vectors)] == 0
    assert not codes[dead % len(vectors)].any()
    assert np.isfinite(scales).all()


@given(vectors)
def test_the_largest_component_becomes_127(vectors: np.ndarray) -> None:
    codes, scales = quantise(vectors)

    assert codes.min() >= -127
    alive = scales > 0
    assert (np.abs(codes.astype(int)).max(axis=-1)[alive] == 127).all()


def test_the_direction_of_a_prototype_is_kept_within_a_hundredth() -> None:
    prototypes = np.random.default_rng(0).normal(size=(200, 512)).astype(np.float32)

    near = dequantise(*quantise(prototypes))

    cosines = (
        (near * prototypes).sum(-1) / np.linalg.norm(near, axis=-1) / np.linalg.norm(prototypes, axis=-1)
    )
    assert cosines.min() > 0.9999
