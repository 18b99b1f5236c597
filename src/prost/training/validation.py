"""Validation: the measurements that choose the best step, and that a report compares before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from prost.data.frame_tokens import FrameTokenCache
from prost.data.toybox import gallery
from prost.evaluation.benchmark import encode_clips, match_scores, twin_accuracy
from prost.evaluation.joint_scores import joint_scores
from prost.evaluation.metrics import RetrievalMetrics, text_to_video_ranks
from prost.evaluation.rows import JOINT
from prost.evaluation.sets import EvaluationSet, gallery_set
from prost.model.encoding import Precision, encode_text
from prost.model.matching import VideoPrototypes
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel
from prost.model.temporal import event_diversity
from prost.training.freezing import vision_is_frozen


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """The ranks of a model on a gallery, text to video.

    Attributes:
        ranks: rank of the true video of each query `[Q]`, by score: "sum", the two parts of a ProST, and "joint" where
            it has a joint scorer.
        videos: size of the gallery.
        twin_accuracy: percent of queries that score their video above its order-swapped twin, by score; empty where no
            video has a twin.
        event_diversity: how much the events of a video differ, from 0 (all one) to 1 (at right angles); None for
            models without several events.
    """

    ranks: dict[str, np.ndarray]
    videos: int
    twin_accuracy: dict[str, float]
    event_diversity: float | None

    @property
    def quality(self) -> tuple[float, float]:
        """What the best step is chosen by: R@1, then the lower mean rank; of the joint scorer if there is one."""
        metrics = self.metrics(JOINT if JOINT in self.ranks else "sum")
        return metrics.r1, -metrics.mnr

    def metrics(self, score: str) -> RetrievalMetrics:
        """The columns of a table, for one score."""
        return RetrievalMetrics.from_ranks(self.ranks[score], self.videos)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by score."""
        twins = {score: {"twin_accuracy": value} for score, value in self.twin_accuracy.items()}
        return {
            **{score: {**self.metrics(score).to_dict(), **twins.get(score, {})} for score in self.ranks},
            **({} if self.event_diversity is None else {"event_diversity": self.event_diversity}),
            "videos": self.videos,
        }


class ValidationSet:
    """The videos and queries that a model in training is measured on.

    Args:
        data: the evaluation set.
        keep_tokens: while the vision tower is frozen, compute its frame tokens only once.
    """

    def __init__(self, data: EvaluationSet, keep_tokens: bool = False) -> None:
        self.data = data
        self._cache = FrameTokenCache(most=1) if keep_tokens else None

    @classmethod
    def of_gallery(cls, name: str, workers: int = 0, keep_tokens: bool = False) -> ValidationSet:
        """A gallery of Toybox's val split."""
        return cls(gallery_set(gallery(name, split="val"), split="val", workers=workers), keep_tokens)

    def measure(self, model: RetrievalModel[Any, Any], precision: Precision = "fp32") -> ValidationResult:
        """Rank the videos for all queries, on the model's device.

        Args:
            model: is set to eval mode.
            precision: of the vision tower.
        """
        model.eval()
        cache = self._cache if vision_is_frozen(model) else None
        video = encode_clips(model, self.data.clips, precision=precision, cache=cache)
        text = encode_text(model, self.data.captions)
        scores = match_scores(model, text, video)
        if isinstance(model, ProST) and model.joint_scorer is not None:
            scores[JOINT] = joint_scores(model, text, video, scores["sum"])
        twins = {name: twin_accuracy(part, self.data.twin) for name, part in scores.items()}
        return ValidationResult(
            ranks={
                name: text_to_video_ranks(part, self.data.video_of_caption) for name, part in scores.items()
            },
            videos=len(self.data.videos),
            twin_accuracy={name: value for name, value in twins.items() if value is not None},
            event_diversity=_event_diversity(video),
        )


def _event_diversity(video: Any) -> float | None:
    several = isinstance(video, VideoPrototypes) and video.event.shape[1] > 1
    return event_diversity(video.event) if several else None
