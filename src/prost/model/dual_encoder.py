"""Dual encoders such as CLIP and SigLIP: a ProST with one object slot, used without training on videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from prost.config import MatchingRule, ModelConfig, RetrievalConfig
from prost.model.clip import CLIPBackbone
from prost.model.matching import Similarity, TextPrototypes, VideoPrototypes, match
from prost.model.retrieval_model import RetrievalModel
from prost.model.tokenizer import Word, WordTokenizer
from prost.model.vectors import unit


class DualEncoderConfig(RetrievalConfig):
    """A dual encoder of images and texts.

    `family` says where the weights come from. With `cells`, a grid of `cell_grid` x `cell_grid` cells fills more object
    slots. `prompt` is what a sentence is put into before it is tokenised. `open_clip` is the `model_cfg` of a model
    that open_clip itself runs.
    """

    BESIDE_PROTOTYPES: ClassVar[frozenset[str]] = frozenset(
        {"name", "image_fit", "matching_rule", "object_phrase_weight"}
    )

    architecture: Literal["dual_encoder"] = "dual_encoder"
    name: str = "dual_encoder"
    family: Literal["clip", "metaclip2", "chinese_clip", "siglip", "siglip2", "openclip"] = "clip"
    cells: bool = False
    cell_grid: int = Field(3, ge=1, le=64)
    prompt: str = Field("{}", pattern=r"^[^{}]*\{\}[^{}]*$")
    matching_rule: MatchingRule = "best_cosine"
    object_phrase_weight: float = Field(1.0, ge=0.0, le=1000.0)
    open_clip: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _open_clip_has_one_token(self) -> Self:
        if (self.family == "openclip") != (self.open_clip is not None):
            raise ValueError("family 'openclip' and open_clip belong together")
        if self.open_clip is not None and self.cells:
            raise ValueError("cells: open_clip gives no patch tokens in the space of the texts")
        if self.open_clip is not None and self.max_words != self.clip.text_positions:
            raise ValueError(f"max_words {self.max_words}: open_clip wants all {self.clip.text_positions}")
        return self

    @property
    def object_prototypes(self) -> int:
        """N_o: the frame, and its cells."""
        return 1 + (self.cell_grid**2 if self.cells else 0)

    @property
    def event_prototypes(self) -> int:
        """N_e: the mean of the frames."""
        return 1


# The configuration of any model that makes prototypes.
PrototypeConfig = ModelConfig | DualEncoderConfig


class DualEncoder(RetrievalModel[TextPrototypes, VideoPrototypes]):
    """A model of images and texts, used on the frames of a video.

    The object prototypes are the embeddings of the frames, the event prototype is the mean of their unit vectors, and
    the text's embedding is both its phrase and its sentence prototype. So the event-sentence score is CLIP4Clip's
    `meanP`, and the object-phrase score is that of the best frame.

    Args:
        config: sizes and choices.
        tokenizer: how sentences become ids; without one, only `text_prototypes` takes text.

    >>> small = DualEncoderConfig.parse({"clip": {"image_size": 32, "patch_size": 16, "vision_width": 64,
    ...     "vision_layers": 2, "text_width": 64, "text_layers": 1, "vocabulary": 10}, "width": 8, "frames": 2,
    ...     "cells": True, "cell_grid": 2})
    >>> DualEncoder(small).video_prototypes(torch.zeros(1, 2, 3, 32, 32))
    VideoPrototypes(object=[1, 2, 5, 8], event=[1, 1, 8], event_attention=[1, 1, 2])
    """

    config: DualEncoderConfig

    def __init__(self, config: DualEncoderConfig, tokenizer: WordTokenizer | None = None) -> None:
        if config.open_clip is None:
            backbone = CLIPBackbone(config.clip, config.width)
        else:
            from prost.model.open_clip_backbone import OpenClipBackbone  # imports open_clip

            backbone = OpenClipBackbone(config.clip, config.open_clip)
        super().__init__(config, backbone, tokenizer)
        self.class_tokens_only = not config.cells

    def tokenize(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokenise sentences, each put into the prompt: ids and mask, both `[B, max_words]`; see `RetrievalModel`."""
        return super().tokenize([self._prompted(sentence) for sentence in sentences])

    def text_prototypes(self, input_ids: Tensor, attention_mask: Tensor) -> TextPrototypes:
        """Encode texts that are tokenised already; see `RetrievalModel`."""
        self._check_words(input_ids, attention_mask)
        words = self.clip.word_tokens(input_ids, attention_mask)  # [B, T, D]
        sentence = self.clip.sentence_token(words, attention_mask)  # [B, D]
        return TextPrototypes(sentence[:, None], sentence)

    def video_head(self, tokens: Tensor) -> VideoPrototypes:
        """Compute object and event prototypes from frame tokens.

        A cell is the mean of the unit vectors of its patches, so that no long vector outweighs the others.

        Args:
            tokens: `[B, L, M, D]`.

        Returns:
            object `[B, L, 1, D]`, or `[B, L, 1 + cell_grid^2, D]` with cells, row by row; event `[B, 1, D]`. Every
            frame has the same part in the event.
        """
        frames = tokens[:, :, :1]  # [B, L, 1, D]
        objects = torch.cat([frames, self._cells(tokens[:, :, 1:])], dim=2) if self.config.cells else frames
        events = unit(frames[:, :, 0]).mean(dim=1, keepdim=True)  # [B, 1, D]
        # Every frame has the same part in the event.
        count, length = tokens.shape[:2]
        return VideoPrototypes(objects, events, tokens.new_full((count, 1, length), 1 / length))

    def _cells(self, patches: Tensor) -> Tensor:
        """Pool patches `[B, L, grid^2, D]` to cells `[B, L, cell_grid^2, D]`."""
        return self._cell_weights(patches).transpose(-1, -2) @ unit(patches)

    def _cell_weights(self, patches: Tensor) -> Tensor:
        """Weights of patches in cells `[grid^2, cell_grid^2]`; a column is a mean, so that it sums to 1."""
        grid = self.config.clip.grid
        each = torch.eye(grid**2, dtype=patches.dtype, device=patches.device).unflatten(1, (grid, grid))
        return adaptive_avg_pool2d(each, self.config.cell_grid).flatten(1)

    def object_weights(self, tokens: Tensor) -> Tensor | None:
        """Weights of the tokens of each frame in its cells; see `RetrievalModel.object_weights`. None without cells."""
        if not self.config.cells:
            return None
        lengths = torch.linalg.vector_norm(tokens[:, :, 1:], dim=-1, keepdim=True)
        weights = tokens.new_zeros(*tokens.shape[:3], self.config.object_prototypes)
        weights[:, :, 0, 0] = 1.0
        weights[:, :, 1:, 1:] = self._cell_weights(tokens) / lengths.clamp(min=1e-12)
        return weights

    def phrase_weights(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor] | None:
        """Word tokens, of which one is the phrase; see `RetrievalModel.phrase_weights`. None for open_clip."""
        if self.config.open_clip is not None:
            return None
        words = self.clip.word_tokens(input_ids, attention_mask)  # [B, T, D]
        positions = torch.arange(words.shape[1], device=words.device).expand(len(words), -1)[..., None]
        chosen = self.clip.sentence_token(positions, attention_mask)  # [B, 1]
        return words, (positions == chosen[:, None]).to(words.dtype)

    def event_curves(self, video: VideoPrototypes) -> Tensor | None:
        """Every frame has the same part in the event: `[B, 1, L]`."""
        return video.event_attention

    def match(self, text: TextPrototypes, video: VideoPrototypes) -> Similarity:
        """Score every text against every video, by the rule and with the weight that the configuration fixes."""
        return match(text, video, self.config.object_phrase_weight, rule=self.config.matching_rule)

    def count_words(self, sentence: str) -> int:
        """Tokens of a sentence in the prompt, special tokens included; beyond `config.max_words` it is cut."""
        return super().count_words(self._prompted(sentence))

    def split_words(self, sentence: str) -> list[Word]:
        """The words of the prompted sentence; those of the prompt itself are never left out of it."""
        before, after = (part.strip() for part in self.config.prompt.split("{}"))
        words = super().split_words(self._prompted(sentence))
        return [
            word._replace(rest=word.rest[len(before) : len(word.rest) - len(after)].strip())
            if word.rest.startswith(before) and word.rest.endswith(after)
            else word._replace(rest="")
            for word in words
        ]

    def _prompted(self, sentence: str) -> str:
        return self.config.prompt.replace("{}", sentence)
