"""The backbone: the two towers of CLIP or of a model like it. All tokens are projected into one space.

The vision tower runs here, block by block, since token shift enters it.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from prost.config import CLIPShape
from prost.errors import UsageError
from prost.model.token_shift import token_shift
from prost.model.towers import CLIPTowers


class CLIPBackbone(nn.Module):
    """Pixels and words to projected tokens.

    Args:
        shape: sizes of the towers.
        width: D.
        shift_blocks: vision blocks (0-based) whose attention sees shifted tokens.
        shift_divisions: see `token_shift.shifted_positions`.

    Attributes:
        activation_checkpointing: recompute activations of the vision tower in the backward pass.
    """

    def __init__(
        self, shape: CLIPShape, width: int, shift_blocks: tuple[int, ...] = (), shift_divisions: int = 1
    ) -> None:
        super().__init__()
        self.towers = CLIPTowers(shape, width)
        self.shape = shape
        self.shift_blocks = frozenset(shift_blocks)
        self.shift_divisions = shift_divisions
        self.activation_checkpointing = False

    @property
    def logit_scale(self) -> Tensor:
        """CLIP's temperature: scores are multiplied by its exponential, at most 100."""
        return self.towers.logit_scale.exp().clamp(max=100.0)

    @property
    def reads_padding(self) -> bool:
        """Whether padded positions of a text change its sentence token, so that texts must be padded to full length."""
        return self.shape.text.kind == "siglip"

    def frame_tokens(self, pixels: Tensor) -> Tensor:
        """Project all tokens of every frame.

        Args:
            pixels: `[B, L, 3, R, R]`, normalised.

        Returns:
            `[B, L, M, D]`; token 0 is the class token. In SigLIP it is the pooled frame, and the others are patches
            that passed the pooling head as sequences of one.

        Raises:
            UsageError: pixels of another shape.
        """
        size = self.shape.image_size
        if pixels.ndim != 5 or pixels.shape[2:] != (3, size, size):
            raise UsageError(f"pixels of shape {list(pixels.shape)}", f"[B, L, 3, {size}, {size}]")
        states = self.below_shift(pixels.flatten(0, 1))
        return self.from_shift(states.unflatten(0, pixels.shape[:2]))

    def below_shift(self, frames: Tensor, class_tokens_only: bool = False) -> Tensor:
        """Run the part of the vision tower that sees each frame alone: everything below the first shifted block.

        Without a shifted block that is the whole tower, the projection included.

        Args:
            frames: `[N, 3, R, R]`, normalised.
            class_tokens_only: project token 0 of each frame and no other, so that M is 1.

        Returns:
            One state per frame, `[N, M, width]`; `[N, M, D]` without a shifted block.
        """
        vision = self.towers.vision_model
        hidden = vision.embed(
            frames
        )  # [N, T, width], where T is M without what stands for a class token in SigLIP
        if torch.is_autocast_enabled(hidden.device.type):
            # Otherwise the residual stream stays float32, and every linear layer casts its input again.
            hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        hidden = self._vision_blocks(hidden, range(self._first_shifted), frames=1)
        return hidden if self.shift_blocks else self._project(hidden, class_tokens_only)

    def from_shift(self, states: Tensor, class_tokens_only: bool = False) -> Tensor:
        """Run the part of the vision tower in which the frames of a clip see each other.

        Args:
            states: of `below_shift`, `[B, L, M, width]`; `[B, L, M, D]` without a shifted block, returned as it is.
            class_tokens_only: see `below_shift`.

        Returns:
            `[B, L, M, D]`.
        """
        if not self.shift_blocks:
            return states
        batch, frames = states.shape[:2]
        blocks = range(self._first_shifted, len(self.towers.vision_model.encoder.layers))
        hidden = self._vision_blocks(states.flatten(0, 1), blocks, frames)
        return self._project(hidden, class_tokens_only).unflatten(0, (batch, frames))

    @property
    def _first_shifted(self) -> int:
        return min(self.shift_blocks, default=len(self.towers.vision_model.encoder.layers))

    def _project(self, hidden: Tensor, class_tokens_only: bool) -> Tensor:
        """From the last hidden state `[N, T, width]` to frame tokens `[N, M, D]`."""
        vision = self.towers.vision_model
        if vision.head is None:
            read = hidden[:, :1] if class_tokens_only else hidden
            return self.towers.visual_projection(vision.post_layernorm(read))
        patches = vision.post_layernorm(hidden)
        pooled = vision.head.pool(patches)[:, None]  # [N, 1, D]
        return pooled if class_tokens_only else torch.cat([pooled, vision.head.single(patches)], dim=1)

    def _vision_blocks(self, hidden: Tensor, blocks: range, frames: int) -> Tensor:
        """Run some blocks over `[B*L, M, width]`, where `frames` is L."""
        for index in blocks:
            if self.activation_checkpointing and self.training:
                hidden = checkpoint(self._vision_block, hidden, index, frames, use_reentrant=False)
            else:
                hidden = self._vision_block(hidden, index, frames)
        return hidden

    def _vision_block(self, hidden: Tensor, index: int, frames: int) -> Tensor:
        block = self.towers.vision_model.encoder.layers[index]
        if index not in self.shift_blocks:
            return block(hidden)
        return block(hidden, shift=partial(self._shift, frames=frames))

    def _shift(self, normed: Tensor, frames: int) -> Tensor:
        return token_shift(normed.unflatten(0, (-1, frames)), self.shift_divisions).flatten(0, 1)

    def word_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Project all words.

        CLIP has the causal mask only: a padding mask would change the padded positions, which the phrases of the
        authors' models read.

        Args:
            input_ids: `[B, T]`.
            attention_mask: `[B, T]`, 1 where there is a word; only a `bert` tower reads it.

        Returns:
            `[B, T, D]`.
        """
        return self.towers.text_projection(self.towers.text_model(input_ids, attention_mask))

    def sentence_token(self, words: Tensor, attention_mask: Tensor) -> Tensor:
        """Pick the token that stands for each text.

        CLIP's is the end token, at position `sum(attention_mask) - 1`; SigLIP's the last position, padding included;
        BERT's the first.

        Args:
            words: `[B, T, D]`.
            attention_mask: `[B, T]`, 1 where there is a word.

        Returns:
            `[B, D]`.
        """
        kind = self.shape.text.kind
        if kind != "clip":
            return words[:, -1 if kind == "siglip" else 0]
        last = attention_mask.sum(dim=1).long() - 1
        return words[torch.arange(len(words), device=words.device), last]
