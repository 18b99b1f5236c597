"""The interface of every model: files, pixels, sentences and ids in; records of the model and scores out.

ProST and the models that it is compared with differ only in what they compute from tokens.
"""

from __future__ import annotations

import dataclasses
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prost.config import RetrievalConfig
from prost.errors import MissingPath, NeedsTokenizer, UsageError
from prost.model.clip import CLIPBackbone
from prost.model.encoding import VideoEncoder, encode_text, join
from prost.model.known_fingerprints import recall, remember, state_of_files
from prost.model.matching import Record, Similarity
from prost.model.tokenizer import Word, WordTokenizer
from prost.model.vectors import expect
from prost.video.probe import VideoInfo
from prost.video.reader import Event, ReadRequest, ReadWindow, VideoReader
from prost.video.remote import address_of
from prost.video.sampling import sample_times

# Parts of the vision tower, as `freeze` takes them.
VISION_TOWER = ("clip.towers.vision_model", "clip.towers.visual_projection")
# Where the weights of the vision tower are, by the beginning of their names; the last is of open_clip.
VISION_WEIGHTS = (*VISION_TOWER, "clip.towers.visual.")

# Fields that the configurations of that time did not have; see `former_fingerprints`.
ADDED_SINCE: dict[str, Any] = {
    "clip": {"vision", "text", "stem"},
    "text_padding": True,
    "event_residual": True,
    "image_fit": True,
    "matching_rule": True,
    "joint_scorer": True,
}
# Beginning of the names of weights that make no prototypes, so that the fingerprint leaves them out.
BESIDE_PROTOTYPES = "joint_scorer."

Text = TypeVar("Text", bound=Record)
Video = TypeVar("Video", bound=Record)


