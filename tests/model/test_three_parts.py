"""Phrases in three 8-bit parts: Algorithm 1 on codes, as exact as float32, by products of integers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.plain import object_phrase_by_loops
from torch import Tensor

from prost.model import object_phrase, three_parts
from prost.model.object_phrase import object_phrase_score


def codes(*shape: int) -> Tensor:
    return torch.randint(-127, 128, shape, dtype=torch.int8)


def inverse_lengths(object: Tensor) -> Tensor:
    lengths = object.float().norm(dim=-1)
    return torch.where(lengths == 0, 0.0, 1 / lengths)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Integer products are taken for every width and number of objects, however slow they are here."""
    try:
        torch._int_mm(codes(2, 64), codes(64, 2))
    except (NotImplementedError, RuntimeError):
        pytest.skip("torch has no product of integers for this processor")
    monkeypatch.setattr(three_parts, "_faster", lambda width: True)
    monkeypatch.setattr(three_parts, "FEWEST_OBJECTS", 1)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("given_lengths", [True, False])
@pytest.mark.parametrize(
    ("texts", "videos", "frames", "slots", "phrases", "width"),
    [(1, 9, 12, 12, 28, 64), (3, 4, 2, 3, 5, 128), (1, 1, 1, 1, 1, 16), (2, 3, 4, 1, 32, 64)],
)
def test_scores_are_those_of_algorithm_1(
    texts: int, videos: int, frames: int, slots: int, phrases: int, width: int, given_lengths: bool
) -> None:
    phrase, object = torch.randn(texts, phrases, width), codes(videos, frames, slots, width)
    phrase *= torch.rand(texts, phrases, 1) * 1e6
    phrase[0, 0], object[0, :, 0] = 0.0, 0
    assert three_parts.pay(phrase, object)
    expected = object_phrase_by_loops(phrase.double().numpy(), object.double().numpy())
    found = object_phrase_score(
        phrase, object, inverse_lengths=inverse_lengths(object) if given_lengths else None
    )
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - expected).max() < 3e-7


@pytest.mark.usefixtures("always")
def test_they_are_as_exact_as_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    phrase, object = torch.randn(2, 28, 512), codes(30, 4, 3, 512)
    exact = object_phrase_score(phrase.double(), object)
    by_parts = object_phrase_score(phrase, object)
    monkeypatch.setattr(three_parts, "pay", lambda phrase, object: False)
    in_float32 = object_phrase_score(phrase, object)
    assert (by_parts - exact).abs().max() < 2 * (in_float32 - exact).abs().max() < 1e-6


@pytest.mark.usefixtures("always")
def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    phrase, object = torch.randn(2, 5, 64), codes(7, 3, 2, 64)
    whole = object_phrase_score(phrase, object)
    monkeypatch.setattr(three_parts, "TILE", 1)
    assert torch.equal(object_phrase_score(phrase, object), whole)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_spoils_its_own_text_alone(bad: float) -> None:
    phrase, object = torch.randn(3, 4, 64), codes(5, 2, 3, 64)
    expected = object_phrase_score(phrase, object)
    phrase[1, 2, 7] = bad
    found = object_phrase_score(phrase, object)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


@pytest.mark.usefixtures("always")
def test_masked_frames_do_not_count() -> None:
    phrase, object = torch.randn(1, 4, 64), codes(3, 5, 2, 64)
    mask = torch.tensor([True, True, False, True, False]).expand(3, 5)
    found = object_phrase_score(phrase, object, frame_mask=mask)
    torch.testing.assert_close(found, object_phrase_score(phrase, object[:, [0, 1, 3]]))


def test_taken_for_few_phrases_and_many_codes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(three_parts, "_faster", lambda width: True)
    phrase, object = torch.randn(1, 28, 64), codes(10, 12, 12, 64)
    assert three_parts.pay(phrase, object)
    assert not three_parts.pay(phrase.double(), object)
    assert not three_parts.pay(phrase, object.float())
    assert not three_parts.pay(phrase.expand(500, -1, -1), object)
    assert not three_parts.pay(phrase[:0], object)
    assert not three_parts.pay(phrase, object[:1])
    assert not three_parts.pay(phrase, object[:0])
    monkeypatch.setattr(three_parts, "_faster", lambda width: False)
    assert not three_parts.pay(phrase, object)


def test_a_processor_without_such_products_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Tensor) -> Tensor:
        raise RuntimeError("not implemented for this processor")

    monkeypatch.setattr(torch, "_int_mm", refuse)
    assert not three_parts._faster.__wrapped__(64)


def test_scores_are_the_same_to_float32_where_it_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(three_parts, "_faster", lambda width: False)
    phrase, object = torch.randn(1, 28, 64), codes(10, 12, 12, 64)
    plain = object_phrase._score(phrase, object, inverse_lengths(object))[0]
    assert torch.equal(object_phrase_score(phrase, object, inverse_lengths=inverse_lengths(object)), plain)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=8))
def test_the_three_parts_make_the_direction(components: list[float]) -> None:
    phrase = torch.tensor(components)[None, None]
    parts, scales = three_parts._split(phrase)
    assert parts.shape == (3, len(components))
    made = scales[0, 0].double() * (parts[0].double() + parts[1].double() / 254 + parts[2].double() / 254**2)
    wide = phrase[0, 0].double()
    length = wide.norm()
    expected = wide / length if length > 0 else wide
    assert (made - expected).abs().max() <= 2**-22 * max(expected.abs().max().item(), 1e-30)


def test_worked_parts() -> None:
    """(0.6, -0.8) in steps of 0.8 / 127: 95.25 and -127; the rest of 0.25 is 63.5 / 254, and 0.5 is 127 / 254."""
    parts, scales = three_parts._split(torch.tensor([[[3.0, -4.0]]]))
    assert scales.item() == pytest.approx(0.8 / 127)
    assert parts[:, 1].tolist() == [-127, 0, 0]
    whole, finer, finest = parts[:, 0].tolist()
    assert whole == 95
    assert finer in (63, 64)
    assert finer + finest / 254 == pytest.approx(63.5, abs=0.02)
