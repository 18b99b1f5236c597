"""The two transformers of CLIP and of models like it, as plain modules with the names of `transformers.CLIPModel`.

Released weights keep their names, and a start does not wait for `transformers`, whose import takes longer than
everything else together. The tests compare both on random weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from prost.config import CLIPShape, TowerDesign
from prost.errors import BadConfig

CLIP_DESIGN = TowerDesign()
HEAD_WIDTH = 64
# With fewer tokens, plain matrix products beat the fused attention of a CPU: at 26 tokens by a fifth of a training
# step.
FUSED_FROM = 64
QUICK_GELU_SLOPE = 1.702


def quick_gelu(inner: Tensor) -> Tensor:
    """OpenAI's approximation of GELU."""
    return inner * torch.sigmoid(QUICK_GELU_SLOPE * inner)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": gelu,
    "gelu_tanh": partial(gelu, approximate="tanh"),
}


class SelfAttention(nn.Module):
    """Attention with several heads.

    Args:
        width: of a token, a multiple of `head_width`.
        head_width: of one head.
    """

    def __init__(self, width: int, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.head_width = head_width
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
        """Let the tokens see each other.

        Args:
            hidden: `[B, T, width]`.
            causal: let a token see only itself and those before it.
            mask: `[B, T]`, not 0 for the tokens that may be seen; None for all.

        Returns:
            `[B, T, width]`.
        """
        projections = (self.q_proj, self.k_proj, self.v_proj)
        queries, keys, values = (
            projection(hidden).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for projection in projections
        )  # [B, heads, T, head_width]
        seen = None if mask is None else mask.bool()[:, None, None]  # [B, 1, 1, T]
        tokens = hidden.shape[1]
        if hidden.device.type != "cpu" or tokens >= FUSED_FROM:
            attended = scaled_dot_product_attention(queries, keys, values, attn_mask=seen, is_causal=causal)
        else:
            logits = queries @ keys.transpose(-1, -2) * self.head_width**-0.5  # [B, heads, T, T]
            if causal:
                later = torch.ones(tokens, tokens, dtype=torch.bool, device=hidden.device).triu(1)
                logits = logits.masked_fill(later, float("-inf"))
            if seen is not None:
                logits = logits.masked_fill(~seen, float("-inf"))
            attended = logits.softmax(dim=-1) @ values
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers around an activation.

    Args:
        width: of a token.
        design: inner width and activation.
    """

    def __init__(self, width: int, design: TowerDesign) -> None:
        super().__init__()
        inner = design.mlp_width or 4 * width
        self.activation = ACTIVATIONS[design.activation]
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `[..., width]` to `[..., width]`."""
        return self.fc2(self.activation(self.fc1(hidden)))


class TransformerBlock(nn.Module):
    """Attention and MLP, each with a residual: pre-norm, or post-norm as in BERT.

    Args:
        width: of a token, a multiple of the design's head width.
        design: everything else.
    """

    def __init__(self, width: int, design: TowerDesign = CLIP_DESIGN) -> None:
        super().__init__()
        self.post_norm = design.kind == "bert"
        self.self_attn = SelfAttention(width, design.head_width)
        self.layer_norm1 = nn.LayerNorm(width, eps=design.eps)
        self.mlp = MLP(width, design)
        self.layer_norm2 = nn.LayerNorm(width, eps=design.eps)

    def forward(
        self,
        hidden: Tensor,
        *,
        causal: bool = False,
        mask: Tensor | None = None,
        shift: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Refine tokens.

        Args:
            hidden: `[B, T, width]`.
            causal: let a token see only itself and those before it.
            mask: `[B, T]`, not 0 for the tokens that may be seen; None for all.
            shift: changes what the attention of a pre-norm block reads, and not the residual.

        Returns:
            `[B, T, width]`.
        """
        if self.post_norm:
            hidden = self.layer_norm1(hidden + self.self_attn(hidden, causal, mask))
            return self.layer_norm2(hidden + self.mlp(hidden))
        normed = self.layer_norm1(hidden)
        hidden = hidden + self.self_attn(shift(normed) if shift else normed, causal, mask)
        return hidden + self.mlp(self.layer_norm2(hidden))


class Blocks(nn.Module):
    """The blocks of a tower."""

    def __init__(self, width: int, layers: int, design: TowerDesign) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerBlock(width, design) for _ in range(layers))


class TextEmbeddings(nn.Module):
    """A vector for every word, and one for every position; BERT adds one for the kind of text and a norm."""

    def __init__(self, shape: CLIPShape) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.text_width)
        self.position_embedding = nn.Embedding(shape.text_positions, shape.text_width)
        self.bert = shape.text.kind == "bert"
        if self.bert:
            # BERT knows two kinds of text; all of ours are of the first.
            self.type_embedding = nn.Embedding(1, shape.text_width)
            self.norm = nn.LayerNorm(shape.text_width, eps=shape.text.eps)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Look up ids `[B, T]`: `[B, T, width]`."""
        hidden = self.token_embedding(input_ids)
        hidden = hidden + self.position_embedding.weight[: input_ids.shape[1]]
        return self.norm(hidden + self.type_embedding.weight[0]) if self.bert else hidden


class TextTower(nn.Module):
    """Ids to the last hidden state. CLIP has the causal mask only, SigLIP no mask, BERT masks padding."""

    def __init__(self, shape: CLIPShape) -> None:
        super().__init__()
        self.kind = shape.text.kind
        self.embeddings = TextEmbeddings(shape)
        self.encoder = Blocks(shape.text_width, shape.text_layers, shape.text)
        if self.kind != "bert":
            self.final_layer_norm = nn.LayerNorm(shape.text_width, eps=shape.text.eps)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode texts.

        Args:
            input_ids: `[B, T]`.
            attention_mask: `[B, T]`, 1 where there is a word.

        Returns:
            `[B, T, width]`.
        """
        hidden = self.embeddings(input_ids)
        mask = attention_mask if self.kind == "bert" else None
        for block in self.encoder.layers:
            hidden = block(hidden, causal=self.kind == "clip", mask=mask)
        return hidden if self.kind == "bert" else self.final_layer_norm(hidden)


class Stem(nn.Module):
    """Convolutions of 3 x 3 before the patches, each with a ReLU.

    Args:
        layers: channels and stride of each.
    """

    def __init__(self, layers: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        channels_read = (3, *(channels for channels, _ in layers))
        # With stride 3 the windows meet without a margin; otherwise a margin of one pixel keeps R / stride positions.
        self.layers = nn.ModuleList(
            nn.Conv2d(before, channels, kernel_size=3, stride=stride, padding=0 if stride == 3 else 1)
            for before, (channels, stride) in zip(channels_read, layers, strict=False)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames `[N, 3, R, R]` to `[N, channels of the last layer, R / strides, R / strides]`."""
        for layer in self.layers:
            frames = layer(frames).relu()
        return frames


class VisionEmbeddings(nn.Module):
    """A vector for every patch and one for every position; in CLIP also the class token, before the patches."""

    def __init__(self, shape: CLIPShape) -> None:
        super().__init__()
        width, patch = shape.vision_width, shape.patch_size
        clip = shape.vision.kind == "clip"
        self.class_embedding = nn.Parameter(torch.empty(width)) if clip else None
        self.stem = Stem(shape.stem) if shape.stem else None
        channels = shape.stem[-1][0] if shape.stem else 3
        side = patch // shape.stem_stride
        self.patch_embedding = nn.Conv2d(channels, width, kernel_size=side, stride=side, bias=not clip)
        self.position_embedding = nn.Embedding(shape.grid**2 + clip, width)

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames `[N, 3, R, R]`: `[N, T, width]`, where T counts the patches and the class token, if any."""
        frames = frames.to(self.patch_embedding.weight.dtype)
        pictures = frames if self.stem is None else self.stem(frames)
        tokens = self.patch_embedding(pictures).flatten(2).transpose(1, 2)  # [N, patches, width]
        if self.class_embedding is not None:
            first = self.class_embedding.expand(frames.shape[0], 1, -1)  # traced: len() would be a constant
            tokens = torch.cat([first, tokens], dim=1)
        return tokens + self.position_embedding.weight


class PoolingHead(nn.Module):
    """SigLIP's pooling of patches: a learned query attends to them, then a residual MLP."""

    def __init__(self, shape: CLIPShape) -> None:
        super().__init__()
        width = shape.vision_width
        self.probe = nn.Parameter(torch.empty(width))
        self.attention = SelfAttention(width, shape.vision.head_width)
        self.layernorm = nn.LayerNorm(width, eps=shape.vision.eps)
        self.mlp = MLP(width, shape.vision)

    def pool(self, patches: Tensor) -> Tensor:
        """Pool the patches of each frame: `[N, T, width]` to `[N, width]`."""
        attention = self.attention
        heads = (-1, attention.head_width)
        queries = attention.q_proj(self.probe).unflatten(-1, heads)  # [heads, head_width]
        keys, values = (
            projection(patches).unflatten(-1, heads) for projection in (attention.k_proj, attention.v_proj)
        )  # [N, T, heads, head_width]
        logits = torch.einsum("hw,nthw->nht", queries, keys) * attention.head_width**-0.5
        attended = torch.einsum("nht,nthw->nhw", logits.softmax(dim=-1), values).flatten(1)
        return self._finish(attended)

    def single(self, patches: Tensor) -> Tensor:
        """Pool each patch as a sequence of one, where attention is its value: `[..., width]` to `[..., width]`."""
        return self._finish(self.attention.v_proj(patches))

    def _finish(self, attended: Tensor) -> Tensor:
        pooled = self.attention.out_proj(attended)
        return pooled + self.mlp(self.layernorm(pooled))


class VisionTower(nn.Module):
    """The parts of the vision transformer; `CLIPBackbone` runs them, since token shift enters there."""

    def __init__(self, shape: CLIPShape) -> None:
        super().__init__()
        clip, eps = shape.vision.kind == "clip", shape.vision.eps
        self.embeddings = VisionEmbeddings(shape)
        if clip:
            self.pre_layrnorm = nn.LayerNorm(shape.vision_width, eps=eps)  # spelt so in released weights
        self.encoder = Blocks(shape.vision_width, shape.vision_layers, shape.vision)
        self.post_layernorm = nn.LayerNorm(shape.vision_width, eps=eps)
        self.head = None if clip else PoolingHead(shape)

    def embed(self, frames: Tensor) -> Tensor:
        """What the first block reads: `[N, 3, R, R]` to `[N, T, width]`."""
        hidden = self.embeddings(frames)
        return hidden if self.head is not None else self.pre_layrnorm(hidden)


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
        siglip = shape.vision.kind == "siglip"
        if siglip and width != shape.vision_width:
            raise BadConfig(
                f"width {width}", f"{shape.vision_width}, since SigLIP's pooled patches are not projected"
            )
        self.visual_projection = nn.Identity() if siglip else nn.Linear(shape.vision_width, width, bias=False)
        self.text_projection = nn.Linear(shape.text_width, width, bias=shape.text.kind == "siglip")
        self._initialise(shape)

    def _initialise(self, shape: CLIPShape) -> None:
        """Draw weights as OpenAI's CLIP does; biases are zero. A stem and what follows it keep PyTorch's."""
        vision, text = self.vision_model, self.text_model
        if vision.embeddings.class_embedding is not None:
            nn.init.normal_(vision.embeddings.class_embedding, std=shape.vision_width**-0.5)
        if vision.head is not None:
            nn.init.normal_(vision.head.probe, std=shape.vision_width**-0.5)
        if vision.embeddings.stem is None:
            nn.init.normal_(vision.embeddings.patch_embedding.weight, std=0.02)
        for embedding in (
            vision.embeddings.position_embedding,
            text.embeddings.token_embedding,
            text.embeddings.position_embedding,
        ):
            nn.init.normal_(embedding.weight, std=0.02)
        for projection in (self.visual_projection, self.text_projection):
            if isinstance(projection, nn.Linear):
                nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
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
