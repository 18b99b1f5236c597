"""Clips to prototypes: windows of several files in one batch, and everything in the order in which it was read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from prost.model.dual_encoder import PrototypeConfig
from prost.model.encoding import VideoEncoder, VideoModel
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.search.quantise import quantise
from prost.search.records import ClipRows
from prost.video.reader import ReadWindow


class PrototypeModel(VideoModel[VideoPrototypes], Protocol):
    """What a library needs of a model; `prost.load` returns one."""

    @property
    def config(self) -> PrototypeConfig:
        """Its sizes."""

    @property
    def fingerprint(self) -> str:
        """What tells it from every other model."""

    def former_fingerprints(self, name: str) -> frozenset[str]:
        """What earlier versions may have called it, under a name."""

    def encode_text(self, sentences: list[str]) -> TextPrototypes:
        """Prototypes of B sentences, float32 on the CPU."""

    def count_words(self, sentence: str) -> int:
        """Tokens, start and end included."""

    def unknown_words(self, sentence: str) -> list[str]:
        """Words that are not in its vocabulary."""


@dataclass(frozen=True, kw_only=True)
class EncodedClip:
    """A window that was read, and its prototypes.

    Attributes:
        window: what was read.
        object: object prototypes `[L, N_o, D]`.
        event: event prototypes `[N_e, D]`.
        event_attention: `[N_e, L]`.
    """

    window: ReadWindow
    object: NDArray[np.float32]
    event: NDArray[np.float32]
    event_attention: NDArray[np.float32]

    @property
    def finite(self) -> bool:
        """Whether all numbers are."""
        return all(np.isfinite(part).all() for part in (self.object, self.event, self.event_attention))

    def rows(self, content: str, place: int, start: float, end: float) -> ClipRows:
        """The clip as it is stored.

        Args:
            content: hash of the video's content.
            place: position among the clips of the video.
            start: seconds.
            end: seconds.
        """
        codes, scales = quantise(self.object[None])
        return ClipRows(
            content=content,
            first=place,
            start=np.array([start]),
            end=np.array([end]),
            frame_times=self.window.frames.times[None],
            object_codes=codes,
            object_scales=scales,
            event=self.event[None],
            event_attention=self.event_attention[None],
        )


class WindowEncoding:
    """Encodes the windows among some events.

    Windows of consecutive files share a batch, so that short files are encoded as fast as long ones. An event that is
    no window is handed on as soon as all windows before it are encoded.

    Args:
        encoder: of the model.
        take: called with each event in order; for a ReadWindow, with its EncodedClip.
    """

    def __init__(self, encoder: VideoEncoder[VideoPrototypes], take: Callable[[Any], None]) -> None:
        self._encoder = encoder
        self._take = take
        self._waiting: deque[Any] = deque()
        self._encoded: deque[EncodedClip] = deque()

    def run(self, events: Iterable[Any]) -> None:
        """Work through events; what `take` raises ends the run."""
        read: deque[ReadWindow] = deque()
        for record in self._encoder.stream(self._batches(events, read)):
            self._encoded.extend(_clips(record, read))
            self._hand_on()

    def _batches(self, events: Iterable[Any], read: deque[ReadWindow]) -> Iterator[NDArray[np.uint8]]:
        """Frames of the windows `[B, L, R, R, 3]`; the windows themselves are appended to `read`."""
        batch: list[NDArray[np.uint8]] = []
        for event in events:
            self._waiting.append(event)
            if isinstance(event, ReadWindow):
                read.append(event)
                batch.append(event.frames.pixels)
                if len(batch) == self._encoder.batch_clips:
                    yield np.stack(batch)
                    batch = []
            else:
                self._hand_on()
        if batch:
            yield np.stack(batch)

    def _hand_on(self) -> None:
        while self._waiting and (self._encoded or not isinstance(self._waiting[0], ReadWindow)):
            event = self._waiting.popleft()
            self._take(self._encoded.popleft() if isinstance(event, ReadWindow) else event)


def _clips(record: VideoPrototypes, read: deque[ReadWindow]) -> Iterator[EncodedClip]:
    """The clips of one batch; their windows are taken from `read`."""
    objects, events = record.object.numpy(), record.event.numpy()
    if record.event_attention is None:
        # Of a model that does not tell, every frame counts alike.
        attention = np.full((*events.shape[:2], objects.shape[1]), 1 / objects.shape[1], dtype=np.float32)
    else:
        attention = record.event_attention.numpy()
    for object, event, attended in zip(objects, events, attention, strict=True):
        yield EncodedClip(window=read.popleft(), object=object, event=event, event_attention=attended)
