"""A codebook: nearest directions, zero vectors apart, nothing lost where there are few different vectors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import prost.search.codebook as codebook_module
from prost.search.codebook import Codebook, codebook_size, train_codebook


def bunches(count: int, width: int = 16, centres: int = 40, seed: int = 0) -> torch.Tensor:
    """Vectors of many lengths about a few directions."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(centres, width, generator=generator)
    chosen = centre[torch.randint(centres, (count,), generator=generator)]
    vectors = chosen + 0.3 * torch.randn(count, width, generator=generator)
    return vectors * (0.1 + 10 * torch.rand(count, 1, generator=generator))


def cosines_of(vectors: torch.Tensor, codebook: Codebook) -> np.ndarray:
    """Cosines of vectors and all centroids but the zero vector, in float64."""
    vectors, centroids = vectors.double().numpy(), codebook.centroids[1:].double().numpy()
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ centroids.T


def test_centroid_0_is_zero_and_the_others_have_length_one() -> None:
    codebook = train_codebook(bunches(900), 64)
    assert len(codebook) == 64
    assert codebook.centroids[0].tolist() == [0] * 16
    assert torch.linalg.vector_norm(codebook.centroids[1:], dim=1) == pytest.approx(np.ones(63), abs=1e-5)


def test_a_code_is_the_nearest_direction() -> None:
    codebook = train_codebook(bunches(900), 64)
    vectors = bunches(300, seed=1)

    codes, cosines = codebook.assign(vectors)

    expected = cosines_of(vectors, codebook)
    assert (codes.numpy() == expected.argmax(axis=1) + 1).all()
    assert cosines.numpy() == pytest.approx(expected.max(axis=1), abs=1e-5)


def test_cells_find_nearly_always_the_nearest_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebook_module, "ONE_CELL", 8)
    codebook = train_codebook(bunches(4000, centres=200), 256)
    assert len(codebook) == 256
    assert len(codebook.cells) > codebook_module.CELLS_COMPARED
    assert codebook.starts[0] == 1
    assert codebook.starts[-1] == 256
    vectors = bunches(1000, centres=200, seed=0)

    codes, cosines = codebook.assign(vectors)

    expected = cosines_of(vectors, codebook)
    assert (codes.numpy() == expected.argmax(axis=1) + 1).mean() > 0.97
    assert cosines.numpy() == pytest.approx(expected[np.arange(1000), codes.numpy() - 1], abs=1e-5)


def test_the_length_of_a_vector_does_not_matter() -> None:
    codebook = train_codebook(bunches(900), 64)
    vectors = bunches(50, seed=2)
    assert codebook.assign(vectors)[0].tolist() == codebook.assign(vectors * 1000)[0].tolist()


def test_zero_vectors_have_code_0_and_lose_nothing() -> None:
    vectors = bunches(500)
    vectors[::3] = 0
    codebook = train_codebook(vectors, 32)

    codes, cosines = codebook.assign(vectors)

    assert (codes[::3] == 0).all()
    assert (cosines[::3] == 1).all()
    assert (codes.reshape(-1)[1::3] > 0).all()


def test_few_different_vectors_are_the_centroids_themselves() -> None:
    different = bunches(30, seed=3)
    vectors = torch.cat([torch.zeros(4, 16), different, different * 2, different[:7]])

    codebook = train_codebook(vectors, 64)

    assert len(codebook) == 31
    assert codebook.error == 0
    assert codebook.assign(vectors)[1].numpy() == pytest.approx(np.ones(len(vectors)), abs=1e-5)


@pytest.mark.parametrize("vectors", [torch.zeros(9, 16), torch.empty(0, 16)], ids=["zero", "none"])
def test_a_library_of_nothing_but_dead_slots(vectors: torch.Tensor) -> None:
    codebook = train_codebook(vectors, 64)
    assert len(codebook) == 1
    assert codebook.assign(torch.zeros(2, 16))[0].tolist() == [0, 0]
    assert codebook.assign(torch.ones(2, 16))[0].tolist() == [0, 0]


def test_more_centroids_lose_less() -> None:
    vectors = bunches(3000, centres=300)
    errors = [train_codebook(vectors, size).error for size in (16, 64, 256)]
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] == pytest.approx(
        1 - float(train_codebook(vectors, 256).assign(vectors)[1].mean()), abs=1e-6
    )


def test_the_same_seed_gives_the_same_codebook() -> None:
    first, second = (train_codebook(bunches(600), 64, seed=5) for _ in range(2))
    assert torch.equal(first.centroids, second.centroids)


def test_the_table_holds_the_best_cosine_of_each_centroid() -> None:
    codebook = train_codebook(bunches(600), 32)
    phrases = torch.stack([bunches(5, seed=6), bunches(5, seed=7)])
    phrases[0, 2] = 0  # a dead phrase has the cosine 0 with everything

    table = codebook.best_cosines(phrases)

    for query in range(2):
        alive = phrases[query].any(dim=1)
        expected = cosines_of(phrases[query][alive], codebook).max(axis=0)
        if not alive.all():
            expected = np.maximum(expected, 0)
        assert table[query, 1:].numpy() == pytest.approx(expected, abs=1e-5)
        assert table[query, 0] == 0


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any), total=st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_cells_share_the_centroids_by_their_points(counts: list[int], total: int) -> None:
    shares = codebook_module._shares(torch.tensor(counts), total)
    assert int(shares.sum()) == min(total, sum(counts))
    assert all(0 <= share <= count for share, count in zip(shares.tolist(), counts, strict=True))


def test_a_codebook_grows_with_its_library() -> None:
    sizes = [codebook_size(count) for count in (0, 10**3, 10**5, 10**7, 10**9)]
    assert sizes == sorted(sizes)
    assert sizes[0] == codebook_module.SMALLEST_CODEBOOK
    assert sizes[-1] == codebook_module.LARGEST_CODEBOOK
