"""Matching of rounded prototypes: within its bound of Algorithm 1 in float64, by 8-bit products and without them."""

import numpy as np
import pytest
import torch
from tests.model.plain import object_phrase_by_einsum, object_phrase_by_loops
from torch import Tensor

from prost.errors import UsageError
from prost.model import eight_bits
from prost.model.matching import TextPrototypes, VideoPrototypes, match
from prost.model.object_phrase import object_phrase_score

BFLOAT16 = 2**-8


@pytest.fixture(params=[True, False], ids=["8-bit products", "float32 products"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the scores come from oneDNN's 8-bit product; skipped where this processor has none."""
    if request.param and not eight_bits._faster(64):
        pytest.skip("torch has no fast 8-bit product for this processor")
    monkeypatch.setattr(eight_bits, "_faster", lambda width: request.param)
    return request.param


def bound(phrase: Tensor, object: Tensor) -> Tensor:
    """How far a score `[A, B]` can be off by rounding; see the head of the module."""

    def off(vectors: Tensor) -> Tensor:
        largest, length = vectors.double().abs().amax(-1), vectors.double().norm(dim=-1)
        off = vectors.shape[-1] ** 0.5 * largest / 127 / torch.where(length == 0, 1.0, length)
        return off.flatten(1).amax(dim=1)

    return off(phrase)[:, None] + off(object)[None] + BFLOAT16


@pytest.mark.parametrize(
    ("texts", "videos", "frames", "slots", "phrases", "width"),
    [(64, 3, 2, 3, 4, 64), (70, 5, 3, 2, 3, 64), (3, 2, 1, 1, 1, 64), (65, 1, 4, 3, 2, 7)],
)
def test_within_the_bound_of_algorithm_1(
    fast: bool, texts: int, videos: int, frames: int, slots: int, phrases: int, width: int
) -> None:
    phrase, object = torch.randn(texts, phrases, width), torch.randn(videos, frames, slots, width)
    phrase *= torch.rand(texts, phrases, 1) * 100
    object *= torch.rand(videos, frames, slots, 1) * 1e-3
    phrase[0, 0], object[0, :, 0] = 0.0, 0.0
    expected = object_phrase_by_loops(phrase.double().numpy(), object.double().numpy())
    found = object_phrase_score(phrase, object, rounded=True)
    assert (np.abs(found.numpy() - expected) <= bound(phrase, object).numpy()).all()
    assert np.abs(found.numpy() - expected).mean() < 0.01


def test_integers_are_matched_exactly(fast: bool) -> None:
    """Vectors of whole numbers up to 127 are not rounded, so that only the products' own rounding is left."""
    phrase = torch.randint(-127, 128, (80, 3, 32)).float()
    object = torch.randint(-127, 128, (6, 2, 3, 32)).float()
    phrase[..., 0], object[..., 1] = 127.0, -127.0
    expected = object_phrase_by_einsum(phrase.double(), object.double())
    found = object_phrase_score(phrase, object, rounded=True)
    atol = BFLOAT16 if fast else 1e-6
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0)


def test_the_ranking_stays(fast: bool) -> None:
    """Videos near the text's own one rank as without rounding; among unrelated ones hardly any pair changes places."""
    object = torch.randn(100, 3, 2, 64)
    phrase = object[:, 0].repeat(1, 2, 1) + torch.randn(100, 4, 64)
    exact, found = (object_phrase_score(phrase, object, rounded=rounded) for rounded in (False, True))
    assert torch.equal(exact.argmax(dim=1), found.argmax(dim=1))
    places = [scores.argsort(dim=1).argsort(dim=1).float() for scores in (exact, found)]
    correlation = torch.corrcoef(torch.stack([place.flatten() for place in places]))[0, 1]
    assert correlation > 0.995


def test_tiles_change_nothing(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    phrase, object = torch.randn(130, 3, 64), torch.randn(5, 2, 3, 64)
    expected = object_phrase_score(phrase, object, rounded=True)
    monkeypatch.setattr(eight_bits, "TILE", 1)
    monkeypatch.setattr(eight_bits, "AT_ONCE", 1)
    torch.testing.assert_close(object_phrase_score(phrase, object, rounded=True), expected)


def test_masks(fast: bool) -> None:
    phrase, object = torch.randn(64, 4, 64), torch.randn(3, 5, 2, 64)
    phrase[:, 0], object[:, 2] = float("nan"), float("nan")
    phrase_mask, frame_mask = (torch.arange(4) > 0).expand(64, 4), (torch.arange(5) != 2).repeat(3, 1)
    frame_mask[1] = False
    found = object_phrase_score(phrase, object, phrase_mask=phrase_mask, frame_mask=frame_mask, rounded=True)
    expected = object_phrase_score(phrase[:, 1:], object[:, [0, 1, 3, 4]], rounded=True)
    expected[:, 1] = 0.0
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_number_spoils_its_own_scores_alone(bad: float, fast: bool) -> None:
    phrase, object = torch.randn(66, 2, 64), torch.randn(4, 2, 3, 64)
    expected = object_phrase_score(phrase, object, rounded=True)
    phrase[1, 0, 2], object[2, 1, 1, 0] = bad, bad
    expected[1], expected[:, 2] = float("nan"), float("nan")
    found = object_phrase_score(phrase, object, rounded=True)
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1e20, 1e37])
def test_vectors_of_any_length(size: float, fast: bool) -> None:
    phrase, object = torch.randn(64, 2, 64), torch.randn(3, 2, 2, 64)
    expected = object_phrase_score(phrase, object, rounded=True)
    found = object_phrase_score(size * phrase, size * object, rounded=True)
    torch.testing.assert_close(found, expected, atol=0.02 if size < 1e-37 else 0.005, rtol=0)


