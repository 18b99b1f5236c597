"""Captioned videos to batches: every batch is a function of the seed and the step, so that a resumed run sees the same.

Scenes are drawn anew for every step: a training never sees one twice, and needs no files.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from prost.data.toybox import (
    Caption,
    Scene,
    describe_event,
    describe_frame,
    describe_thing,
    render,
    sample_scene,
    visible_boxes,
)
from prost.data.toybox_clips import ClipShares, draw_clips

TOLD_BY_EVENT = 0.6
"""Of the frames in which something happens are told by that."""


def no_twins() -> np.ndarray:
    """Rows of twins where there are none."""
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Regions:
    """Places in the videos of a batch, each with a sentence about what is there.

    Attributes:
        video: which video of the batch each lies in, int64 `[R]`.
        boxes: left, top, right, bottom in each frame, as fractions of the picture, float32 `[R, L, 4]`; all zero in a
            frame that the region does not lie in.
        sentences: R sentences.
        true: whether sentence j is true of region i, bool `[R, R]`.
    """

    video: np.ndarray
    boxes: np.ndarray
    sentences: list[str]
    true: np.ndarray

    def within(self, first: int, last: int) -> Regions:
        """The regions of the videos from one place of the batch to another, which are counted from there."""
        kept = np.flatnonzero((self.video >= first) & (self.video < last))
        return Regions(
            self.video[kept] - first,
            self.boxes[kept],
            [self.sentences[region] for region in kept],
            self.true[np.ix_(kept, kept)],
        )


def twins_within(twins: np.ndarray, first: int, last: int) -> np.ndarray:
    """The pairs that lie whole between two rows of a batch, their rows counted from the first of these."""
    pairs = twins.reshape(-1, 2) - first
    whole = ((pairs >= 0) & (pairs < last - first)).all(axis=1)
    return pairs[whole].reshape(-1)


@dataclass(frozen=True)
class CaptionedVideos:
    """A batch of videos, each with one caption.

    Attributes:
        pixels: uint8 `[B, L, R, R, 3]`.
        captions: B sentences.
        videos: what messages call them; empty where each was drawn for this batch alone.
        regions: places in them and what is there, where the data know.
        twins: rows of order-swapped pairs, one pair after another, int64 `[2 * P]`.
    """

    pixels: np.ndarray
    captions: list[str]
    videos: tuple[str, ...] = ()
    regions: Regions | None = None
    twins: np.ndarray = field(default_factory=no_twins)

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, rows: slice) -> CaptionedVideos:
        places = range(len(self))[rows]
        regions = None if self.regions is None else self.regions.within(places.start, places.stop)
        twins = twins_within(self.twins, places.start, places.stop)
        return CaptionedVideos(self.pixels[rows], self.captions[rows], self.videos[rows], regions, twins)


class ToyboxFrames(IterableDataset[CaptionedVideos]):
    """Single frames, what stands in them and where, for pre-training a CLIP: L is 1.

    Args:
        steps: the steps to make, `range(first, last)`.
        batch_size: B.
        size: R.
        seed: of the whole run.
    """

    def __init__(self, steps: range, batch_size: int, size: int, seed: int) -> None:
        self.steps, self.batch_size, self.size, self.seed = steps, batch_size, size, seed

    def __iter__(self) -> Iterator[CaptionedVideos]:
        for step in self.steps:
            rng = generator_of(self.seed, "frames", step)
            pixels: list[np.ndarray] = []
            captions: list[str] = []
            regions = _RegionList(frames=1)
            for video in range(self.batch_size):
                scene = sample_scene(rng, "train")
                time = rng.uniform(0.0, scene.duration)
                pixels.append(render(scene, [time], self.size))
                captions.append(_tell_frame(scene, time, rng))
                regions.add_things(video, scene, np.array([time]), 0, rng)
                regions.add_events(video, scene, np.array([time]), rng)
            yield CaptionedVideos(np.stack(pixels), captions, regions=regions.join())


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
        pixels: list[np.ndarray] = []
        captions: list[str] = []
        regions = _RegionList(self.frames)
        for clip in draw_clips(rng, self.shares):
            captions.append(clip.tell(rng))
            times = clip.times(self.frames)
            regions.add_things(len(pixels), clip.scene, times, int(rng.integers(self.frames)), rng)
            regions.add_events(len(pixels), clip.scene, times, rng)
            pixels.append(clip.show(self.frames, self.size))
        first = self.shares.windows + self.shares.moments
        twins = np.arange(first, first + 2 * self.shares.pairs)
        return CaptionedVideos(np.stack(pixels), captions, regions=regions.join(), twins=twins)


class _RegionList:
    """Collects the regions of a batch.

    Args:
        frames: L.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.places: list[tuple[int, int]] = []  # video, thing
        self.boxes: list[np.ndarray] = []
        self.captions: list[Caption] = []
        self.looks: list[tuple[str, str, str, str, str | None]] = []

    def add_things(
        self, video: int, scene: Scene, times: np.ndarray, frame: int, rng: np.random.Generator
    ) -> None:
        """Every thing that is seen in one frame, and what it is."""
        for index, box in enumerate(visible_boxes(scene, times[frame])):
            if box is not None:
                caption = describe_thing(scene, index, times[frame], rng)
                self._add(video, scene, index, {frame: box}, caption, caption.claims[0].size, None)

    def add_events(self, video: int, scene: Scene, times: np.ndarray, rng: np.random.Generator) -> None:
        """Every event that is seen, at its actor's place in the frames of its time, and who does what."""
        seen = {frame: visible_boxes(scene, time) for frame, time in enumerate(times)}
        for index, event in enumerate(scene.events):
            boxes = {
                frame: box
                for frame, time in enumerate(times)
                if event.start <= time <= event.end and (box := seen[frame][event.thing]) is not None
            }
            if boxes:
                caption = describe_event(scene, index, rng)
                self._add(video, scene, event.thing, boxes, caption, None, event.action)

    def _add(
        self,
        video: int,
        scene: Scene,
        thing: int,
        boxes: dict[int, tuple[float, float, float, float]],
        caption: Caption,
        size: str | None,
        action: str | None,
    ) -> None:
        look = scene.objects[thing]
        rows = np.zeros((self.frames, 4), np.float32)
        for frame, box in boxes.items():
            rows[frame] = np.clip(box, 0.0, 1.0)
        self.places.append((video, thing))
        self.boxes.append(rows)
        self.captions.append(caption)
        self.looks.append((look.kind, look.colour, size or look.size, look.texture, action))

    def join(self) -> Regions:
        claims = [caption.claims[0] for caption in self.captions]
        said = [(claim.kind, claim.colour, claim.size, claim.texture, claim.action) for claim in claims]
        true = np.ones((len(said), len(said)), bool)
        for shown, told in zip(zip(*self.looks, strict=True), zip(*said, strict=True), strict=True):
            shown_at, told_at = np.array(shown, object), np.array(told, object)
            true &= (told_at == None)[None] | (shown_at[:, None] == told_at[None])  # noqa: E711
        places = np.array(self.places)
        # A thing told without what it does may be the one that does it.
        true |= (places[:, None] == places[None]).all(axis=2)
        return Regions(places[:, 0], np.stack(self.boxes), [caption.text for caption in self.captions], true)


def _tell_frame(scene: Scene, time: float, rng: np.random.Generator) -> str:
    """What happens in a frame, where something does, or what stands in it."""
    for index, event in enumerate(scene.events):
        if event.start < time < event.end and rng.random() < TOLD_BY_EVENT:
            return describe_event(scene, index, rng).text
    return describe_frame(scene, time, rng, _how_many(rng))


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
