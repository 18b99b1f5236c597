"""Files to clips: decoding runs ahead in a thread of its own while the model encodes."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from prost.config import ModelConfig
from prost.errors import VideoError
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.search.quantise import quantise
from prost.search.records import ClipRows, ClipSettings
from prost.video.decode import Frames
from prost.video.files import content_hash
from prost.video.probe import VideoInfo
from prost.video.reasons import Reason
from prost.video.sampling import clip_windows, sample_times

STILL_BEING_WRITTEN = "still being written"
NOT_FINITE = "the model gave numbers that are not finite"

# Frames decoded before they go to the model: a batch of eight clips of twelve frames.
FRAMES_AT_ONCE = 96
BATCHES_AHEAD = 2


class PrototypeModel(Protocol):
    """What a library needs of a model; `prost.load` returns one."""

    @property
    def config(self) -> ModelConfig:
        """Its sizes."""

    @property
    def fingerprint(self) -> str:
        """What tells it from every other model."""

    @property
    def device(self) -> torch.device:
        """Where it wants its pixels."""

    def encode_text(self, sentences: list[str]) -> TextPrototypes:
        """Prototypes of B sentences."""

    def count_words(self, sentence: str) -> int:
        """Tokens, start and end included."""

    def unknown_words(self, sentence: str) -> list[str]:
        """Words that it has never heard."""

    def normalise_pixels(self, frames: np.ndarray) -> Tensor:
        """From uint8 `[..., R, R, 3]` to floats `[..., 3, R, R]`."""

    def video_prototypes(self, pixels: Tensor) -> VideoPrototypes:
        """Prototypes of `[B, L, 3, R, R]`."""


class Decoder(Protocol):
    """Opens files; `prost.video.isolation.IsolatedDecoder` is one."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def probe(self, path: str) -> VideoInfo:
        """What the file is."""

    def decode(self, path: str, times: np.ndarray, size: int) -> Frames:
        """The frames shown at some times, as squares."""


@dataclass(frozen=True)
class SeenFile:
    """A file as the folder shows it."""

    path: str
    size: int
    modified: int


