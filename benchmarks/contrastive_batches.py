"""Time and memory of a large contrastive batch: whole, in parts (cached representations), with checkpointing.

Each way runs in a separate process, because the peak memory of a process never falls. tests/training/test_grad_cache.py
tests that all ways have the same gradient.

    python benchmarks/contrastive_batches.py                          batches of 32, 64 and 128 clips in parts of 16
    python benchmarks/contrastive_batches.py --batch 16 --part 4      others
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from prost.config import ModelConfig
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST
from prost.training.grad_cache import ContrastiveStep, Encoded
from prost.training.loss import retrieval_loss

# Toybox's size: patches of 16 pixels in frames of 80, 12 frames.
MODEL = {
    "clip": {
        "image_size": 80, "patch_size": 16, "vision_width": 192, "vision_layers": 4, "text_width": 128,
        "text_layers": 3, "vocabulary": 200, "text_positions": 32,
    },
    "width": 128, "max_words": 32, "token_shift_blocks": [2, 3], "token_shift_divisions": 6, "dropout": 0.1,
}  # fmt: skip
WAYS = ("whole", "parts", "checkpointed", "parts, checkpointed")


def measure(way: str, batch: int, part: int, steps: int) -> dict[str, float]:
    """Seconds for each step, and peak memory above that of the idle model."""
    torch.manual_seed(0)
    model = ProST(ModelConfig.parse(MODEL)).train()
    model.clip.activation_checkpointing = "checkpointed" in way
    ids = torch.randint(1, 200, (batch, 32))
    mask = torch.ones_like(ids)
    frames = torch.randint(0, 256, (batch, 12, 80, 80, 3), dtype=torch.uint8)

    def encode(rows: range) -> Encoded:
        own = slice(rows.start, rows.stop)
        return Encoded(
            model.text_prototypes(ids[own], mask[own]),
            model.video_prototypes(model.normalise_pixels(frames[own].numpy())),
        )

    def loss_of(text: TextPrototypes, video: VideoPrototypes) -> tuple[torch.Tensor, dict[str, float]]:
        return retrieval_loss(model.match(text, video), model.logit_scale), {}

    size = part if way.startswith("parts") else batch
    parts = [range(first, min(first + size, batch)) for first in range(0, batch, size)]
    step = ContrastiveStep(encode, loss_of, torch.device("cpu"))
    at_rest = _peak()
    seconds = []
    for _ in range(steps):
        model.zero_grad(set_to_none=True)
        started = time.perf_counter()
        step.backward(parts)
        seconds.append(time.perf_counter() - started)
    return {"seconds": min(seconds), "megabytes": _peak() - at_rest}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure all ways and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--part", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help="measure one way in this process, and print JSON")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, given.batch[0], given.part, given.steps)))
        return
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, parts of {given.part}, best of {given.steps}"
    )
    print(f"{'batch':>6}  {'way':<20} {'MB':>7} {'of whole':>9} {'s':>7} {'of whole':>9}")
    rows = []
    for batch in given.batch:
        whole: dict[str, float] = {}
        for way in WAYS:
            told = subprocess.run(
                [sys.executable, __file__, "--way", way, "--batch", str(batch), "--part", str(given.part),
                 "--steps", str(given.steps)],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
            found = json.loads(told)
            whole = whole or found
            rows.append({"batch": batch, "way": way, **found})
            ratios = {name: found[name] / whole[name] for name in found}
            print(
                f"{batch:>6}  {way:<20} {found['megabytes']:>7.0f} {ratios['megabytes']:>8.2f}x "
                f"{found['seconds']:>7.2f} {ratios['seconds']:>8.2f}x",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