def test_codes_of_a_library_are_not_rounded_again(fast: bool) -> None:
    phrase, codes = torch.randn(64, 3, 64), torch.randint(-50, 51, (4, 2, 3, 64), dtype=torch.int8)
    inverse = 1 / codes.float().norm(dim=-1)
    expected = object_phrase_score(phrase, codes)
    for lengths in (None, inverse):
        found = object_phrase_score(phrase, codes, inverse_lengths=lengths, rounded=True)
        assert ((found - expected).abs() <= bound(phrase, codes)).all()


def test_half_precision_prototypes(fast: bool) -> None:
    phrase, object = torch.randn(64, 3, 64).bfloat16(), torch.randn(4, 2, 3, 64).bfloat16()
    expected = object_phrase_score(phrase.float(), object.float(), rounded=True)
    torch.testing.assert_close(object_phrase_score(phrase, object, rounded=True), expected)


@pytest.mark.parametrize(("texts", "videos"), [(0, 2), (64, 0)])
def test_nothing_to_match(texts: int, videos: int, fast: bool) -> None:
    found = object_phrase_score(torch.randn(texts, 3, 64), torch.randn(videos, 2, 3, 64), rounded=True)
    assert found.shape == (texts, videos)


def test_it_is_refused_with_a_gradient() -> None:
    text = TextPrototypes(torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 8))
    video = VideoPrototypes(torch.randn(2, 1, 3, 8), torch.randn(2, 1, 8))
    with pytest.raises(UsageError, match=r"8-bit matching .* gradient; expected: torch.no_grad"):
        match(text, video, rounded=True)
    with torch.no_grad():
        assert match(text, video, rounded=True).total.shape == (2, 2)


def test_torch_without_such_a_product_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> Tensor:
        raise NotImplementedError("no such operator")

    monkeypatch.setattr(eight_bits, "packed", missing)
    eight_bits._faster.cache_clear()
    assert not eight_bits.pay(torch.ones(64, 1, 24), torch.ones(1, 1, 1, 24))
    eight_bits._faster.cache_clear()
