"""Failures of an evaluation: captions whose video did not come first, and the videos that came before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prost.evaluation.metrics import Scores, text_to_video_ranks

WINNERS = 3
"""Wrong videos that are kept of each failure, the best ones."""


@dataclass(frozen=True, kw_only=True)
class RankedVideo:
    """A video in the ranking of a caption.

    Attributes:
        video: position in `EvaluationSet.videos`.
        rank: from 1; equal scores share their mean rank.
        score: the sum, by which videos are ranked.
        event_sentence: a part of it; None for a model without parts.
        object_phrase: likewise, before it is weighed.
    """

    video: int
    rank: float
    score: float
    event_sentence: float | None
    object_phrase: float | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A caption whose video did not come first.

    Attributes:
        caption: position in `EvaluationSet.captions`.
        true: the video that the caption belongs to.
        winners: wrong videos with at least the score of the true one, best first; at most `WINNERS`.
    """

    caption: int
    true: RankedVideo
    winners: tuple[RankedVideo, ...]

    @property
    def margin(self) -> float:
        """How far the true video's score lies below the best one; 0 for a tie."""
        return self.winners[0].score - self.true.score


def worst_failures(
    scores: Mapping[str, Scores], video_of_caption: NDArray[np.integer[Any]], most: int
) -> list[Failure]:
    """The worst failures of text to video without post-processing, ranked by the sum.

    Worse is the failure with the higher rank of the true video, since ranks are what the metrics count; among equal
    ranks, the one with the larger margin. Each video appears once, with the worst of its captions, so that one video
    that is hard to find does not fill the list.

    Args:
        scores: matrices `[C, V]`, see `EvaluationReport.scores`.
        video_of_caption: the true video of each caption `[C]`.
        most: largest number of failures.

    Raises:
        BadScores: scores that are not finite.

    >>> scores = {"sum": np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.5], [0.4, 0.6, 0.5]])}
    >>> [(each.caption, each.true.rank, each.winners[0].video) for each in worst_failures(scores, np.arange(3), 9)]
    [(1, 3.0, 0), (2, 2.0, 1)]
    """
    sums = scores["sum"]
    ranks = text_to_video_ranks(sums, video_of_caption)
    margins = sums.max(axis=1) - sums[np.arange(len(sums)), video_of_caption]
    order = np.lexsort((-margins, -ranks))  # the last key counts most
    failures: dict[int, Failure] = {}
    for caption in order[ranks[order] > 1].tolist():
        if len(failures) == most:
            break
        video = int(video_of_caption[caption])
        if video not in failures:
            failures[video] = _failure(caption, video, scores)
    return list(failures.values())


def _failure(caption: int, true: int, scores: Mapping[str, Scores]) -> Failure:
    row = scores["sum"][caption]
    ranking = np.argsort(-row, kind="stable")
    winners = ranking[(row[ranking] >= row[true]) & (ranking != true)][:WINNERS]
    return Failure(
        caption=caption,
        true=_ranked(caption, true, scores),
        winners=tuple(_ranked(caption, video, scores) for video in winners.tolist()),
    )


def _ranked(caption: int, video: int, scores: Mapping[str, Scores]) -> RankedVideo:
    row = scores["sum"][caption]
    equal = np.count_nonzero(row == row[video]) - 1

    def part(name: str) -> float | None:
        return float(scores[name][caption, video]) if name in scores else None

    return RankedVideo(
        video=video,
        rank=float(1 + np.count_nonzero(row > row[video]) + equal / 2),
        score=float(row[video]),
        event_sentence=part("event_sentence"),
        object_phrase=part("object_phrase"),
    )
