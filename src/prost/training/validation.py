"""How well a model in training finds: what the best step is chosen on, and what a report compares before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prost.data.clip_sets import ClipSet
from prost.data.record_clips import RecordClips
from prost.data.records import captions_of
from prost.data.toybox import gallery
from prost.data.toybox_clip_set import ToyboxClipSet
from prost.evaluation.benchmark import twin_accuracy
from prost.evaluation.metrics import RetrievalMetrics, text_to_video_ranks
from prost.model.encoding import Precision, join
from prost.model.retrieval_model import RetrievalModel
from prost.training.frame_token_cache import frame_tokens_in_order
from prost.training.freezing import vision_is_frozen

SENTENCES_AT_ONCE = 256


@dataclass(frozen=True)
class ValidationResult:
    """What a model found of a gallery, text to video.

    Attributes:
        ranks: of the true video of each query `[Q]`, by score: "sum", and both parts of a ProST.
        videos: how many there are.
        twin_accuracy: percent of queries that prefer their video to its order-swapped twin, by score; empty where no
            video has one.
    """

    ranks: dict[str, np.ndarray]
    videos: int
    twin_accuracy: dict[str, float]

    @property
    def quality(self) -> tuple[float, float]:
        """What the best step is chosen by: R@1 of what is ranked by; among equals, the lower mean rank."""
        metrics = self.metrics("sum")
        return metrics.r1, -metrics.mnr

    def metrics(self, score: str) -> RetrievalMetrics:
        """The columns of a score."""
        return RetrievalMetrics.from_ranks(self.ranks[score], self.videos)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by score."""
        twins = {score: {"twin_accuracy": value} for score, value in self.twin_accuracy.items()}
        return {
            **{score: {**self.metrics(score).to_dict(), **twins.get(score, {})} for score in self.ranks},
            "videos": self.videos,
        }


class ValidationSet:
    """Videos and the queries that are asked of them.

    Args:
        clips: the gallery.
        queries: Q sentences.
        video: the place of each query's video `[Q]`.
        twin: for each video its order-swapped twin, or None.
        keep_tokens: with a frozen vision tower, compute frame tokens the first time only.
    """

    def __init__(
        self,
        clips: ClipSet,
        queries: Sequence[str],
        video: Sequence[int],
        twin: Sequence[int | None],
        keep_tokens: bool = False,
    ) -> None:
        self.clips, self.queries, self.video, self.twin = clips, list(queries), list(video), list(twin)
        self._keep = keep_tokens
        self._kept: list[np.ndarray] = []

    @classmethod
    def of_gallery(cls, name: str, workers: int = 0, keep_tokens: bool = False) -> ValidationSet:
        """A gallery of Toybox's val split."""
        shown = gallery(name, split="val")
        clips = ToyboxClipSet.of_gallery(shown, "val", workers)
        queries = [query.text for query in shown.queries]
        return cls(clips, queries, range(len(queries)), shown.twin, keep_tokens)

    @classmethod
    def of_records(cls, clips: RecordClips, keep_tokens: bool = False) -> ValidationSet:
        """The captioned videos of a split; every caption is a query."""
        queries, video = captions_of(clips.records)
        return cls(clips, queries, video.tolist(), [None] * len(clips.records), keep_tokens)

    @torch.no_grad()
    def ask(self, model: RetrievalModel[Any, Any], precision: Precision = "fp32") -> ValidationResult:
        """Ask all queries.

        Args:
            model: put into eval mode.
            precision: of the vision tower.
        """
        model.eval()
        video = join(
            [
                model.video_head(torch.from_numpy(tokens).float().to(model.device)).mapped(Tensor.cpu)
                for tokens in self._tokens(model, precision)
            ]
        )
        text = join(
            [
                model.encode_text(self.queries[first : first + SENTENCES_AT_ONCE])
                for first in range(0, len(self.queries), SENTENCES_AT_ONCE)
            ]
        )
        similarity = model.match(text, video)
        scores = {
            name: _array(part)
            for name, part in (
                ("sum", similarity.total),
                ("event_sentence", similarity.event_sentence),
                ("object_phrase", similarity.object_phrase),
            )
            if part is not None
        }
        twins = {name: twin_accuracy(part, self.twin) for name, part in scores.items()}
        return ValidationResult(
            {name: text_to_video_ranks(part, np.array(self.video)) for name, part in scores.items()},
            len(self.clips.names),
            {name: share for name, share in twins.items() if share is not None},
        )

    def _tokens(self, model: RetrievalModel[Any, Any], precision: Precision) -> Iterator[np.ndarray]:
        keep = self._keep and vision_is_frozen(model)
        if keep and self._kept:
            yield from self._kept
            return
        for tokens in frame_tokens_in_order(model, self.clips, precision):
            if keep:
                self._kept.append(tokens)
            yield tokens


def _array(scores: Tensor) -> np.ndarray:
    return scores.float().cpu().numpy()
