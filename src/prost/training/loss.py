"""Retrieval losses: symmetric cross-entropy on each score of a model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from prost.model.matching import Similarity


def contrastive_loss(scores: Tensor, logit_scale: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Symmetric cross-entropy: text i belongs to video i, and to no other video of the batch.

    Args:
        scores: cosines `[B, B]`, texts in rows.
        logit_scale: the inverse of the temperature, a scalar.
        ignored: pairs that are neither right nor wrong, bool `[B, B]`.

    Returns:
        A scalar, the mean of both directions.

    With two indistinguishable pairs the loss is log 2:

    >>> contrastive_loss(torch.zeros(2, 2), torch.tensor(100.0))
    tensor(0.6931)
    """
    logits = logit_scale * scores
    if ignored is not None:
        logits = logits.masked_fill(ignored, float("-inf"))
    truth = torch.arange(len(scores), device=scores.device)
    return 0.5 * (cross_entropy(logits, truth) + cross_entropy(logits.T, truth))


def prost_loss(similarity: Similarity, logit_scale: Tensor, twins: Tensor | None = None) -> Tensor:
    """The loss of the paper: the cross-entropies of both scores in both directions, averaged.

    Args:
        similarity: both parts `[B, B]`.
        logit_scale: the inverse of the temperature, a scalar.
        twins: whether the text is of the order-swapped twin of the video, bool `[B, B]`. Twins have the same objects,
            so that objects and phrases, which do not know an order, are not compared between them.
    """
    assert similarity.event_sentence is not None and similarity.object_phrase is not None
    return 0.5 * (
        contrastive_loss(similarity.event_sentence, logit_scale)
        + contrastive_loss(similarity.object_phrase, logit_scale, twins)
    )


def retrieval_loss(similarity: Similarity, logit_scale: Tensor, twins: Tensor | None = None) -> Tensor:
    """The loss of any model: `prost_loss` if there are two scores, otherwise the cross-entropy of the only one.

    Args:
        similarity: `[B, B]`.
        logit_scale: the inverse of the temperature, a scalar.
        twins: see `prost_loss`; a single score has to tell them apart.
    """
    if similarity.object_phrase is None:
        return contrastive_loss(similarity.total, logit_scale)
    return prost_loss(similarity, logit_scale, twins)


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
