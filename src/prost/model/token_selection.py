"""Token selection of TS2-Net: a few telling tokens of each frame, chosen so that the choice can be learned.

A top-k has no gradient. Its expectation under noise has one (Berthet et al., NeurIPS 2020; for top-k Cordonnier et al.,
CVPR 2021): with Y(s) the one-hot rows of the chosen tokens and Z standard normal,

    d/ds_j E[Y(s + sigma Z)] = E[Y(s + sigma Z) Z_j] / sigma.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot


def top_k(scores: Tensor, k: int) -> Tensor:
    """Choose the k highest scores, in order of position.

    Args:
        scores: `[..., N]`.
        k: how many.

    Returns:
        Positions `[..., k]`, ascending.

    >>> top_k(torch.tensor([0.1, 0.9, 0.3, 0.5]), 2).tolist()
    [1, 3]
    """
    return scores.topk(k, dim=-1).indices.sort(dim=-1).values


class _PerturbedTopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, noise: Tensor, k: int, sigma: float) -> Tensor:
        chosen = top_k(scores.unsqueeze(1) + sigma * noise, k)  # [B, S, k]
        ctx.save_for_backward(chosen, noise)
        ctx.sigma = sigma
        share = scores.new_zeros(len(scores), k, scores.shape[1])
        return (
            share.scatter_add_(2, chosen.transpose(1, 2), scores.new_ones(()).expand_as(chosen.mT))
            / noise.shape[1]
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        chosen, noise = ctx.saved_tensors
        samples = noise.shape[1]
        # <G, Y> of each sample: the gradients at the tokens that it chose.
        worth = gradients[0].gather(2, chosen.transpose(1, 2)).sum(dim=1)  # [B, S]
        # The noise has mean zero, so a constant may be taken off: it spares most of the variance. S - 1 makes up for
        # the constant being the samples' own mean.
        worth = worth - worth.mean(dim=1, keepdim=True)
        gradient = torch.einsum("bs,bsn->bn", worth, noise) / (max(1, samples - 1) * ctx.sigma)
        return gradient, None, None, None


def perturbed_top_k(scores: Tensor, noise: Tensor, k: int, sigma: float) -> Tensor:
    """How often each token takes each of the k places under noise; the gradient is the expectation's, estimated.

    The authors' backward pass keeps only what a token's noise does to its own places; this one is the whole gradient:
    that a token is chosen less when another's score rises is part of it.

    Args:
        scores: `[B, N]`.
        noise: standard normal `[B, S, N]`, S samples.
        k: how many tokens are chosen.
        sigma: the noise's deviation.

    Returns:
        `[B, k, N]`; each of the k rows sums to 1.

    Without deviation it is the plain top-k, every sample the same:

    >>> perturbed_top_k(torch.tensor([[0.1, 0.9, 0.3]]), torch.zeros(1, 4, 3), 2, 1.0).tolist()
    [[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    return _PerturbedTopK.apply(scores, noise, k, sigma)


class TokenScores(nn.Module):
    """How telling each token of a frame is, next to the frame's class token.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width // 2, bias=False), nn.GELU())
        self.score = nn.Sequential(
            nn.Linear(2 * (width // 2), width // 2, bias=False),
            nn.GELU(),
            nn.Linear(width // 2, 1, bias=False),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Score tokens `[..., M, D]`: `[..., M]`, within [-1, 1]."""
        own = self.reduce(tokens)  # [..., M, D/2]
        whole = own[..., :1, :].expand_as(own)
        return torch.tanh(self.score(torch.cat([own, whole], dim=-1)).squeeze(-1))


class TokenSelector(nn.Module):
    """The class token of each frame, and its most telling tokens in order of position.

    In training the choice is a mean over perturbed choices, with a gradient; in eval mode it is the plain top-k.

    Args:
        width: D.
        selected: k, tokens chosen beside the class token.
        samples: S, perturbed choices in training.
        sigma: deviation of the perturbation.
    """

    def __init__(self, width: int, selected: int, samples: int, sigma: float) -> None:
        super().__init__()
        self.scores = TokenScores(width)
        self.selected = selected
        self.samples = samples
        self.sigma = sigma

    def forward(self, tokens: Tensor) -> Tensor:
        """Select.

        Args:
            tokens: `[B, L, M, D]`; token 0 is the class token, and no candidate.

        Returns:
            `[B, L, 1 + k, D]`.
        """
        patches = tokens[:, :, 1:]
        scores = self.scores(tokens)[:, :, 1:].flatten(0, 1)  # [B*L, M - 1]
        if self.training:
            noise = torch.randn(
                len(scores), self.samples, scores.shape[1], dtype=scores.dtype, device=scores.device
            )
            choice = perturbed_top_k(scores, noise, self.selected, self.sigma)  # [B*L, k, M - 1]
        else:
            choice = one_hot(top_k(scores, self.selected), scores.shape[1]).to(tokens.dtype)
        chosen = choice.unflatten(0, tokens.shape[:2]) @ patches  # [B, L, k, D]
        return torch.cat([tokens[:, :, :1], chosen], dim=2)
