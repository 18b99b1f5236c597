"""The object-phrase score against Algorithm 1: in loops and float64, and as one plain einsum with its gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.plain import object_phrase_by_einsum, object_phrase_by_loops
from torch import Tensor

from prost.errors import UsageError
from prost.model import tiles
from prost.model.object_phrase import best_phrases, object_phrase_score
from prost.model.vectors import unit


@pytest.fixture(params=[1, 100, 2**20], ids=["tiles of one pair", "small tiles", "one tile"])
def tile_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(tiles, "CPU_TILE", request.param)
    return request.param


class TestObjectPhrase:
    @settings(max_examples=25, deadline=None)
    @given(
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(1, 4),
        st.integers(1, 3),
        st.integers(1, 3),
        st.booleans(),
    )
    def test_as_loops(self, a: int, b: int, phrases: int, frames: int, slots: int, dead: bool) -> None:
        phrase, object = torch.randn(a, phrases, 5), torch.randn(b, frames, slots, 5)
        if dead:
            phrase[:1, 0], object[:1, 0, 0] = 0.0, 0.0
        expected = object_phrase_by_loops(phrase.double().numpy(), object.double().numpy())
        np.testing.assert_allclose(object_phrase_score(phrase, object).numpy(), expected, atol=1e-6)

    def test_tiles_change_nothing(self, tile_size: int) -> None:
        phrase, object = torch.randn(7, 3, 5), torch.randn(4, 2, 3, 5)
        expected = object_phrase_by_einsum(phrase, object)
        torch.testing.assert_close(object_phrase_score(phrase, object), expected)

    @pytest.mark.parametrize(
        ("videos", "frames", "slots", "phrases", "width"),
        [(5, 12, 12, 28, 64), (3, 64, 12, 28, 32), (40, 1, 1, 1, 16), (2, 1000, 3, 5, 8)],
        ids=["MSR-VTT", "DiDeMo", "one slot", "a long video"],
    )
    def test_other_shapes(self, videos: int, frames: int, slots: int, phrases: int, width: int) -> None:
        phrase, object = torch.randn(9, phrases, width), torch.randn(videos, frames, slots, width)
        expected = object_phrase_by_einsum(phrase, object)
        torch.testing.assert_close(object_phrase_score(phrase, object), expected)

    def test_prototypes_that_are_not_contiguous(self) -> None:
        phrase, object = torch.randn(3, 8, 6).transpose(1, 2), torch.randn(4, 3, 5, 8).transpose(1, 2)
        expected = object_phrase_by_einsum(phrase, object)
        torch.testing.assert_close(object_phrase_score(phrase, object), expected)

    def test_8_bit_codes_and_their_lengths(self, tile_size: int) -> None:
        phrase = torch.randn(3, 4, 16)
        codes = torch.randint(-127, 128, (5, 2, 3, 16), dtype=torch.int8)
        codes[0, :, 1] = 0
        lengths = codes.double().norm(dim=-1)
        inverse = torch.where(lengths > 0, 1 / lengths, 0.0).float()
        expected = object_phrase_by_einsum(phrase, codes.float())
        torch.testing.assert_close(object_phrase_score(phrase, codes), expected)
        torch.testing.assert_close(object_phrase_score(phrase, codes, inverse_lengths=inverse), expected)

    @pytest.mark.parametrize("faster", [True, False])
    def test_bfloat16_in_either_product(self, faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tiles, "bfloat16_is_faster", lambda: faster)
        phrase, object = torch.randn(6, 4, 32).bfloat16(), torch.randn(5, 3, 2, 32).bfloat16()
        scores = object_phrase_score(phrase, object)
        assert scores.dtype == torch.float32
        expected = object_phrase_by_einsum(phrase.float(), object.float())
        torch.testing.assert_close(scores, expected, atol=0.01 if faster else 1e-6, rtol=0)

    def test_float64_stays_float64(self) -> None:
        phrase, object = torch.randn(2, 3, 5).double(), torch.randn(4, 2, 3, 5).double()
        torch.testing.assert_close(
            object_phrase_score(phrase, object), object_phrase_by_einsum(phrase, object), atol=1e-14, rtol=0
        )

    def test_autocast_leaves_the_scores_alone(self) -> None:
        phrase, object = torch.randn(4, 3, 16), torch.randn(4, 2, 3, 16)
        expected = object_phrase_score(phrase, object)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(object_phrase_score(phrase, object), expected)

    @pytest.mark.parametrize("size", [1e-30, 1e-4, 300.0, 1e30])
    def test_short_and_long_vectors(self, size: float) -> None:
        phrase, object = torch.randn(2, 3, 8), torch.randn(3, 2, 4, 8)
        expected = object_phrase_score(phrase, object)
        torch.testing.assert_close(object_phrase_score(size * phrase, size * object), expected)

    def test_vectors_of_very_different_lengths_together(self) -> None:
        """Lengths whose squares leave the range of float32 beside usual ones and a zero vector."""
        phrase, object = torch.randn(2, 3, 8), torch.randn(3, 2, 4, 8)
        expected = object_phrase_score(phrase, object)
        sizes = torch.tensor([1e-38, 1e-20, 1.0, 1e37])
        torch.testing.assert_close(
            object_phrase_score(phrase, object * sizes[:, None]), expected, atol=1e-5, rtol=0
        )
        object[1, :, 2] = 0.0
        expected = object_phrase_by_einsum(phrase, object)
        torch.testing.assert_close(
            object_phrase_score(phrase, object * sizes[:, None]), expected, atol=1e-5, rtol=0
        )

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_bad_number_spoils_its_own_scores_alone(self, bad: float, tile_size: int) -> None:
        phrase, object = torch.randn(3, 2, 5), torch.randn(4, 2, 3, 5)
        expected = object_phrase_score(phrase, object)
        phrase[1, 0, 2], object[2, 1, 1, 0] = bad, bad
        expected[1], expected[:, 2] = float("nan"), float("nan")
        torch.testing.assert_close(object_phrase_score(phrase, object), expected, equal_nan=True)


class TestMasks:
    def test_only_what_counts_is_matched(self) -> None:
        phrase, object = torch.randn(2, 4, 6), torch.randn(3, 5, 2, 6)
        phrases, frames = (2, 4), (1, 5, 3)
        phrase_mask = torch.arange(4) < torch.tensor(phrases)[:, None]
        frame_mask = torch.arange(5) < torch.tensor(frames)[:, None]
        scores = object_phrase_score(phrase, object, phrase_mask=phrase_mask, frame_mask=frame_mask)
        for a, p in enumerate(phrases):
            for b, f in enumerate(frames):
                alone = object_phrase_by_einsum(phrase[a : a + 1, :p], object[b : b + 1, :f])
                torch.testing.assert_close(scores[a, b], alone[0, 0])

    def test_what_is_masked_is_never_read(self) -> None:
        phrase, object = torch.randn(2, 4, 6), torch.randn(3, 5, 2, 6)
        phrase[:, 0], object[:, 2] = float("nan"), float("nan")
        scores = object_phrase_score(
            phrase,
            object,
            phrase_mask=(torch.arange(4) > 0).expand(2, 4),
            frame_mask=(torch.arange(5) != 2).expand(3, 5),
        )
        expected = object_phrase_by_einsum(phrase[:, 1:], object[:, [0, 1, 3, 4]])
        torch.testing.assert_close(scores, expected)

    def test_a_text_or_video_of_which_nothing_counts_scores_0(self) -> None:
        phrase = torch.full((2, 2, 3), float("nan"), requires_grad=True)
        object = torch.randn(2, 2, 2, 3, requires_grad=True)
        phrase.data[1] = 1.0
        scores = object_phrase_score(
            phrase,
            object,
            phrase_mask=torch.tensor([[False, False], [True, True]]),
            frame_mask=torch.tensor([[True, True], [False, False]]),
        )
        assert scores[0].tolist() == [0, 0] and scores[1, 1] == 0 and scores[1, 0] != 0
        scores.sum().backward()
        assert phrase.grad is not None and object.grad is not None
        assert not phrase.grad[0].any() and not object.grad[1].any() and object.grad[0].any()

    def test_lengths_are_masked_with_their_codes(self) -> None:
        phrase, codes = torch.randn(2, 3, 8), torch.randint(-9, 10, (3, 4, 2, 8), dtype=torch.int8)
        mask = torch.tensor([[False, True, True, False]]).expand(3, 4)
        scores = object_phrase_score(
            phrase, codes, inverse_lengths=1 / codes.float().norm(dim=-1), frame_mask=mask
        )
        torch.testing.assert_close(scores, object_phrase_by_einsum(phrase, codes[:, 1:3].float()))


def gradients(score, phrase: Tensor, object: Tensor, upstream: Tensor) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]
    leaves = phrase.clone().requires_grad_(), object.clone().requires_grad_()
    return torch.autograd.grad(score(*leaves), leaves, upstream)


class TestGradient:
    def test_gradcheck(self, tile_size: int) -> None:
        phrase = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
        object = torch.randn(2, 3, 2, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(object_phrase_score, (phrase, object))

    def test_as_the_einsum(self, tile_size: int) -> None:
        phrase, object, upstream = torch.randn(6, 5, 8), torch.randn(7, 4, 3, 8), torch.randn(6, 7)
        phrase[2, 1], object[3, 2, 0], object[4, :, 1] = 0.0, 0.0, 0.0
        found = gradients(object_phrase_score, phrase, object, upstream)
        for ours, expected in zip(
            found, gradients(object_phrase_by_einsum, phrase, object, upstream), strict=True
        ):
            torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)
        assert not found[0][2, 1].any() and not found[1][3, 2, 0].any()

    def test_as_the_einsum_under_masks(self) -> None:
        phrase, object, upstream = torch.randn(3, 4, 8), torch.randn(3, 4, 2, 8), torch.randn(3, 3)
        kept = torch.tensor([True, False, True, True])
        masks = {"phrase_mask": kept.expand(3, 4), "frame_mask": kept.expand(3, 4)}
        found = gradients(lambda p, o: object_phrase_score(p, o, **masks), phrase, object, upstream)
        expected = gradients(
            lambda p, o: object_phrase_by_einsum(p[:, kept], o[:, kept]), phrase, object, upstream
        )
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
        assert not found[0][:, 1].any() and not found[1][:, 1].any()

    def test_of_texts_alone_against_codes(self) -> None:
        phrase = torch.randn(2, 3, 8, requires_grad=True)
        codes = torch.randint(-9, 10, (3, 4, 2, 8), dtype=torch.int8)
        inverse = 1 / codes.float().norm(dim=-1)
        (found,) = torch.autograd.grad(
            object_phrase_score(phrase, codes, inverse_lengths=inverse).sum(), phrase
        )
        (expected,) = torch.autograd.grad(object_phrase_by_einsum(phrase, codes.float()).sum(), phrase)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)

    def test_of_gathered_videos(self) -> None:
        """Videos that another process gathered have no graph; texts and own videos do."""
        phrase, own = torch.randn(3, 2, 6, requires_grad=True), torch.randn(3, 2, 2, 6, requires_grad=True)
        gathered = torch.cat([torch.randn(3, 2, 2, 6), own])
        found = torch.autograd.grad(object_phrase_score(phrase, gathered).square().sum(), (phrase, own))
        expected = torch.autograd.grad(
            object_phrase_by_einsum(phrase, gathered).square().sum(), (phrase, own)
        )
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)

    def test_half_precision_gets_gradients_of_its_own_type(self) -> None:
        phrase = torch.randn(3, 2, 6).half().requires_grad_()
        object = torch.randn(3, 2, 2, 6).half().requires_grad_()
        found = torch.autograd.grad(object_phrase_score(phrase, object).sum(), (phrase, object))
        expected = torch.autograd.grad(
            object_phrase_by_einsum(phrase.float(), object.float()).sum(), (phrase, object)
        )
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == torch.float16
            torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)

    def test_little_is_kept_for_it(self) -> None:
        kept: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        phrase, object = (
            torch.randn(32, 28, 16, requires_grad=True),
            torch.randn(32, 12, 12, 16, requires_grad=True),
        )
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            object_phrase_score(phrase, object)
        arguments = 4 * (phrase.numel() + object.numel())
        cosines = 4 * 32 * 32 * 28 * 12 * 12
        assert sum(kept.values()) - arguments < cosines / 200


class TestBestPhrases:
    def test_scores_and_positions(self, tile_size: int) -> None:
        phrase, object = torch.randn(3, 4, 8), torch.randn(5, 3, 2, 8)
        best = best_phrases(phrase, object)
        score, position = torch.einsum("apd,blod->ablop", unit(phrase), unit(object)).max(dim=4)
        torch.testing.assert_close(best.score, score)
        assert torch.equal(best.phrase, position)

    def test_the_score_follows_from_them(self) -> None:
        phrase, object = torch.randn(3, 4, 8), torch.randn(5, 3, 2, 8)
        slots = best_phrases(phrase, object).score.amax(dim=2)
        assert torch.equal(slots.mean(dim=2), object_phrase_score(phrase, object))

    def test_codes(self) -> None:
        phrase, codes = torch.randn(1, 4, 8), torch.randint(-9, 10, (2, 3, 2, 8), dtype=torch.int8)
        best = best_phrases(phrase, codes, inverse_lengths=1 / codes.float().norm(dim=-1))
        torch.testing.assert_close(best.score, best_phrases(phrase, codes.float()).score)


def test_scores_refuse_what_does_not_fit() -> None:
    phrase, object = torch.randn(2, 3, 5), torch.randn(4, 2, 3, 5)
    with pytest.raises(UsageError, match=r"shape \[3, 5\]; expected: \[A, N_p, D\]"):
        object_phrase_score(phrase[0], object)
    with pytest.raises(UsageError, match="width 5, object prototypes of width 4"):
        object_phrase_score(phrase, object[..., :4])
    with pytest.raises(UsageError, match="at least one phrase"):
        object_phrase_score(phrase[:, :0], object)
    with pytest.raises(UsageError, match="at least one phrase, frame"):
        object_phrase_score(phrase, object[:, :0])
    with pytest.raises(UsageError, match=r"phrase mask of shape \[2, 4\].*shape \[2, 3\]"):
        object_phrase_score(phrase, object, phrase_mask=torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(UsageError, match=r"frame mask of shape \[4, 2\] and type torch.float32"):
        object_phrase_score(phrase, object, frame_mask=torch.ones(4, 2))
    with pytest.raises(UsageError, match=r"inverse lengths of shape \[4, 2\]"):
        object_phrase_score(phrase, object, inverse_lengths=torch.ones(4, 2))
