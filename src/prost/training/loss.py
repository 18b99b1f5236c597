"""Losses of retrieval: symmetric cross-entropy on each score that a model is trained by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from prost.model.matching import Similarity


def contrastive_loss(scores: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy: text i belongs to video i, and to no other of the batch.

    Args:
        scores: cosines `[B, B]`, texts in rows.
        logit_scale: the temperature's inverse, a scalar.

    Returns:
        A scalar, the mean of both directions.

    Two pairs that nothing tells apart cost log 2:

    >>> contrastive_loss(torch.zeros(2, 2), torch.tensor(100.0))
    tensor(0.6931)
    """
    logits = logit_scale * scores
    truth = torch.arange(len(scores), device=scores.device)
    return 0.5 * (cross_entropy(logits, truth) + cross_entropy(logits.T, truth))


def prost_loss(similarity: Similarity, logit_scale: Tensor) -> Tensor:
    """The loss of the paper: both scores are trained by themselves, the four terms averaged.

    Args:
        similarity: both parts `[B, B]`.
        logit_scale: the temperature's inverse, a scalar.
    """
    assert similarity.event_sentence is not None and similarity.object_phrase is not None
    return 0.5 * (
        contrastive_loss(similarity.event_sentence, logit_scale)
        + contrastive_loss(similarity.object_phrase, logit_scale)
    )


def retrieval_loss(similarity: Similarity, logit_scale: Tensor) -> Tensor:
    """The loss of any model: `prost_loss` where there are two scores, else the cross-entropy of the one there is.

    Args:
        similarity: `[B, B]`.
        logit_scale: the temperature's inverse, a scalar.
    """
    if similarity.object_phrase is None:
        return contrastive_loss(similarity.total, logit_scale)
    return prost_loss(similarity, logit_scale)


def accuracies(similarity: Similarity) -> dict[str, float]:
    """Share of texts whose own video scores highest in the batch, by each score that there is."""
    truth = torch.arange(len(similarity.total), device=similarity.total.device)
    parts = {
        "event_sentence": similarity.event_sentence,
        "object_phrase": similarity.object_phrase,
        "sum": similarity.total,
    }
    return {
        name: (scores.detach().argmax(dim=1) == truth).float().mean().item()
        for name, scores in parts.items()
        if scores is not None
    }
