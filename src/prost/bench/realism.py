"""Compares distances and scores of generated clips with those of held-out real videos.

Both samples have the same number of clips, because nearest neighbours get closer as a library grows. The angles of the
generator are fitted to the distances. The scores of queries are not fitted and serve as the check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from prost.bench.generator import CLIPS_A_BLOCK, Generator, Recombination
from prost.bench.real import RealPrototypes
from prost.model.matching import TextPrototypes, VideoPrototypes, match

TURNS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
VECTORS_COMPARED = 1000
VECTORS_AT_ONCE = 100
BINS = 40


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Histograms of two samples with the same bins.

    Attributes:
        edges: edges of the bins `[b + 1]`.
        real: fraction of the real values in each bin `[b]`.
        generated: fraction of the generated values in each bin `[b]`.
        ks: largest difference of the two cumulative distributions (Kolmogorov-Smirnov), 0 to 1.
        ks_real: the same for real values against other real values, for comparison.
    """

    edges: list[float]
    real: list[float]
    generated: list[float]
    ks: float
    ks_real: float


@dataclass(frozen=True, kw_only=True)
class Realism:
    """Comparison of generated clips with real ones.

    Attributes:
        clips: number of clips in each sample.
        object_distance: 1 - cosine of an object prototype with the nearest one of any other clip.
        event_distance: the same for event prototypes.
        score: similarity of queries and clips.
        steps: 1 - cosine of a slot's object prototypes in two successive frames.
    """

    clips: int
    object_distance: Histogram
    event_distance: Histogram
    score: Histogram
    steps: Histogram


def fit_recombination(real: RealPrototypes, held_out: RealPrototypes, seed: int) -> Recombination:
    """Fit the angles so that generated clips are as far from each other as held-out real ones.

    Args:
        real: prototypes to recombine.
        held_out: other real videos.
        seed: seed of the generator.
    """
    clips = min(len(held_out), CLIPS_A_BLOCK)
    wanted = [nearest_distances(part) for part in _tracks(held_out[:clips])]
    errors = []
    for turn in TURNS:
        generator = Generator(real, Recombination(seed=seed, object_turn=turn, event_turn=turn))
        made = generator.materialise(generator.block(0, clips))
        errors.append(
            [
                ks_statistic(nearest_distances(part), target)
                for part, target in zip(_tracks(made), wanted, strict=True)
            ]
        )
    object_best, event_best = np.argmin(errors, axis=0)
    return replace(Recombination(seed=seed), object_turn=TURNS[object_best], event_turn=TURNS[event_best])


def judge(
    generator: Generator, held_out: RealPrototypes, text: TextPrototypes, object_phrase_weight: float
) -> Realism:
    """Compare the second block of the generator with real videos that it has not used.

    Args:
        generator: its first block was used for the fit of the angles.
        held_out: videos that were used neither by the generator nor for the fit. The first half is compared with
            generated clips and, for reference, with the second half.
        text: prototypes of queries, on the CPU.
        object_phrase_weight: from the model's configuration.
    """
    clips = min(len(held_out) // 2, CLIPS_A_BLOCK)
    real, other = held_out[:clips], held_out[clips : 2 * clips]
    made = generator.materialise(generator.block(1, clips))
    object_distances, event_distances = zip(
        *([nearest_distances(part) for part in _tracks(sample)] for sample in (real, other, made)),
        strict=True,
    )
    scores = [_scores(sample, text, object_phrase_weight) for sample in (real, other, made)]
    steps = [_steps(sample) for sample in (real, other, made)]
    return Realism(
        clips=clips,
        object_distance=histogram(*object_distances),
        event_distance=histogram(*event_distances),
        score=histogram(*scores),
        steps=histogram(*steps),
    )


def nearest_distances(tracks: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 - cosine of some vectors with the nearest vector of any other clip.

    Args:
        tracks: unit vectors `[n, S, L, D]`.
    """
    clips, width = len(tracks), tracks.shape[-1]
    flat = torch.from_numpy(tracks).reshape(-1, width)
    per_clip = len(flat) // clips
    chosen = torch.from_numpy(
        np.random.default_rng(0).choice(len(flat), min(VECTORS_COMPARED, len(flat)), replace=False)
    )
    nearest = []
    for some in chosen.split(VECTORS_AT_ONCE):
        cosines = flat[some] @ flat.T  # [c, n * S * L]
        by_clip = cosines.view(len(some), clips, per_clip).amax(dim=2)
        by_clip[torch.arange(len(some)), some // per_clip] = -1
        nearest.append(1 - by_clip.amax(dim=1))
    return torch.cat(nearest).numpy()


def ks_statistic(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Largest difference of two samples' cumulative distributions.

    >>> ks_statistic(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.5
    """
    one, other = np.sort(one, axis=None), np.sort(other, axis=None)
    everywhere = np.concatenate([one, other])
    shares = (np.searchsorted(sample, everywhere, side="right") / len(sample) for sample in (one, other))
    return float(np.abs(np.subtract(*shares)).max())


def histogram(
    real: NDArray[np.float32], other: NDArray[np.float32], generated: NDArray[np.float32]
) -> Histogram:
    """Histograms of real and generated values, from the 0.1 to the 99.9 percentile of both together."""
    low, high = np.quantile(np.concatenate([real, generated]), [0.001, 0.999])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    real_share, generated_share = (
        (np.histogram(np.clip(values, low, high), edges)[0] / len(values)).tolist()
        for values in (real, generated)
    )
    return Histogram(
        edges=edges.tolist(),
        real=real_share,
        generated=generated_share,
        ks=ks_statistic(real, generated),
        ks_real=ks_statistic(real, other),
    )


def _tracks(sample: RealPrototypes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return sample.object, sample.event[:, :, None]


def _scores(sample: RealPrototypes, text: TextPrototypes, object_phrase_weight: float) -> NDArray[np.float32]:
    object = torch.from_numpy(sample.object).transpose(1, 2)
    video = VideoPrototypes(object, torch.from_numpy(sample.event))
    return match(text, video, object_phrase_weight).total.numpy().ravel()


def _steps(sample: RealPrototypes) -> NDArray[np.float32]:
    return 1 - np.einsum("nsld,nsld->nsl", sample.object[:, :, 1:], sample.object[:, :, :-1]).ravel()
