"""Frame tokens of clip sets, computed once for all models that share a vision tower.

While the vision tower is frozen its frame tokens never change, and a training step needs only the text tower and the
model's head. An ablation evaluates dozens of heads on one frozen tower.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prost.data.batches import no_twins, twins_within
from prost.data.clip_sets import BatchPlan, Block, ClipSet, twin_rows
from prost.data.writing import writing_errors
from prost.errors import StorageError
from prost.model.encoding import Precision, VideoEncoder, takes_bf16
from prost.model.retrieval_model import RetrievalModel
from prost.progress import Advance


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """A batch whose frame tokens are known; otherwise like `CaptionedVideos`.

    Attributes:
        tokens: `[B, L, M, D]`, in the type of the cache.
        captions: B sentences.
        videos: the names of the videos in messages.
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
        return TokenBatch(
            tokens=self.tokens[rows],
            captions=self.captions[rows],
            videos=self.videos[rows],
            twins=twins_within(self.twins, places.start, places.stop),
        )


@dataclass(frozen=True)
class FrameTokens:
    """The frame tokens of a clip set.

    Attributes:
        clips: the set.
        tokens: `[N, L, M, D]`, in memory or mapped from a file.
    """

    clips: ClipSet
    tokens: np.ndarray

    def batches(self, steps: range, plan: BatchPlan, rows: slice) -> Iterator[TokenBatch]:
        """The batches that `ClipSet.batches` would make, with tokens instead of pixels.

        Args:
            steps: the steps.
            plan: of the set.
            rows: the part of each batch that is wanted.
        """
        names, twins = self.clips.names, self.clips.twins
        for step in steps:
            places, captions = plan.batch(step)
            mine = places[rows]
            yield TokenBatch(
                tokens=torch.from_numpy(self.tokens[mine]),
                captions=captions[rows],
                videos=tuple(names[place] for place in mine),
                twins=twin_rows(mine, twins),
            )


class FrameTokenCache:
    """Computes the frame tokens of clip sets, and keeps them in memory or in files.

    Tokens are looked up by everything that they depend on: the vision tower, the clips, the number of frames and the
    precision.

    Args:
        folder: for the files; None keeps the tokens in memory.
        dtype: float16 takes half the memory. Its error is at most 0.05%, far less than that of bfloat16.
        most: sets that are kept in memory; the one that was not used for longest is dropped.
    """

    def __init__(self, folder: Path | None = None, *, dtype: type = np.float16, most: int = 2) -> None:
        self._folder, self._dtype, self._most = folder, dtype, most
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()

    def of(
        self,
        model: RetrievalModel[Any, Any],
        clips: ClipSet,
        precision: Precision = "fp32",
        progress: Advance | None = None,
    ) -> FrameTokens:
        """The frame tokens of a set.

        Args:
            model: in eval mode.
            clips: the set; not empty.
            precision: of the vision tower.
            progress: called while they are computed, with the number of clips done, the total, and the last clip.

        Raises:
            VideoError: a file cannot be decoded.
            StorageError: the folder cannot be written.
        """
        key = self._key(model, clips, precision)
        if self._folder is not None:
            path = self._folder / f"{key}.npy"
            if not path.is_file():
                _fill_file(path, len(clips), _blocks(model, clips, precision, self._dtype, progress))
            return FrameTokens(clips, _opened(path, len(clips)))
        if key not in self._kept:
            while len(self._kept) >= self._most:
                self._kept.popitem(last=False)
            self._kept[key] = _filled(len(clips), _blocks(model, clips, precision, self._dtype, progress))
        self._kept.move_to_end(key)
        return FrameTokens(clips, self._kept[key])

    def _key(self, model: RetrievalModel[Any, Any], clips: ClipSet, precision: Precision) -> str:
        config = model.config
        parts = (
            clips.description,
            config.frames,
            config.image_size,
            takes_bf16(precision, model.device),
            np.dtype(self._dtype).name,
            model.vision_fingerprint,
        )
        return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def _blocks(
    model: RetrievalModel[Any, Any],
    clips: ClipSet,
    precision: Precision,
    dtype: type,
    progress: Advance | None,
) -> Iterator[Block]:
    """Places `[b]` and frame tokens `[b, L, M, D]` of all clips, some at a time."""
    encoder = VideoEncoder(model, precision=precision)
    done = 0
    for places, pixels in clips.blocks(frames=model.config.frames, size=model.config.image_size):
        tokens = encoder.frame_tokens(pixels)
        done += len(places)
        if progress is not None:
            progress(done, len(clips), clips.names[places[-1]])
        yield places, tokens.cpu().numpy().astype(dtype)


def _filled(clips: int, blocks: Iterator[Block]) -> np.ndarray:
    tokens: np.ndarray | None = None
    for places, block in blocks:
        if tokens is None:
            tokens = np.empty((clips, *block.shape[1:]), block.dtype)
        tokens[places] = block
    assert tokens is not None
    return tokens


def _opened(path: Path, clips: int) -> np.ndarray:
    try:
        tokens: np.ndarray = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise _damaged(path, str(error)) from None
    if len(tokens) != clips:
        raise _damaged(path, f"tokens of {len(tokens)} clips instead of {clips}")
    return tokens


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(f"{path} is damaged ({reason})", suggestion="delete it, so that it is computed again")


def _fill_file(path: Path, clips: int, blocks: Iterator[Block]) -> None:
    """Write a file under a temporary name, and rename it when it is complete."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    mapped: np.memmap | None = None
    try:
        # Blocks are computed outside `writing_errors`: an error of a video file is no error of this folder.
        for places, block in blocks:
            with writing_errors(path.parent):
                if mapped is None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shape = (clips, *block.shape[1:])
                    mapped = np.lib.format.open_memmap(partial, mode="w+", dtype=block.dtype, shape=shape)
                mapped[places] = block
        assert mapped is not None
        with writing_errors(path.parent):
            mapped.flush()
            os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
