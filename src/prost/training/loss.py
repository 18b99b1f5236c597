"""Retrieval losses: symmetric cross-entropy on each score of a model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from prost.model.matching import Similarity


def contrastive_loss(scores: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy: text i belongs to video i, and to no other video of the batch.

    Args:
        scores: cosines `[B, B]`, texts in rows.
        logit_scale: the inverse of the temperature, a scalar.

    Returns:
        A scalar, the mean of both directions.

    With two indistinguishable pairs the loss is log 2:

    >>> contrastive_loss(torch.zeros(2, 2), torch.tensor(100.0))
    tensor(0.6931)
    """
    logits = logit_scale * scores
    truth = torch.arange(len(scores), device=scores.device)
    return 0.5 * (cross_entropy(logits, truth) + cross_entropy(logits.T, truth))


def prost_loss(similarity: Similarity, logit_scale: Tensor) -> Tensor:
    """The loss of the paper: the cross-entropies of both scores in both directions, averaged.

    Args:
        similarity: both parts `[B, B]`.
        logit_scale: the inverse of the temperature, a scalar.
    """
    assert similarity.event_sentence is not None and similarity.object_phrase is not None
    return 0.5 * (
        contrastive_loss(similarity.event_sentence, logit_scale)
        + contrastive_loss(similarity.object_phrase, logit_scale)
    )


def retrieval_loss(similarity: Similarity, logit_scale: Tensor) -> Tensor:
    """The loss of any model: `prost_loss` if there are two scores, otherwise the cross-entropy of the only one.

    Args:
        similarity: `[B, B]`.
        logit_scale: the inverse of the temperature, a scalar.
    """
    if similarity.object_phrase is None:
        return contrastive_loss(similarity.total, logit_scale)
    return prost_loss(similarity, logit_scale)


def accuracies(similarity: Similarity) -> dict[str, Tensor]:
    """For each score, the fraction of texts whose own video has the highest score in the batch."""
    truth = torch.arange(len(similarity.total), device=similarity.total.device)
    parts = {
        "event_sentence": similarity.event_sentence,
        "object_phrase": similarity.object_phrase,
        "sum": similarity.total,
    }
    return {
        name: (scores.detach().argmax(dim=1) == truth).float().mean()
        for name, scores in parts.items()
        if scores is not None
    }
