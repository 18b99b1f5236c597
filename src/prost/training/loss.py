"""Losses: symmetric cross-entropy on each of the two scores, and the token-wise one that pre-trains a small CLIP."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from prost.model.matching import Similarity, unit


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


def token_wise_scores(words: Tensor, mask: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over words of the best patch, and mean over patches of the best word (FILIP, Yao et al., ICLR 2022).

    A CLIP trained only on class and end tokens leaves patches and words unaligned; object and phrase prototypes are
    made of exactly these.

    Args:
        words: `[A, T, D]`.
        mask: `[A, T]`, 1 where a word stands.
        tokens: patches `[B, M, D]`.

    Returns:
        Text-to-image and image-to-text scores, both `[A, B]`.
    """
    cosines = torch.einsum("atd,bmd->abtm", unit(words), unit(tokens))
    real = mask.bool()[:, None, :]  # [A, 1, T]
    best_patch = cosines.amax(dim=3) * real  # [A, B, T]
    best_word = cosines.masked_fill(~real.unsqueeze(-1), -1.0).amax(dim=2)  # [A, B, M]
    return best_patch.sum(dim=2) / real.sum(dim=2), best_word.mean(dim=2)
