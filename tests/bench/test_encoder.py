import numpy as np
import pytest
import torch

from prost.bench.encoder import BlockEncoder, nearest_centroids
from prost.bench.generator import Generator
from prost.search.codebook import Codebook, train_codebook
from prost.search.quantise import dequantise, quantise


@pytest.fixture
def codebook(generator: Generator) -> Codebook:
    vectors = generator.materialise(generator.block(0)).object.reshape(-1, generator.tracks.shape[-1])
    return train_codebook(torch.from_numpy(vectors), 256)


@pytest.mark.slow
def test_rows_are_the_quantised_prototypes(generator: Generator, codebook: Codebook) -> None:
    block = generator.block(1, 50)
    encoded = BlockEncoder(generator, codebook).encode(block)
    made = generator.materialise(block)
    vectors = made.object.transpose(0, 2, 1, 3)  # stored frame by frame
    codes, scales = quantise(vectors)
    # A value in the middle between two codes may go either way, by float32 rounding.
    assert np.abs(encoded.object_codes.astype(int) - codes).max() <= 1
    assert (encoded.object_codes != codes).mean() < 1e-3
    np.testing.assert_allclose(encoded.object_scales, scales, rtol=1e-5)
    np.testing.assert_allclose(
        dequantise(encoded.object_codes, encoded.object_scales), vectors, atol=float(scales.max()) * 0.51
    )
    np.testing.assert_array_equal(encoded.event, made.event)


def test_dead_vectors_get_code_0(generator: Generator, codebook: Codebook) -> None:
    block = generator.block(0)
    encoded = BlockEncoder(generator, codebook).encode(block)
    dead = ~generator.materialise(block).object.transpose(0, 2, 1, 3).any(axis=-1)
    assert dead.any()
    np.testing.assert_array_equal(encoded.centroids == 0, dead)
    assert not encoded.object_codes[dead].any()
    assert not encoded.object_scales[dead].any()


def test_the_walk_ends_at_the_nearest_centroid_nearly_always(
    generator: Generator, codebook: Codebook
) -> None:
    quality = BlockEncoder(generator, codebook).quality(generator.block(2, 100))
    assert quality.agreement > 0.9
    assert 0 <= quality.lost_cosine < 0.01
    assert quality.library_agreement == 1.0  # a codebook of 256 is one cell, which is compared in full
    assert quality.library_lost_cosine == pytest.approx(0, abs=1e-6)


def test_quality_is_what_a_plain_search_says(generator: Generator, codebook: Codebook) -> None:
    encoder, block = BlockEncoder(generator, codebook), generator.block(3, 30)
    vectors = (
        generator.materialise(block).object.transpose(0, 2, 1, 3).reshape(-1, generator.tracks.shape[-1])
    )
    alive = vectors.any(axis=1)
    cosines = vectors[alive].astype(np.float64) @ codebook.centroids.numpy().astype(np.float64)[1:].T
    walked = encoder.encode(block).centroids.ravel()[alive].astype(int) - 1
    quality = encoder.quality(block)
    assert quality.agreement == pytest.approx((cosines.argmax(axis=1) == walked).mean())
    lost = cosines.max(axis=1) - cosines[np.arange(len(walked)), walked]
    assert quality.lost_cosine == pytest.approx(lost.mean(), abs=1e-6)


@pytest.mark.parametrize("count", [1, 3, 500])
def test_nearest_centroids_are_those_with_the_largest_products(count: int) -> None:
    rng = np.random.default_rng(0)
    vectors, centroids = (rng.standard_normal(shape).astype(np.float32) for shape in ((7, 5, 8), (40, 8)))
    centroids[0] = 0
    found = nearest_centroids(vectors, centroids, count)
    order = np.argsort(-(vectors @ centroids[1:].T), axis=-1)[..., :count] + 1
    np.testing.assert_array_equal(np.sort(found, axis=-1), np.sort(order, axis=-1))
