"""Losses against their definitions in loops and float64."""

import math

import numpy as np
import pytest
import torch

from prost.model.matching import Similarity
from prost.training.loss import contrastive_loss, prost_loss, token_wise_scores


def contrastive_by_loops(scores: np.ndarray, scale: float) -> float:
    total, size = 0.0, len(scores)
    for matrix in (scores, scores.T):
        for i in range(size):
            total -= math.log(math.exp(scale * matrix[i, i]) / sum(math.exp(scale * s) for s in matrix[i]))
    return total / (2 * size)


def test_contrastive_loss() -> None:
    scores = torch.rand(5, 5, dtype=torch.float64)
    expected = contrastive_by_loops(scores.numpy(), 7.0)
    assert contrastive_loss(scores, torch.tensor(7.0)).item() == pytest.approx(expected)


def test_the_four_terms_are_averaged() -> None:
    es, op, scale = torch.rand(4, 4), torch.rand(4, 4), torch.tensor(5.0)
    expected = (contrastive_loss(es, scale) + contrastive_loss(op, scale)) / 2
    torch.testing.assert_close(prost_loss(Similarity(es, op, es), scale), expected)


def test_the_total_is_not_part_of_the_loss() -> None:
    es, op = torch.rand(4, 4), torch.rand(4, 4)
    scale = torch.tensor(5.0)
    torch.testing.assert_close(
        prost_loss(Similarity(torch.rand(4, 4), op, es), scale), prost_loss(Similarity(es, op, es), scale)
    )


def test_token_wise_scores_as_loops() -> None:
    words, tokens = torch.randn(2, 4, 6), torch.randn(3, 5, 6)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    to_image, to_text = token_wise_scores(words, mask, tokens)
    for a in range(2):
        real = [w / w.norm() for w in words[a][mask[a].bool()]]
        for b in range(3):
            patches = [p / p.norm() for p in tokens[b]]
            expected_image = sum(max(float(w @ p) for p in patches) for w in real) / len(real)
            expected_text = sum(max(float(w @ p) for w in real) for p in patches) / len(patches)
            assert to_image[a, b].item() == pytest.approx(expected_image, abs=1e-5)
            assert to_text[a, b].item() == pytest.approx(expected_text, abs=1e-5)


def test_padding_does_not_reach_the_token_wise_scores() -> None:
    words, tokens, mask = (
        torch.randn(2, 4, 6),
        torch.randn(3, 5, 6),
        torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]),
    )
    other = words.clone()
    other[0, 2:], other[1, 3:] = torch.randn(2, 6), torch.randn(1, 6)
    for before, after in zip(
        token_wise_scores(words, mask, tokens), token_wise_scores(other, mask, tokens), strict=True
    ):
        torch.testing.assert_close(before, after)
