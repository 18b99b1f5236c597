"""Validation: the measurements that choose the best step, and that a report compares before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prost.data.clip_sets import Block
from prost.data.toybox import gallery
from prost.evaluation.benchmark import encode_sentences, score_matrices, twin_accuracy
from prost.evaluation.metrics import RetrievalMetrics, text_to_video_ranks
from prost.evaluation.sets import EvaluationSet, gallery_set
from prost.model.encoding import Precision, join
from prost.model.retrieval_model import RetrievalModel
from prost.training.frame_token_cache import frame_token_blocks
from prost.training.freezing import vision_is_frozen


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """The ranks of a model on a gallery, text to video.

    Attributes:
        ranks: rank of the true video of each query `[Q]`, by score: "sum", and the two parts of a ProST.
        videos: size of the gallery.
        twin_accuracy: percent of queries that score their video above its order-swapped twin, by score; empty where no
            video has a twin.
    """

    ranks: dict[str, np.ndarray]
    videos: int
    twin_accuracy: dict[str, float]

    @property
    def quality(self) -> tuple[float, float]:
        """What the best step is chosen by: R@1 of the sum, then the lower mean rank."""
        metrics = self.metrics("sum")
        return metrics.r1, -metrics.mnr

    def metrics(self, score: str) -> RetrievalMetrics:
        """The columns of a table, for one score."""
        return RetrievalMetrics.from_ranks(self.ranks[score], self.videos)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by score."""
        twins = {score: {"twin_accuracy": value} for score, value in self.twin_accuracy.items()}
        return {
            **{score: {**self.metrics(score).to_dict(), **twins.get(score, {})} for score in self.ranks},
            "videos": self.videos,
        }


class ValidationSet:
    """The videos and queries that a model in training is measured on.

    Args:
        data: the evaluation set.
        keep_tokens: with a frozen vision tower, compute frame tokens the first time only.
    """

    def __init__(self, data: EvaluationSet, keep_tokens: bool = False) -> None:
        self.data = data
        self._keep = keep_tokens
        self._kept: list[Block] = []

    @classmethod
    def of_gallery(cls, name: str, workers: int = 0, keep_tokens: bool = False) -> ValidationSet:
        """A gallery of Toybox's val split."""
        return cls(gallery_set(gallery(name, split="val"), split="val", workers=workers), keep_tokens)

    @torch.no_grad()
    def ask(self, model: RetrievalModel[Any, Any], precision: Precision = "fp32") -> ValidationResult:
        """Rank the videos for all queries.

        Args:
            model: is set to eval mode.
            precision: of the vision tower.
        """
        model.eval()
        blocks = [
            (places, model.video_head(torch.from_numpy(tokens).float().to(model.device)).mapped(Tensor.cpu))
            for places, tokens in self._tokens(model, precision)
        ]
        order = np.argsort(np.concatenate([places for places, _ in blocks]))
        video = join([record for _, record in blocks])[torch.from_numpy(order)]
        text = encode_sentences(model, self.data.captions)
        scores = score_matrices(model.match(text, video))
        twins = {name: twin_accuracy(part, self.data.twin) for name, part in scores.items()}
        return ValidationResult(
            ranks={
                name: text_to_video_ranks(part, self.data.video_of_caption) for name, part in scores.items()
            },
            videos=len(self.data.videos),
            twin_accuracy={name: value for name, value in twins.items() if value is not None},
        )

    def _tokens(self, model: RetrievalModel[Any, Any], precision: Precision) -> Iterator[Block]:
        keep = self._keep and vision_is_frozen(model)
        if keep and self._kept:
            yield from self._kept
            return
        for block in frame_token_blocks(model, self.data.clips, precision):
            if keep:
                self._kept.append(block)
            yield block
