"""Prototypes of the sizes of published models, made from those of a small model.

No model of these sizes is trained here, and encoding thousands of videos with one takes hours without a GPU. So the
prototypes of the small model, of width d, are widened to D by a fixed map that treats videos and sentences alike:

    wide(v) = unit(sin(W v)),   W [D, d] with rows of length sqrt(d), drawn block by block with orthogonal rows

These are random features (Rahimi & Recht 2007) of the kernel sinh(cos) / sinh(1): cosines keep their order up to the
noise of the draw, frames that look alike still do, and a dead slot stays the zero vector. The sine makes the vectors
fill all D dimensions, so that nothing can be gained by storing d of them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prost.bench.real import RealPrototypes, encode_captions, real_prototypes
from prost.errors import UsageError
from prost.model.checkpoint import load_prost
from prost.model.matching import TextPrototypes
from prost.model.prost import ProST
from prost.model.vectors import unit
from prost.progress import Advance
from prost.search.description import Description
from prost.search.records import ClipSettings, PrototypeSizes

VECTORS_AT_ONCE = 2**16
SEED_OF_MAP = 103


@dataclass(frozen=True, kw_only=True)
class PublishedSizes:
    """Sizes of a published model.

    Attributes:
        sizes: of a clip's prototypes.
        object_phrase_weight: of its configuration.
        whole_frames: whether the one object slot is the whole frame, and the event is the mean of the frames; phrase
            and sentence prototype are then the same.
    """

    sizes: PrototypeSizes
    object_phrase_weight: float
    whole_frames: bool


PUBLISHED = {
    "prost-b16": PublishedSizes(
        sizes=PrototypeSizes(frames=12, objects=12, events=3, width=512),
        object_phrase_weight=1.5,
        whole_frames=False,
    ),
    "clip-b16": PublishedSizes(
        sizes=PrototypeSizes(frames=12, objects=1, events=1, width=512),
        object_phrase_weight=1.0,
        whole_frames=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class PrototypeSource:
    """Where a run has its prototypes from: a model, as it is or widened.

    Attributes:
        model: encodes drawn videos and sentences.
        like: key in `PUBLISHED`; None for the model's own sizes.
    """

    model: ProST
    like: str | None = None

    @classmethod
    def open(cls, model: str, like: str | None) -> PrototypeSource:
        """Load a model.

        Args:
            model: name or path, as for `prost.load`.
            like: key in `PUBLISHED`, or None.

        Raises:
            UsageError: no such sizes, or the model's numbers of frames and prototypes are not those.
        """
        source = cls(model=load_prost(model), like=like)
        if like is None:
            return source
        if like not in PUBLISHED:
            raise UsageError(f"no sizes are called {like!r}", " or ".join(PUBLISHED))
        own, wanted = PrototypeSizes.of(source.model.config), PUBLISHED[like].sizes
        fits = own.frames == wanted.frames and own.width <= wanted.width
        if not PUBLISHED[like].whole_frames:
            fits = fits and (own.objects, own.events) == (wanted.objects, wanted.events)
        if not fits:
            raise UsageError(
                f"{model} has {own.frames} frames, {own.objects} object and {own.events} event prototypes of width "
                f"{own.width}, which cannot be widened to {like}",
                f"{wanted.frames} frames, {wanted.objects} object and {wanted.events} event prototypes, "
                f"width {wanted.width} at most",
                "leave --like out",
            )
        return source

    @property
    def description(self) -> Description:
        """Of a library of these prototypes."""
        config = self.model.config
        return Description(
            model=config.name if self.like is None else f"{config.name}-like-{self.like}",
            fingerprint=self.model.fingerprint,
            sizes=self.sizes,
            clips=ClipSettings(),
        )

    @property
    def sizes(self) -> PrototypeSizes:
        """Sizes of a clip's prototypes."""
        return PrototypeSizes.of(self.model.config) if self.like is None else PUBLISHED[self.like].sizes

    @property
    def object_phrase_weight(self) -> float:
        """Weight of the object-phrase score."""
        if self.like is None:
            return self.model.config.object_phrase_weight
        return PUBLISHED[self.like].object_phrase_weight

    def videos(self, folder: Path, count: int, progress: Advance) -> RealPrototypes:
        """Prototypes of drawn videos; see `real_prototypes`."""
        real = real_prototypes(self.model, folder, count, progress)
        if self.like is None:
            return real
        if PUBLISHED[self.like].whole_frames:
            frames = real.object[:, :1]  # the first slot of a frame is its class token
            event = widened(frames, self.sizes.width).mean(axis=2)
            return RealPrototypes(
                object=widened(frames, self.sizes.width),
                event=unit(torch.from_numpy(event)).numpy(),
            )
        return RealPrototypes(
            object=widened(real.object, self.sizes.width), event=widened(real.event, self.sizes.width)
        )

    def sentences(self, captions: Sequence[str]) -> TextPrototypes:
        """Unit prototypes of sentences, on the CPU."""
        text = encode_captions(self.model, captions)
        if self.like is None:
            return text
        width = self.sizes.width
        sentence = torch.from_numpy(widened(text.sentence.numpy(), width))
        if PUBLISHED[self.like].whole_frames:
            return TextPrototypes(sentence[:, None], sentence)
        return TextPrototypes(torch.from_numpy(widened(text.phrase.numpy(), width)), sentence)


def widened(vectors: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Widen vectors `[..., d]` to unit vectors `[..., D]`; a zero vector stays zero.

    >>> vectors = np.eye(4, dtype=np.float32)
    >>> wide = widened(vectors, 16)
    >>> wide.shape, bool(np.allclose(wide @ wide.T, vectors, atol=0.5))
    ((4, 16), True)
    """
    flat = torch.from_numpy(np.ascontiguousarray(vectors)).reshape(-1, vectors.shape[-1])
    directions = _map(vectors.shape[-1], width)
    wide = torch.empty(len(flat), width)
    for some, into in zip(flat.split(VECTORS_AT_ONCE), wide.split(VECTORS_AT_ONCE), strict=True):
        into.copy_(unit(torch.sin(unit(some) @ directions.T)))
    return wide.numpy().reshape(*vectors.shape[:-1], width)


@functools.lru_cache(maxsize=1)
def _map(narrow: int, width: int) -> Tensor:
    """W: blocks of orthogonal rows of length sqrt(d) `[D, d]`, the last block cut off."""
    draw = torch.Generator().manual_seed(SEED_OF_MAP)
    blocks = [
        torch.linalg.qr(torch.randn(narrow, narrow, generator=draw, dtype=torch.float64)).Q.T
        for _ in range(-(-width // narrow))
    ]
    return (torch.cat(blocks)[:width] * narrow**0.5).float()
