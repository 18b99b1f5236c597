"""From frames and sentences to prototypes: on which device, in which precision, in batches of what size.

Everything that encodes goes through here: indexing, search, evaluation, validation and the cache of frame tokens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prost.config import RetrievalConfig
from prost.errors import UsageError
from prost.model.matching import Record

Precision = Literal["auto", "bf16", "fp32"]
# Classes of prototypes that differ by more than rounding; see `model.forms`.
PrecisionClass = Literal["fp32", "bf16", "int8"]

# Frames that pass the vision tower at a time. More is not faster on a CPU; a GPU needs more to be busy.
CPU_BATCH_FRAMES = 96
GPU_BATCH_FRAMES = 256
# Times that bfloat16 must be faster than float32 for `auto` to take it: chance must not decide.
BF16_FASTER = 1.25

Batch = TypeVar("Batch", bound=Record)
Text = TypeVar("Text", bound=Record, covariant=True)
Video = TypeVar("Video", bound=Record, covariant=True)


@cache
def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on a device, and not emulated.

    A CPU without the instructions multiplies bfloat16 matrices tens of times more slowly than float32 ones, and some
    that name the instructions run them at half the speed of float32. So a CPU with them is measured once per process.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # Older versions of torch do not have the function.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    if not (capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")):
        return False
    return _product_seconds(torch.float32) > BF16_FASTER * _product_seconds(torch.bfloat16)


def _product_seconds(dtype: torch.dtype) -> float:
    """Seconds that a CPU takes for a matrix product of the size of a ViT-B/32's, the fastest of a few."""
    tokens, weight = torch.ones(400, 768, dtype=dtype), torch.ones(768, 3072, dtype=dtype)
    seconds = []
    with torch.inference_mode():
        for _ in range(5):
            started = time.perf_counter()
            tokens @ weight
            seconds.append(time.perf_counter() - started)
    return min(seconds)


