"""How long does a joint scorer take for the fifty videos that a search judges, and what does it find for one event?

    python benchmarks/joint_scorer.py
    python benchmarks/joint_scorer.py --model MODEL --threads 1

Its rival is the score itself. What it finds for whole stories is measured by `prost eval` (row "joint scorer"), and how
well it tells that nothing fits by `prost bench nomatch`. Here each sentence tells one event of a whole drawn video,
which can happen in other videos, too: a first hit counts if the sentence is true of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from prost.bench.real import encode_scenes
from prost.data.toybox import Scene, describe, describe_event, gallery, holds, scene_stream
from prost.evaluation.joint_scores import joint_scores
from prost.evaluation.machine import describe_machine
from prost.model.checkpoint import load_prost
from prost.model.encoding import encode_text
from prost.model.joint_scorer import JUDGED
from prost.model.matching import VideoPrototypes
from prost.model.prost import ProST

STREAM, ROUNDS = 9002, 100


def milliseconds(work: Callable[[], object]) -> float:
    """Of one call."""
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


@torch.inference_mode()
def true_first_hits(model: ProST, videos: int) -> dict[str, float]:
    """Percentage of sentences about one event whose first hit they are true of, by score and by joint scorer."""
    scenes = gallery(f"toybox-{videos}").scenes
    random = np.random.default_rng(STREAM)
    told = [describe_event(scene, int(random.integers(len(scene.events))), random) for scene in scenes]
    text, video = encode_text(model, [caption.text for caption in told]), encoded(model, scenes)
    scores = torch.cat([model.match(text[row : row + 1], video).total for row in range(videos)])
    plain = scores.double().numpy()
    ranked = {"by_score": plain, "by_joint_scorer": joint_scores(model, text, video, plain)}
    true = {
        name: [
            holds(caption.claims, scenes[int(row.argmax())]) for caption, row in zip(told, rows, strict=True)
        ]
        for name, rows in ranked.items()
    }
    return {name: round(100 * float(np.mean(each)), 1) for name, each in true.items()}


def encoded(model: ProST, scenes: Sequence[Scene]) -> VideoPrototypes:
    """Prototypes of whole scenes."""
    clips = encode_scenes(model, scenes, lambda done, total, what: None)
    return VideoPrototypes(
        torch.from_numpy(clips.object).transpose(1, 2).contiguous(), torch.from_numpy(clips.event)
    )


@torch.inference_mode()
def main() -> None:
    """Measure both in turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="toybox", help="a ProST of drawn videos with a joint scorer")
    parser.add_argument("--threads", type=int, help="of torch; all cores when left out")
    parser.add_argument(
        "--videos", type=int, default=1000, help="of the gallery for sentences about one event"
    )
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    model = load_prost(given.model, "cpu")
    scenes = list(itertools.islice(scene_stream("train", STREAM), JUDGED))
    video = encoded(model, scenes)
    text = encode_text(model, [describe(scenes[0], np.random.default_rng(0)).text])
    times = np.array(
        [
            [
                milliseconds(lambda: model.match(text, video)),
                milliseconds(lambda: model.joint_logits(text, video)),
            ]
            for _ in range(ROUNDS)
        ]
    )
    score, judged = np.median(times, axis=0)
    assert model.joint_scorer is not None
    print(
        json.dumps(
            {
                "machine": describe_machine(),
                "weights": sum(part.numel() for part in model.joint_scorer.parameters()),
                "ms_score_of_fifty": round(float(score), 2),
                "ms_judging_fifty": round(float(judged), 2),
                "ratio": round(float(judged / score), 2),
                "videos": given.videos,
                "first_hits_true_of_one_event": true_first_hits(model, given.videos),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
