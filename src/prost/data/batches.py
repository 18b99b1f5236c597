"""Captioned videos to batches: every batch is a function of the seed and the step, so that a resumed run sees the same.

Scenes are drawn anew for every step: a training never sees one twice, and needs no files.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from prost.data.toybox import (
    Scene,
    describe_frame,
    describe_thing,
    render,
    sample_scene,
    visible_boxes,
)
from prost.data.toybox_clips import ClipShares, draw_clips


@dataclass(frozen=True)
class CaptionedVideos:
    """A batch of videos, each with one caption.

    Attributes:
        pixels: uint8 `[B, L, R, R, 3]`.
        captions: B sentences.
        videos: what messages call them; empty where each was drawn for this batch alone.
    """

    pixels: np.ndarray
    captions: list[str]
    videos: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, rows: slice) -> CaptionedVideos:
        return CaptionedVideos(self.pixels[rows], self.captions[rows], self.videos[rows])


class ToyboxFrames(IterableDataset[CaptionedVideos]):
    """Single frames and what stands in them, for pre-training a CLIP: L is 1.

    Args:
        steps: the steps to make, `range(first, last)`.
        batch_size: B.
        size: R.
        crops: share of the batch that is one thing, cut closely: whole frames alone teach colours and places, and no
            shapes (after 1,300 steps of 128 frames, 94% of colours were told and 7% of kinds).
        seed: of the whole run.
    """

    def __init__(self, steps: range, batch_size: int, size: int, crops: float, seed: int) -> None:
        self.steps, self.batch_size, self.size, self.seed = steps, batch_size, size, seed
        self.crops = int(batch_size * crops)

    def __iter__(self) -> Iterator[CaptionedVideos]:
        for step in self.steps:
            rng = generator_of(self.seed, "frames", step)
            pixels: list[np.ndarray] = []
            captions: list[str] = []
            while len(pixels) < self.batch_size:
                scene = sample_scene(rng, "train")
                time = rng.uniform(0.0, scene.duration)
                seen = [index for index, box in enumerate(visible_boxes(scene, time)) if box is not None]
                if len(pixels) >= self.crops:
                    pixels.append(render(scene, [time], self.size))
                    captions.append(describe_frame(scene, time, rng, _how_many(rng)))
                elif seen:
                    index = seen[rng.integers(len(seen))]
                    pixels.append(_crop(scene, index, time, self.size, rng))
                    captions.append(describe_thing(scene, index, rng))
            yield CaptionedVideos(np.stack(pixels), captions)


class ToyboxClips(IterableDataset[CaptionedVideos]):
    """Clips and what happens in them: whole stories, order-swapped twins, and windows of longer videos.

    Args:
        steps: the steps to make, `range(first, last)`.
        batch_size: B.
        size: R.
        frames: L.
        moments: share of the batch that is one event of a video, cut closely and told alone: who does what.
        twins: share of the batch in order-swapped pairs.
        long: share of the batch that is a window of a longer video, told by one of its events.
        seed: of the whole run.
    """

    def __init__(
        self,
        steps: range,
        batch_size: int,
        size: int,
        frames: int,
        moments: float,
        twins: float,
        long: float,
        seed: int,
    ) -> None:
        self.steps, self.batch_size, self.size, self.frames = steps, batch_size, size, frames
        self.shares = ClipShares.of(batch_size, moments, twins, long)
        self.seed = seed

    def __iter__(self) -> Iterator[CaptionedVideos]:
        for step in self.steps:
            yield self._batch(generator_of(self.seed, "clips", step))

    def _batch(self, rng: np.random.Generator) -> CaptionedVideos:
        pixels, captions = [], []
        for clip in draw_clips(rng, self.shares):
            pixels.append(clip.show(self.frames, self.size))
            captions.append(clip.tell(rng))
        return CaptionedVideos(np.stack(pixels), captions)


def _crop(scene: Scene, index: int, time: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """A picture `[1, R, R, 3]` in which a thing is a quarter to nine tenths as wide as the frame."""
    box = visible_boxes(scene, time)[index]
    assert box is not None
    left, top, right, bottom = box
    zoom = max(1.0, rng.uniform(0.25, 0.9) / max(right - left, bottom - top))
    # In steps of a half, so that backgrounds are drawn once for a few sizes and not anew for each crop.
    whole = size * round(2 * zoom) // 2
    # The thing lies anywhere in the picture, as far as the frame reaches.
    corner = []
    for near, far in ((left, right), (top, bottom)):
        lowest, highest = max(0, math.ceil(far * whole) - size), min(whole - size, math.floor(near * whole))
        corner.append(
            int(rng.integers(lowest, highest + 1)) if highest >= lowest else max(0, min(lowest, whole - size))
        )
    x, y = corner
    return render(scene, [time], whole)[:, y : y + size, x : x + size]


def _how_many(rng: np.random.Generator) -> int | None:
    """Things that a frame's caption names at most; None for all.

    A caption that lists all can be told by any of them, and teaches little of which colour goes with which kind:
    trained on such alone, a CLIP found 52% of 128 frames by a list, and 6% by one thing.
    """
    counts: list[int | None] = [1, 2, 3, None]
    return counts[rng.choice(4, p=[0.2, 0.4, 0.25, 0.15])]


def generator_of(seed: int, kind: str, step: int) -> np.random.Generator:
    """The chance of one step, for one purpose: the same whoever asks, and whatever was drawn before."""
    return np.random.default_rng([seed, zlib.crc32(kind.encode()), step])


def load_batches(dataset: IterableDataset[CaptionedVideos], workers: int) -> Iterator[CaptionedVideos]:
    """Make batches ahead in other processes.

    Args:
        dataset: one of the above; its steps are dealt to the workers in turn, and come back in order.
        workers: processes; 0 makes each batch when it is asked for.
    """
    if workers == 0:
        yield from dataset
        return
    as_it_is: Callable[[Any], Any] = _as_it_is
    yield from DataLoader(
        _Dealt(dataset), batch_size=None, num_workers=workers, prefetch_factor=4, collate_fn=as_it_is
    )


def _as_it_is(batch: CaptionedVideos) -> CaptionedVideos:
    """Keep the loader from turning arrays into tensors."""
    return batch


class _Dealt(IterableDataset[CaptionedVideos]):
    """Give each worker every n-th step, so that the loader's turns put them back in order."""

    def __init__(self, dataset: IterableDataset[CaptionedVideos]) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[CaptionedVideos]:
        worker = get_worker_info()
        assert worker is not None
        self.dataset.steps = self.dataset.steps[worker.id :: worker.num_workers]  # type: ignore[attr-defined]
        yield from self.dataset
