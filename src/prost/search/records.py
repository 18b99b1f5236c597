"""Records of a library: how videos are cut, sizes of prototypes, and the rows of both tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import numpy as np
from numpy.typing import NDArray

from prost.config import RetrievalConfig
from prost.model.dual_encoder import PrototypeConfig
from prost.video.fit import Fit, checked_fit


def now() -> str:
    """This moment, UTC, ISO 8601 to the second, as libraries store times."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """How videos are cut into clips, and their pictures made square.

    Attributes:
        longest: seconds of a clip at most.
        overlap: fraction of a clip that neighbours share.
        fit: `crop`, `pad`, `stretch` or `tiles`, see `prost.video.fit`; with `tiles` each tile of a window is a clip of
            its own. Libraries made before this was recorded are cropped.

    Raises:
        UsageError: another fit.

    >>> ClipSettings(fit="pad")
    ClipSettings(longest=12.0, overlap=0.25, fit='pad')
    """

    longest: float = 12.0
    overlap: float = 0.25
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        checked_fit(self.fit)

    @classmethod
    def default(cls, config: RetrievalConfig) -> Self:
        """The settings of a new library: pictures become square as in the training of its model."""
        return cls(fit=config.image_fit)


@dataclass(frozen=True, kw_only=True)
class PrototypeSizes:
    """Sizes of one clip's prototypes.

    Attributes:
        frames: L.
        objects: N_o.
        events: N_e.
        width: D.
    """

    frames: int
    objects: int
    events: int
    width: int

    @classmethod
    def of(cls, config: PrototypeConfig) -> Self:
        """Sizes of the prototypes of a model."""
        return cls(
            frames=config.frames,
            objects=config.object_prototypes,
            events=config.event_prototypes,
            width=config.width,
        )


@dataclass(frozen=True, kw_only=True)
class VideoRow:
    """One file that a library knows.

    Attributes:
        path: absolute.
        size: bytes.
        modified: modification time, nanoseconds since 1970.
        added: when it was first added, UTC, ISO 8601 to the second.
        status: `indexed` or `failed`.
        content: hash of the content; None where the file could not be read.
        reason: why it failed.
        detail: what the decoder said about a failed file; of an indexed one, how many clips are damaged and what else
            is left out.
        duration: seconds.
        fps: frames a second.
        width: pixels, as shown.
        height: pixels, as shown.
        codec: FFmpeg's name of it.
        clips: number of clips.
        tags: words that the user gave it.
    """

    path: str
    size: int
    modified: int
    added: str
    status: str
    content: str | None = None
    reason: str | None = None
    detail: str | None = None
    duration: float | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    clips: int = 0
    tags: tuple[str, ...] = ()

    @property
    def indexed(self) -> bool:
        """Whether it can be found."""
        return self.status == "indexed"


@dataclass(frozen=True, kw_only=True)
class ClipRows:
    """n clips of one video, as they are stored.

    Attributes:
        content: hash of the video's content.
        first: position in the video of the first of them.
        start: `[n]` seconds.
        end: `[n]` seconds.
        frame_times: `[n, L]` seconds.
        object_codes: 8-bit object prototypes `[n, L, N_o, D]`.
        object_scales: `[n, L, N_o]`.
        event: event prototypes `[n, N_e, D]`.
        event_attention: `[n, N_e, L]`.
    """

    content: str
    first: int
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    frame_times: NDArray[np.float64]
    object_codes: NDArray[np.int8]
    object_scales: NDArray[np.float32]
    event: NDArray[np.float32]
    event_attention: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def nbytes(self) -> int:
        """Memory that the prototypes take."""
        return self.object_codes.nbytes + self.object_scales.nbytes + self.event.nbytes
