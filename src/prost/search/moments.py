"""The rule for the start and end of a moment in a clip.

Once a clip is found, four curves over its L frames tell which frames show what the sentence says:

    sentence    cosine of the sentence prototype with the frame's class token (object slot 0)
    objects     mean over object slots of the best cosine over phrases: the frame's own object-phrase score
    wins        fraction of the object slots that the frame won, where matching takes its maximum over frames
    attention   attention of the winning event to the frame

Each curve is standardised within the clip, so that its unit does not weigh it. The last two are divided by 1/L, the
fraction that each frame has if none stands out. The weighted mean of the four is the relevance curve. The moment is
the run of frames whose summed relevance above a threshold is largest. It extends to the midpoints between its outer
frames and their neighbours, or to the start and end of the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from prost.model.object_phrase import best_phrases
from prost.model.vectors import unit

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MomentRule:
    """Weights of the four curves, and thresholds of the moment.

    The defaults are the best on Toybox's val split (`python benchmarks/moments.py --split val --tune --videos 60`).

    Attributes:
        sentence, objects, wins, attention: weights of the curves; at least one above zero.
        quiet: smallest deviation that a curve is divided by: a flatter curve is noise and is not amplified.
        threshold: standard deviations that a frame's relevance must exceed to lengthen the moment.
        shortest: seconds; a shorter moment is extended on both sides, within the clip.
        same_moment: temporal IoU above which two moments of one video count as the same.
    """

    sentence: float = 1.0
    objects: float = 1.0
    wins: float = 1.0
    attention: float = 0.5
    quiet: float = 0.01
    threshold: float = 0.4
    shortest: float = 1.0
    same_moment: float = 0.3


MOMENT_RULE = MomentRule()


class Interval(Protocol):
    """A span of a video's time with a score."""

    @property
    def start(self) -> float:
        """Seconds."""

    @property
    def end(self) -> float:
        """Seconds."""

    @property
    def score(self) -> float:
        """Larger is better."""


AnyInterval = TypeVar("AnyInterval", bound=Interval)


def standardise(curve: ArrayLike, quiet: float = 0.0) -> Floats:
    """Subtract the mean and divide by the standard deviation, or by `quiet` if that is larger.

    >>> standardise([1.0, 3.0]).tolist(), standardise([1.0, 3.0], quiet=2.0).tolist()
    ([-1.0, 1.0], [-0.5, 0.5])
    >>> standardise([2.0, 2.0]).tolist()  # a flat curve has no information
    [0.0, 0.0]
    """
    curve = np.asarray(curve, dtype=np.float64)
    centred = curve - curve.mean()
    size = max(float(curve.std()), quiet)
    return np.zeros_like(curve) if np.ptp(curve) == 0 else centred / size


def winning_event(sentence: ArrayLike, event: ArrayLike) -> int:
    """Index of the event prototype, one of `[N_e, D]`, with the highest cosine with the sentence prototype `[D]`."""
    return int((unit(_tensor(event)) @ unit(_tensor(sentence))).argmax())


def relevance(
    phrase: ArrayLike,
    sentence: ArrayLike,
    object: ArrayLike,
    event_attention: ArrayLike,
    winner: int,
    rule: MomentRule = MOMENT_RULE,
) -> Floats:
    """Score how well each frame of a clip shows what the sentence says.

    Args:
        phrase: phrase prototypes `[N_p, D]`, of any length.
        sentence: sentence prototype `[D]`, of any length.
        object: object prototypes `[L, N_o, D]`, of any length; slot 0 is the class token.
        event_attention: attention of each event to the frames `[N_e, L]`.
        winner: index of the winning event (`winning_event`).
        rule: weights of the curves.

    Returns:
        `[L]`, in standard deviations.
    """
    return weighted(frame_curves(phrase, sentence, object, event_attention, winner), rule)


def frame_curves(
    phrase: ArrayLike, sentence: ArrayLike, object: ArrayLike, event_attention: ArrayLike, winner: int
) -> Floats:
    """The four curves, in the order of their weights in `MomentRule`: `[4, L]`. For the arguments see `relevance`."""
    objects, attention = _tensor(object), np.asarray(event_attention, dtype=np.float64)
    frames = len(objects)
    agreement = best_phrases(_tensor(phrase)[None], objects[None]).score[0, 0].numpy()  # [L, N_o]
    won = agreement == agreement.max(axis=0)  # [L, N_o], where a slot takes its maximum over frames
    return np.stack(
        [
            (unit(objects[:, 0]) @ unit(_tensor(sentence))).numpy(),
            agreement.mean(axis=1),
            # A slot that several frames win equally is shared among them; a dead slot is shared among all frames.
            frames * (won / won.sum(axis=0)).mean(axis=1),
            frames * attention[winner],
        ]
    )


