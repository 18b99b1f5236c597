"""A fixed set of Toybox clips: to train on again and again, or to find things in."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import IterableDataset

from prost.data.batches import CaptionedVideos, generator_of, load_batches
from prost.data.clip_sets import CLIPS_AT_ONCE, twin_rows
from prost.data.toybox import Gallery
from prost.data.toybox_clips import ClipShares, ToyboxClip, draw_clips
from prost.errors import BadConfig


class ToyboxClipSet:
    """A fixed set of clips, see `ClipSet`.

    Args:
        clips: the set.
        groups: clips that come in one batch, by their places.
        description: all that the set depends on.
        workers: processes that render; 0 renders in this one.
    """

    def __init__(
        self,
        clips: Sequence[ToyboxClip],
        groups: Sequence[tuple[int, ...]],
        description: str,
        workers: int = 0,
    ) -> None:
        self.clips, self.groups, self.description, self.workers = clips, groups, description, workers

    @classmethod
    def drawn(cls, clips: int, moments: float, twins: float, long: float, workers: int = 0) -> ToyboxClipSet:
        """A set to train on; the same arguments give the same set, whatever the seed of a training.

        Args:
            clips: how many.
            moments: share that is one event, cut closely and told alone.
            twins: share in order-swapped pairs, which come in one batch: each is the other's hardest negative.
            long: share that is a window of a longer video, told by one of its events.
            workers: processes that render.
        """
        shares = ClipShares.of(clips, moments, twins, long)
        drawn = list(draw_clips(np.random.default_rng([zlib.crc32(b"clip set"), clips]), shares))
        first = shares.windows + shares.moments
        after = first + 2 * shares.pairs
        groups = [
            *((twin, twin + 1) for twin in range(first, after, 2)),
            *((index,) for index in (*range(first), *range(after, len(drawn)))),
        ]
        return cls(drawn, groups, json.dumps(["toybox clips", clips, moments, twins, long]), workers)

    @classmethod
    def of_gallery(cls, shown: Gallery, split: str, workers: int = 0) -> ToyboxClipSet:
        """The whole videos of a gallery of a split."""
        clips = [ToyboxClip(scene, 0.0, scene.duration) for scene in shown.scenes]
        description = json.dumps(["toybox gallery", split, shown.name])
        return cls(clips, [(index,) for index in range(len(clips))], description, workers)

    @property
    def names(self) -> list[str]:
        """By their places."""
        return [f"toybox clip {index}" for index in range(len(self.clips))]

    @property
    def twins(self) -> np.ndarray:
        """See `ClipSet`."""
        twins = np.full(len(self.clips), -1, np.int64)
        for group in self.groups:
            if len(group) == 2:
                twins[list(group)] = group[::-1]
        return twins

    def plan(self, batch_size: int, seed: int) -> ToyboxPlan:
        """See `ClipSet`."""
        return ToyboxPlan(self, batch_size, seed)

    def batches(
        self, steps: range, batch_size: int, seed: int, rank: int, world: int, frames: int, size: int
    ) -> Iterator[CaptionedVideos]:
        """See `ClipSet`."""
        share = batch_size // world
        rows = slice(rank * share, (rank + 1) * share)
        return load_batches(
            _Rendered(self, steps, self.plan(batch_size, seed), rows, frames, size), self.workers
        )

    def in_order(self, frames: int, size: int) -> Iterator[np.ndarray]:
        """See `ClipSet`."""
        plan = _InOrder(len(self.clips))
        steps = range(-(-len(self.clips) // CLIPS_AT_ONCE))
        rendered = _Rendered(self, steps, plan, slice(None), frames, size)
        return (batch.pixels for batch in load_batches(rendered, self.workers))


class ToyboxPlan:
    """Epochs, each in an order of its own; see `BatchPlan`.

    What is left of an epoch when no whole batch can be made of it is left out: another part each time.

    Args:
        clips: the set.
        batch_size: B.
        seed: of the whole run.

    Raises:
        BadConfig: fewer clips than a batch holds.
    """

    def __init__(self, clips: ToyboxClipSet, batch_size: int, seed: int) -> None:
        if len(clips.clips) < batch_size:
            raise BadConfig(
                f"batch_size {batch_size} with {len(clips.clips)} training clips",
                f"at most {len(clips.clips)}: a batch holds a video once",
            )
        self._set, self._batch_size, self._seed = clips, batch_size, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def of(self, step: int) -> tuple[np.ndarray, list[str]]:
        """See `BatchPlan`; a caption is told in other words each time."""
        epoch, turn = divmod(step, len(self._set.clips) // self._batch_size)
        if epoch != self._epoch:
            groups = self._set.groups
            order = generator_of(self._seed, "epoch", epoch).permutation(len(groups))
            self._order = np.array([clip for group in order for clip in groups[group]], dtype=np.int64)
            self._epoch = epoch
        chosen = self._order[turn * self._batch_size : (turn + 1) * self._batch_size]
        rng = generator_of(self._seed, "captions", step)
        return chosen, [self._set.clips[index].tell(rng) for index in chosen]


class _InOrder:
    """Every clip once; nothing is told of it."""

    def __init__(self, clips: int) -> None:
        self._clips = clips

    def of(self, step: int) -> tuple[np.ndarray, list[str]]:
        places = np.arange(step * CLIPS_AT_ONCE, min((step + 1) * CLIPS_AT_ONCE, self._clips))
        return places, [""] * len(places)


class _Rendered(IterableDataset[CaptionedVideos]):
    """The batches of a plan, for `load_batches`, of which only some rows are rendered."""

    def __init__(
        self,
        clips: ToyboxClipSet,
        steps: range,
        plan: ToyboxPlan | _InOrder,
        rows: slice,
        frames: int,
        size: int,
    ) -> None:
        self.steps = steps
        self._set, self._plan, self._rows = clips, plan, rows
        self._frames, self._size = frames, size

    def __iter__(self) -> Iterator[CaptionedVideos]:
        for step in self.steps:
            places, captions = self._plan.of(step)
            mine = places[self._rows]
            yield CaptionedVideos(
                np.stack([self._set.clips[place].show(self._frames, self._size) for place in mine]),
                captions[self._rows],
                tuple(f"toybox clip {place}" for place in mine),
                twins=twin_rows(mine, self._set.twins),
            )
