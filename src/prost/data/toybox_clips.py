"""Clips of Toybox: stretches of scenes, told whole or by one event."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from prost.data.toybox import Scene, can_twin, describe, describe_event, render, sample_scene, twin_of
from prost.video.sampling import sample_times

LONGEST_CLIP = 12.0


@dataclass(frozen=True)
class ClipShares:
    """How many clips of each kind there are among some.

    Attributes:
        windows: windows of longer videos, told by one event.
        moments: single events, cut closely and told alone.
        pairs: order-swapped pairs, two clips each.
        stories: whole videos.
    """

    windows: int
    moments: int
    pairs: int
    stories: int

    @classmethod
    def of(cls, clips: int, moments: float, twins: float, long: float) -> ClipShares:
        """Counts from shares; where they exceed the whole, moments give way.

        >>> ClipShares.of(8, moments=0.25, twins=0.5, long=0.25)
        ClipShares(windows=2, moments=2, pairs=2, stories=0)
        """
        pairs, windows = int(clips * twins) // 2, int(clips * long)
        moments_left = max(0, min(int(clips * moments), clips - 2 * pairs - windows))
        return cls(windows, moments_left, pairs, max(0, clips - 2 * pairs - windows - moments_left))


@dataclass(frozen=True)
class ToyboxClip:
    """A stretch of a scene.

    Attributes:
        scene: what is drawn.
        start: seconds in the scene; `end` likewise.
        event: the one that it is told by; None where the whole story is told.
    """

    scene: Scene
    start: float
    end: float
    event: int | None = None

    def times(self, frames: int) -> np.ndarray:
        """Seconds in the scene of the middles of L equal parts."""
        return sample_times(self.start, self.end, frames)

    def show(self, frames: int, size: int) -> np.ndarray:
        """Draw it at these times: uint8 `[L, R, R, 3]`."""
        return render(self.scene, self.times(frames), size)

    def tell(self, rng: np.random.Generator) -> str:
        """A sentence that is true of it, other words each time."""
        if self.event is None:
            return describe(self.scene, rng).text
        return describe_event(self.scene, self.event, rng).text


def draw_clips(rng: np.random.Generator, shares: ClipShares) -> Iterator[ToyboxClip]:
    """Draw clips of new scenes of the train split, twins one after the other."""
    for _ in range(shares.windows):
        scene = sample_scene(rng, "train", long=True)
        event = int(rng.integers(len(scene.events)))
        yield ToyboxClip(scene, *_window_around(scene, event, rng), event)
    for _ in range(shares.moments):
        scene = sample_scene(rng, "train")
        event = int(rng.integers(len(scene.events)))
        yield ToyboxClip(scene, *_closely(scene, event, rng), event)
    for _ in range(shares.pairs):
        scene = sample_scene(rng, "train")
        while not can_twin(scene):
            scene = sample_scene(rng, "train")
        for version in (scene, twin_of(scene)):
            yield ToyboxClip(version, 0.0, version.duration)
    for _ in range(shares.stories):
        scene = sample_scene(rng, "train")
        yield ToyboxClip(scene, 0.0, scene.duration)


def _window_around(scene: Scene, index: int, rng: np.random.Generator) -> tuple[float, float]:
    """A window of the longest clip's length that holds an event whole, at a random place."""
    event = scene.events[index]
    earliest = max(0.0, event.end - LONGEST_CLIP)
    latest = max(earliest, min(event.start, scene.duration - LONGEST_CLIP))
    start = rng.uniform(earliest, latest)
    return start, min(start + LONGEST_CLIP, scene.duration)


def _closely(scene: Scene, index: int, rng: np.random.Generator) -> tuple[float, float]:
    """An event with up to a third of its length on either side, within the video."""
    event = scene.events[index]
    before, after = rng.uniform(0.0, (event.end - event.start) / 3, size=2)
    return max(0.0, event.start - before), min(scene.duration, event.end + after)
