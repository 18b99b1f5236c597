"""Losses against their definitions in loops and float64."""

import math

import numpy as np
import pytest
import torch

from prost.model.matching import Similarity
from prost.training.loss import accuracies, contrastive_loss, prost_loss, retrieval_loss


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


def test_ignored_pairs_are_neither_right_nor_wrong() -> None:
    """Each of two rows ignores the other: what is left are the pairs with the third video."""
    scores = torch.rand(3, 3, dtype=torch.float64, requires_grad=True)
    ignored = torch.zeros(3, 3, dtype=torch.bool)
    ignored[0, 1] = ignored[1, 0] = True
    loss = contrastive_loss(scores, torch.tensor(7.0), ignored)
    loss.backward()
    terms = []
    for matrix in (scores.detach().numpy(), scores.detach().numpy().T):
        for i in range(3):
            others = [matrix[i, j] for j in range(3) if not ignored[i, j]]
            terms.append(-math.log(math.exp(7 * matrix[i, i]) / sum(math.exp(7 * s) for s in others)))
    assert loss.item() == pytest.approx(np.mean(terms))
    assert scores.grad is not None and (scores.grad[ignored] == 0).all() and scores.grad.isfinite().all()


def test_objects_and_phrases_are_not_compared_between_twins() -> None:
    es, op, scale = torch.rand(4, 4), torch.rand(4, 4), torch.tensor(5.0)
    twins = torch.zeros(4, 4, dtype=torch.bool)
    twins[2, 3] = twins[3, 2] = True
    expected = (contrastive_loss(es, scale) + contrastive_loss(op, scale, twins)) / 2
    torch.testing.assert_close(retrieval_loss(Similarity(es, op, es), scale, twins), expected)
    torch.testing.assert_close(retrieval_loss(Similarity(es), scale, twins), contrastive_loss(es, scale))


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


def test_a_rival_is_trained_by_its_one_score() -> None:
    total, scale = torch.rand(4, 4), torch.tensor(5.0)
    torch.testing.assert_close(retrieval_loss(Similarity(total), scale), contrastive_loss(total, scale))
    assert set(accuracies(Similarity(total))) == {"sum"}


def test_accuracies_of_all_scores() -> None:
    right, wrong = torch.eye(4), torch.eye(4).roll(1, 0)
    half = torch.cat([right[:2], wrong[2:]])
    told = accuracies(Similarity(right, object_phrase=wrong, event_sentence=half))
    assert told == {"event_sentence": 0.5, "object_phrase": 0.0, "sum": 1.0}
