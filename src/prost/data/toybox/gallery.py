"""Galleries to rank: videos with one query each, and a check that each query is true of one video only."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from prost.errors import UsageError

from .grammar import Caption, Claim, describe, holds, holds_in_any_order
from .sampling import SPLITS, can_twin, sample_scene, twin_of
from .scene import Scene

TWIN_SHARE = 0.4
"""Fraction of a gallery's videos that have an order-swapped twin in it: 200 pairs among the 1,000 of `toybox-1k`."""


# Seeds that keep the random numbers of galleries, folders and training scenes apart.
_GALLERIES = 0x67616C
_FOLDERS = 0x666F6C


class StoryIndex:
    """Finds the videos in which certain kinds do certain things, without checking all videos."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.scenes = scenes
        self.places: dict[tuple[str, str | None], set[int]] = defaultdict(set)
        for index, scene in enumerate(scenes):
            for event in scene.events:
                self.places[scene.objects[event.thing].kind, event.action].add(index)

    def candidates(self, claims: Sequence[Claim]) -> list[int]:
        """Places of the scenes in which things of these kinds do these actions, whatever else is claimed."""
        found = [self.places.get((claim.kind, claim.action), set()) for claim in claims]
        return sorted(set.intersection(*found))

    def true_of(self, claims: Sequence[Claim]) -> list[int]:
        """Places of the scenes of which all claims are true."""
        return [index for index in self.candidates(claims) if holds(claims, self.scenes[index])]


GALLERY_NAME = r"toybox-([1-9][0-9]*)(k?)"


@dataclass(frozen=True)
class Gallery:
    """Videos and queries; query i is true of video i and of no other.

    Attributes:
        name: such as "toybox-1k".
        scenes: one a video.
        queries: one a video.
        twin: for each video, the place of the one that shows the same events in another order, or None.
    """

    name: str
    scenes: tuple[Scene, ...]
    queries: tuple[Caption, ...]
    twin: tuple[int | None, ...]
    _index: StoryIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", StoryIndex(self.scenes))
        for place, query in enumerate(self.queries):
            if self._index.true_of(query.claims) != [place]:
                raise ValueError(f"query {place} ({query.text!r}) is not true of video {place} alone")

    def __len__(self) -> int:
        return len(self.scenes)

    def order_blind_ceiling(self) -> float:
        """Expected R@1, in percent, of a perfect model that ignores the order of events and breaks ties at random."""
        alike = [
            sum(
                holds_in_any_order(query.claims, self.scenes[i]) for i in self._index.candidates(query.claims)
            )
            for query in self.queries
        ]
        return 100 * sum(1 / count for count in alike) / len(alike)


def gallery(name: str = "toybox-1k", split: str = "test") -> Gallery:
    """The gallery with a name; the same name always gives the same gallery.

    Args:
        name: "toybox-<N>" or "toybox-<k>k", such as "toybox-200" or "toybox-1k".
        split: which split's scenes to take.

    Raises:
        UsageError: the name or split is none of these.
    """
    match = re.fullmatch(GALLERY_NAME, name)
    if match is None:
        raise UsageError(f"no gallery is called {name!r}", "toybox-<N> or toybox-<k>k", "toybox-1k")
    if split not in SPLITS:
        raise UsageError(f"no split is called {split!r}", ", ".join(SPLITS))
    count = int(match[1]) * (1000 if match[2] else 1)
    rng = np.random.default_rng(np.random.SeedSequence([SPLITS[split], _GALLERIES, count]))
    pairs = round(TWIN_SHARE * count / 2)
    return _fill(name, rng, [*[_pair] * pairs, *[_single] * (count - 2 * pairs)], split)


def mixed_gallery(videos: int, seed: int, split: str) -> Gallery:
    """The scenes of a folder of files: one video in eight is long, and about one in five has its twin in the folder.

    Args:
        videos: how many; from 1.
        seed: the same seed gives the same gallery.
        split: which split's scenes to take.
    """
    rng = np.random.default_rng(np.random.SeedSequence([SPLITS[split], _FOLDERS, seed]))
    long, pairs = videos // 8, videos // 10
    makers = [*[_pair] * pairs, *[_long] * long, *[_single] * (videos - 2 * pairs - long)]
    return _fill(f"{split}-{seed}", rng, makers, split)


_Maker = Callable[[np.random.Generator, str], tuple[Scene, ...]]


def _single(rng: np.random.Generator, split: str) -> tuple[Scene, ...]:
    return (sample_scene(rng, split),)


def _long(rng: np.random.Generator, split: str) -> tuple[Scene, ...]:
    return (sample_scene(rng, split, long=True),)


def _pair(rng: np.random.Generator, split: str) -> tuple[Scene, ...]:
    """A scene and its twin."""
    while True:
        scene = sample_scene(rng, split)
        if can_twin(scene):
            return scene, twin_of(scene)


def _fill(name: str, rng: np.random.Generator, makers: Sequence[_Maker], split: str) -> Gallery:
    """Make groups of scenes; groups for which no query is true of one video only are made again."""
    groups = [make(rng, split) for make in makers]
    while True:
        scenes, twin = _spread(groups)
        queries, hopeless = true_queries(rng, scenes)
        if not hopeless:
            return Gallery(name, scenes, queries, twin)
        for index, group in enumerate(groups):
            if any(scenes[place] in group for place in hopeless):
                groups[index] = makers[index](rng, split)


def _spread(groups: Sequence[tuple[Scene, ...]]) -> tuple[tuple[Scene, ...], tuple[int | None, ...]]:
    """Shuffle the scenes of all groups, and note the twin of each."""
    count = sum(len(group) for group in groups)
    places = iter(np.random.default_rng(count).permutation(count).tolist())
    placed: dict[int, Scene] = {}
    twin: list[int | None] = [None] * count
    for group in groups:
        own = [next(places) for _ in group]
        placed.update(zip(own, group, strict=True))
        if len(own) == 2:
            twin[own[0]], twin[own[1]] = own[1], own[0]
    return tuple(placed[place] for place in range(count)), tuple(twin)


def true_queries(rng: np.random.Generator, scenes: Sequence[Scene]) -> tuple[tuple[Caption, ...], list[int]]:
    """A query for each scene, and the places of scenes for which no query was true of that scene only."""
    index = StoryIndex(scenes)
    queries, hopeless = [], []
    for place, scene in enumerate(scenes):
        for _ in range(30):
            query = describe(scene, rng)
            if index.true_of(query.claims) == [place]:
                break
        else:
            hopeless.append(place)
        queries.append(query)
    return tuple(queries), hopeless
