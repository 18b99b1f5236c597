"""CLIP's two transformers, as plain modules with the parameter names of `transformers.CLIPModel`.

Released weights keep their names, and a start does not wait for `transformers`, whose import takes longer than
everything else together. The tests compare both on random weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from prost.config import CLIPShape

HEAD_WIDTH = 64
# With fewer tokens, plain matrix products beat the fused attention of a CPU: at 26 tokens by a fifth of a training
# step.
FUSED_FROM = 64


class SelfAttention(nn.Module):
    """Attention with heads of width 64.

    Args:
        width: of a token, a multiple of 64.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor, causal: bool = False) -> Tensor:
        """Let the tokens see each other, or only those before them: `[B, T, width]` to `[B, T, width]`."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        queries, keys, values = (
            projection(hidden).unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2) for projection in projections
        )  # [B, heads, T, 64]
        tokens = hidden.shape[1]
        if hidden.device.type != "cpu" or tokens >= FUSED_FROM:
            attended = scaled_dot_product_attention(queries, keys, values, is_causal=causal)
        else:
            logits = queries @ keys.transpose(-1, -2) * HEAD_WIDTH**-0.5  # [B, heads, T, T]
            if causal:
                later = torch.ones(tokens, tokens, dtype=torch.bool, device=hidden.device).triu(1)
                logits = logits.masked_fill(later, float("-inf"))
            attended = logits.softmax(dim=-1) @ values
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers around CLIP's quick GELU; the inner one is four times as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `[..., width]` to `[..., width]`."""
        inner = self.fc1(hidden)
        return self.fc2(inner * torch.sigmoid(1.702 * inner))


class TransformerBlock(nn.Module):
    """A pre-norm block: attention and MLP, each with a residual.

    Args:
        width: of a token, a multiple of 64.
        eps: of both norms.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width)
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)

    def forward(
        self, hidden: Tensor, causal: bool = False, shift: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Refine tokens.

        Args:
            hidden: `[B, T, width]`.
            causal: let a token see only those before it.
            shift: changes what the attention reads, and not the residual.

        Returns:
            `[B, T, width]`.
        """
        normed = self.layer_norm1(hidden)
        hidden = hidden + self.self_attn(shift(normed) if shift else normed, causal)
        return hidden + self.mlp(self.layer_norm2(hidden))


class Blocks(nn.Module):
    """The blocks of a tower."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerBlock(width) for _ in range(layers))


class TextEmbeddings(nn.Module):
    """A vector for every word, and one for every position."""

    def __init__(self, shape: CLIPShape) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.text_width)
        self.position_embedding = nn.Embedding(shape.text_positions, shape.text_width)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Look up ids `[B, T]`: `[B, T, width]`."""
        return self.token_embedding(input_ids) + self.position_embedding.weight[: input_ids.shape[1]]


class TextTower(nn.Module):
    """Ids to the last hidden state, with the causal mask only."""

    def __init__(self, shape: CLIPShape) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(shape)
        self.encoder = Blocks(shape.text_width, shape.text_layers)
        self.final_layer_norm = nn.LayerNorm(shape.text_width)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Encode ids `[B, T]`: `[B, T, width]`."""
        hidden = self.embeddings(input_ids)
        for block in self.encoder.layers:
            hidden = block(hidden, causal=True)
        return self.final_layer_norm(hidden)


class VisionEmbeddings(nn.Module):
    """A vector for every patch, before them the class token, and one for every position."""

    def __init__(self, shape: CLIPShape) -> None:
        super().__init__()
        width, patch = shape.vision_width, shape.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding(shape.tokens, width)

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames `[N, 3, R, R]`: `[N, M, width]`."""
        patches = self.patch_embedding(frames).flatten(2).transpose(1, 2)  # [N, M - 1, width]
        first = self.class_embedding.expand(len(frames), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class VisionTower(nn.Module):
    """The parts of the vision transformer; `CLIPBackbone` runs them, since token shift enters there."""

    def __init__(self, shape: CLIPShape) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(shape)
        self.pre_layrnorm = nn.LayerNorm(shape.vision_width)  # spelt so in released weights
        self.encoder = Blocks(shape.vision_width, shape.vision_layers)
        self.post_layernorm = nn.LayerNorm(shape.vision_width)


class CLIPTowers(nn.Module):
    """Both towers and their projections into the shared space, with CLIP's random initial weights.

    Args:
        shape: sizes of the towers.
        width: D, the width of the shared space.
    """

    def __init__(self, shape: CLIPShape, width: int) -> None:
        super().__init__()
        # Parameters keep this order: a training that goes on finds the optimizer's state by it.
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.text_model = TextTower(shape)
        self.vision_model = VisionTower(shape)
        self.visual_projection = nn.Linear(shape.vision_width, width, bias=False)
        self.text_projection = nn.Linear(shape.text_width, width, bias=False)
        self._initialise(shape)

    def _initialise(self, shape: CLIPShape) -> None:
        """Draw weights as OpenAI's CLIP does; biases are zero."""
        vision, text = self.vision_model, self.text_model
        nn.init.normal_(vision.embeddings.class_embedding, std=shape.vision_width**-0.5)
        for embedding in (
            vision.embeddings.patch_embedding,
            vision.embeddings.position_embedding,
            text.embeddings.token_embedding,
            text.embeddings.position_embedding,
        ):
            nn.init.normal_(embedding.weight, std=0.02)
        nn.init.normal_(self.visual_projection.weight, std=shape.vision_width**-0.5)
        nn.init.normal_(self.text_projection.weight, std=shape.text_width**-0.5)
        for tower in (vision, text):
            for block in tower.encoder.layers:
                assert isinstance(block, TransformerBlock)
                _initialise_block(block, len(tower.encoder.layers))


def _initialise_block(block: TransformerBlock, layers: int) -> None:
    attention, mlp = block.self_attn, block.mlp
    width = attention.out_proj.in_features
    residual = width**-0.5 * (2 * layers) ** -0.5
    for linear, std in (
        (attention.q_proj, residual),
        (attention.k_proj, residual),
        (attention.v_proj, residual),
        (attention.out_proj, width**-0.5),
        (mlp.fc1, (2 * width) ** -0.5),
        (mlp.fc2, residual),
    ):
        nn.init.normal_(linear.weight, std=std)
        nn.init.zeros_(linear.bias)
