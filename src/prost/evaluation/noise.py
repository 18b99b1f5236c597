"""The noise test: random features that know nothing of their captions are found at chance, in every row of a report.

A scorer that pools each video with its own caption, as some published ones do at test time, reads the answer and is far
above chance here. The test runs the very path that makes reports: the model's own matching, every score, direction and
post-processing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import binom

from prost.data.clip_sets import ToyboxClipSet
from prost.errors import BadScores
from prost.evaluation.benchmark import Model, evaluate_features
from prost.evaluation.rows import RankingPlan
from prost.evaluation.sets import EvaluationSet

SEEDS = 5
VIDEOS = 100
BANK = 300
# Of the interval of chance. A report has dozens of rows, and none of them may fail by bad luck.
LEVEL = 0.9999


@dataclass(frozen=True)
class NoiseTest:
    """R@1 on noise.

    Attributes:
        hits: queries found, over all seeds, by the key of the row.
        queries: queries asked, over all seeds, likewise.
        videos: how many there are; chance is one in so many.
    """

    hits: dict[str, int]
    queries: dict[str, int]
    videos: int

    def interval(self, key: str) -> tuple[float, float]:
        """Hits that chance allows a row."""
        low, high = binom.interval(LEVEL, self.queries[key], 1 / self.videos)
        return float(low), float(high)

    @property
    def failed(self) -> list[str]:
        """Rows outside the interval of chance."""
        outside = []
        for key, hits in self.hits.items():
            low, high = self.interval(key)
            if not low <= hits <= high:
                outside.append(key)
        return outside

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        percent = {key: round(100 * hits / self.queries[key], 3) for key, hits in self.hits.items()}
        return {
            "passed": not self.failed,
            "seeds": SEEDS,
            "videos": self.videos,
            "chance": 100 / self.videos,
            "level": LEVEL,
            "R@1": percent,
            "failed": self.failed,
        }

    def check(self) -> None:
        """Refuse a model whose scores cannot be believed.

        Raises:
            BadScores: a row is outside the interval of chance.
        """
        if self.failed:
            key = max(self.failed, key=lambda row: self.hits[row] / self.queries[row])
            raise BadScores(
                f"on random features R@1 of {key} is {100 * self.hits[key] / self.queries[key]:.1f}, where chance is "
                f"{100 / self.videos:.1f}",
                "a score that depends on caption and video alone",
                "look for where matching reads which caption is whose",
            )


def noise_test(model: Model, captions_a_video: int = 1, plan: RankingPlan | None = None) -> NoiseTest:
    """Rank random features with a model's own matching.

    Args:
        model: any that has the doors; of its weights only the sizes matter.
        captions_a_video: how many each of the 100 videos has.
        plan: which rows; all when None. The bootstrap is left out.
    """
    plan = plan or RankingPlan()
    plan = RankingPlan(plan.methods, plan.directions, samples=1, seed=plan.seed)
    owner = np.repeat(np.arange(VIDEOS), captions_a_video)
    hits: dict[str, int] = {}
    queries: dict[str, int] = {}
    for seed in range(SEEDS):
        data = EvaluationSet(
            name=f"noise-{seed}",
            split="none",
            videos=tuple(map(str, range(VIDEOS))),
            captions=tuple(map(str, range(len(owner)))),
            video_of_caption=owner,
            clips=ToyboxClipSet([], description="random features"),
        )
        generator = torch.Generator().manual_seed(seed)
        text, bank_text = (_random_text(model, count, generator) for count in (len(owner), BANK))
        video, bank_video = (_random_video(model, count, generator) for count in (VIDEOS, BANK))
        report = evaluate_features(model, text, video, data, plan, bank=(bank_text, bank_video))
        for row in report.rows:
            hits[row.key] = hits.get(row.key, 0) + int(np.count_nonzero(row.ranks <= 1))
            queries[row.key] = queries.get(row.key, 0) + len(row.ranks)
    return NoiseTest(hits, queries, VIDEOS)


@torch.inference_mode()
def _random_text(model: Model, count: int, generator: torch.Generator) -> Any:
    """The record of a text, with random numbers in it."""
    one = torch.ones(1, model.config.max_words, dtype=torch.long, device=model.device)
    return _randomised(model.text_prototypes(one, one), count, generator)


@torch.inference_mode()
def _random_video(model: Model, count: int, generator: torch.Generator) -> Any:
    """The record of a video, with random numbers in it."""
    size = model.config.image_size
    pixels = torch.zeros(1, model.config.frames, 3, size, size, device=model.device)
    return _randomised(model.video_prototypes(pixels), count, generator)


def _randomised(record: Any, count: int, generator: torch.Generator) -> Any:
    return record.mapped(
        lambda tensor: torch.randn(count, *tensor.shape[1:], generator=generator).to(tensor.device)
    )