def frame_values(
    phrase: ArrayLike, sentence: ArrayLike, object: ArrayLike, object_phrase_weight: float
) -> Floats:
    """How well each frame fits a sentence by itself, comparable between clips.

    Args:
        phrase: phrase prototypes `[N_p, D]`, of any length.
        sentence: sentence prototype `[D]`, of any length.
        object: object prototypes `[L, N_o, D]`, of any length; slot 0 is the class token.
        object_phrase_weight: of the model's configuration.

    Returns:
        `[L]`: cosine of the sentence with the class token + weight x the frame's own object-phrase score.
    """
    objects = _tensor(object)
    agreement = best_phrases(_tensor(phrase)[None], objects[None]).score[0, 0].numpy()  # [L, N_o]
    whole = (unit(objects[:, 0]) @ unit(_tensor(sentence))).numpy()
    return whole + object_phrase_weight * agreement.mean(axis=1)


def _tensor(vectors: ArrayLike) -> Tensor:
    return torch.from_numpy(np.asarray(vectors, dtype=np.float64))


def weighted(curves: Floats, rule: MomentRule = MOMENT_RULE) -> Floats:
    """The relevance curve `[L]`: the weighted mean of the standardised curves `[4, L]`."""
    weights = (rule.sentence, rule.objects, rule.wins, rule.attention)
    parts = [
        weight * standardise(curve, rule.quiet)
        for weight, curve in zip(weights, curves, strict=True)
        if weight
    ]
    mean: Floats = np.sum(parts, axis=0) / sum(weights)
    return mean


def best_run(gains: ArrayLike) -> tuple[int, int]:
    """The contiguous run with the largest sum (Kadane 1977): its first index, and one past its last.

    Among equal sums the longest run wins, then the first one, so that a flat curve gives the whole clip.

    >>> best_run([-1.0, 2.0, -1.0, 2.0, -3.0])
    (1, 4)
    """
    gains = np.asarray(gains, dtype=np.float64)
    best, best_sum = (0, 1), float(gains[0])
    first, running = 0, 0.0
    for index, gain in enumerate(gains):
        # A prefix with sum zero lengthens the moment at no cost; a prefix with a negative sum is dropped.
        if running < 0:
            first, running = index, 0.0
        running += float(gain)
        longer = running == best_sum and index + 1 - first > best[1] - best[0]
        if running > best_sum or longer:
            best, best_sum = (first, index + 1), running
    return best


def moment(
    frame_times: ArrayLike,
    clip_start: float,
    clip_end: float,
    relevance: ArrayLike,
    rule: MomentRule = MOMENT_RULE,
) -> tuple[float, float]:
    """Start and end of the moment inside a clip, seconds.

    Args:
        frame_times: times of the clip's frames `[L]`, ascending, seconds.
        clip_start, clip_end: start and end of the clip, seconds.
        relevance: relevance of each frame `[L]`.
        rule: threshold and length of the shortest moment.

    >>> moment([1.0, 3.0, 5.0, 7.0], 0.0, 8.0, [-1.0, 1.0, 1.0, -1.0])
    (2.0, 6.0)
    """
    times = np.clip(np.asarray(frame_times, dtype=np.float64), clip_start, clip_end)
    gains = np.asarray(relevance, dtype=np.float64) - rule.threshold
    # If no frame exceeds the threshold, the whole clip is the best answer.
    first, last = best_run(gains) if gains.max() > 0 else (0, len(gains))
    borders = np.concatenate([[clip_start], (times[:-1] + times[1:]) / 2, [clip_end]])
    start, end = float(borders[first]), float(borders[last])
    length = min(rule.shortest, clip_end - clip_start)
    if end - start < length:
        start = min(max((start + end - length) / 2, clip_start), clip_end - length)
        end = start + length
    return start, end


def temporal_iou(one: Interval, other: Interval) -> float:
    """Intersection over union of two intervals, in [0, 1]."""
    shared = max(0.0, min(one.end, other.end) - max(one.start, other.start))
    union = (one.end - one.start) + (other.end - other.start) - shared
    return shared / union if union > 0 else float((one.start, one.end) == (other.start, other.end))


def merge_moments(
    moments: Sequence[AnyInterval], limit: int | None = None, rule: MomentRule = MOMENT_RULE
) -> list[AnyInterval]:
    """Moments of one video, best first, without repetitions.

    Non-maximum suppression: in the order of their scores, a moment is dropped if its temporal IoU with a kept
    one exceeds `rule.same_moment`. Clips overlap, so one event is often found twice. The kept moment is not
    extended by the dropped one, because a chain of extensions could cover a whole film.

    Args:
        moments: moments of one video, in any order.
        limit: how many to keep at most; None keeps all.
        rule: its `same_moment` is the threshold.
    """
    kept: list[AnyInterval] = []
    for candidate in sorted(moments, key=lambda each: (-each.score, each.start)):
        if limit is not None and len(kept) >= limit:
            break
        if all(temporal_iou(candidate, better) <= rule.same_moment for better in kept):
            kept.append(candidate)
    return kept
