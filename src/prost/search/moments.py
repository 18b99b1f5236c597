"""The rule for the start and end of a moment in a clip.

Once a clip is found, its L frames are voted for, to tell which of them show what the sentence says. Every object slot
has L votes. It divides them among the frames by a softmax over the frames of its cosine with the best phrase, so that
a slot that is like the sentence in a few frames only votes for these, and one that is always alike says nothing. The
temperature of the softmax is measured in standard deviations of these cosines over the frames, so that the rule does
not depend on the scale of a model's cosines. The event that fits the sentence best has L votes, too, and divides them
by its attention. The mean of all votes, each frame averaged with its neighbours, is the relevance curve: 1 where a
frame is as relevant as all others.

The moment is the run of frames whose summed relevance above a threshold is largest. The threshold is a fraction of the
way from 1 to the peak. The moment starts and ends where the curve, drawn as straight lines between the frames, crosses
the threshold; or with the clip, if the curve is above the threshold there.
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
    """How votes are divided, and thresholds of the moment.

    `sharpness` and `threshold` are the best on 400 videos of Toybox's val split, and change little from 1.5 to 2 and
    from 0.35 to 0.45 (`python benchmarks/moments.py --split val --tune --videos 400`).

    Attributes:
        sharpness: a slot gives a frame e times as many votes if its cosine there is larger by one over this number of
            standard deviations.
        quiet: smallest standard deviation of cosines that counts: smaller differences are noise and are not amplified.
        threshold: fraction of the way from 1 to the peak of the relevance curve; a frame whose relevance is higher
            lengthens the moment.
        faint: if no frame is as relevant as this, none stands out, and the moment is the whole clip.
        shortest: seconds; a shorter moment is extended on both sides, within the clip.
        same_moment: temporal IoU above which two moments of one video count as the same.
    """

    sharpness: float = 1.75
    quiet: float = 0.01
    threshold: float = 0.4
    faint: float = 1.2
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


def winning_event(sentence: ArrayLike, event: ArrayLike) -> int:
    """Index of the event prototype, one of `[N_e, D]`, with the highest cosine with the sentence prototype `[D]`."""
    return int((unit(_tensor(event)) @ unit(_tensor(sentence))).argmax())


def relevance(
    phrase: ArrayLike, object: ArrayLike, attention: ArrayLike, rule: MomentRule = MOMENT_RULE
) -> Floats:
    """How relevant each frame of a clip is for a sentence: the mean vote, smoothed.

    Args:
        phrase: phrase prototypes `[N_p, D]`, of any length.
        object: object prototypes `[L, N_o, D]`, of any length.
        attention: of the winning event (`winning_event`) to the frames `[L]`; sums to 1.
        rule: `sharpness` and `quiet` of the votes.

    Returns:
        `[L]`, not negative; 1 everywhere if no frame stands out.
    """
    agreement = _agreement(_tensor(phrase), _tensor(object))
    event_votes = len(agreement) * np.asarray(attention, dtype=np.float64)
    return smoothed(np.column_stack([votes(agreement, rule), event_votes]).mean(axis=1))


def votes(agreement: ArrayLike, rule: MomentRule = MOMENT_RULE) -> Floats:
    """The votes `[L, N_o]` of slots for frames, from the cosine of each slot with its best phrase `[L, N_o]`.

    Each column sums to L. A slot that is alike in all frames, such as a dead slot, gives 1 to each:

    >>> votes([[0.9, 0.0], [0.1, 0.0]]).round(2).tolist()
    [[1.99, 1.0], [0.01, 1.0]]
    """
    agreement = np.asarray(agreement, dtype=np.float64)
    deviations = agreement - agreement.mean(axis=0)
    exponents = rule.sharpness * deviations / max(float(deviations.std()), rule.quiet)
    powers = np.exp(exponents - exponents.max(axis=0))
    shares: Floats = len(agreement) * powers / powers.sum(axis=0)
    return shares


def smoothed(curve: ArrayLike) -> Floats:
    """A curve `[L]` in which each value is half itself and a quarter of each neighbour's; the ends are repeated.

    >>> smoothed([0.0, 4.0, 0.0, 0.0]).tolist()
    [1.0, 2.0, 1.0, 0.0]
    """
    padded = np.pad(np.asarray(curve, dtype=np.float64), 1, mode="edge")
    means: Floats = padded[:-2] / 4 + padded[1:-1] / 2 + padded[2:] / 4
    return means


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
    whole = (unit(objects[:, 0]) @ unit(_tensor(sentence))).numpy()
    return whole + object_phrase_weight * _agreement(_tensor(phrase), objects).mean(axis=1)


def _agreement(phrase: Tensor, object: Tensor) -> Floats:
    """The cosine of each slot of each frame with its best phrase `[L, N_o]`."""
    agreement: Floats = best_phrases(phrase[None], object[None]).score[0, 0].numpy()
    return agreement


def _tensor(vectors: ArrayLike) -> Tensor:
    return torch.from_numpy(np.asarray(vectors, dtype=np.float64))


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
        relevance: relevance of each frame `[L]`, see the function of this name.
        rule: thresholds and length of the shortest moment.

    Half of the way from 1 to the peak of 3 is 2, which the curve crosses three quarters of the way between frames:

    >>> moment([1.0, 3.0, 5.0, 7.0], 0.0, 8.0, [0.0, 2.5, 3.0, 1.0], MomentRule(threshold=0.5))
    (2.6, 6.0)
    """
    times = np.clip(np.asarray(frame_times, dtype=np.float64), clip_start, clip_end)
    curve = np.asarray(relevance, dtype=np.float64)
    start, end = clip_start, clip_end
    if curve.max() > rule.faint:
        gains = curve - 1 - rule.threshold * (curve.max() - 1)
        first, last = best_run(gains)
        if first > 0:
            start = _crossing(times, gains, first - 1)
        if last < len(gains):
            end = _crossing(times, gains, last - 1)
    length = min(rule.shortest, clip_end - clip_start)
    if end - start < length:
        start = min(max((start + end - length) / 2, clip_start), clip_end - length)
        end = start + length
    return start, end


def _crossing(times: Floats, gains: Floats, place: int) -> float:
    """The time between a frame and the next one at which the line between their gains, of unlike signs, is zero."""
    fraction = gains[place] / (gains[place] - gains[place + 1])
    return float(times[place] + fraction * (times[place + 1] - times[place]))


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
