"""Real prototypes: those of rendered Toybox videos, which the generator recombines and is compared with."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from prost.data.toybox import Scene, describe, render, scene_stream
from prost.model.matching import TextPrototypes, unit
from prost.model.prost import ProST
from prost.progress import Advance
from prost.video.sampling import sample_times

# Scenes of the videos and of the captions come from different streams of the test split: no caption tells of a video
# that the generator has seen.
VIDEO_STREAM, CAPTION_STREAM = 101, 102
SPLIT = "test"
VIDEOS_AT_ONCE = 32


@dataclass(frozen=True)
class RealPrototypes:
    """Unit prototypes of n videos; a dead slot is the zero vector.

    Attributes:
        object: `[n, N_o, L, D]`: the L vectors of a slot, its *track*, lie side by side.
        event: `[n, N_e, D]`.
    """

    object: NDArray[np.float32]
    event: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, rows: slice) -> RealPrototypes:
        return RealPrototypes(self.object[rows], self.event[rows])


def real_prototypes(model: ProST, folder: Path, count: int, progress: Advance) -> RealPrototypes:
    """Prototypes of the first `count` videos of the stream, encoded once and kept in `folder`.

    Args:
        model: what they are prototypes of; another model's are kept apart.
        folder: made if absent.
        count: videos.
        progress: is told what is done, how much there is, and what.
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
    return RealPrototypes(np.load(place / "object.npy"), np.load(place / "event.npy"))


@torch.inference_mode()
def encode_scenes(model: ProST, scenes: Sequence[Scene], progress: Advance) -> RealPrototypes:
    """Render each scene as one clip at the model's own size, and encode it; pixels never touch the disk."""
    config = model.config
    frames, slots, width = config.frames, config.object_prototypes, config.width
    real = RealPrototypes(
        np.empty((len(scenes), slots, frames, width), np.float32),
        np.empty((len(scenes), config.event_prototypes, width), np.float32),
    )
    for first in range(0, len(scenes), VIDEOS_AT_ONCE):
        rows = slice(first, first + VIDEOS_AT_ONCE)
        pixels = [
            render(scene, sample_times(0.0, scene.duration, frames), config.image_size)
            for scene in scenes[rows]
        ]
        video = model.video_prototypes(model.normalise_pixels(np.stack(pixels)).to(model.device))
        real.object[rows] = unit(video.object.float()).transpose(1, 2).cpu().numpy()
        real.event[rows] = unit(video.event.float()).cpu().numpy()
        progress(min(rows.stop, len(scenes)), len(scenes), "encoding")
    return real


def held_out_captions(count: int) -> list[str]:
    """Captions of test scenes that are in no gallery here: the queries."""
    rng = np.random.default_rng(CAPTION_STREAM)
    scenes = itertools.islice(scene_stream(SPLIT, CAPTION_STREAM), count)
    return [describe(scene, rng).text for scene in scenes]


@torch.inference_mode()
def encode_captions(model: ProST, captions: Sequence[str]) -> TextPrototypes:
    """Unit prototypes of sentences, on the CPU."""
    text = model.encode_text(list(captions))
    return TextPrototypes(unit(text.phrase.float()).cpu(), unit(text.sentence.float()).cpu())