class RetrievalModel(nn.Module, Generic[Text, Video]):
    """The common part of every model. A model adds `text_prototypes`, `video_head` and `match`.

    Args:
        config: sizes and choices.
        clip: the backbone.
        tokenizer: how sentences become ids; without one, only `text_prototypes` takes text.
    """

    # Whether the head reads the class token of each frame and no other.
    class_tokens_only = False
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: RetrievalConfig, clip: CLIPBackbone, tokenizer: WordTokenizer | None) -> None:
        super().__init__()
        self.config = config
        self.clip = clip
        self.tokenizer = tokenizer
        self._files: tuple[Path, ...] = ()
        self._as_loaded: list[tuple[int, int]] | None = None
        # Buffers, so that they are on the device of the weights. On the CPU even if the weights are made on the meta
        # device: no file holds them.
        for name, values in (("pixel_mean", config.image_mean), ("pixel_std", config.image_std)):
            self.register_buffer(name, torch.tensor(values, device="cpu").view(3, 1, 1), persistent=False)

    @abstractmethod
    def text_prototypes(self, input_ids: Tensor, attention_mask: Tensor) -> Text:
        """Encode texts that are tokenised already.

        Args:
            input_ids: `[B, T]`, padded with `config.text_padding`.
            attention_mask: `[B, T]`, 1 where there is a word.

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
        """Compute what the head reads of each frame. With a frozen vision tower it stays the same and can be stored.

        Args:
            pixels: `[B, L, 3, R, R]`.

        Returns:
            `[B, L, M, D]`, token 0 is the class token; M is 1 in a model that reads no other.

        Raises:
            UsageError: pixels of another shape.
        """
        self._check_pixels(pixels)
        return self.from_shift(self.below_shift(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2]))

    def below_shift(self, frames: Tensor) -> Tensor:
        """The part of `frame_tokens` that sees each frame alone: equal frames need it once.

        Args:
            frames: `[N, 3, R, R]`, normalised.

        Returns:
            `[N, M, width]`, one state per frame; see `CLIPBackbone.below_shift`.
        """
        return self.clip.below_shift(frames, self.class_tokens_only)

    def from_shift(self, states: Tensor) -> Tensor:
        """The rest of `frame_tokens`, in which the frames of a clip see each other.

        Args:
            states: of `below_shift`, `[B, L, M, width]`.

        Returns:
            `[B, L, M, D]`, as `frame_tokens`.
        """
        return self.clip.from_shift(states, self.class_tokens_only)

    @abstractmethod
    def video_head(self, tokens: Tensor) -> Video:
        """Compute the record of videos from their frame tokens `[B, L, M, D]`."""

    @abstractmethod
    def match(self, text: Text, video: Video) -> Similarity:
        """Score every text against every video, on the scale of cosines."""

    def object_weights(self, tokens: Tensor) -> Tensor | None:
        """Weight of every token of a frame in every object prototype: the prototype is the weighted sum of the tokens.

        Args:
            tokens: frame tokens `[B, L, M, D]`; token 0 is the class token, the others are patches, row by row.

        Returns:
            `[B, L, M, N_o]`; None for a model whose object prototypes are no sums of tokens.
        """
        return None

    def phrase_weights(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor] | None:
        """Word tokens, and their weights in the phrase prototypes: a phrase is the weighted sum of the words.

        Args:
            input_ids, attention_mask: as for `text_prototypes`.

        Returns:
            `[B, T, D]` and `[B, T, N_p]`; None for a model whose phrase prototypes are no sums of words.
        """
        return None

    def event_curves(self, video: Video) -> Tensor | None:
        """How much of each event prototype comes from which frame.

        Args:
            video: record of B videos.

        Returns:
            `[B, N_e, L]`, rows sum to 1; None for a model without events, or where the record has no attention.
        """
        return None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> tuple[Text, Video]:
        """Encode a batch of texts and videos; shapes as in `text_prototypes` and `video_prototypes`."""
        return self.text_prototypes(input_ids, attention_mask), self.video_prototypes(pixels)

    @property
    def reads_padding(self) -> bool:
        """Whether padded positions of a text change its record, so that texts must be padded to `config.max_words`."""
        return self.clip.reads_padding

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **options: Any) -> Self:
        """Open a model of this class, as `prost.load` does, and fetch it if it is not on this machine.

        Args:
            name_or_path: see `prost.load`.
            options: `revision`, `token`, `cache_dir` and `local_files_only` as in other libraries of the hub; `device`
                and overrides as in `prost.load`.

        Raises:
            CheckpointError: a model of another class.
            DownloadFailed: it cannot be fetched. For others see `prost.load`.
        """
        from prost.model.hub import from_pretrained

        return cast(Self, from_pretrained(cls, name_or_path, **options))

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        figures: Sequence[str | os.PathLike[str]] = (),
        licence: str | None = None,
        half: bool = False,
    ) -> None:
        """Write weights, configuration, tokenizer and a card (README.md) as a folder that `prost.load` opens.

        All files are replaced together; an interrupted save leaves the old model or the new one. A card that is there
        stays as it is.

        Args:
            folder: made if absent.
            figures: what the card states: folders of `prost eval --output` and of `prost train`, or the files
                report.json and training.json.
            licence: an identifier that the hub knows, such as "apache-2.0".
            half: store float16.

        Raises:
            UsageError: figures of another model.
            StorageError: no space, no permission.
        """
        from prost.model.hub import save_pretrained

        save_pretrained(self, folder, figures=figures, licence=licence, half=half)

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Upload weights, configuration, tokenizer and a card to the Hugging Face hub, in one commit.

        Args:
            repository: OWNER/NAME; made if absent.
            options: `figures`, `licence` and `half` as in `save_pretrained`; `private`, `token`, `message`, `branch`
                and `create_pr` as in other libraries of the hub.

        Returns:
            The address of the commit.

        Raises:
            UploadFailed: no network, no permission.
            UsageError: figures of another model, or no name of a repository.
        """
        from prost.model.hub import push

        return push(self, repository, **options)

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
        """Hash of all that makes the prototypes: two models of one fingerprint make the same records.

        These are the weights, the choices in the configuration that change prototypes, the normalisation of the pixels
        and the tokenizer; not the name, the weights of scores or the dropout.

        Computed once, and remembered for the files of a model that was loaded and not changed since. Training the model
        further makes it stale; loading a saved model computes it again.
        """
        key = self._key_of_files()
        if key is not None and (known := recall(key)) is not None:
            return known
        digest = blake2b(digest_size=12)
        digest.update(json.dumps(self.config.prototype_choices(), sort_keys=True).encode())
        digest.update(self.tokenizer.fingerprint.encode() if self.tokenizer else b"")
        self._digest_weights([digest])
        if key is not None:
            remember(key, digest.hexdigest())
        return digest.hexdigest()

    def loaded_from(self, files: Sequence[Path]) -> None:
        """Note the files that the model, as it is now, was read from: its fingerprint can be remembered for them.

        Args:
            files: weights, configuration and vocabulary.
        """
        self._files, self._as_loaded = tuple(files), self._versions()

    def _key_of_files(self) -> str | None:
        """What the fingerprint is remembered under; None if the weights are not those of the files any more."""
        if not self._files or self._versions() != self._as_loaded:
            return None
        state = state_of_files(self._files)
        if state is None:
            return None
        choices = json.dumps(self.config.prototype_choices(), sort_keys=True)
        return blake2b(f"{state}{choices}".encode(), digest_size=16).hexdigest()

    def _versions(self) -> list[tuple[int, int]] | None:
        """Place and version of every weight, which change with it, and the tokenizer."""
        weights = [*self.parameters(), *self.buffers()]
        if any(weight.is_inference() for weight in weights):  # they have no version
            return None
        return [*((weight.data_ptr(), weight._version) for weight in weights), (id(self.tokenizer), 0)]

    def former_fingerprints(self, name: str) -> frozenset[str]:
        """What versions before the rule of `fingerprint` may have called this model.

        They hashed the whole configuration: the name (often that of the model's folder), the weights of scores and the
        dropout, but no tokenizer.

        Args:
            name: of the model at that time, as a library states it.
        """
        defaults = {
            field: type(self.config).model_fields[field].default
            for field in self.config.BESIDE_PROTOTYPES - {"name"}
        }
        configurations = {
            self.config.model_copy(update={"name": each, **changed}).model_dump_json(exclude=ADDED_SINCE)
            for each in (name, self.config.name)
            for changed in ({}, defaults)
        }
        digests = [blake2b(values.encode(), digest_size=12) for values in configurations]
        self._digest_weights(digests)
        return frozenset(digest.hexdigest() for digest in digests)

    def _digest_weights(self, digests: Sequence[blake2b], beginning: tuple[str, ...] = ("",)) -> None:
        """Add weights that make prototypes and whose names begin so, in the order of names, to all digests."""
        for key, tensor in sorted(self.state_dict().items()):
            if key.startswith(beginning) and not key.startswith(BESIDE_PROTOTYPES):
                content = tensor.detach().float().cpu().flatten().numpy()
                for digest in digests:
                    digest.update(key.encode())
                    digest.update(content)

    @property
    def vision_fingerprint(self) -> str:
        """Hash of all that frame tokens depend on, apart from the frames: two models that share it share them, too.

        These are the weights of the vision tower, the token shift, the normalisation of the pixels, and whether all
        tokens are read. Computed at every call, since a tower may be trained in between.
        """
        shift = (
            (sorted(self.clip.shift_blocks), self.clip.shift_divisions) if self.clip.shift_blocks else None
        )
        choices = (shift, self.config.image_mean, self.config.image_std, self.class_tokens_only)
        digest = blake2b(repr(choices).encode(), digest_size=12)
        # A design with no other choice than the defaults adds nothing, as before there were designs.
        for name, chosen in self.config.clip.vision.model_dump(exclude_defaults=True).items():
            digest.update(f"{name}={chosen}".encode())
        self._digest_weights([digest], VISION_WEIGHTS)
        return digest.hexdigest()

    def encode_text(self, sentences: Sequence[str]) -> Text:
        """Encode sentences: float32 on the CPU, wherever the model is.

        Raises:
            UsageError: no sentence.
            NeedsTokenizer: the weights came without a vocabulary.
            EmptyQuery: a sentence without a word.
        """
        return encode_text(self, sentences)

    def encode_video(self, paths: Sequence[str | os.PathLike[str]]) -> Video:
        """Encode whole video files, L frames each, sampled at the middles of L equal parts.

        Pictures become square as in the training of the vision tower (`config.image_fit`).

        Returns:
            The model's record, float32 on the CPU, wherever the model is.

        Raises:
            UsageError: no path, or one that is not in a list.
            MissingPath: there is no such file.
            VideoError: a file that cannot be shown.
        """
        if isinstance(paths, str | os.PathLike):
            raise UsageError(
                f"{os.fspath(paths)!r} instead of paths", "a list of paths", "brackets around it"
            )
        if not paths:
            raise UsageError("no video", "at least one path")
        encoder = VideoEncoder(self)
        requests = [ReadRequest(path=_there(path), windows=self._whole_video) for path in paths]
        with VideoReader(size=self.config.image_size, fit=self.config.image_fit) as reader:
            return join(list(encoder.stream(_batches(reader.read(requests), encoder.batch_clips))))

    def _whole_video(self, info: VideoInfo) -> list[NDArray[np.float64]]:
        return [sample_times(0.0, info.duration, self.config.frames)]

    def tokenize(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokenise sentences: ids and mask, both `[B, max_words]`.

        Raises:
            NeedsTokenizer: the weights came without a vocabulary.
            EmptyQuery: a sentence without a word.
        """
        return self._need_tokenizer()(sentences, self.config.max_words, self.config.text_padding)

    def split_words(self, sentence: str) -> list[Word]:
        """The words of a sentence as they are read, each with the positions of its ids; see `WordTokenizer.words`."""
        return self._need_tokenizer().words(sentence, self.config.max_words)

    def count_words(self, sentence: str) -> int:
        """Tokens of a sentence, start and end included; beyond `config.max_words` it is cut."""
        return self._need_tokenizer().count(sentence)

    def unknown_words(self, sentence: str) -> list[str]:
        """Words of a sentence that are not in the vocabulary; CLIP's own vocabulary has no such words."""
        return self._need_tokenizer().unknown(sentence)

    def normalise_pixels(self, frames: NDArray[np.uint8] | Tensor) -> Tensor:
        """Bring decoded frames to what the vision tower reads, on the device where they are.

        Args:
            frames: uint8 `[..., R, R, 3]`; an array is on the CPU.

        Returns:
            float32 `[..., 3, R, R]`, minus `config.image_mean`, divided by `config.image_std`.
        """
        if not isinstance(frames, Tensor):
            frames = torch.from_numpy(np.ascontiguousarray(frames))
        pixels = frames.movedim(-1, -3).float().div_(255)
        mean, std = (values.to(pixels.device) for values in (self.pixel_mean, self.pixel_std))
        return pixels.sub_(mean).div_(std)

    def _need_tokenizer(self) -> WordTokenizer:
        if self.tokenizer is None:
            raise NeedsTokenizer(
                f"the weights of {self.config.name!r} came without a vocabulary",
                "tokenizer.json, or vocab.json with merges.txt, or bpe_simple_vocab_16e6.txt.gz beside the weights",
                "put one of them there, or give ids of tokens instead of words",
            )
        return self.tokenizer

    def _check_words(self, input_ids: Tensor, attention_mask: Tensor) -> None:
        """Refuse ids of a shape that the text tower cannot take."""
        if input_ids.ndim != 2 or input_ids.shape != attention_mask.shape:
            raise UsageError(
                f"input_ids {list(input_ids.shape)} and attention_mask {list(attention_mask.shape)}",
                "both of one shape [B, T]",
            )
        if input_ids.shape[1] > self.config.clip.text_positions:
            raise UsageError(f"{input_ids.shape[1]} words", f"at most {self.config.clip.text_positions}")
        if self.clip.reads_padding and input_ids.shape[1] != self.config.max_words:
            raise UsageError(
                f"{input_ids.shape[1]} words",
                f"texts padded to {self.config.max_words}: this model reads padded positions",
            )

    def _check_pixels(self, pixels: Tensor) -> None:
        """Refuse another number of frames, and frames of another size."""
        size = self.config.image_size
        expected = (self.config.frames, 3, size, size)
        if pixels.ndim != 5 or pixels.shape[1:] != expected:
            raise UsageError(f"pixels of shape {list(pixels.shape)}", f"[B, {', '.join(map(str, expected))}]")


def _there(path: str | os.PathLike[str]) -> str:
    """The name of a video file that is there, or its address on an object store, which is looked at later."""
    if address := address_of(path):
        return address
    name = os.path.expanduser(os.fsdecode(path))
    if not os.path.lexists(name):
        raise MissingPath(f"{name} does not exist", "a video file")
    return name


def _batches(events: Iterable[Event], clips: int) -> Iterator[NDArray[np.uint8]]:
    """The frames of windows, some windows at a time; raises the first failure."""
    waiting = []
    for event in events:
        if isinstance(event, ReadWindow):
            waiting.append(event.frames.pixels)
        elif event.failure is not None:
            raise event.failure
        if len(waiting) == clips:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)


@dataclasses.dataclass(frozen=True, repr=False)
class SentenceFeatures(Record):
    """Features of a batch of sentences in a model without phrases, unnormalised.

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
    """Features of a batch of videos in a model without objects and events, unnormalised.

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
