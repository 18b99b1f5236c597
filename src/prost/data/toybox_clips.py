"""Clips of Toybox scenes, and batches of clips that are drawn anew for every step.

A training on these batches never sees a scene twice, and needs no files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import IterableDataset

from prost.data.batches import CaptionedVideos, Regions, generator_of
from prost.data.toybox import (
    Caption,
    Scene,
    can_twin,
    describe,
    describe_event,
    describe_frame,
    describe_thing,
    holds,
    render,
    sample_scene,
    twin_of,
    visible_boxes,
    with_one_change,
)
from prost.video.sampling import sample_times

LONGEST_CLIP = 12.0
"""Seconds."""

CHANGES_TRIED = 20
"""A change is not always told: a sentence about a part of a long story can leave it out."""

EVENT_CAPTIONS = 0.6
"""Fraction of the frames with an event whose caption describes the event."""


@dataclass(frozen=True, kw_only=True)
class ClipMix:
    """Fractions of the kinds of clips; whole videos fill the rest.

    Attributes:
        moments: one event of a video, cut closely and described alone: who does what.
        twins: order-swapped pairs.
        long: a window of a longer video, described by one of its events.
    """

    moments: float
    twins: float
    long: float

    def count(self, clips: int) -> ClipCounts:
        """How many of some clips are of each kind; where the fractions exceed the whole, there are fewer moments.

        >>> ClipMix(moments=0.25, twins=0.5, long=0.25).count(8)
        ClipCounts(windows=2, moments=2, pairs=2, stories=0)
        """
        pairs, windows = int(clips * self.twins) // 2, int(clips * self.long)
        moments = max(0, min(int(clips * self.moments), clips - 2 * pairs - windows))
        return ClipCounts(
            windows=windows,
            moments=moments,
            pairs=pairs,
            stories=max(0, clips - 2 * pairs - windows - moments),
        )


@dataclass(frozen=True, kw_only=True)
class ClipCounts:
    """How many clips of each kind there are.

    Attributes:
        windows: windows of longer videos, described by one event.
        moments: single events, cut closely and described alone.
        pairs: order-swapped pairs, two clips each.
        stories: whole videos.
    """

    windows: int
    moments: int
    pairs: int
    stories: int

    @property
    def first_twin(self) -> int:
        """The place of the first twin in the order of `draw_clips`; all others follow it."""
        return self.windows + self.moments


@dataclass(frozen=True)
class ToyboxClip:
    """A clip of a scene.

    Attributes:
        scene: the scene.
        start: seconds in the scene; `end` likewise.
        event: the event that its caption describes; None where the caption describes the whole story.
        backwards: whether it is played backwards, for evaluation; `tell` still describes what it is forwards.
    """

    scene: Scene
    start: float
    end: float
    event: int | None = None
    backwards: bool = False

    def times(self, frames: int) -> np.ndarray:
        """The middles of L equal parts, seconds in the scene `[L]`, in the order of playing."""
        times = sample_times(self.start, self.end, frames)
        return times[::-1] if self.backwards else times

    def show(self, frames: int, size: int) -> np.ndarray:
        """Its frames at these times: uint8 `[L, R, R, 3]`."""
        return render(self.scene, self.times(frames), size)

    def describe(self, rng: np.random.Generator) -> Caption:
        """A sentence that is true of it, in other words each time, and what it claims."""
        if self.event is None:
            return describe(self.scene, rng)
        return describe_event(self.scene, self.event, rng)

    def describe_event(self, rng: np.random.Generator) -> Caption:
        """A sentence about one event of the scene."""
        return describe_event(self.scene, int(rng.integers(len(self.scene.events))), rng)

    def describe_wrongly(self, rng: np.random.Generator) -> Caption | None:
        """A sentence of which one thing is false, see `with_one_change`; None if a few tries find none."""
        for _ in range(CHANGES_TRIED):
            event = int(rng.integers(len(self.scene.events))) if self.event is None else self.event
            changed = replace(self, scene=with_one_change(self.scene, event, rng))
            try:
                told = changed.describe(rng)
            except ValueError:  # a change can make two events of the story the same
                continue
            if not holds(told.claims, self.scene):
                return told
        return None

    def tell(self, rng: np.random.Generator) -> str:
        """The sentence alone."""
        return self.describe(rng).text


def draw_clips(rng: np.random.Generator, counts: ClipCounts) -> Iterator[ToyboxClip]:
    """Draw clips of new scenes of the train split: windows, moments, twins (one after the other), stories."""
    for _ in range(counts.windows):
        scene = sample_scene(rng, "train", long=True)
        event = int(rng.integers(len(scene.events)))
        yield ToyboxClip(scene, *_window_around(scene, event, rng), event)
    for _ in range(counts.moments):
        scene = sample_scene(rng, "train")
        event = int(rng.integers(len(scene.events)))
        yield ToyboxClip(scene, *_close_cut(scene, event, rng), event)
    for _ in range(counts.pairs):
        scene = sample_scene(rng, "train")
        while not can_twin(scene):
            scene = sample_scene(rng, "train")
        for version in (scene, twin_of(scene)):
            yield ToyboxClip(version, 0.0, version.duration)
    for _ in range(counts.stories):
        scene = sample_scene(rng, "train")
        yield ToyboxClip(scene, 0.0, scene.duration)


def _window_around(scene: Scene, index: int, rng: np.random.Generator) -> tuple[float, float]:
    """A window of the longest clip's length that contains a whole event, at a random place."""
    event = scene.events[index]
    earliest = max(0.0, event.end - LONGEST_CLIP)
    latest = max(earliest, min(event.start, scene.duration - LONGEST_CLIP))
    start = rng.uniform(earliest, latest)
    return start, min(start + LONGEST_CLIP, scene.duration)


