"""Spatial prototype generation: object prototypes of a frame, phrase prototypes of a sentence.

Paper, section 3.2: an MLP gives each token a weight for every prototype; a prototype is the weighted sum of the tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

SHARPNESS = 2.0


class PrototypeWeights(nn.Module):
    """Weights of every token for every prototype.

    `relu`, the authors' choice, is sparse but unnormalised. It can give a prototype no token at all: the prototype is
    then the zero vector and gets no gradient. `softmax` over the tokens keeps every prototype alive. It reads tokens of
    unit root mean square, and its initial logits have standard deviation `SHARPNESS`; otherwise all prototypes would
    start as nearly the same mean of all tokens and take long to differ.

    Args:
        width: D.
        prototypes: N, the number of prototypes.
        sparse_weights: "relu" or "softmax".
    """

    def __init__(self, width: int, prototypes: int, sparse_weights: Literal["relu", "softmax"]) -> None:
        super().__init__()
        inner, outer = nn.Linear(width, width), nn.Linear(width, prototypes)
        self.mlp = nn.Sequential(inner, nn.ReLU(), outer)
        self.sparse_weights = sparse_weights
        if sparse_weights == "softmax":
            nn.init.kaiming_normal_(inner.weight, nonlinearity="relu")
            nn.init.normal_(outer.weight, std=SHARPNESS / width**0.5)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weigh the tokens.

        Args:
            tokens: `[..., T, D]`.
            mask: `[..., T]`, true where a token may take part; all may when it is None.

        Returns:
            `[..., T, N]`, non-negative.
        """
        if self.sparse_weights == "relu":
            weights = torch.relu(self.mlp(tokens))
            return weights if mask is None else weights * mask.unsqueeze(-1)
        logits = self.mlp(rms_norm(tokens, tokens.shape[-1:]))
        if mask is not None:
            logits = logits.masked_fill(~mask.unsqueeze(-1), float("-inf"))
        return torch.softmax(logits, dim=-2)


class ObjectPrototypes(nn.Module):
    """Object prototypes of each frame: slot 0 is the class token, the others weighted sums of all tokens.

    Args:
        width: D.
        prototypes: N_o, the class token's slot included.
        sparse_weights: see `PrototypeWeights`.
    """

    def __init__(self, width: int, prototypes: int, sparse_weights: Literal["relu", "softmax"]) -> None:
        super().__init__()
        self.weights = PrototypeWeights(width, prototypes - 1, sparse_weights)

    def forward(self, frame_tokens: Tensor) -> Tensor:
        """Gather the tokens of each frame.

        Args:
            frame_tokens: `[B, L, M, D]`.

        Returns:
            `[B, L, N_o, D]`.
        """
        gathered = self.weights(frame_tokens).transpose(-1, -2) @ frame_tokens  # [B, L, N_o - 1, D]
        return torch.cat([frame_tokens[:, :, :1], gathered], dim=2)


class PhrasePrototypes(nn.Module):
    """Phrase prototypes of a sentence: weighted sums of its words.

    Args:
        width: D.
        prototypes: N_p.
        sparse_weights: see `PrototypeWeights`.
        mask_padding: keep padded positions out; the authors let them take part.
    """

    def __init__(
        self, width: int, prototypes: int, sparse_weights: Literal["relu", "softmax"], mask_padding: bool
    ) -> None:
        super().__init__()
        self.weights = PrototypeWeights(width, prototypes, sparse_weights)
        self.mask_padding = mask_padding

    def forward(self, word_tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """Gather the words.

        Args:
            word_tokens: `[B, T, D]`.
            attention_mask: `[B, T]`, 1 where there is a word.

        Returns:
            `[B, N_p, D]`.
        """
        return self.token_weights(word_tokens, attention_mask).transpose(-1, -2) @ word_tokens

    def token_weights(self, word_tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """Weight of every word in every phrase `[B, T, N_p]`; for the arguments see `forward`."""
        return self.weights(word_tokens, attention_mask.bool() if self.mask_padding else None)


def dead_share(prototypes: Tensor) -> float:
    """Fraction of prototypes that are exactly zero, because the ReLU set all their weights to zero.

    Args:
        prototypes: `[..., N, D]`.

    >>> dead_share(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    0.5
    """
    return (prototypes == 0).all(dim=-1).float().mean().item()
