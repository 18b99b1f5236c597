"""The doors that every model has: files, pixels, sentences and ids in; the model's own records out; scores of both.

ProST and the models that it is compared with differ in what they make of tokens, and in nothing before that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from prost.config import RetrievalConfig
from prost.errors import NeedsTokenizer, UsageError
from prost.model.clip import CLIPBackbone
from prost.model.matching import Record, Similarity, expect
from prost.model.tokenizer import WordTokenizer
from prost.video.decode import decode_frames
from prost.video.probe import probe
from prost.video.sampling import sample_times

Text = TypeVar("Text")
Video = TypeVar("Video")
Batch = TypeVar("Batch")


class RetrievalModel(nn.Module, Generic[Text, Video]):
    """The doors; a model adds `text_prototypes`, `video_head` and `match`.

    Args:
        config: sizes and choices.
        clip: the backbone.
        tokenizer: how sentences become ids; without one, only `text_prototypes` takes text.
    """

    def __init__(self, config: RetrievalConfig, clip: CLIPBackbone, tokenizer: WordTokenizer | None) -> None:
        super().__init__()
        self.config = config
        self.clip = clip
        self.tokenizer = tokenizer

    @abstractmethod
    def text_prototypes(self, input_ids: Tensor, attention_mask: Tensor) -> Text:
        """Encode texts that are tokenised already.

        Args:
            input_ids: `[B, T]`, padded with 0.
            attention_mask: `[B, T]`, 1 where a word stands.

        Raises:
            UsageError: shapes that do not fit each other or the model.
        """

    def video_prototypes(self, pixels: Tensor) -> Video:
        """Encode videos whose frames are sampled and normalised already: `frame_tokens`, then `video_head`.

        Args:
            pixels: `[B, L, 3, R, R]`.

        Raises:
            UsageError: pixels of another shape.
        """
        return self.video_head(self.frame_tokens(pixels))

    def frame_tokens(self, pixels: Tensor) -> Tensor:
        """What the head reads of each frame; while the vision tower is frozen it stays the same, and can be kept.

        Args:
            pixels: `[B, L, 3, R, R]`.

        Returns:
            `[B, L, M, D]`, token 0 is the class token; M is 1 in a model that reads no other.

        Raises:
            UsageError: pixels of another shape.
        """
        self._check_pixels(pixels)
        return self.clip.frame_tokens(pixels)

    @abstractmethod
    def video_head(self, tokens: Tensor) -> Video:
        """Make a video's record of its frame tokens, as `frame_tokens` gives them."""

    @abstractmethod
    def match(self, text: Text, video: Video) -> Similarity:
        """Score every text against every video, on the scale of cosines."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> tuple[Text, Video]:
        """Encode a batch of both kinds, as training does; shapes as in the two doors."""
        return self.text_prototypes(input_ids, attention_mask), self.video_prototypes(pixels)

    @property
    def logit_scale(self) -> Tensor:
        """The temperature of the loss; scores of `match` are cosines and do not contain it."""
        return self.clip.logit_scale

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.clip.towers.logit_scale.device

    @cached_property
    def fingerprint(self) -> str:
        """Hash of configuration and weights: two models of one fingerprint make the same records.

        Computed once; training a model further makes it stale, saving and loading makes a new one.
        """
        digest = hashlib.blake2b(self.config.model_dump_json().encode(), digest_size=12)
        for key, tensor in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def encode_text(self, sentences: Sequence[str]) -> Text:
        """Encode sentences.

        Raises:
            NeedsTokenizer: the weights came without a vocabulary.
            EmptyQuery: a sentence without a word.
        """
        ids, mask = self.tokenize(sentences)
        return self.text_prototypes(ids.to(self.device), mask.to(self.device))

    @torch.inference_mode()
    def encode_video(self, paths: Sequence[str | os.PathLike[str]]) -> Video:
        """Encode whole video files, L frames each, sampled at the middles of L equal parts.

        Raises:
            UsageError: no path.
            VideoError: a file that cannot be shown.
        """
        pixels = []
        for path in paths:
            times = sample_times(0.0, probe(path).duration, self.config.frames)
            pixels.append(self.normalise_pixels(decode_frames(path, times, self.config.image_size).pixels))
        if not pixels:
            raise UsageError("no video", "at least one path")
        return self.video_prototypes(torch.stack(pixels).to(self.device))

    def tokenize(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokenise sentences: ids and mask, both `[B, max_words]`.

        Raises:
            NeedsTokenizer: the weights came without a vocabulary.
            EmptyQuery: a sentence without a word.
        """
        return self._need_tokenizer()(sentences, self.config.max_words)

    def count_words(self, sentence: str) -> int:
        """Tokens of a sentence, start and end included; beyond `config.max_words` it is cut."""
        return self._need_tokenizer().count(sentence)

    def unknown_words(self, sentence: str) -> list[str]:
        """Words of a sentence that the vocabulary lacks; none, ever, for CLIP's own."""
        return self._need_tokenizer().unknown(sentence)

    def normalise_pixels(self, frames: np.ndarray) -> Tensor:
        """Bring decoded frames to what the model looks at.

        Args:
            frames: uint8 `[..., R, R, 3]`.

        Returns:
            float32 `[..., 3, R, R]` on the CPU, with CLIP's mean and deviation taken out.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, -3).float().div_(255)
        mean = torch.tensor(self.config.image_mean).view(3, 1, 1)
        std = torch.tensor(self.config.image_std).view(3, 1, 1)
        return pixels.sub_(mean).div_(std)

    def _need_tokenizer(self) -> WordTokenizer:
        if self.tokenizer is None:
            raise NeedsTokenizer(
                f"the weights of {self.config.name!r} came without a vocabulary",
                "tokenizer.json, or vocab.json with merges.txt, or bpe_simple_vocab_16e6.txt.gz beside the weights",
                "put one of them there, or call text_prototypes with your own ids",
            )
        return self.tokenizer

    def _check_words(self, input_ids: Tensor, attention_mask: Tensor) -> None:
        """Refuse ids that the text tower cannot take."""
        if input_ids.ndim != 2 or input_ids.shape != attention_mask.shape:
            raise UsageError(
                f"input_ids {list(input_ids.shape)} and attention_mask {list(attention_mask.shape)}",
                "both of one shape [B, T]",
            )
        if input_ids.shape[1] > self.config.clip.text_positions:
            raise UsageError(f"{input_ids.shape[1]} words", f"at most {self.config.clip.text_positions}")

    def _check_pixels(self, pixels: Tensor) -> None:
        """Refuse another number of frames; the backbone refuses another size."""
        if pixels.ndim != 5 or pixels.shape[1] != self.config.frames:
            size = self.config.image_size
            raise UsageError(
                f"pixels of shape {list(pixels.shape)}", f"[B, {self.config.frames}, 3, {size}, {size}]"
            )


def join(batches: Sequence[Batch]) -> Batch:
    """Join records of one kind, batch after batch; a part that one of them lacks is None.

    >>> join([SentenceFeatures(torch.zeros(2, 8)), SentenceFeatures(torch.zeros(3, 8))])
    SentenceFeatures(sentence=[5, 8])
    """
    parts: dict[str, Any] = {}
    for field in dataclasses.fields(batches[0]):  # type: ignore[arg-type]
        tensors = [getattr(batch, field.name) for batch in batches]
        parts[field.name] = None if any(tensor is None for tensor in tensors) else torch.cat(tensors)
    return type(batches[0])(**parts)


@dataclasses.dataclass(frozen=True, repr=False)
class SentenceFeatures(Record):
    """What a batch of sentences becomes in a model without phrases, unnormalised.

    Attributes:
        sentence: the projected end token `[B, D]`.
    """

    sentence: Tensor

    def __post_init__(self) -> None:
        expect("sentence features", self.sentence, 2, "[B, D]")

    def __len__(self) -> int:
        return len(self.sentence)

    def __getitem__(self, rows: slice | Tensor) -> Self:
        return type(self)(self.sentence[rows])


@dataclasses.dataclass(frozen=True, repr=False)
class FrameFeatures(Record):
    """What a batch of videos becomes in a model without objects and events, unnormalised.

    Attributes:
        frame: one vector for each frame `[B, L, D]`.
    """

    frame: Tensor

    def __post_init__(self) -> None:
        expect("frame features", self.frame, 3, "[B, L, D]")

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: slice | Tensor) -> Self:
        return type(self)(self.frame[rows])
