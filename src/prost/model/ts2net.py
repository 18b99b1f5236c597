"""TS2-Net (Liu et al., ECCV 2022): token shift, token selection, and frames weighed by the sentence."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from prost.config import MOST_LAYERS, MOST_POSITIONS, TokenShiftConfig
from prost.errors import UsageError
from prost.model.clip import CLIPBackbone
from prost.model.matching import Similarity, expect_kinds
from prost.model.retrieval_model import FrameFeatures, RetrievalModel, SentenceFeatures
from prost.model.temporal_transformer import TemporalTransformer
from prost.model.token_selection import TokenSelector
from prost.model.tokenizer import WordTokenizer
from prost.model.towers import HEAD_WIDTH
from prost.model.vectors import unit

# How sharply a sentence prefers its best frames; a constant of the authors' code.
FRAME_SHARPNESS = 4.0
# Cosines held at once while scoring a gallery: 2**26 floats are 256 MiB.
COSINES_AT_ONCE = 2**26


class TS2NetConfig(TokenShiftConfig):
    """A TS2-Net; the defaults are its authors' for MSR-VTT.

    Of each frame `selected_tokens` pass beside the class token, in training by the mean of `selection_samples` choices
    under noise of deviation `selection_noise`; `positions` of the temporal transformer hold them all.
    """

    BESIDE_PROTOTYPES: ClassVar[frozenset[str]] = frozenset(
        {"name", "image_fit", "selection_samples", "selection_noise"}
    )

    architecture: Literal["ts2net"] = "ts2net"
    name: str = "ts2net"
    selected_tokens: int = Field(3, ge=1, le=MOST_POSITIONS)
    selection_samples: int = Field(500, ge=2, le=100_000)
    selection_noise: float = Field(0.05, gt=0.0)
    temporal_layers: int = Field(4, ge=1, le=MOST_LAYERS)
    positions: int = Field(77, ge=1, le=MOST_POSITIONS)

    @model_validator(mode="after")
    def _tokens_fit(self) -> Self:
        if self.width % HEAD_WIDTH:
            raise ValueError(
                f"width {self.width} is not a multiple of {HEAD_WIDTH}, the width of an attention head"
            )
        if self.selected_tokens >= self.clip.tokens:
            raise ValueError(f"selected_tokens {self.selected_tokens} of {self.clip.tokens - 1} patches")
        if self.passing_tokens > self.positions:
            raise ValueError(
                f"{self.passing_tokens} tokens of {self.frames} frames exceed the {self.positions} positions"
            )
        return self

    @property
    def passing_tokens(self) -> int:
        """Tokens of one video that reach the temporal transformer."""
        return self.frames * (1 + self.selected_tokens)


class TS2Net(RetrievalModel[SentenceFeatures, FrameFeatures]):
    """TS2-Net.

    Args:
        config: sizes and choices.
        tokenizer: how sentences become ids; without one, only `text_prototypes` takes text.
    """

    config: TS2NetConfig

    def __init__(self, config: TS2NetConfig, tokenizer: WordTokenizer | None = None) -> None:
        clip = CLIPBackbone(
            config.clip, config.width, config.token_shift_blocks, config.token_shift_divisions
        )
        super().__init__(config, clip, tokenizer)
        self.selector = TokenSelector(
            config.width, config.selected_tokens, config.selection_samples, config.selection_noise
        )
        self.transformer = TemporalTransformer(config.width, config.temporal_layers, config.positions)

    def text_prototypes(self, input_ids: Tensor, attention_mask: Tensor) -> SentenceFeatures:
        """Encode texts that are tokenised already; see `RetrievalModel`."""
        self._check_words(input_ids, attention_mask)
        words = self.clip.word_tokens(input_ids, attention_mask)  # [B, T, D]
        return SentenceFeatures(self.clip.sentence_token(words, attention_mask))

    def video_head(self, tokens: Tensor) -> FrameFeatures:
        """Frame tokens `[B, L, M, D]` to the selected few, which see each other; the class positions are kept."""
        selected = self.selector(tokens)  # [B, L, 1 + k, D]
        seen = self.transformer(selected.flatten(1, 2)).unflatten(1, selected.shape[1:3])
        return FrameFeatures(seen[:, :, 0])

    def match(self, text: SentenceFeatures, video: FrameFeatures) -> Similarity:
        """Cosines of the sentence with the frames, the better frames weighing more: `total` `[A, B]`, no parts.

        Raises:
            UsageError: no features, or features of different width.
        """
        expect_kinds(text, video, (SentenceFeatures, FrameFeatures))
        if text.sentence.shape[-1] != video.frame.shape[-1]:
            raise UsageError(f"{text!r} against {video!r}", "features of one model")
        videos, frames, width = video.frame.shape
        columns = unit(video.frame).reshape(-1, width).T  # [D, B*L]
        rows_at_once = max(1, COSINES_AT_ONCE // max(1, columns.shape[1]))
        scores = []
        for block in unit(text.sentence).split(rows_at_once):
            cosines = (block @ columns).view(len(block), videos, frames)
            weights = (FRAME_SHARPNESS * unit(cosines)).softmax(dim=2)
            scores.append((weights * cosines).sum(dim=2))
        return Similarity(torch.cat(scores))
