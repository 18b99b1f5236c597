"""Checks of the Triton kernel in Triton's interpreter, run by `test_fused.py` in a process of its own.

Triton decides at its first import whether it interprets, so that a process either interprets all kernels or none.
"""

import torch
from tests.model.plain import object_phrase_by_einsum

from prost.model import fused, object_phrase
from prost.model.object_phrase import object_phrase_score


def check_scores() -> None:
    """Equal to Algorithm 1 in float32, with zero vectors, at shapes that fill no block."""
    for texts, videos, frames, slots, phrases, width in [
        (3, 2, 5, 3, 4, 20), (1, 1, 1, 1, 1, 1), (9, 2, 12, 12, 28, 40), (6, 3, 20, 12, 3, 17), (130, 1, 3, 1, 1, 33)
    ]:  # fmt: skip
        phrase, object = torch.randn(texts, phrases, width), torch.randn(videos, frames, slots, width)
        phrase[0, 0], object[0, 0] = 0.0, 0.0
        expected = object_phrase_by_einsum(phrase.double(), object.double())
        torch.testing.assert_close(
            fused.scores(phrase, object, None)[0].double(), expected, atol=2e-6, rtol=0
        )


def check_half_precision() -> None:
    """float16 is multiplied as it is and added in float32; bfloat16 is read right.

    The interpreter multiplies the bits of bfloat16 as if they were whole numbers, so the product is float32 here.
    """
    for dtype, product in ((torch.bfloat16, torch.float32), (torch.float16, torch.float16)):
        fused.product_dtype = lambda *_, product=product: product
        for size in (1.0, 30000.0):  # float16 cannot hold products of the second
            phrase = torch.randn(5, 3, 24).to(dtype)
            object = (size * torch.randn(3, 5, 2, 24)).clamp(-6e4, 6e4).to(dtype)
            expected = object_phrase_by_einsum(phrase.double(), object.double())
            found, _ = fused.scores(phrase, object, None)
            torch.testing.assert_close(found.double(), expected, atol=0.002, rtol=0)


def check_codes() -> None:
    """8-bit codes of a library with their lengths."""
    phrase, codes = torch.randn(3, 4, 16), torch.randint(-127, 128, (5, 2, 3, 16), dtype=torch.int8)
    codes[0, :, 1] = 0
    lengths = codes.float().norm(dim=-1)
    inverse = torch.where(lengths > 0, 1 / lengths, 0.0)
    expected = object_phrase_by_einsum(phrase, codes.float())
    for given in (None, inverse):
        torch.testing.assert_close(fused.scores(phrase, codes, given)[0], expected)


def check_bad_numbers() -> None:
    """NaN and infinity spoil the scores of their own text or video, and no others."""
    for bad in (float("nan"), float("inf")):
        phrase, object = torch.randn(3, 2, 5), torch.randn(4, 2, 3, 5)
        expected = object_phrase_by_einsum(phrase, object)
        phrase[1, 0, 2], object[2, 1, 1, 0] = bad, bad
        expected[1], expected[:, 2] = float("nan"), float("nan")
        found, winners = fused.scores(phrase, object, None, with_winners=True)
        torch.testing.assert_close(found, expected, equal_nan=True)
        assert winners is not None and (winners >= 0).all() and (winners < 4).all()


def check_gradients_and_masks() -> None:
    """The whole function with the kernel in it, as on a GPU where it is faster, against the tiles."""
    phrase = torch.randn(5, 4, 10, requires_grad=True)
    object = torch.randn(3, 7, 3, 10, requires_grad=True)
    upstream = torch.randn(5, 3)
    masks = {"phrase_mask": torch.rand(5, 4) > 0.4, "frame_mask": torch.rand(3, 7) > 0.4}
    masks["frame_mask"][1] = False
    for chosen in ({}, masks):
        results = []
        for faster in (False, True):
            object_phrase.fused.is_faster = lambda *_, faster=faster: faster
            scores = object_phrase_score(phrase, object, **chosen)
            results.append((scores, *torch.autograd.grad(scores, (phrase, object), upstream)))
        for ours, expected in zip(results[1], results[0], strict=True):
            torch.testing.assert_close(ours, expected)


if __name__ == "__main__":
    torch.manual_seed(0)
    for check in (
        check_scores, check_codes, check_bad_numbers, check_gradients_and_masks, check_half_precision
    ):  # fmt: skip
        check()
        print(check.__name__)
