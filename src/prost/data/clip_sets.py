"""Fixed sets of captioned clips: Toybox scenes or video files, to train on again and again, or to find things in.

A plan says which clips and which captions the batch of a step holds. It depends on the seed and the step alone. A clip
comes at most once in a batch, with one of its captions, so that captions of one clip are not each other's negatives. An
epoch shows each clip once (`BatchPlan`), or each caption once (`CaptionPlan`), in an order of its own; what fills no
whole batch is left out.
"""

from __future__ import annotations

import json
import logging
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from torch.utils.data import IterableDataset

from prost.data.batches import CaptionedVideos, generator_of, load_batches
from prost.data.records import VideoRecord
from prost.data.toybox import Gallery, LongGallery, Scene
from prost.data.toybox_clips import ClipMix, ToyboxClip, draw_clips
from prost.data.video_reading import Reading, Sampling, read_records
from prost.errors import BadConfig, MissingVideos, TrainingStopped, UsageError, VideoError

log = logging.getLogger(__name__)

BLOCK = 32
"""Clips that are decoded or rendered together when all clips of a set are read."""

Epoch = Literal["videos", "captions"]
"""What comes once in an epoch: each video, with one of its captions; or each caption."""

Block = tuple[np.ndarray, np.ndarray]
"""Places of b clips in their set, int64 `[b]`, and their pixels, uint8 `[b, L, R, R, 3]`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipFrames:
    """Frames of one clip of a set, or the reason why there are none.

    Attributes:
        pixels: uint8 `[L, R, R, 3]`, or None.
        times: of the frames `[L]`, seconds from the start of the file or of the scene; None where there are no pixels.
        path: the file; None for a clip that is drawn.
        failure: the reason, or None.
    """

    pixels: np.ndarray | None = None
    times: np.ndarray | None = None
    path: Path | None = None
    failure: VideoError | None = None


class ClipSet(ABC):
    """A fixed set of N captioned clips."""

    @property
    @abstractmethod
    def description(self) -> str:
        """Everything that the pixels depend on, except frames and size: equal descriptions mean equal pixels."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """The names of the clips in messages."""

    @property
    @abstractmethod
    def groups(self) -> Sequence[tuple[int, ...]]:
        """All clips, by their places; those of one group follow each other in an epoch."""

    @abstractmethod
    def captions(self, places: np.ndarray, *, seed: int, epoch: int, step: int) -> list[str]:
        """A caption for each of the clips of a batch."""

    @abstractmethod
    def batches(
        self, steps: range, plan: BatchPlan, rows: slice, *, frames: int, size: int
    ) -> Iterator[CaptionedVideos]:
        """Make the batches of some steps.

        Args:
            steps: the steps.
            plan: of this set.
            rows: the part of each batch that is wanted.
            frames: L.
            size: R.
        """

    @abstractmethod
    def blocks(self, *, frames: int, size: int) -> Iterator[Block]:
        """The pixels of all clips, some at a time. Each clip comes once, in the order that is quickest to read."""

    @abstractmethod
    def read(self, places: Sequence[int], *, frames: int, size: int) -> Iterator[ClipFrames]:
        """Read some clips, in the order given. A file that cannot be decoded gives its reason and ends nothing.

        Args:
            places: of the clips in the set.
            frames: L.
            size: R.
        """

    def __len__(self) -> int:
        return len(self.names)

    @property
    def twins(self) -> np.ndarray:
        """The place of each clip's order-swapped twin, -1 where it has none; int64 `[N]`."""
        twins = np.full(len(self), -1, np.int64)
        for group in self.groups:
            if len(group) == 2:
                twins[list(group)] = group[::-1]
        return twins

    def plan(self, batch_size: int, seed: int, epoch: Epoch = "videos") -> BatchPlan:
        """The batches of a training on this set.

        Raises:
            BadConfig: fewer clips than a batch holds, or epochs of captions where captions are made anew each time.
        """
        if epoch == "captions":
            raise BadConfig("epoch: captions, with captions that are made anew each time", "epoch: videos")
        return BatchPlan(self, batch_size, seed)


