"""Recall@1 of moments at a temporal IoU, compared with answering with the whole clip.

Long Toybox videos (20 to 40 seconds, six to ten events) are cut into clips as in a library. Each query describes one
event and no other event of its video. Exact matching finds the best clip, and `prost.search.moments` determines start
and end in it. The baseline answers with the same clip as a whole.

    python benchmarks/moments.py                      measure on the test split
    python benchmarks/moments.py --split val --tune   try other settings of the rule, on the val split only
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from prost.data.toybox import Scene, describe_event, render, scene_stream
from prost.evaluation.bootstrap import paired_bootstrap
from prost.evaluation.metrics import Metric
from prost.model.checkpoint import load_prost
from prost.model.encoding import VideoEncoder
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST
from prost.search.moments import MOMENT_RULE, MomentRule, moment, relevance, winning_event
from prost.video.sampling import clip_windows, sample_times

SHARE = Metric(lambda values: 100.0 * values.mean(axis=-1), higher_is_better=True)


@dataclass(frozen=True)
class FoundClip:
    """One query with the clip that was found for it.

    Attributes:
        truth: start and end of the event, seconds.
        window: start and end of the clip, seconds.
        times: of the clip's frames `[L]`, seconds.
        phrase: phrase prototypes of the query `[N_p, D]`.
        object: object prototypes of the clip `[L, N_o, D]`.
        attention: of the winning event to the frames `[L]`.
    """

    truth: tuple[float, float]
    window: tuple[float, float]
    times: np.ndarray
    phrase: np.ndarray
    object: np.ndarray
    attention: np.ndarray

    def answer(self, rule: MomentRule) -> tuple[float, float]:
        """Start and end given by the rule."""
        curve = relevance(self.phrase, self.object, self.attention, rule)
        return moment(self.times, *self.window, curve, rule)


@torch.inference_mode()
def found_clips(model: ProST, split: str, videos: int) -> Iterator[FoundClip]:
    """For each event of the first videos, the clip that its sentence finds in its video."""
    rng = np.random.default_rng(0)
    for scene in itertools.islice(scene_stream(split, 0, long=True), videos):
        windows, times, video = encode(model, scene)
        texts = model.encode_text([describe_event(scene, i, rng).text for i in range(len(scene.events))])
        best = model.match(texts, video).total.argmax(dim=1).tolist()
        for index, (event, clip) in enumerate(zip(scene.events, best, strict=True)):
            yield found(texts, index, video, clip, (event.start, event.end), windows[clip], times[clip])


def encode(model: ProST, scene: Scene) -> tuple[list[tuple[float, float]], list[np.ndarray], VideoPrototypes]:
    """Encode the clips of a scene, cut as in a library."""
    windows = clip_windows(scene.duration)
    times = [sample_times(*window, model.config.frames) for window in windows]
    pixels = render(scene, np.concatenate(times), model.config.image_size)
    frames = pixels.reshape(len(windows), model.config.frames, *pixels.shape[1:])
    return windows, times, VideoEncoder(model).encode(frames)


def found(
    texts: TextPrototypes,
    text: int,
    video: VideoPrototypes,
    clip: int,
    truth: tuple[float, float],
    window: tuple[float, float],
    times: np.ndarray,
) -> FoundClip:
    """Collect what the rule needs for one text and one clip."""
    assert video.event_attention is not None
    winner = winning_event(texts.sentence[text].numpy(), video.event[clip].numpy())
    phrase, object, attention = texts.phrase[text], video.object[clip], video.event_attention[clip, winner]
    return FoundClip(truth, window, times, phrase.numpy(), object.numpy(), attention.numpy())


def iou(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Intersection over union of two intervals."""
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return shared / (one[1] - one[0] + other[1] - other[0] - shared)


def tune(clips: list[FoundClip]) -> None:
    """Print the best rules on these clips."""
    rows = []
    for sharpness, threshold in itertools.product(
        (1.0, 1.25, 1.5, 1.75, 2.0, 2.5), (0.3, 0.35, 0.4, 0.45, 0.5)
    ):
        rule = replace(MOMENT_RULE, sharpness=sharpness, threshold=threshold)
        overlaps = np.array([iou(clip.answer(rule), clip.truth) for clip in clips])
        rows.append((100 * (overlaps >= 0.5).mean(), overlaps.mean(), rule))
    for recall, mean, rule in sorted(rows, key=lambda row: -row[0])[:12]:
        print(f"R@1 at 0.5 {recall:5.1f}  mean IoU {mean:.3f}  {rule}")


def main() -> None:
    """Measure, or tune."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="toybox")
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--videos", type=int, default=150)
    parser.add_argument("--tune", action="store_true")
    given = parser.parse_args()
    clips = list(found_clips(load_prost(given.model), given.split, given.videos))
    if given.tune:
        tune(clips)
        return
    rule = np.array([iou(clip.answer(MOMENT_RULE), clip.truth) for clip in clips])
    whole = np.array([iou(clip.window, clip.truth) for clip in clips])
    inside = np.mean([clip.window[0] <= clip.truth[0] and clip.truth[1] <= clip.window[1] for clip in clips])
    print(
        f"{given.videos} videos of the {given.split} split, {len(clips)} queries; the best clip holds the whole event"
    )
    print(f"for {100 * inside:.1f}% of them.\n")
    print("| temporal IoU | the rule | the whole clip | difference (95% interval) |")
    print("|---|---|---|---|")
    for threshold in (0.3, 0.5, 0.7):
        a, b = (rule >= threshold).astype(float), (whole >= threshold).astype(float)
        result = paired_bootstrap(a, b, SHARE)
        print(
            f"| {threshold} | {100 * a.mean():.1f} | {100 * b.mean():.1f} | "
            f"{result.difference:+.1f} ({result.low:+.1f} to {result.high:+.1f}) |"
        )
    print(f"| mean | {rule.mean():.3f} | {whole.mean():.3f} | |")


if __name__ == "__main__":
    main()
