"""Generates large libraries from few real videos by recombining tracks of similar videos and rotating their vectors.

A generated vector is a real one, rotated about the mean `m` of its slot towards the same vector of a partner video:

    v = unit(m + cos(a) (own - m) + sin(a) (partner - m))

If both come from the same distribution, this keeps means and covariances, which a plain average would shrink. All
frames of a slot have the same partner, so a track changes as slowly as real ones do. The sum is linear before `unit`,
which makes the exact scores of a million clips affordable (`prost.bench.exact_answers`).

Each block of clips is a function of the seed and the block's number, so only the settings need to be stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from prost.bench.real import RealPrototypes

CLIPS_A_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Recombination:
    """Settings of the generator; `prost.bench.realism` fits the two angles.

    Attributes:
        seed: seed of all random numbers.
        object_turn: largest angle of an object prototype, radians; the smallest is half of it.
        event_turn: largest angle of an event prototype, likewise.
        steadiness: fraction of the variation of an angle that all frames of a slot share.
        foreign: fraction of object slots that come from a look-alike of the clip's own video.
        lookalikes: fraction of all videos, the nearest ones, from which look-alikes and partners are drawn.
    """

    seed: int = 0
    object_turn: float = 0.7
    event_turn: float = 0.6
    steadiness: float = 0.9
    foreign: float = 0.25
    lookalikes: float = 0.2


@dataclass(frozen=True, kw_only=True)
class Blend:
    """Recipes of n clips with S slots of L vectors.

    Attributes:
        own: real video of each slot `[n, S]`, int32.
        partner: video towards which it is rotated `[n, S]`, int32.
        angle: angle of each vector `[n, S, L]`, radians; 0 if the partner's vector is zero.
    """

    own: NDArray[np.int32]
    partner: NDArray[np.int32]
    angle: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.own)


@dataclass(frozen=True, kw_only=True)
class ClipBlock:
    """Recipes of the clips `first`, `first + 1`, ... of a generated library."""

    first: int
    object: Blend
    event: Blend

    def __len__(self) -> int:
        return len(self.object)


class Generator:
    """An endless library of clips.

    Args:
        real: prototypes to recombine.
        recombination: settings.

    Attributes:
        tracks: object prototypes of the real videos `[V, N_o, L, D]`.
        events: event prototypes of the real videos, as tracks of one vector `[V, N_e, 1, D]`.
        track_means: `[N_o, D]`.
        event_means: `[N_e, D]`.
    """

    def __init__(self, real: RealPrototypes, recombination: Recombination) -> None:
        self.recombination = recombination
        self.tracks = real.object
        self.events = real.event[:, :, None]
        self.track_means = slot_means(self.tracks)
        self.event_means = slot_means(self.events)
        self._alive = np.any(self.tracks, axis=-1)  # [V, N_o, L]
        self._lookalikes = lookalikes(real, recombination.lookalikes)  # [V, k]

    def blocks(self, clips: int) -> Iterator[ClipBlock]:
        """Yield the recipes of the first `clips` clips, block by block."""
        for number, first in enumerate(range(0, clips, CLIPS_A_BLOCK)):
            yield self.block(number, min(CLIPS_A_BLOCK, clips - first))

    def block(self, number: int, clips: int = CLIPS_A_BLOCK) -> ClipBlock:
        """Recipes of the first `clips` clips of one block."""
        how = self.recombination
        rng = np.random.default_rng(np.random.SeedSequence([how.seed, number]))
        videos, slots, frames, _ = self.tracks.shape
        events = self.events.shape[1]
        # A whole block is always drawn, so that its first clips do not depend on how many are wanted.
        kept = slice(clips)

        video = rng.integers(videos, size=CLIPS_A_BLOCK)[kept]
        companion = self._look_alike(rng, video[:, None])[:, 0]  # [n]
        foreign = rng.random((CLIPS_A_BLOCK, slots), dtype=np.float32)[kept] < how.foreign
        foreign[:, 0] = False  # the class token describes the whole frame
        own = np.where(foreign, companion[:, None], video[:, None])  # [n, N_o]
        partner = self._look_alike(rng, own)  # [n, N_o]
        partner[:, 0] = companion
        common = rng.random((CLIPS_A_BLOCK, slots, 1), dtype=np.float32)[kept]
        single = rng.random((CLIPS_A_BLOCK, slots, frames), dtype=np.float32)[kept]
        angle = how.object_turn * (0.5 + 0.5 * (how.steadiness * common + (1 - how.steadiness) * single))
        angle *= self._alive[partner, np.arange(slots)]

        event_angle = rng.random((CLIPS_A_BLOCK, events, 1), dtype=np.float32)[kept]
        event_angle = how.event_turn * (0.5 + 0.5 * event_angle)
        event_own, event_partner = (np.repeat(each[:, None], events, axis=1) for each in (video, companion))
        return ClipBlock(
            first=number * CLIPS_A_BLOCK,
            object=Blend(
                own=own.astype(np.int32), partner=partner.astype(np.int32), angle=angle.astype(np.float32)
            ),
            event=Blend(
                own=event_own.astype(np.int32),
                partner=event_partner.astype(np.int32),
                angle=event_angle.astype(np.float32),
            ),
        )

    def materialise(self, block: ClipBlock) -> RealPrototypes:
        """The block's unit prototypes: object `[n, N_o, L, D]`, event `[n, N_e, D]`."""
        return RealPrototypes(
            object=blend(self.tracks, self.track_means, block.object),
            event=self.materialise_events(block),
        )

    def materialise_events(self, block: ClipBlock) -> NDArray[np.float32]:
        """The block's unit event prototypes `[n, N_e, D]`."""
        return blend(self.events, self.event_means, block.event)[:, :, 0]

    def _look_alike(self, rng: np.random.Generator, video: NDArray[np.int64]) -> NDArray[np.int32]:
        """A random look-alike of each of the videos `[n, ...]`, never the video itself."""
        size = (CLIPS_A_BLOCK, *video.shape[1:])
        return self._lookalikes[video, rng.integers(self._lookalikes.shape[1], size=size)[: len(video)]]


