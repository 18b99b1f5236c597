"""The model: pixels and words -> prototypes -> scores."""

from __future__ import annotations

import torch
from torch import Tensor

from prost.config import ModelConfig
from prost.errors import UsageError
from prost.model.clip import CLIPBackbone
from prost.model.joint_scorer import JointScorer, fits_of
from prost.model.matching import Similarity, TextPrototypes, VideoPrototypes, match
from prost.model.retrieval_model import RetrievalModel
from prost.model.spatial import ObjectPrototypes, PhrasePrototypes
from prost.model.temporal import EventDecoder, FrameDecoder
from prost.model.tokenizer import WordTokenizer


class ProST(RetrievalModel[TextPrototypes, VideoPrototypes]):
    """Progressive spatio-temporal prototype matching (Li et al., ICCV 2023).

    Args:
        config: sizes and choices.
        tokenizer: how sentences become ids; without one, only `text_prototypes` takes text.

    >>> small = ModelConfig.parse({"clip": {"image_size": 32, "patch_size": 16, "vision_width": 64,
    ...     "vision_layers": 2, "text_width": 64, "text_layers": 1, "vocabulary": 10}, "width": 8, "frames": 2,
    ...     "token_shift_blocks": [], "max_words": 4})
    >>> import torch
    >>> ProST(small).video_prototypes(torch.zeros(1, 2, 3, 32, 32))
    VideoPrototypes(object=[1, 2, 12, 8], event=[1, 3, 8], event_attention=[1, 3, 2])
    """

    config: ModelConfig

    def __init__(self, config: ModelConfig, tokenizer: WordTokenizer | None = None) -> None:
        clip = CLIPBackbone(
            config.clip, config.width, config.token_shift_blocks, config.token_shift_divisions
        )
        super().__init__(config, clip, tokenizer)
        self.object_prototypes = ObjectPrototypes(
            config.width, config.object_prototypes, config.sparse_weights
        )
        self.phrase_prototypes = PhrasePrototypes(
            config.width, config.phrase_prototypes, config.sparse_weights, config.mask_padding
        )
        self.frame_decoder = FrameDecoder(
            config.frames,
            config.object_prototypes,
            config.width,
            config.frame_layers,
            config.window,
            config.dropout,
        )
        self.event_decoder = EventDecoder(
            config.event_prototypes,
            config.width,
            config.event_layers,
            config.dropout,
            residual=config.event_residual,
        )
        self.joint_scorer = None if config.joint_scorer is None else JointScorer(config)

    def text_prototypes(self, input_ids: Tensor, attention_mask: Tensor) -> TextPrototypes:
        """Encode texts that are tokenised already.

        Args:
            input_ids: `[B, T]`, padded with 0; the authors pad to exactly `max_words`.
            attention_mask: `[B, T]`, 1 where there is a word.

        Raises:
            UsageError: shapes that do not fit each other or the model.
        """
        self._check_words(input_ids, attention_mask)
        words = self.clip.word_tokens(input_ids, attention_mask)  # [B, T, D]
        return TextPrototypes(
            self.phrase_prototypes(words, attention_mask), self.clip.sentence_token(words, attention_mask)
        )

    @property
    def reads_padding(self) -> bool:
        """Whether padded positions of a text change its record; in the authors' models the phrases read them."""
        return super().reads_padding or not self.config.mask_padding

    def video_head(self, tokens: Tensor) -> VideoPrototypes:
        """Compute object, frame and event prototypes from frame tokens `[B, L, M, D]`."""
        objects = self.object_prototypes(tokens)  # [B, L, N_o, D]
        frames = self.frame_decoder(objects)  # [B, L, D]
        events, attention = self.event_decoder(frames, objects[:, :, 0])  # [B, N_e, D], [B, N_e, L]
        return VideoPrototypes(objects, events, attention)

    def object_weights(self, tokens: Tensor) -> Tensor:
        """Weights of the tokens of each frame in its object prototypes; see `RetrievalModel.object_weights`."""
        gathered = self.object_prototypes.weights(tokens)  # [B, L, M, N_o - 1]
        class_token = torch.zeros_like(gathered[..., :1])
        class_token[..., 0, :] = 1.0
        return torch.cat([class_token, gathered], dim=-1)

    def phrase_weights(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Word tokens, and their weights in the phrase prototypes; see `RetrievalModel.phrase_weights`."""
        words = self.clip.word_tokens(input_ids, attention_mask)
        return words, self.phrase_prototypes.token_weights(words, attention_mask)

    def event_curves(self, video: VideoPrototypes) -> Tensor | None:
        """How much of each event comes from which frame, through both decoders; see `RetrievalModel.event_curves`."""
        if video.event_attention is None:
            return None
        return video.event_attention @ self.frame_decoder.frame_attention(video.object)

    def match(self, text: TextPrototypes, video: VideoPrototypes) -> Similarity:
        """Score every text against every video, by the rule and with the weight that the configuration fixes."""
        return match(text, video, self.config.object_phrase_weight, rule=self.config.matching_rule)

    def joint_logits(self, text: TextPrototypes, video: VideoPrototypes) -> Tensor:
        """Judge every text with every video by the joint scorer, which costs far more than `match`.

        Args:
            text: prototypes of A texts.
            video: prototypes of B videos.

        Returns:
            `[A, B]`, logits that text and video belong together.

        Raises:
            UsageError: the model has no joint scorer.
        """
        if self.joint_scorer is None:
            raise UsageError(
                f"model {self.config.name!r} has no joint scorer", "a model that was trained with one"
            )
        fits = fits_of(text, video, self.match(text, video).total)
        logits: Tensor = self.joint_scorer(fits, text)
        return logits