def takes_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether a precision means bfloat16 on a device; `auto` takes it where it is fast."""
    return precision == "bf16" or (precision == "auto" and has_fast_bf16(device))


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Make a new context for one forward pass.

    Compute scores outside it: a cosine in bfloat16 is off by up to 0.004, which a logit scale of 100 turns into 0.4.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=takes_bf16(precision, device))


def choose_device(device: str = "auto") -> torch.device:
    """Find the device that a name means.

    Args:
        device: `auto` (the first CUDA GPU, otherwise the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        UsageError: an unknown name, or a device that this machine does not have.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device {device!r}", "auto, cpu, cuda, cuda:N or mps")
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[chosen.type]
    if (chosen.index or 0) >= present:
        reason = f"this machine has {present or 'no'} {chosen.type} device{'s' if present > 1 else ''}"
        raise UsageError(f"device {device!r}, but {reason}", "a device that is there", "auto or cpu")
    # "cuda" means the first one, so that two names of one device compare equal.
    return torch.device(chosen.type, chosen.index or 0) if chosen.type == "cuda" else chosen


class TextModel(Protocol[Text]):
    """What `encode_text` needs of a model; every `RetrievalModel` has it."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def tokenize(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask, both `[B, T]`."""

    def text_prototypes(self, input_ids: Tensor, attention_mask: Tensor) -> Text:
        """The record of B texts."""


class VideoModel(Protocol[Video]):
    """What `VideoEncoder` needs of a model; every `RetrievalModel` has it."""

    @property
    def config(self) -> RetrievalConfig:
        """Frames per clip and the size of a frame."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def normalise_pixels(self, frames: Tensor) -> Tensor:
        """From uint8 `[..., R, R, 3]` to floats `[..., 3, R, R]`."""

    def below_shift(self, frames: Tensor) -> Tensor:
        """One state for each of N frames."""

    def from_shift(self, states: Tensor) -> Tensor:
        """From states `[B, L, ...]` to frame tokens `[B, L, M, D]`."""

    def video_head(self, tokens: Tensor) -> Video:
        """The record of B clips."""


def encode_text(model: TextModel[Text], sentences: Sequence[str], batch_size: int = 256) -> Text:
    """Encode sentences, some at a time.

    Args:
        model: encodes on its own device.
        sentences: at least one.
        batch_size: sentences per forward pass.

    Returns:
        The model's record, float32 on the CPU.

    Raises:
        UsageError: no sentence, or one that is not in a list.
        EmptyQuery: a sentence without a word.
        NeedsTokenizer: the weights came without a vocabulary.
    """
    if isinstance(sentences, str):
        raise UsageError(f"{sentences!r} instead of sentences", "a list of sentences", "brackets around it")
    if not sentences:
        raise UsageError("no sentence", "at least one")
    records: list[Text] = []
    with torch.inference_mode():
        for first in range(0, len(sentences), batch_size):
            ids, mask = model.tokenize(sentences[first : first + batch_size])
            record = model.text_prototypes(ids.to(model.device), mask.to(model.device))
            records.append(record.mapped(lambda tensor: tensor.float().cpu()))
    return join(records)


@dataclass(kw_only=True)
class _KnownFrames:
    """States of the frames that passed the blocks below the token shift last.

    Attributes:
        rows: row of `states` by the bytes of the frame.
        states: `[U, ...]`, as `below_shift` gives them; None before the first frame.
    """

    rows: dict[bytes, int] = field(default_factory=dict)
    states: Tensor | None = None


class _Transfer(Generic[Batch]):
    """Records on their way to the CPU.

    Args:
        records: parts of one batch, on the device.
    """

    def __init__(self, records: Sequence[Batch]) -> None:
        device = records[0].tensors()[0].device
        # From a GPU the copies run in the background, into pinned memory; elsewhere they are done at once.
        background = device.type == "cuda"
        self._parts = [
            record.mapped(lambda tensor: tensor.float().to("cpu", non_blocking=background))
            for record in records
        ]
        self._arrived: torch.cuda.Event | None = None
        if background:
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(device))

    def wait(self) -> Batch:
        """The batch as one record, float32 in ordinary memory."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return join(self._parts)


class VideoEncoder(Generic[Video]):
    """Encodes the frames of clips.

    Frames are sent to the device as uint8 and normalised there. A frame that equals another one pixel for pixel
    passes the blocks below the token shift once; equal frames are looked for among the `batch_frames` frames that pass
    together and the `batch_frames` before them. On a GPU the transfers overlap with the computation.

    Args:
        model: in eval mode, on the device where it shall stay.
        precision: of the vision tower; the head behind it always computes in float32.
        batch_frames: frames that pass the vision tower together; None chooses by the device.
        below_shift: another form of the model's `below_shift`, see `model.forms`; None for its own.
        from_shift: likewise of `from_shift`.

    Raises:
        UsageError: `batch_frames` below 1.
    """

    def __init__(
        self,
        model: VideoModel[Video],
        *,
        precision: Precision = "fp32",
        batch_frames: int | None = None,
        below_shift: Callable[[Tensor], Tensor] | None = None,
        from_shift: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if batch_frames is not None and batch_frames < 1:
            raise UsageError(f"batches of {batch_frames} frames", "1 or more")
        self._model = model
        self._device = model.device
        self._precision = precision
        self._below_shift = below_shift or model.below_shift
        self._from_shift = from_shift or model.from_shift
        default = CPU_BATCH_FRAMES if self._device.type == "cpu" else GPU_BATCH_FRAMES
        self._batch_frames = batch_frames or default
        self._copy_stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None

    @property
    def batch_clips(self) -> int:
        """Clips that pass the vision tower together: a good size for the batches of `stream`."""
        return max(1, self._batch_frames // self._model.config.frames)

    def encode(self, frames: NDArray[np.uint8]) -> Video:
        """Encode clips.

        Args:
            frames: uint8 `[B, L, R, R, 3]`.

        Returns:
            The model's record of B clips, float32 on the CPU.

        Raises:
            UsageError: frames of another type or shape, or no clip.
        """
        return next(self.stream([frames]))

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[Video]:
        """Encode batches of clips, one record per batch, in order.

        On a GPU a batch is handed out when the next one has been started, so that the device does not wait.

        Args:
            batches: uint8 `[B, L, R, R, 3]`; B may differ between batches.

        Yields:
            The model's record of B clips, float32 on the CPU.

        Raises:
            UsageError: frames of another type or shape, or no clip.
        """
        started: deque[_Transfer[Video]] = deque()
        known = _KnownFrames()
        for frames in batches:
            with torch.inference_mode():
                tokens = self._tokens(frames, known)
                started.append(_Transfer([self._model.video_head(part) for part in tokens]))
            if self._copy_stream is None or len(started) > 1:
                yield started.popleft().wait()
        while started:
            yield started.popleft().wait()

    def frame_tokens(self, frames: NDArray[np.uint8]) -> Tensor:
        """Encode clips as far as the head.

        Args:
            frames: uint8 `[B, L, R, R, 3]`.

        Returns:
            Frame tokens `[B, L, M, D]`, float32 on the model's device.

        Raises:
            UsageError: frames of another type or shape, or no clip.
        """
        with torch.inference_mode():
            return torch.cat(list(self._tokens(frames, _KnownFrames())))

    def _tokens(self, frames: NDArray[np.uint8], known: _KnownFrames) -> Iterator[Tensor]:
        """Frame tokens of a few clips at a time, float32; `known` is brought up to date with them."""
        size, length = self._model.config.image_size, self._model.config.frames
        if frames.dtype != np.uint8 or frames.shape[1:] != (length, size, size, 3) or not len(frames):
            raise UsageError(
                f"frames {frames.dtype} {list(frames.shape)}", f"uint8 [B, {length}, {size}, {size}, 3]"
            )
        for first in range(0, len(frames), self.batch_clips):
            clips = frames[first : first + self.batch_clips]
            states = self._states(clips.reshape(-1, size, size, 3), known)
            with autocast(self._precision, self._device):
                tokens = self._from_shift(states.unflatten(0, (len(clips), length)))
            yield tokens.float()

    def _states(self, frames: NDArray[np.uint8], known: _KnownFrames) -> Tensor:
        """What the blocks below the token shift make of every frame; each distinct frame passes them once.

        Args:
            frames: uint8 `[N, R, R, 3]`.
            known: frames that need not pass again; holds those of this call afterwards, and no others, so that memory
                stays bounded.

        Returns:
            `[N, ...]`, as `below_shift` gives them.
        """
        rows = dict(known.rows)
        places = np.empty(len(frames), dtype=np.int64)
        fresh: list[int] = []
        for place, frame in enumerate(frames):
            places[place] = rows.setdefault(frame.tobytes(), len(rows))
            if places[place] == len(known.rows) + len(fresh):
                fresh.append(place)
        parts = [] if known.states is None else [known.states]
        for first in range(0, len(fresh), self._batch_frames):
            pixels = self._model.normalise_pixels(
                self._send(frames[fresh[first : first + self._batch_frames]])
            )
            with autocast(self._precision, self._device):
                parts.append(self._below_shift(pixels))
        used, places = np.unique(places, return_inverse=True)
        number = {int(row): position for position, row in enumerate(used)}
        known.rows = {content: number[row] for content, row in rows.items() if row in number}
        known.states = torch.cat(parts)[self._send(used)]
        return known.states[self._send(places)]

    def _send(self, array: NDArray[Any]) -> Tensor:
        """Copy an array to the device; to a GPU by pinned memory and beside what it computes."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self._copy_stream is None:
            return tensor.to(self._device)
        compute = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copy_stream):
            sent = tensor.pin_memory().to(self._device, non_blocking=True)
        compute.wait_stream(self._copy_stream)
        # The allocator must not hand the memory to the next copy before the computation has read it.
        sent.record_stream(compute)
        return sent


def join(batches: Sequence[Batch]) -> Batch:
    """Join records of one kind, batch after batch; a part that one of them lacks is None.

    >>> from prost.model.retrieval_model import SentenceFeatures
    >>> join([SentenceFeatures(torch.zeros(2, 8)), SentenceFeatures(torch.zeros(3, 8))])
    SentenceFeatures(sentence=[5, 8])
    """
    parts: dict[str, Any] = {}
    for part in fields(batches[0]):  # type: ignore[arg-type]
        tensors = [getattr(batch, part.name) for batch in batches]
        parts[part.name] = None if any(tensor is None for tensor in tensors) else torch.cat(tensors)
    return type(batches[0])(**parts)
