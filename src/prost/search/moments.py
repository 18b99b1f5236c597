"""Where in a clip the moment is: the stated rule for start and end.

A clip was found; which of its frames show what the sentence says? Four curves over the L frames speak to it:

    sentence    cosine of the sentence prototype with the frame's class token (object slot 0)
    objects     mean over object slots of the best cosine over phrases: the frame's own object-phrase score
    wins        share of the object slots that the frame won, where matching takes its maximum over frames
    attention   attention of the event that won to the frame

Each is standardised within the clip, so that none speaks louder for its units (the last two are shares, and
are taken relative to the share 1/L of indifference), and their weighted mean is the relevance curve. The
moment is the run of frames whose summed relevance above a threshold is largest; it reaches to the midpoints
between its outer frames and their neighbours, or to the clip's borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MomentRule:
    """The weights of the four curves, and what a moment must look like.

    The defaults answer best on Toybox's val split (`python benchmarks/moments.py --split val --tune --videos 60`).

    Attributes:
        sentence, objects, wins, attention: weights of the curves; at least one above zero.
        quiet: a curve with a smaller deviation is not blown up to the size of the others: it is noise.
        threshold: standard deviations that a frame's relevance must exceed to lengthen the moment.
        shortest: seconds; a shorter moment is widened about its middle, within the clip.
        same_moment: temporal IoU above which two moments of one video are one.
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
    """A stretch of a video's time, seconds, with a score."""

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


def unit(vectors: ArrayLike) -> Floats:
    """Scale vectors `[..., D]` to length one; a zero vector stays zero."""
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def standardise(curve: ArrayLike, quiet: float = 0.0) -> Floats:
    """Take the mean out and divide by the deviation, or by `quiet` where that is larger.

    >>> standardise([1.0, 3.0]).tolist(), standardise([1.0, 3.0], quiet=2.0).tolist()
    ([-1.0, 1.0], [-0.5, 0.5])
    >>> standardise([2.0, 2.0]).tolist()  # a flat curve tells nothing
    [0.0, 0.0]
    """
    curve = np.asarray(curve, dtype=np.float64)
    centred = curve - curve.mean()
    size = max(float(curve.std()), quiet)
    return np.zeros_like(curve) if np.ptp(curve) == 0 else centred / size


def winning_event(sentence: ArrayLike, event: ArrayLike) -> int:
    """Index of the event prototype (of `[N_e, D]`) that is most like the sentence prototype `[D]`."""
    return int(np.argmax(unit(event) @ unit(sentence)))


def relevance(
    phrase: ArrayLike,
    sentence: ArrayLike,
    object: ArrayLike,
    event_attention: ArrayLike,
    winner: int,
    rule: MomentRule = MOMENT_RULE,
) -> Floats:
    """How much each frame of a clip shows what the sentence says.

    Args:
        phrase: phrase prototypes `[N_p, D]`, of any length.
        sentence: sentence prototype `[D]`, of any length.
        object: object prototypes `[L, N_o, D]`, of any length; slot 0 is the class token.
        event_attention: attention of each event to the frames `[N_e, L]`.
        winner: the event that won (`winning_event`).
        rule: the weights.

    Returns:
        `[L]`, in standard deviations.
    """
    return weighted(evidence(phrase, sentence, object, event_attention, winner), rule)


def evidence(
    phrase: ArrayLike, sentence: ArrayLike, object: ArrayLike, event_attention: ArrayLike, winner: int
) -> Floats:
    """The four curves, in the order in which `MomentRule` weighs them: `[4, L]`. Arguments as of `relevance`."""
    slots = unit(object)
    frames = len(slots)
    agreement = (slots @ unit(phrase).T).max(axis=-1)  # [L, N_o], best over phrases
    won = agreement == agreement.max(axis=0)  # [L, N_o], where a slot takes its maximum over frames
    return np.stack(
        [
            slots[:, 0] @ unit(sentence),
            agreement.mean(axis=1),
            # A slot that several frames win alike (a dead one: all of them) is shared among them.
            frames * (won / won.sum(axis=0)).mean(axis=1),
            frames * np.asarray(event_attention, dtype=np.float64)[winner],
        ]
    )


def weighted(curves: Floats, rule: MomentRule = MOMENT_RULE) -> Floats:
    """The relevance curve: the weighted mean of the standardised curves `[4, L]`, `[L]`."""
    weights = (rule.sentence, rule.objects, rule.wins, rule.attention)
    parts = [
        weight * standardise(curve, rule.quiet)
        for weight, curve in zip(weights, curves, strict=True)
        if weight
    ]
    mean: Floats = np.sum(parts, axis=0) / sum(weights)
    return mean


def best_run(gains: ArrayLike) -> tuple[int, int]:
    """The contiguous run with the largest sum (Kadane 1977): first index, and one past the last.

    Of equal sums the longest run is taken, then the first, so that a flat curve names the whole clip.

    >>> best_run([-1.0, 2.0, -1.0, 2.0, -3.0])
    (1, 4)
    """
    gains = np.asarray(gains, dtype=np.float64)
    best, best_sum = (0, 1), float(gains[0])
    first, running = 0, 0.0
    for index, gain in enumerate(gains):
        # A run so far of sum zero costs nothing and lengthens the moment; a negative one is dropped.
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
        clip_start: the clip's border, seconds.
        clip_end: the clip's other border, seconds.
        relevance: `[L]`, of `relevance`.
        rule: the threshold and the shortest moment.

    >>> moment([1.0, 3.0, 5.0, 7.0], 0.0, 8.0, [-1.0, 1.0, 1.0, -1.0])
    (2.0, 6.0)
    """
    times = np.clip(np.asarray(frame_times, dtype=np.float64), clip_start, clip_end)
    gains = np.asarray(relevance, dtype=np.float64) - rule.threshold
    # Where no frame stands out, the whole clip is the best answer there is.
    first, last = best_run(gains) if gains.max() > 0 else (0, len(gains))
    borders = np.concatenate([[clip_start], (times[:-1] + times[1:]) / 2, [clip_end]])
    start, end = float(borders[first]), float(borders[last])
    length = min(rule.shortest, clip_end - clip_start)
    if end - start < length:
        start = min(max((start + end - length) / 2, clip_start), clip_end - length)
        end = start + length
    return start, end


def temporal_iou(one: Interval, other: Interval) -> float:
    """Shared time of two intervals over the time that either covers, in [0, 1]."""
    shared = max(0.0, min(one.end, other.end) - max(one.start, other.start))
    union = (one.end - one.start) + (other.end - other.start) - shared
    return shared / union if union > 0 else float((one.start, one.end) == (other.start, other.end))


def merge_moments(
    moments: Sequence[AnyInterval], limit: int | None = None, rule: MomentRule = MOMENT_RULE
) -> list[AnyInterval]:
    """Moments of one video, best first, without those that a better one already tells.

    Non-maximum suppression: from the best score down, a moment is dropped when its temporal IoU with a kept
    one exceeds `rule.same_moment`. Clips overlap, so one event is often found twice; the kept moment is not
    extended by the dropped one, because chains of extensions would swallow a film.

    Args:
        moments: of one video, in any order.
        limit: keep at most so many; None keeps all.
        rule: the threshold.
    """
    kept: list[AnyInterval] = []
    for candidate in sorted(moments, key=lambda each: (-each.score, each.start)):
        if limit is not None and len(kept) >= limit:
            break
        if all(temporal_iou(candidate, better) <= rule.same_moment for better in kept):
            kept.append(candidate)
    return kept
