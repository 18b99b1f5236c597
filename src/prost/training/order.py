"""The order loss: the sentence of a video must score higher with the video than with its order-swapped twin.

Among the many videos of a batch a twin is only one wrong answer, and it differs from the right one only in who acts
*when*, which both the video and the sentence must represent. With the contrastive loss alone, twins stayed at chance
for a thousand steps; with this loss, the order begins to be learned within two hundred.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from prost.training.distributed import Processes


def order_loss(scores: Tensor, logit_scale: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logistic loss of each right pair against the two wrong pairs with the same sentence or the same video.

    Args:
        scores: of P pairs of twins, sentences in rows `[P, 2, 2]`: sentence i is true of video i and false of the
            other.
        logit_scale: the inverse of the temperature, a scalar.

    Returns:
        A scalar, and the fraction of sentences that score their own video higher than its twin.

    With indistinguishable twins the loss is log 2:

    >>> order_loss(torch.zeros(1, 2, 2), torch.tensor(100.0))[0]
    tensor(0.6931)
    """
    own = scores.diagonal(dim1=1, dim2=2)  # [P, 2]
    swapped_videos = scores.flip(2).diagonal(dim1=1, dim2=2)  # own sentence, twin's video
    swapped_sentences = scores.flip(1).diagonal(dim1=1, dim2=2)  # twin's sentence, own video
    losses = [
        softplus(-logit_scale * (own - swapped)).mean() for swapped in (swapped_videos, swapped_sentences)
    ]
    return 0.5 * (losses[0] + losses[1]), {"order": (own > swapped_videos).float().mean()}


def paired_scores(scores: Tensor) -> Tensor:
    """The scores within each of P neighbouring pairs: from `[2 * P, 2 * P]` to `[P, 2, 2]`."""
    pairs = len(scores) // 2
    blocks = scores.view(pairs, 2, pairs, 2)
    return torch.diagonal(blocks, dim1=0, dim2=2).permute(2, 0, 1)


def twin_pairs(count: int, twins: np.ndarray, processes: Processes) -> Tensor:
    """Whether a text is of the twin of a video.

    Args:
        count: rows of the batch that this process has.
        twins: its pairs among these rows, one pair after another `[2 * P]`.
        processes: the processes that share the batch.

    Returns:
        bool `[world * count, world * count]`, of the whole batch.
    """
    pairs = torch.zeros(count, processes.world * count, device=processes.device)
    rows = torch.from_numpy(twins.reshape(-1, 2)).to(processes.device)
    first = processes.rank * count
    pairs[rows[:, 0], first + rows[:, 1]] = 1.0
    pairs[rows[:, 1], first + rows[:, 0]] = 1.0
    return processes.gather(pairs) > 0
