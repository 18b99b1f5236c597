"""Real prototypes, of rendered Toybox videos: the generator recombines some and is compared with others."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prost.data.toybox import Scene, describe, render, scene_stream
from prost.model.encoding import VideoEncoder, encode_text
from prost.model.matching import TextPrototypes
from prost.model.prost import ProST
from prost.model.vectors import unit
from prost.progress import Advance
from prost.video.sampling import sample_times

# Videos and captions come from different streams of the test split, so no caption describes a video that the generator
# has seen.
VIDEO_STREAM, CAPTION_STREAM = 101, 102
SPLIT = "test"
VIDEOS_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class RealPrototypes:
    """Unit prototypes of n videos; the prototype of a dead slot is the zero vector.

    Attributes:
        object: `[n, N_o, L, D]`; the L vectors of a slot are its *track*.
        event: `[n, N_e, D]`.
    """

    object: NDArray[np.float32]
    event: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, rows: slice) -> RealPrototypes:
        return RealPrototypes(object=self.object[rows], event=self.event[rows])


def real_prototypes(model: ProST, folder: Path, count: int, progress: Advance) -> RealPrototypes:
    """Prototypes of the first `count` videos of the stream, encoded once and cached in `folder`.

    Args:
        model: model that encodes the videos; each model has its own cache.
        folder: created if absent.
        count: number of videos.
        progress: called after each batch of videos.
    """
    place = folder / f"real-{model.fingerprint[:12]}-{count}"
    if not place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        half_made = place.with_suffix(".part")
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir()
        scenes = list(itertools.islice(scene_stream(SPLIT, VIDEO_STREAM), count))
        encoded = encode_scenes(model, scenes, progress)
        np.save(half_made / "object.npy", encoded.object)
        np.save(half_made / "event.npy", encoded.event)
        os.replace(half_made, place)
    return RealPrototypes(object=np.load(place / "object.npy"), event=np.load(place / "event.npy"))


def encode_scenes(model: ProST, scenes: Sequence[Scene], progress: Advance) -> RealPrototypes:
    """Render each scene in memory as one clip of the model's frame size, and encode it."""
    config = model.config
    frames, slots, width = config.frames, config.object_prototypes, config.width
    real = RealPrototypes(
        object=np.empty((len(scenes), slots, frames, width), np.float32),
        event=np.empty((len(scenes), config.event_prototypes, width), np.float32),
    )

    def batches() -> Iterator[NDArray[np.uint8]]:
        for first in range(0, len(scenes), VIDEOS_AT_ONCE):
            yield np.stack(
                [
                    render(scene, sample_times(0.0, scene.duration, frames), config.image_size)
                    for scene in scenes[first : first + VIDEOS_AT_ONCE]
                ]
            )

    first = 0
    for video in VideoEncoder(model).stream(batches()):
        rows = slice(first, first + len(video))
        real.object[rows] = unit(video.object).transpose(1, 2).numpy()
        real.event[rows] = unit(video.event).numpy()
        first = rows.stop
        progress(first, len(scenes), "encoding")
    return real


def held_out_captions(count: int) -> list[str]:
    """The queries: captions of test scenes that are not among the videos."""
    rng = np.random.default_rng(CAPTION_STREAM)
    scenes = itertools.islice(scene_stream(SPLIT, CAPTION_STREAM), count)
    return [describe(scene, rng).text for scene in scenes]


def encode_captions(model: ProST, captions: Sequence[str]) -> TextPrototypes:
    """Unit prototypes of sentences, float32 on the CPU."""
    return encode_text(model, captions).mapped(unit)
