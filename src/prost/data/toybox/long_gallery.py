"""Galleries of clips of long videos, as YouCook2 has them: each video gives several clips, each with its own query.

The clips of one video show the same things in front of the same background, so that what is done must tell them apart.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from prost.errors import UsageError

from .gallery import StoryIndex, true_queries
from .grammar import Caption, size_at
from .motion import events_of, pose_at
from .sampling import SPLITS, sample_scene
from .scene import Scene

LONG_GALLERY_NAME = r"toybox-long-([1-9][0-9]*)(k?)"

# Keeps the random numbers of these galleries apart from those of others.
_LONG_GALLERIES = 0x6C6F6E


@dataclass(frozen=True)
class Excerpt:
    """A clip of a long scene: two or three events that follow each other, up to half of the pause on either side.

    Attributes:
        scene: the whole long video.
        start: seconds in the scene; `end` likewise.
        first: index of its first event in the scene; `last` of its last one.
    """

    scene: Scene
    start: float
    end: float
    first: int
    last: int

    def story(self) -> Scene:
        """A scene that happens as the excerpt does, for words: a caption is true of the excerpt if it is true of it.

        It has the excerpt's events, and the sizes that the things have when it starts: a ball that grew earlier in the
        video is a big ball here.
        """
        things = []
        for index, thing in enumerate(self.scene.objects):
            pose = pose_at(self.scene, thing, events_of(self.scene, index), self.start)
            # What has not come yet has the size with which it will.
            things.append(replace(thing, size=size_at(pose.side)))
        return replace(
            self.scene, objects=tuple(things), events=self.scene.events[self.first : self.last + 1]
        )


@dataclass(frozen=True)
class LongGallery:
    """Clips and queries; query i is true of clip i and of no other.

    Attributes:
        name: such as "toybox-long-500".
        excerpts: one a clip; the clips of a video follow each other.
        queries: one a clip.
        videos: number of long videos.
    """

    name: str
    excerpts: tuple[Excerpt, ...]
    queries: tuple[Caption, ...]
    videos: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "videos", len({excerpt.scene for excerpt in self.excerpts}))
        index = StoryIndex([excerpt.story() for excerpt in self.excerpts])
        for place, query in enumerate(self.queries):
            if index.true_of(query.claims) != [place]:
                raise ValueError(f"query {place} ({query.text!r}) is not true of clip {place} alone")

    def __len__(self) -> int:
        return len(self.excerpts)

    @property
    def video_of_clip(self) -> NDArray[np.int64]:
        """The long video of each clip `[N]`, counted from 0 in the order of the clips."""
        places: dict[Scene, int] = {}
        return np.array([places.setdefault(excerpt.scene, len(places)) for excerpt in self.excerpts])


def excerpts(scene: Scene, rng: np.random.Generator) -> list[Excerpt]:
    """Cut a scene into clips of two or three events each, which leave nothing out.

    Args:
        scene: of at least two events.
        rng: chooses which clips have three.
    """
    events = scene.events
    # Ends of the clips between events, and of the scene.
    cuts = [0.0, *((a.end + b.start) / 2 for a, b in itertools.pairwise(events)), scene.duration]
    found, first = [], 0
    for count in _counts(len(events), rng):
        found.append(Excerpt(scene, cuts[first], cuts[first + count], first, first + count - 1))
        first += count
    return found


def _counts(events: int, rng: np.random.Generator) -> list[int]:
    """Numbers of events of successive clips, each two or three."""
    counts = []
    while events:
        # No event stays alone: of two or four that are left two come next, of three all three.
        options = [count for count in (2, 3) if events - count != 1 and count <= events]
        counts.append(options[int(rng.integers(len(options)))])
        events -= counts[-1]
    return counts


def long_gallery(name: str, split: str = "test") -> LongGallery:
    """The gallery with a name; the same name always gives the same gallery.

    Args:
        name: "toybox-long-<N>" or "toybox-long-<k>k", by the number of clips.
        split: which split's scenes to take.

    Raises:
        UsageError: the name or split is none of these, or one clip alone.
    """
    match = re.fullmatch(LONG_GALLERY_NAME, name)
    if match is None:
        raise UsageError(
            f"no gallery is called {name!r}", "toybox-long-<N>, N the number of clips", "toybox-long-500"
        )
    if split not in SPLITS:
        raise UsageError(f"no split is called {split!r}", ", ".join(SPLITS))
    count = int(match[1]) * (1000 if match[2] else 1)
    rng = np.random.default_rng(np.random.SeedSequence([SPLITS[split], _LONG_GALLERIES, count]))
    groups: list[list[Excerpt]] = []
    while sum(map(len, groups)) < count:
        groups.append(excerpts(sample_scene(rng, split, long=True), rng))
    while True:
        # The last video gives as many of its clips as are needed.
        clips = [excerpt for group in groups for excerpt in group][:count]
        queries, hopeless = true_queries(rng, [clip.story() for clip in clips])
        if not hopeless:
            return LongGallery(name, tuple(clips), queries)
        groups = _redrawn(groups, {clips[place].scene for place in hopeless}, split, rng)


def _redrawn(
    groups: Sequence[list[Excerpt]], hopeless: set[Scene], split: str, rng: np.random.Generator
) -> list[list[Excerpt]]:
    """The clips of the videos, with other videos of as many clips for those without a query for each clip."""
    redrawn = []
    for group in groups:
        fresh = group
        if group[0].scene in hopeless:
            while fresh is group or len(fresh) != len(group):
                fresh = excerpts(sample_scene(rng, split, long=True), rng)
        redrawn.append(fresh)
    return redrawn