def slot_means(tracks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the nonzero vectors of each slot: `[V, S, L, D]` to `[S, D]`."""
    alive = np.maximum(1, np.any(tracks, axis=-1).sum(axis=(0, 2)))  # [S]
    return (tracks.sum(axis=(0, 2), dtype=np.float64) / alive[:, None]).astype(np.float32)


def lookalikes(real: RealPrototypes, fraction: float) -> NDArray[np.int32]:
    """The k nearest other videos of each video `[V, k]`, by the sum of its mean event and its mean class token.

    k is the given fraction of the other videos, at least 1.
    """
    whole = real.event.mean(axis=1) + real.object[:, 0].mean(axis=1)  # [V, D]
    whole -= whole.mean(axis=0)
    whole /= np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    cosines = whole @ whole.T
    np.fill_diagonal(cosines, -np.inf)
    count = max(1, int(fraction * (len(real) - 1)))
    return np.argpartition(-cosines, count - 1, axis=1)[:, :count].astype(np.int32)


def blend(tracks: NDArray[np.float32], means: NDArray[np.float32], recipe: Blend) -> NDArray[np.float32]:
    """Unit vectors `[n, S, L, D]` from recipes; a zero vector stays zero."""
    vectors = np.empty((*recipe.angle.shape, tracks.shape[-1]), np.float32)
    _blend(tracks, means, recipe.own, recipe.partner, recipe.angle, vectors)
    return vectors


@numba.njit(nogil=True, fastmath=True)
def turn(mean, own, partner, angle, vector):  # type: ignore[no-untyped-def]
    """Write one generated vector `[D]`, unnormalised; returns one over its length, 0 for a zero vector."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    rest = np.float32(1) - cos - sin
    square, alive = np.float32(0), np.float32(0)
    for d in range(len(vector)):
        value = rest * mean[d] + cos * own[d] + sin * partner[d]
        vector[d] = value
        square += value * value
        alive += own[d] * own[d]
    if alive == 0 or square == 0:
        return np.float32(0)
    return np.float32(1) / np.sqrt(square)


@numba.njit(nogil=True, parallel=True, fastmath=True)
def _blend(tracks, means, own, partner, angle, vectors):  # type: ignore[no-untyped-def]
    clips, slots, frames, width = vectors.shape
    for clip in numba.prange(clips):
        for slot in range(slots):
            for frame in range(frames):
                vector = vectors[clip, slot, frame]
                scale = turn(
                    means[slot],
                    tracks[own[clip, slot], slot, frame],
                    tracks[partner[clip, slot], slot, frame],
                    angle[clip, slot, frame],
                    vector,
                )
                for d in range(width):
                    vector[d] *= scale
