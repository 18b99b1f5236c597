"""CLIP4Clip (Luo et al., Neurocomputing 2022): a video is the mean of its frames, seen one by one or in sequence."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from prost.config import MOST_LAYERS, MOST_POSITIONS, RetrievalConfig
from prost.errors import UsageError
from prost.model.clip import CLIPBackbone
from prost.model.matching import Similarity, expect_kinds
from prost.model.retrieval_model import FrameFeatures, RetrievalModel, SentenceFeatures
from prost.model.temporal_transformer import TemporalTransformer
from prost.model.tokenizer import WordTokenizer
from prost.model.towers import HEAD_WIDTH
from prost.model.vectors import unit


class CLIP4ClipConfig(RetrievalConfig):
    """A CLIP4Clip; the defaults are its authors'.

    `temporal` is what happens between frames and mean: nothing (`meanP`), a transformer of `temporal_layers` with
    `positions` (`seqTransf`), or a one-layer LSTM (`seqLSTM`).
    """

    architecture: Literal["clip4clip"] = "clip4clip"
    name: str = "clip4clip"
    temporal: Literal["meanP", "seqTransf", "seqLSTM"] = "meanP"
    temporal_layers: int = Field(4, ge=1, le=MOST_LAYERS)
    positions: int = Field(77, ge=1, le=MOST_POSITIONS)

    @model_validator(mode="after")
    def _sequence_fits(self) -> Self:
        if self.temporal != "seqTransf":
            return self
        if self.width % HEAD_WIDTH:
            raise ValueError(
                f"width {self.width} is not a multiple of {HEAD_WIDTH}, the width of an attention head"
            )
        if self.frames > self.positions:
            raise ValueError(f"frames {self.frames} exceed the {self.positions} positions")
        return self


class CLIP4Clip(RetrievalModel[SentenceFeatures, FrameFeatures]):
    """CLIP4Clip with its three loose similarities.

    Args:
        config: sizes and choices.
        tokenizer: how sentences become ids; without one, only `text_prototypes` takes text.
    """

    config: CLIP4ClipConfig
    class_tokens_only = True

    def __init__(self, config: CLIP4ClipConfig, tokenizer: WordTokenizer | None = None) -> None:
        super().__init__(config, CLIPBackbone(config.clip, config.width, (), 1), tokenizer)
        if config.temporal == "seqTransf":
            self.transformer = TemporalTransformer(config.width, config.temporal_layers, config.positions)
        elif config.temporal == "seqLSTM":
            self.lstm = nn.LSTM(config.width, config.width, batch_first=True)

    def text_prototypes(self, input_ids: Tensor, attention_mask: Tensor) -> SentenceFeatures:
        """Encode texts that are tokenised already; see `RetrievalModel`."""
        self._check_words(input_ids, attention_mask)
        words = self.clip.word_tokens(input_ids, attention_mask)  # [B, T, D]
        return SentenceFeatures(self.clip.sentence_token(words, attention_mask))

    def video_head(self, tokens: Tensor) -> FrameFeatures:
        """Class tokens `[B, L, 1, D]` to frames that have seen each other, as the configuration says."""
        class_tokens = tokens[:, :, 0]  # [B, L, D]
        if self.config.temporal == "seqTransf":
            return FrameFeatures(self.transformer(class_tokens))
        if self.config.temporal == "seqLSTM":
            return FrameFeatures(class_tokens + self.lstm(class_tokens)[0])
        return FrameFeatures(class_tokens)

    def match(self, text: SentenceFeatures, video: FrameFeatures) -> Similarity:
        """Cosine of the sentence with the mean of the unit frames: `total` `[A, B]`, no parts.

        Raises:
            UsageError: no features, or features of different width.
        """
        expect_kinds(text, video, (SentenceFeatures, FrameFeatures))
        if text.sentence.shape[-1] != video.frame.shape[-1]:
            raise UsageError(f"{text!r} against {video!r}", "features of one model")
        pooled = unit(unit(video.frame).mean(dim=1))  # [B, D]
        return Similarity(unit(text.sentence) @ pooled.T)
