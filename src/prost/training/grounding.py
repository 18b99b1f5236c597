"""The grounding loss: regions of a picture are matched with the sentences that describe them.

A CLIP that is trained from scratch on whole pictures and lists of things learns colours and places, which suffice to
distinguish the pictures of a batch, but no shapes. Where the data know the regions, each region is an example
(region-text alignment, Zhong et al., RegionCLIP, CVPR 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from prost.model.vectors import unit


def patch_weights(boxes: Tensor, grid: int) -> Tensor:
    """The weight of each patch in a region: the fraction of the region's area that lies in the patch.

    Args:
        boxes: left, top, right, bottom as fractions of the picture `[..., L, 4]`; all zero where the region is not.
        grid: G, patches along a side.

    Returns:
        `[..., L * G * G]`, rows that sum to 1 over all frames.

    The left half of one picture of 2 x 2 patches:

    >>> patch_weights(torch.tensor([[0.0, 0.0, 0.5, 1.0]]), 2)
    tensor([0.5000, 0.0000, 0.5000, 0.0000])
    """
    edges = torch.arange(grid + 1, device=boxes.device) / grid
    near, far = edges[:-1], edges[1:]

    def overlap(low: Tensor, high: Tensor) -> Tensor:
        return (torch.minimum(high[..., None], far) - torch.maximum(low[..., None], near)).clamp(min=0)

    across = overlap(boxes[..., 0], boxes[..., 2])  # [..., L, G]
    down = overlap(boxes[..., 1], boxes[..., 3])
    areas = (down[..., :, None] * across[..., None, :]).flatten(-3)  # [..., L*G*G]
    return areas / areas.sum(dim=-1, keepdim=True).clamp(min=1e-9)


def region_features(frame_tokens: Tensor, video: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of the patches of each region.

    Args:
        frame_tokens: `[B, L, M, D]`; the class token is not used.
        video: the video of each region `[R]`, ascending.
        weights: `[R, L * (M - 1)]`.

    Returns:
        `[R, D]`.
    """
    patches = frame_tokens[:, :, 1:].flatten(1, 2)  # [B, L*(M-1), D]
    counts = torch.bincount(video, minlength=len(patches))
    groups = torch.split(weights, counts.tolist())
    together = pad_sequence(list(groups), batch_first=True) @ patches  # [B, most, D]
    real = torch.arange(together.shape[1], device=video.device) < counts[:, None]
    return together[real]


def grounding_loss(
    regions: Tensor, words: Tensor, mask: Tensor, true: Tensor, logit_scale: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Symmetric cross-entropy between regions and sentences; other true pairs are not used as negatives.

    The loss is computed for the end token of a sentence and for its last word, because the same words can be a phrase
    of a longer sentence, without an end token.

    Args:
        regions: `[R, D]`.
        words: word tokens of R sentences `[R, T, D]`; sentence i describes region i.
        mask: `[R, T]`, 1 for a word.
        true: whether sentence j is true of region i, `[R, R]`.
        logit_scale: the inverse of the temperature, a scalar.

    Returns:
        The loss, and the fraction of regions whose best sentence is true.
    """
    rows, last = torch.arange(len(words), device=words.device), mask.sum(dim=1).long() - 1
    truth = rows
    others = true & ~torch.eye(len(true), dtype=torch.bool, device=true.device)
    losses = []
    for sentences in (words[rows, last], words[rows, last - 1]):
        logits = logit_scale * unit(regions) @ unit(sentences).T
        best = logits.detach().argmax(dim=1)
        logits = logits.masked_fill(others, float("-inf"))
        losses.append(0.5 * (cross_entropy(logits, truth) + cross_entropy(logits.T, truth)))
    return 0.5 * (losses[0] + losses[1]), {"grounded": true[rows, best].float().mean()}
