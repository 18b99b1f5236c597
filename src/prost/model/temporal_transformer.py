"""The temporal transformer of CLIP4Clip and TS2-Net: CLIP's own text blocks, over frames and without causal mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prost.config import TowerDesign
from prost.model.towers import CLIPTowers, TransformerBlock

# CLIP's own eps is 1e-5; the authors' copy of its blocks has this one.
DESIGN = TowerDesign(eps=1e-12)


class TemporalTransformer(nn.Module):
    """Position embeddings and a few pre-norm blocks, with a residual around the whole.

    Args:
        width: D, a multiple of 64.
        layers: how many blocks.
        positions: how many tokens there may be.
    """

    def __init__(self, width: int, layers: int, positions: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(positions, width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.layers = nn.ModuleList(TransformerBlock(width, DESIGN) for _ in range(layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """Let the tokens of a video see each other: `[B, N, D]` to `[B, N, D]`."""
        hidden = tokens + self.positions.weight[: tokens.shape[1]]
        for layer in self.layers:
            hidden = layer(hidden)
        return tokens + hidden

    @torch.no_grad()
    def start_as_text(self, towers: CLIPTowers) -> bool:
        """Start from CLIP's first text blocks and its text positions, as the authors do.

        Args:
            towers: a trained CLIP.

        Returns:
            Whether they fit: a text tower of another kind or width, or with fewer blocks or positions, leaves
            everything as it is.
        """
        text = towers.text_model
        learned = text.embeddings.position_embedding.weight
        rows, width = self.positions.weight.shape
        if learned.shape[1] != width or len(learned) < rows or len(text.encoder.layers) < len(self.layers):
            return False
        if text.kind != "clip":
            return False
        self.positions.weight.copy_(learned[:rows])
        for ours, theirs in zip(self.layers, text.encoder.layers, strict=False):
            ours.load_state_dict(theirs.state_dict())
        return True
