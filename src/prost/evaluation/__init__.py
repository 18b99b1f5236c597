"""Evaluation: from scores to ranks, and from ranks to tables.

The names below need numpy and scipy only; `prost.evaluation.benchmark` runs models.
"""

from prost.evaluation.bootstrap import PairedResult, confidence_interval, paired_bootstrap
from prost.evaluation.metrics import (
    BothDirections,
    RetrievalMetrics,
    both_directions,
    rank_metrics,
    ranks,
    text_to_video,
    video_to_text,
)

__all__ = [
    "BothDirections",
    "PairedResult",
    "RetrievalMetrics",
    "both_directions",
    "confidence_interval",
    "paired_bootstrap",
    "rank_metrics",
    "ranks",
    "text_to_video",
    "video_to_text",
]
