"""The noise test: random features, which are unrelated to their captions, must be found at chance in every row.

A scorer that pools each video with its own caption, as some published ones do at test time, uses the answer and is far
above chance here. A method that breaks ties in the order of the columns, where the true video often is on the diagonal,
is above chance on features with many equal scores. The test runs the same code that makes reports: the model's own
matching, every score, direction and post-processing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from prost.data.clip_sets import ToyboxClipSet
from prost.errors import BadScores
from prost.evaluation.benchmark import Model, evaluate_features
from prost.evaluation.rows import RankingPlan, Row
from prost.evaluation.sets import EvaluationSet

SEEDS = 5
VIDEOS = 100
BANK = 300
LEVEL = 0.9999
"""Confidence level of the interval of chance. A report has dozens of rows, and none should fail by bad luck."""

Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class NoiseTest:
    """R@1 on noise.

    Attributes:
        hits: number of queries that were found, over all seeds, by the key of the row.
        tied_hits: the same on features with many equal scores. A tie is a mean rank, so that they may be fewer.
        queries: number of queries, over all seeds, by the key of the row.
        videos: size of the gallery; chance is one in `videos`.
    """

    hits: dict[str, int]
    tied_hits: dict[str, int]
    queries: dict[str, int]
    videos: int

    def interval(self, key: str) -> tuple[float, float]:
        """The hits of a row that chance can explain."""
        low, high = binom.interval(LEVEL, self.queries[key], 1 / self.videos)
        return float(low), float(high)

    @property
    def failed(self) -> list[str]:
        """Rows outside the interval of chance, or above it on ties."""
        outside = []
        for key, hits in self.hits.items():
            low, high = self.interval(key)
            if not low <= hits <= high or self.tied_hits[key] > high:
                outside.append(key)
        return outside

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "passed": not self.failed,
            "seeds": SEEDS,
            "videos": self.videos,
            "chance": 100 / self.videos,
            "level": LEVEL,
            "R@1": {key: round(self._percent(self.hits, key), 3) for key in self.hits},
            "R@1_with_ties": {key: round(self._percent(self.tied_hits, key), 3) for key in self.hits},
            "failed": self.failed,
        }

    def check(self) -> None:
        """Refuse a model whose scores cannot be believed.

        Raises:
            BadScores: a row is outside the interval of chance.
        """
        if self.failed:
            found = {
                key: max(self._percent(hits, key) for hits in (self.hits, self.tied_hits))
                for key in self.failed
            }
            key = max(found, key=found.__getitem__)
            raise BadScores(
                f"on random features R@1 of {key} is {found[key]:.1f}, where chance is {100 / self.videos:.1f}",
                "a score that depends on caption and video alone",
                "look for code in the matching that uses which caption belongs to which video, or their order",
            )

    def _percent(self, hits: dict[str, int], key: str) -> float:
        return 100 * hits[key] / self.queries[key]


def noise_test(model: Model, captions_a_video: int = 1, plan: RankingPlan | None = None) -> NoiseTest:
    """Rank random features with a model's own matching.

    Args:
        model: any retrieval model; only the sizes of its weights matter.
        captions_a_video: number of captions of each of the 100 videos.
        plan: which rows; all when None. No intervals are computed.
    """
    plan = plan or RankingPlan()
    plan = RankingPlan(methods=plan.methods, directions=plan.directions, samples=1, seed=plan.seed)
    owner = np.repeat(np.arange(VIDEOS), captions_a_video)
    queries: dict[str, int] = {}
    hits: dict[str, int] = {}
    tied_hits: dict[str, int] = {}
    for seed in range(SEEDS):
        for found, draw in ((hits, _normal), (tied_hits, _tied)):
            for row in _random_rows(model, owner, plan, seed, draw):
                found[row.key] = found.get(row.key, 0) + int(np.count_nonzero(row.ranks <= 1))
                if found is hits:
                    queries[row.key] = queries.get(row.key, 0) + len(row.ranks)
    return NoiseTest(hits=hits, tied_hits=tied_hits, queries=queries, videos=VIDEOS)


def _random_rows(
    model: Model, owner: np.ndarray, plan: RankingPlan, seed: int, draw: Draw
) -> tuple[Row, ...]:
    data = EvaluationSet(
        name=f"noise-{seed}",
        split="none",
        videos=tuple(map(str, range(VIDEOS))),
        captions=tuple(map(str, range(len(owner)))),
        video_of_caption=owner,
        clips=ToyboxClipSet([], description="random features"),
    )
    generator = torch.Generator().manual_seed(seed)
    text, bank_text = (_random_text(model, count, generator, draw) for count in (len(owner), BANK))
    video, bank_video = (_random_video(model, count, generator, draw) for count in (VIDEOS, BANK))
    return evaluate_features(model, text, video, data, plan, bank_text=bank_text, bank_video=bank_video).rows


@torch.inference_mode()
def _random_text(model: Model, count: int, generator: torch.Generator, draw: Draw) -> Any:
    """The record of a text, filled with random numbers."""
    one = torch.ones(1, model.config.max_words, dtype=torch.long, device=model.device)
    return _randomised(model.text_prototypes(one, one), count, generator, draw)


@torch.inference_mode()
def _random_video(model: Model, count: int, generator: torch.Generator, draw: Draw) -> Any:
    """The record of a video, filled with random numbers."""
    size = model.config.image_size
    pixels = torch.zeros(1, model.config.frames, 3, size, size, device=model.device)
    return _randomised(model.video_prototypes(pixels), count, generator, draw)


def _randomised(record: Any, count: int, generator: torch.Generator, draw: Draw) -> Any:
    return record.mapped(lambda tensor: draw((count, *tensor.shape[1:]), generator).to(tensor.device))


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def _tied(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """One random sign for each text or video: about half of the videos tie for the first place of a query."""
    signs = torch.randint(2, (shape[0],), generator=generator) * 2.0 - 1.0
    return signs.view(-1, *[1] * (len(shape) - 1)).expand(shape).clone()
