"""Video files to training batches: which videos and which captions is a function of the seed and the step alone.

A video is at most once in a batch, with one of its captions: the captions of one video are not each other's
negatives. An epoch shows each video once, in an order of its own; what is left over at its end waits for the next.
In as many epochs as a video has captions, each of them has its turn.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import IterableDataset

from prost.data.batches import CaptionedVideos
from prost.data.records import VideoRecord
from prost.data.video_reading import Reading, Sampling, VideoReader
from prost.errors import MissingVideos, TrainingStopped, UsageError

log = logging.getLogger(__name__)


class VideoBatches(IterableDataset[CaptionedVideos]):
    """Batches of captioned video files.

    Distributed, every rank makes its contiguous slice of the same global batch.

    Args:
        records: whose videos are all there.
        steps: the steps to make, `range(first, last)`.
        batch_size: B, of all ranks together.
        frames: L.
        size: R.
        seed: of the whole run.
        sampling: how frames are chosen, see `video_reading`.
        workers: decoding processes.
        replace_failed: let another video, which the step's seed chooses, take the place of one that cannot be decoded,
            and say so in the log. Otherwise such a video ends the training.
        rank: of this process.
        world: how many processes share a batch.

    Raises:
        MissingVideos: a record without a file.
        UsageError: fewer videos than a batch holds, ids that repeat, or a batch that the ranks cannot share evenly.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        steps: range,
        batch_size: int,
        frames: int,
        size: int,
        seed: int,
        sampling: Sampling = "middles",
        workers: int = 1,
        replace_failed: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if absent := [record.video for record in records if record.path is None]:
            raise MissingVideos(
                f"{len(absent)} of {len(records)} videos are missing ({absent[0]}, ...)",
                "records whose files are there",
                "complete_split with allow_missing",
            )
        if len({record.video for record in records}) < len(records):
            raise UsageError("records whose ids repeat", "each video once, with all its captions")
        if not 1 <= batch_size <= len(records):
            raise UsageError(
                f"batches of {batch_size} from {len(records)} videos",
                "a video at most once a batch",
                f"batch_size {len(records)} or less",
            )
        if batch_size % world or not 0 <= rank < world:
            raise UsageError(f"a batch of {batch_size} for rank {rank} of {world}", "a multiple of the ranks")
        self.records, self.steps, self.batch_size = tuple(records), steps, batch_size
        self.frames, self.size, self.sampling, self.workers = frames, size, sampling, workers
        self.seed, self.replace_failed = seed, replace_failed
        share = batch_size // world
        self.places = range(rank * share, (rank + 1) * share)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which each video, but for a remainder smaller than a batch, is seen once."""
        return len(self.records) // self.batch_size

    @property
    def steps_per_caption_epoch(self) -> int:
        """Steps in which as many pairs are seen as there are captions: an epoch as papers count it."""
        return max(1, sum(len(record.captions) for record in self.records) // self.batch_size)

    def chosen(self, step: int) -> list[tuple[VideoRecord, str]]:
        """The global batch of a step: B different videos, each with the caption whose turn it is."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._generator("epoch", epoch).permutation(len(self.records))
        indices = order[position * self.batch_size : (position + 1) * self.batch_size]
        return [(self.records[index], self._caption(int(index), epoch)) for index in indices]

    def __iter__(self) -> Iterator[CaptionedVideos]:
        # As many decoded videos may wait as make one more batch: decoding goes on while the model computes.
        with VideoReader(
            self.frames, self.size, self.sampling, self.workers, ahead=len(self.places)
        ) as reader:
            readings = reader.read(record for step in self.steps for record, _ in self._share(step))
            for step in self.steps:
                read = [
                    self._good(next(readings), caption, step, place, reader)
                    for place, (_, caption) in zip(self.places, self._share(step), strict=True)
                ]
                yield CaptionedVideos(
                    np.stack([pixels for pixels, _, _ in read]),
                    [caption for _, caption, _ in read],
                    videos=tuple(video for _, _, video in read),
                )

    def _share(self, step: int) -> list[tuple[VideoRecord, str]]:
        """This rank's part of a step's batch."""
        return self.chosen(step)[self.places.start : self.places.stop]

    def _caption(self, index: int, epoch: int) -> str:
        captions = self.records[index].captions
        turn, place = divmod(epoch, len(captions))
        return captions[self._generator("captions", index, turn).permutation(len(captions))[place]]

    def _good(
        self, reading: Reading, caption: str, step: int, place: int, reader: VideoReader
    ) -> tuple[np.ndarray, str, str]:
        """Pixels, caption and id for a place in the batch; those of a substitute where decoding failed."""
        if reading.pixels is not None:
            return reading.pixels, caption, reading.record.video
        assert reading.failure is not None
        if not self.replace_failed:
            raise reading.failure
        epoch = step // self.steps_per_epoch
        for index in self._substitutes(step, place):
            other = next(iter(reader.read([self.records[index]])))
            if other.pixels is not None:
                log.warning("%s; %s takes its place in step %d", reading.failure, other.record.video, step)
                return other.pixels, self._caption(index, epoch), other.record.video
        raise TrainingStopped(
            f"{reading.failure.arrived}, and no other video can take its place in step {step}",
            suggestion="prost data check",
        )

    def _substitutes(self, step: int, place: int) -> list[int]:
        """Who may stand in, in order: videos outside the batch, of which each place of it has its own.

        So no two places, nor two ranks that know nothing of each other, take the same.
        """
        taken = {record.video for record, _ in self.chosen(step)}
        free = [index for index, record in enumerate(self.records) if record.video not in taken]
        order = self._generator("substitutes", step).permutation(len(free))
        return [free[position] for position in order[place :: self.batch_size]]

    def _generator(self, purpose: str, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode()), *numbers])
