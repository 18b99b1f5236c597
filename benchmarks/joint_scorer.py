"""How long does a joint scorer take for the fifty videos that a search judges? Its rival is the score itself.

    python benchmarks/joint_scorer.py
    python benchmarks/joint_scorer.py --model MODEL --threads 1

What it finds is measured by `prost eval` (row "joint scorer"), and how well it tells that nothing fits by `prost bench
nomatch`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from prost.bench.real import encode_scenes
from prost.data.toybox import describe, scene_stream
from prost.evaluation.machine import describe_machine
from prost.model.checkpoint import load_prost
from prost.model.encoding import encode_text
from prost.model.joint_scorer import JUDGED
from prost.model.matching import VideoPrototypes

STREAM, ROUNDS = 9002, 100


def milliseconds(work: Callable[[], object]) -> float:
    """Of one call."""
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


@torch.inference_mode()
def main() -> None:
    """Measure both in turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="toybox", help="a ProST of drawn videos with a joint scorer")
    parser.add_argument("--threads", type=int, help="of torch; all cores when left out")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    model = load_prost(given.model, "cpu")
    scenes = list(itertools.islice(scene_stream("train", STREAM), JUDGED))
    clips = encode_scenes(model, scenes, lambda done, total, what: None)
    video = VideoPrototypes(
        torch.from_numpy(clips.object).transpose(1, 2).contiguous(), torch.from_numpy(clips.event)
    )
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
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