def look_at(path: str) -> SeenFile:
    """Size and modification time of a file.

    Raises:
        VideoError: it is gone, or lies where nobody may look.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        reason = Reason.NO_PERMISSION if isinstance(error, PermissionError) else Reason.GONE
        raise VideoError(path, reason, error.strerror or "") from None
    return SeenFile(path, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Refused:
    """A file that cannot be shown. `content` is None where it could not even be read."""

    file: SeenFile
    content: str | None
    reason: str
    detail: str


@dataclass(frozen=True)
class Known:
    """A file whose content needs no decoding: the library, or an earlier file of this run, brought it."""

    file: SeenFile
    content: str


@dataclass(frozen=True)
class DecodedClips:
    """Some clips of a file, as frames.

    Attributes:
        file: where they are from.
        content: its hash.
        info: what the file is.
        first: position in the video of the first of them.
        windows: start and end of each, seconds.
        frames: L for each of the n clips, `[n * L, R, R, 3]`.
    """

    file: SeenFile
    content: str
    info: VideoInfo
    first: int
    windows: tuple[tuple[float, float], ...]
    frames: Frames


@dataclass(frozen=True)
class Finished:
    """All clips of a file have been passed on; `detail` tells of damaged ones."""

    file: SeenFile
    content: str
    info: VideoInfo
    clips: int
    detail: str


Step = Refused | Known | DecodedClips | Finished


class DecodingAhead:
    """Iterate over what becomes of files, decoded by a thread that runs a little ahead.

    For each file comes one `Refused`, or one `Known`, or `DecodedClips` followed by `Finished` or, when the
    file breaks in the middle, by `Refused`. A file whose size or modification time changes while it is read
    is refused as still being written, without a content, so that the next run tries it again.

    Args:
        files: in the order in which they are worked on.
        known: whether a content needs no decoding.
        config: frames a clip and the size of a frame.
        settings: how videos are cut.
        decoder: makes the decoder; called in the thread.
    """

    def __init__(
        self,
        files: Iterable[SeenFile],
        known: Callable[[str], bool],
        config: ModelConfig,
        settings: ClipSettings,
        decoder: Callable[[], Decoder],
    ) -> None:
        self._files = files
        self._known = known
        self._config = config
        self._settings = settings
        self._make_decoder = decoder
        self._steps: queue.Queue[Step | BaseException | None] = queue.Queue(BATCHES_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prost-decoding", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Step]:
        while (step := self._steps.get()) is not None:
            if isinstance(step, BaseException):
                raise step
            yield step

    def _run(self) -> None:
        started: set[str] = set()
        try:
            with self._make_decoder() as decoder:
                for file in self._files:
                    for step in self._steps_of(file, decoder, started):
                        self._pass_on(step)
                        if self._stopped.is_set():
                            return
            self._pass_on(None)
        except BaseException as error:
            # Raised again where the steps are consumed.
            self._pass_on(error)

    def _pass_on(self, step: Step | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._steps.put(step, timeout=0.2)
                return
            except queue.Full:
                continue

    def _steps_of(self, file: SeenFile, decoder: Decoder, started: set[str]) -> Iterator[Step]:
        content = None
        try:
            content = content_hash(file.path)
            if content in started or self._known(content):
                _expect_unchanged(file)
                yield Known(file, content)
                return
            started.add(content)
            yield from self._decoded(file, content, decoder)
        except VideoError as error:
            yield _refusal(file, content, error)

    def _decoded(self, file: SeenFile, content: str, decoder: Decoder) -> Iterator[Step]:
        info = decoder.probe(file.path)
        windows = clip_windows(info.duration, self._settings.longest, self._settings.overlap)
        batch_size = max(1, FRAMES_AT_ONCE // self._config.frames)
        batch: list[tuple[tuple[float, float], Frames]] = []
        shown, damaged = 0, 0
        for position, window in enumerate(windows, start=1):
            times = sample_times(*window, self._config.frames)
            try:
                # One call a clip: the decoder's time limit is for a clip, and damage costs one clip, not the
                # film.
                batch.append((window, decoder.decode(file.path, times, self._config.image_size)))
            except VideoError as error:
                if error.reason != Reason.DAMAGED_HERE or (
                    position == len(windows) and shown + len(batch) == 0
                ):
                    raise
                damaged += 1
            if batch and (len(batch) == batch_size or position == len(windows)):
                yield DecodedClips(
                    file,
                    content,
                    info,
                    shown,
                    tuple(window for window, _ in batch),
                    Frames(
                        np.concatenate([frames.pixels for _, frames in batch]),
                        np.concatenate([frames.times for _, frames in batch]),
                    ),
                )
                shown += len(batch)
                batch = []
        _expect_unchanged(file)
        yield Finished(
            file, content, info, shown, f"{damaged} of {len(windows)} clips damaged" if damaged else ""
        )


def _expect_unchanged(file: SeenFile) -> None:
    if look_at(file.path) != file:
        raise VideoError(file.path, STILL_BEING_WRITTEN)


def _refusal(file: SeenFile, content: str | None, error: VideoError) -> Refused:
    """A file that is broken, unless it changed meanwhile: then it is not known to be broken."""
    try:
        _expect_unchanged(file)
    except VideoError as change:
        return Refused(file, None, change.reason, change.detail)
    return Refused(file, content, error.reason, error.detail)


def encode(model: PrototypeModel, clips: DecodedClips) -> ClipRows:
    """Prototypes of decoded clips, ready to be stored.

    Raises:
        VideoError: the model gave NaN or infinity.
    """
    count, frames = len(clips.windows), model.config.frames
    with torch.inference_mode():
        pixels = model.normalise_pixels(clips.frames.pixels)  # [n * L, 3, R, R]
        prototypes = model.video_prototypes(pixels.unflatten(0, (count, frames)).to(model.device))
    object, event = prototypes.object.float().cpu().numpy(), prototypes.event.float().cpu().numpy()
    if prototypes.event_attention is None:
        # No evidence: every frame counts alike.
        attention = np.full((*event.shape[:2], frames), 1 / frames, dtype=np.float32)
    else:
        attention = prototypes.event_attention.float().cpu().numpy()
    if not (np.isfinite(object).all() and np.isfinite(event).all() and np.isfinite(attention).all()):
        raise VideoError(clips.file.path, NOT_FINITE)
    codes, scales = quantise(object)
    windows = np.array(clips.windows, dtype=np.float64)
    return ClipRows(
        content=clips.content,
        first=clips.first,
        start=windows[:, 0],
        end=windows[:, 1],
        frame_times=clips.frames.times.reshape(count, frames),
        object_codes=codes,
        object_scales=scales,
        event=event,
        event_attention=attention,
    )
