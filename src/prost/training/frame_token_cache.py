"""Frame tokens of a fixed set of clips, computed once: while the vision tower is frozen they never change.

What is left of a step is the text tower and the model's head.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prost.data.batches import no_twins, twins_within
from prost.data.clip_sets import BatchPlan, Block, ClipSet, twin_rows
from prost.errors import BadConfig, StorageError
from prost.model.encoding import Precision, autocast, takes_bf16
from prost.model.retrieval_model import VISION_TOWER, RetrievalModel
from prost.progress import Advance
from prost.training.distributed import Processes
from prost.training.freezing import vision_is_frozen

MEMORY = "memory"


@dataclass(frozen=True)
class TokenBatch:
    """A batch whose frame tokens are known; as `CaptionedVideos` otherwise.

    Attributes:
        tokens: float16 `[B, L, M, D]`.
        captions: B sentences.
        videos: what messages call them.
        twins: rows of order-swapped pairs, one pair after another, int64 `[2 * P]`.
    """

    tokens: Tensor
    captions: list[str]
    videos: tuple[str, ...]
    twins: np.ndarray = field(default_factory=no_twins)

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, rows: slice) -> TokenBatch:
        places = range(len(self))[rows]
        twins = twins_within(self.twins, places.start, places.stop)
        return TokenBatch(self.tokens[rows], self.captions[rows], self.videos[rows], twins)


@dataclass(frozen=True)
class FrameTokenCache:
    """The frame tokens of a clip set.

    float16 is half the memory, and off by 0.05% at most: far less than bfloat16, in which towers are computed.

    Attributes:
        names: what messages call the clips.
        tokens: float16 `[N, L, M, D]`, in memory or mapped from a file.
        twins: of the clip set.
    """

    names: Sequence[str]
    tokens: np.ndarray
    twins: np.ndarray

    def batches(self, steps: range, plan: BatchPlan, rows: slice) -> Iterator[TokenBatch]:
        """The batches that the clip set would make, without the pixels.

        Args:
            steps: the steps to make.
            plan: the clip set's.
            rows: the part of each batch that is wanted here.
        """
        for step in steps:
            places, captions = plan.batch(step)
            mine = places[rows]
            yield TokenBatch(
                torch.from_numpy(self.tokens[mine]),
                captions[rows],
                tuple(self.names[place] for place in mine),
                twin_rows(mine, self.twins),
            )


def open_cache(
    model: RetrievalModel[Any, Any],
    clips: ClipSet,
    place: str,
    precision: Precision,
    processes: Processes,
    progress: Advance,
) -> FrameTokenCache:
    """Find the frame tokens of a clip set, or compute them.

    Args:
        model: its vision tower is frozen.
        clips: the set.
        place: `memory`, or a folder; a file there is named after all that it depends on.
        precision: of the vision tower.
        processes: the first of them computes, the others wait.
        progress: called with how many clips are done, of how many.

    Raises:
        BadConfig: the vision tower is trained, or several processes would each keep all in memory.
        StorageError: no space, no permission.
        VideoError: a file that cannot be shown.
    """
    if not vision_is_frozen(model):
        raise BadConfig(
            "cache_frame_tokens: the vision tower is trained", f"freeze: [{', '.join(VISION_TOWER)}]"
        )
    config = model.config
    if place == MEMORY:
        if processes.world > 1:
            raise BadConfig(
                f"cache_frame_tokens: memory, in {processes.world} processes", "a folder, which they share"
            )
        blocks = [*frame_token_blocks(model, clips, precision, progress)]
        order = np.argsort(np.concatenate([places for places, _ in blocks]))
        tokens = np.concatenate([block for _, block in blocks])[order]
        return FrameTokenCache(clips.names, tokens, clips.twins)
    path = Path(place) / f"{_key(model, clips, precision)}.npy"
    if processes.leads and not path.is_file():
        _fill(path, len(clips), frame_token_blocks(model, clips, precision, progress))
    processes.wait()
    mapped: np.ndarray = np.load(path, mmap_mode="r")
    assert mapped.shape[:2] == (len(clips), config.frames)
    return FrameTokenCache(clips.names, mapped, clips.twins)


@torch.no_grad()
def frame_token_blocks(
    model: RetrievalModel[Any, Any],
    clips: ClipSet,
    precision: Precision,
    progress: Advance | None = None,
) -> Iterator[Block]:
    """The frame tokens of every clip of a set, some at a time: places and float16 `[b, L, M, D]`."""
    done = 0
    for places, pixels in clips.blocks(frames=model.config.frames, size=model.config.image_size):
        with autocast(precision, model.device):
            tokens = model.frame_tokens(model.normalise_pixels(pixels).to(model.device))
        done += len(pixels)
        if progress is not None:
            progress(done, len(clips), "")
        yield places, tokens.half().cpu().numpy()


def _fill(path: Path, clips: int, blocks: Iterator[Block]) -> None:
    """Write a file that is there whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mapped: np.memmap | None = None
        for places, block in blocks:
            if mapped is None:
                shape = (clips, *block.shape[1:])
                mapped = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
            mapped[places] = block
        assert mapped is not None
        mapped.flush()
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"frame tokens cannot be kept in {path.parent} ({error})") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _key(model: RetrievalModel[Any, Any], clips: ClipSet, precision: Precision) -> str:
    """A name for all that frame tokens depend on."""
    low = takes_bf16(precision, model.device)
    told = (clips.description, model.config.frames, low, model.vision_fingerprint)
    return hashlib.blake2b(repr(told).encode(), digest_size=12).hexdigest()