def _close_cut(scene: Scene, index: int, rng: np.random.Generator) -> tuple[float, float]:
    """An event with up to a third of its length on either side, within the video."""
    event = scene.events[index]
    before, after = rng.uniform(0.0, (event.end - event.start) / 3, size=2)
    return max(0.0, event.start - before), min(scene.duration, event.end + after)


class ToyboxFrames(IterableDataset[CaptionedVideos]):
    """Batches of single frames (L is 1) with captions and regions, for pre-training a CLIP.

    Args:
        steps: the steps whose batches are made.
        batch_size: B.
        size: R.
        seed: of the whole run.
    """

    def __init__(self, steps: range, *, batch_size: int, size: int, seed: int) -> None:
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
                captions.append(_frame_caption(scene, time, rng))
                regions.add_things(video, scene, np.array([time]), 0, rng)
                regions.add_events(video, scene, np.array([time]), rng)
            yield CaptionedVideos(pixels=np.stack(pixels), captions=captions, regions=regions.join())


class DrawnClips(IterableDataset[CaptionedVideos]):
    """Batches of new clips with captions, regions and twins.

    Args:
        steps: the steps whose batches are made.
        batch_size: B.
        size: R.
        frames: L.
        mix: the kinds of clips.
        seed: of the whole run.
    """

    def __init__(
        self, steps: range, *, batch_size: int, size: int, frames: int, mix: ClipMix, seed: int
    ) -> None:
        self.steps, self.size, self.frames = steps, size, frames
        self.counts = mix.count(batch_size)
        self.seed = seed

    def __iter__(self) -> Iterator[CaptionedVideos]:
        for step in self.steps:
            yield self._batch(generator_of(self.seed, "clips", step))

    def _batch(self, rng: np.random.Generator) -> CaptionedVideos:
        pixels: list[np.ndarray] = []
        captions: list[str] = []
        regions = _RegionList(self.frames)
        for clip in draw_clips(rng, self.counts):
            captions.append(clip.tell(rng))
            times = clip.times(self.frames)
            regions.add_things(len(pixels), clip.scene, times, int(rng.integers(self.frames)), rng)
            regions.add_events(len(pixels), clip.scene, times, rng)
            pixels.append(clip.show(self.frames, self.size))
        first = self.counts.first_twin
        return CaptionedVideos(
            pixels=np.stack(pixels),
            captions=captions,
            regions=regions.join(),
            twins=np.arange(first, first + 2 * self.counts.pairs),
        )


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
        """Add every thing that is visible in one frame; its sentence says what it is."""
        for index, box in enumerate(visible_boxes(scene, times[frame])):
            if box is not None:
                caption = describe_thing(scene, index, times[frame], rng)
                self._add(video, scene, index, {frame: box}, caption, caption.claims[0].size, None)

    def add_events(self, video: int, scene: Scene, times: np.ndarray, rng: np.random.Generator) -> None:
        """Add every visible event, where its actor is in the frames of the event; its sentence says who does what."""
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
        # A sentence that does not say what a thing does may be about the thing of an event.
        true |= (places[:, None] == places[None]).all(axis=2)
        return Regions(
            video=places[:, 0],
            boxes=np.stack(self.boxes),
            sentences=[caption.text for caption in self.captions],
            true=true,
            event=np.array([action is not None for *_, action in self.looks]),
        )


def _frame_caption(scene: Scene, time: float, rng: np.random.Generator) -> str:
    """A caption of a frame: an event of that time, or the things in the frame."""
    for index, event in enumerate(scene.events):
        if event.start < time < event.end and rng.random() < EVENT_CAPTIONS:
            return describe_event(scene, index, rng).text
    return describe_frame(scene, time, rng, _most_things(rng))


def _most_things(rng: np.random.Generator) -> int | None:
    """The most things that a frame's caption names; None for all.

    A caption that lists all things can be matched by any one of them, and so teaches little about which colour belongs
    to which kind: a CLIP that was trained on such captions alone found 52% of 128 frames by a list, and 6% by one
    thing.
    """
    counts: list[int | None] = [1, 2, 3, None]
    return counts[rng.choice(4, p=[0.2, 0.4, 0.25, 0.15])]
