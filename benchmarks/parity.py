"""The largest absolute difference of each output from that of the authors' code, for every reference.

The references are outputs of the authors' public code on the CPU (tests/golden/README.md says how they were made).

    python benchmarks/parity.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import prost

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.golden_reference import load_golden

PROST = ("prost_github_b32", "prost_github_window", "prost_modelscope_b16")
RIVALS = ("clip4clip_meanP", "clip4clip_seqTransf", "ts2net")


@torch.inference_mode()
def differences(name: str) -> dict[str, float]:
    """Load the authors' state dict with `prost.load`, and compare the outputs."""
    golden = load_golden(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pytorch_model.bin"
        torch.save(golden.draw_weights(), path)
        known = {} if name in PROST else {"frames": golden.spec["frames"], "max_words": golden.spec["words"]}
        model = prost.load(path, **known)
    text, video = model.text_prototypes(golden.ids, golden.mask), model.video_prototypes(golden.draw_video())
    similarity = model.match(text, video)
    if name in PROST:
        ours = {
            "phrase": text.phrase,
            "sentence": text.sentence,
            "object": video.object,
            "event": video.event,
            "es": similarity.event_sentence,
            "op": similarity.object_phrase,
        }
    else:
        ours = {"similarity": model.logit_scale * similarity.total}
    return {output: float(np.abs(tensor.numpy() - golden[output]).max()) for output, tensor in ours.items()}


def main() -> None:
    """Print a table."""
    print("| reference | output | largest difference |\n|---|---|---|")
    for name in (*PROST, *RIVALS):
        for output, difference in differences(name).items():
            print(f"| {name} | {output} | {difference:.1e} |")


if __name__ == "__main__":
    main()