class BatchPlan:
    """Which clips and captions the batch of a step holds; an epoch shows each clip once.

    Args:
        clips: the set.
        batch_size: B, of all processes together.
        seed: of the whole run.

    Raises:
        BadConfig: fewer clips than a batch holds.
    """

    def __init__(self, clips: ClipSet, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= len(clips):
            raise BadConfig(
                f"batch_size {batch_size} with {len(clips)} clips to train on",
                f"1 to {len(clips)}, because a batch holds a clip at most once",
            )
        self.clips, self.batch_size, self.seed = clips, batch_size, seed
        self.steps_per_epoch = len(clips) // batch_size
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def again(self) -> BatchPlan:
        """The same plan for another reader: a plan remembers only the epoch that was asked for last."""
        return type(self)(self.clips, self.batch_size, self.seed)

    def batch(self, step: int) -> tuple[np.ndarray, list[str]]:
        """The places of B different clips, int64 `[B]`, and a caption for each."""
        epoch, turn = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            groups = self.clips.groups
            order = generator_of(self.seed, "epoch", epoch).permutation(len(groups))
            self._order = np.array([place for group in order for place in groups[group]], dtype=np.int64)
            self._epoch = epoch
        places = self._order[turn * self.batch_size : (turn + 1) * self.batch_size]
        return places, self.clips.captions(places, seed=self.seed, epoch=epoch, step=step)


class CaptionPlan(BatchPlan):
    """Like `BatchPlan`, but an epoch shows each caption once, and a clip as often as it has captions.

    The captions of a clip are spread over the epoch at random. A clip with more captions than an epoch has batches is
    shown once in each batch.

    Args:
        clips: captioned files.
        batch_size: B, of all processes together.
        seed: of the whole run.

    Raises:
        BadConfig: fewer clips than a batch holds.
    """

    clips: RecordClips

    def __init__(self, clips: RecordClips, batch_size: int, seed: int) -> None:
        super().__init__(clips, batch_size, seed)
        self._captions = np.array([len(record.captions) for record in clips.records])
        self.steps_per_epoch = most_batches(self._captions, batch_size)
        self._drawn: list[tuple[np.ndarray, np.ndarray]] = []

    def batch(self, step: int) -> tuple[np.ndarray, list[str]]:
        """See `BatchPlan`."""
        epoch, turn = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._begin(epoch)
        while len(self._drawn) <= turn:
            self._draw()
        places, numbers = self._drawn[turn]
        captions = [
            self.clips.captions_in_turn(place, self.seed, epoch)[number]
            for place, number in zip(places.tolist(), numbers.tolist(), strict=True)
        ]
        return places, captions

    def _begin(self, epoch: int) -> None:
        self._epoch, self._drawn = epoch, []
        self._random = generator_of(self.seed, "epoch", epoch)
        counts = np.minimum(self._captions, self.steps_per_epoch)
        every = self._random.permutation(np.repeat(np.arange(len(counts)), counts))
        kept = every[: self.steps_per_epoch * self.batch_size]
        self._left = np.bincount(kept, minlength=len(counts))
        self._shown = np.zeros_like(self._left)

    def _draw(self) -> None:
        """Draw the next batch.

        A clip is drawn in proportion to the captions that it has left. A clip that has as many left as there are
        batches must be in each of them. There are never more than B such clips, and never fewer than B with a caption
        left, since all together have B for each batch that is left, and none has more than one for each.
        """
        batches_left = self.steps_per_epoch - len(self._drawn)
        with np.errstate(divide="ignore"):
            keys = np.log(self._left) + self._random.gumbel(size=len(self._left))
        keys[self._left == batches_left] = np.inf
        places = np.argsort(-keys, kind="stable")[: self.batch_size]
        self._drawn.append((places, self._shown[places]))
        self._left[places] -= 1
        self._shown[places] += 1


def most_batches(captions: np.ndarray, batch_size: int) -> int:
    """The largest number of batches that hold each caption at most once, and each clip at most once a batch.

    Args:
        captions: number of captions of each clip `[N]`, at least 1.
        batch_size: B, at most N.

    >>> most_batches(np.array([20, 20, 20]), 2), most_batches(np.array([9, 1, 1]), 2)
    (30, 2)
    """
    batches = int(captions.sum()) // batch_size
    while (fitting := int(np.minimum(captions, batches).sum()) // batch_size) < batches:
        batches = fitting
    return batches


def twin_rows(places: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """The rows of a batch that hold both twins of a pair, one pair after another.

    Args:
        places: places of the batch's clips in their set `[B]`.
        twins: see `ClipSet.twins`.

    Returns:
        int64 `[2 * P]`.

    >>> twin_rows(np.array([5, 2, 3, 0]), np.array([-1, -1, 3, 2, -1, 4]))
    array([1, 2])
    """
    row_of = {int(place): row for row, place in enumerate(places)}
    pairs = [(row, row_of.get(int(twins[place]), -1)) for place, row in row_of.items()]
    return np.array([pair for pair in pairs if pair[0] < pair[1]], np.int64).reshape(-1)


class ToyboxClipSet(ClipSet):
    """Clips of Toybox scenes, rendered when they are read.

    Args:
        clips: the set.
        description: see `ClipSet`.
        groups: clips that come together in a batch; None where each stands alone.
        workers: processes that render; 0 renders in this one.
    """

    def __init__(
        self,
        clips: Sequence[ToyboxClip],
        *,
        description: str,
        groups: Sequence[tuple[int, ...]] | None = None,
        workers: int = 0,
    ) -> None:
        self.clips, self._description, self.workers = clips, description, workers
        self._groups = [(place,) for place in range(len(clips))] if groups is None else groups

    @classmethod
    def drawn(cls, clips: int, mix: ClipMix, workers: int = 0) -> ToyboxClipSet:
        """A set to train on. The same arguments give the same set, whatever the seed of the training.

        Args:
            clips: N.
            mix: the kinds of clips; twins come together in a batch, so that each is the other's hardest negative.
            workers: processes that render.
        """
        counts = mix.count(clips)
        drawn = list(draw_clips(np.random.default_rng([zlib.crc32(b"clip set"), clips]), counts))
        first = counts.first_twin
        after = first + 2 * counts.pairs
        groups = [
            *((twin, twin + 1) for twin in range(first, after, 2)),
            *((index,) for index in (*range(first), *range(after, len(drawn)))),
        ]
        description = json.dumps(["toybox clips", clips, mix.moments, mix.twins, mix.long])
        return cls(drawn, description=description, groups=groups, workers=workers)

    @classmethod
    def of_gallery(cls, gallery: Gallery, split: str, workers: int = 0) -> ToyboxClipSet:
        """The whole videos of a gallery of a split."""
        return cls.of_scenes(gallery.scenes, json.dumps(["toybox gallery", split, gallery.name]), workers)

    @classmethod
    def of_long_gallery(cls, gallery: LongGallery, split: str, workers: int = 0) -> ToyboxClipSet:
        """The clips of a gallery of long videos of a split."""
        clips = [ToyboxClip(excerpt.scene, excerpt.start, excerpt.end) for excerpt in gallery.excerpts]
        description = json.dumps(["toybox gallery", split, gallery.name])
        return cls(clips, description=description, workers=workers)

    @classmethod
    def of_scenes(cls, scenes: Sequence[Scene], description: str, workers: int = 0) -> ToyboxClipSet:
        """Whole scenes."""
        clips = [ToyboxClip(scene, 0.0, scene.duration) for scene in scenes]
        return cls(clips, description=description, workers=workers)

    @property
    def description(self) -> str:
        """See `ClipSet`."""
        return self._description

    @property
    def names(self) -> list[str]:
        """The clips, numbered."""
        return [f"toybox clip {place}" for place in range(len(self.clips))]

    @property
    def groups(self) -> Sequence[tuple[int, ...]]:
        """See `ClipSet`."""
        return self._groups

    def captions(self, places: np.ndarray, *, seed: int, epoch: int, step: int) -> list[str]:
        """New captions for each step, in other words each time."""
        rng = generator_of(seed, "captions", step)
        return [self.clips[place].tell(rng) for place in places]

    def batches(
        self, steps: range, plan: BatchPlan, rows: slice, *, frames: int, size: int
    ) -> Iterator[CaptionedVideos]:
        """See `ClipSet`."""
        return load_batches(_Rendered(self, steps, plan, rows, frames=frames, size=size), self.workers)

    def blocks(self, *, frames: int, size: int) -> Iterator[Block]:
        """See `ClipSet`; in the order of the set."""
        steps = range(-(-len(self) // BLOCK))
        rendered = _Rendered(self, steps, None, slice(None), frames=frames, size=size)
        for step, batch in zip(steps, load_batches(rendered, self.workers), strict=True):
            yield np.arange(step * BLOCK, step * BLOCK + len(batch)), batch.pixels

    def read(self, places: Sequence[int], *, frames: int, size: int) -> Iterator[ClipFrames]:
        """See `ClipSet`."""
        for place in places:
            clip = self.clips[place]
            yield ClipFrames(pixels=clip.show(frames, size), times=clip.times(frames))


class _Rendered(IterableDataset[CaptionedVideos]):
    """The rendered rows of the batches of a plan, for `load_batches`; without a plan, all clips in order."""

    def __init__(
        self,
        clips: ToyboxClipSet,
        steps: range,
        plan: BatchPlan | None,
        rows: slice,
        *,
        frames: int,
        size: int,
    ) -> None:
        self.steps = steps
        self._set, self._plan, self._rows = clips, plan, rows
        self._frames, self._size = frames, size

    def __iter__(self) -> Iterator[CaptionedVideos]:
        twins = self._set.twins
        for step in self.steps:
            if self._plan is None:
                places = np.arange(step * BLOCK, min((step + 1) * BLOCK, len(self._set)))
                captions = [""] * len(places)
            else:
                places, captions = self._plan.batch(step)
            mine = places[self._rows]
            yield CaptionedVideos(
                pixels=np.stack([self._set.clips[place].show(self._frames, self._size) for place in mine]),
                captions=captions[self._rows],
                videos=tuple(f"toybox clip {place}" for place in mine),
                twins=twin_rows(mine, twins),
            )


class RecordClips(ClipSet):
    """Captioned video files, or clips of files.

    In as many epochs of videos as a record has captions, each of its captions is used once.

    Args:
        records: the set; every record has a file.
        sampling: how frames are chosen, see `video_reading`.
        workers: decoding processes.
        replace_failed: in training, let another video, which the seed and the step choose, replace one that cannot be
            decoded, and log a warning. Otherwise such a video ends the training.

    Attributes:
        replaced: the reason for each video that was replaced, by its id.

    Raises:
        MissingVideos: a record without a file.
        UsageError: ids that repeat.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        *,
        sampling: Sampling = "middles",
        workers: int = 1,
        replace_failed: bool = False,
    ) -> None:
        if absent := [record.video for record in records if record.path is None]:
            raise MissingVideos(
                f"{len(absent)} of {len(records)} videos are missing ({absent[0]}, ...)",
                "records whose files exist",
                "only those whose files are there",
            )
        if len({record.video for record in records}) < len(records):
            raise UsageError("records whose ids repeat", "each video once, with all its captions")
        self.records = tuple(records)
        self.sampling, self.workers, self.replace_failed = sampling, workers, replace_failed
        self.replaced: dict[str, str] = {}

    @property
    def description(self) -> str:
        """Path, size and modification time of each file, and the part of it that is the clip."""
        parts: list[object] = ["files", self.sampling]
        for record in self.records:
            assert record.path is not None
            status = record.path.stat()
            parts.append([str(record.path), record.start, record.end, status.st_size, status.st_mtime_ns])
        return json.dumps(parts)

    @property
    def names(self) -> list[str]:
        """The ids of the records."""
        return [record.video for record in self.records]

    @property
    def groups(self) -> Sequence[tuple[int, ...]]:
        """Each record stands alone."""
        return [(place,) for place in range(len(self.records))]

    def plan(self, batch_size: int, seed: int, epoch: Epoch = "videos") -> BatchPlan:
        """See `ClipSet`; both kinds of epochs."""
        return (CaptionPlan if epoch == "captions" else BatchPlan)(self, batch_size, seed)

    def captions(self, places: np.ndarray, *, seed: int, epoch: int, step: int) -> list[str]:
        """The caption of each record whose turn it is in the epoch."""
        return [self._caption(int(place), seed, epoch) for place in places]

    def captions_in_turn(self, place: int, seed: int, turn: int) -> list[str]:
        """All captions of a record, in an order that the seed and the turn choose."""
        captions = self.records[place].captions
        order = generator_of(seed, "captions", place, turn).permutation(len(captions))
        return [captions[number] for number in order]

    def batches(
        self, steps: range, plan: BatchPlan, rows: slice, *, frames: int, size: int
    ) -> Iterator[CaptionedVideos]:
        """See `ClipSet`.

        Raises:
            VideoError: a file cannot be decoded, and others may not replace it.
            TrainingStopped: no other video can replace it.
        """
        ahead_plan = plan.again()  # for the reader, which runs ahead of the batches
        wanted = (self.records[place] for step in steps for place in ahead_plan.batch(step)[0][rows])
        # As many decoded videos may wait as fill one more batch, so that decoding goes on while the model computes.
        ahead = len(range(plan.batch_size)[rows])
        readings = read_records(
            wanted, frames=frames, size=size, sampling=self.sampling, workers=self.workers, ahead=ahead
        )
        for step in steps:
            _, captions = plan.batch(step)
            read = [
                self._pixels_for(next(readings), captions[row], plan, step, row, frames, size)
                for row in range(plan.batch_size)[rows]
            ]
            yield CaptionedVideos(
                pixels=np.stack([pixels for pixels, _, _ in read]),
                captions=[caption for _, caption, _ in read],
                videos=tuple(video for _, _, video in read),
            )

    def blocks(self, *, frames: int, size: int) -> Iterator[Block]:
        """See `ClipSet`; the clips of one file follow each other.

        Raises:
            VideoError: a file cannot be decoded.
        """
        by_file: dict[object, list[int]] = {}
        for place, record in enumerate(self.records):
            by_file.setdefault(record.path, []).append(place)
        order = iter([place for places in by_file.values() for place in places])
        readings = read_records(
            (self.records[place] for places in by_file.values() for place in places),
            frames=frames,
            size=size,
            sampling=self.sampling,
            workers=self.workers,
        )
        while block := list(islice(readings, BLOCK)):
            pixels = []
            for reading in block:
                if reading.pixels is None:
                    assert reading.failure is not None
                    raise reading.failure
                pixels.append(reading.pixels)
            yield np.fromiter(islice(order, len(block)), np.int64), np.stack(pixels)

    def read(self, places: Sequence[int], *, frames: int, size: int) -> Iterator[ClipFrames]:
        """See `ClipSet`."""
        for reading in read_records(
            (self.records[place] for place in places),
            frames=frames,
            size=size,
            sampling=self.sampling,
            workers=self.workers,
        ):
            yield ClipFrames(
                pixels=reading.pixels,
                times=reading.times,
                path=reading.record.path,
                failure=reading.failure,
            )

    def _caption(self, place: int, seed: int, epoch: int) -> str:
        turn, position = divmod(epoch, len(self.records[place].captions))
        return self.captions_in_turn(place, seed, turn)[position]

    def _pixels_for(
        self, reading: Reading, caption: str, plan: BatchPlan, step: int, row: int, frames: int, size: int
    ) -> tuple[np.ndarray, str, str]:
        """Pixels, caption and id for a row of a batch; those of a substitute where decoding failed."""
        if reading.pixels is not None:
            return reading.pixels, caption, reading.record.video
        assert reading.failure is not None
        if not self.replace_failed:
            raise reading.failure
        substitutes = self._substitutes(plan, step, row)
        read = read_records(
            (self.records[place] for place in substitutes),
            frames=frames,
            size=size,
            sampling=self.sampling,
        )
        for place, other in zip(substitutes, read, strict=True):
            if other.pixels is not None:
                read.close()
                log.warning("%s; %s replaces it in step %d", reading.failure, other.record.video, step)
                self.replaced[reading.record.video] = str(reading.failure.reason)
                epoch = step // plan.steps_per_epoch
                return other.pixels, self._caption(place, plan.seed, epoch), other.record.video
        raise TrainingStopped(
            f"{reading.failure.arrived}, and no other video can replace it in step {step}",
            suggestion="prost data check",
        )

    def _substitutes(self, plan: BatchPlan, step: int, row: int) -> list[int]:
        """The records that may replace one in a row of a batch, in order.

        They are outside the batch, and each row has its own, so that no two rows, nor two processes that know nothing
        of each other, take the same.
        """
        taken = set(plan.batch(step)[0].tolist())
        free = [place for place in range(len(self.records)) if place not in taken]
        order = generator_of(plan.seed, "substitutes", step).permutation(len(free))
        return [free[position] for position in order[row :: plan.batch_size]]
