"""Where a step of `prost train` spends its time, and what its matching costs beside the plain einsum.

The recipes are those of the bundled model, begun from the bundled model, with few steps: the decoders and the text
tower on cached frame tokens, and everything on clips. The trainer runs as it is. Its parts are timed from outside, each
without the parts inside it, so that they add up to the step. One step that is not logged is run under the profiler,
which counts the reads of single numbers: on a GPU each of a number that lies there waits for the device.

The second table is the matching of a step alone, scores and gradient, at the bundled model's sizes. The third is a
whole step on cached frame tokens with either way to match, each in a process of its own, whose peak memory is told.
Where the einsum of a batch would take more memory than is free, its row says so instead.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --steps 8 --batches 32 128 --memory 2
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile

import prost.model.object_phrase
from prost.bench.matching import measure_group
from prost.bench.matching_ways import (
    CPU,
    EINSUM_STEP,
    GIB,
    OUR_STEP,
    MatchingSizes,
    einsum_bytes,
    free_memory,
    plain_match,
    training_group,
)
from prost.evaluation.machine import machine_line
from prost.model.matching import Similarity, TextPrototypes, VideoPrototypes
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel
from prost.training.logs import RunLog
from prost.training.objectives import Objective
from prost.training.trainer import Trainer, run_recipe

RECIPES = Path(__file__).parents[1] / "recipes" / "toybox"
CACHED = "cached tokens (3-decoders.yaml)"
STAGES = {
    CACHED: (RECIPES / "3-decoders.yaml", {"overrides": {}, "toybox.clips": 256}),
    "clips (4-clips.yaml)": (RECIPES / "4-clips.yaml", {"precision": "fp32"}),
}
# Parts of a step: what does it, by owner and name.
PARTS: list[tuple[str, Any, str]] = [
    ("tokenising", RetrievalModel, "tokenize"),
    ("vision tower", ProST, "frame_tokens"),
    ("text tower", ProST, "text_prototypes"),
    ("video head", ProST, "video_head"),
    ("matching", ProST, "match"),
    ("matching, backward", prost.model.object_phrase, "_gradients"),
    ("losses on regions", Objective, "_on_regions"),
    ("order loss", Objective, "_order"),
    ("losses", Objective, "loss_of"),
    ("backward, apart from matching", torch.Tensor, "backward"),
    ("clipping of the gradient", torch.nn.utils, "clip_grad_norm_"),
    ("optimiser", torch.optim.AdamW, "step"),
    ("log", RunLog, "write"),
    ("log", Objective, "prototype_health"),
]
WAITING, REST = "waiting for the batch", "the rest"
# The first step loads kernels and starts workers; the second is run under the profiler, and may not be a logged one.
PROFILED, FIRST_TIMED = 1, 2
LEAST_STEPS = FIRST_TIMED + 2
MIB = 2**20
READS = ("aten::_local_scalar_dense",)
# Steps of a batch that are run whole, of which two are timed.
WHOLE_STEPS = FIRST_TIMED + 3
TOYBOX = MatchingSizes(name="Toybox (D 128)", frames=12, width=128)


class Clock:
    """Seconds spent in each part, without those of the parts inside it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside = [0.0]

    def timed(self, part: str, do: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def run(*args: Any, **named: Any) -> Any:
            start = time.perf_counter()
            self._inside.append(0.0)
            try:
                return do(*args, **named)
            finally:
                took = time.perf_counter() - start
                self.seconds[part] += took - self._inside.pop()
                self._inside[-1] += took

        return run


def measure_step(recipe: Path, changes: dict[str, Any], steps: int) -> tuple[dict[str, float], int]:
    """Seconds of each part of a step, the mean of several; and reads of single numbers in a step that is not logged."""
    clock = Clock()
    spent: dict[str, float] = {}
    profiler = profile(activities=[ProfilerActivity.CPU])
    make_batches = Trainer._batches

    def batches(trainer: Trainer, name: str, stage: Any, of: range) -> Iterator[Any]:
        """The trainer's batches; each begins a step and ends the one before."""
        made = make_batches(trainer, name, stage, of)
        started = 0.0
        for step in of:
            if step == FIRST_TIMED:
                profiler.stop()
                clock.seconds.clear()
                started = time.perf_counter()
            if step == of.stop - 1:
                whole = time.perf_counter() - started
                spent.update(
                    {part: seconds / (step - FIRST_TIMED) for part, seconds in clock.seconds.items()}
                )
                spent[REST] = whole / (step - FIRST_TIMED) - sum(spent.values())
            if step == PROFILED:
                profiler.start()
            yield clock.timed(WAITING, next)(made)

    with ExitStack() as stack:
        for part, owner, name in PARTS:
            stack.enter_context(patch.object(owner, name, clock.timed(part, getattr(owner, name))))
        stack.enter_context(patch.object(Trainer, "_batches", batches))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        few = {"start": "toybox", "validation": "toybox-20", "prost.steps": steps, "evaluate_every": steps}
        run_recipe(recipe, Path(folder), changes=few | changes, device="cpu")
    reads = sum(event.count for event in profiler.key_averages() if event.key in READS)
    return spent, reads


def whole_step(batch: int, *, with_einsum: bool) -> tuple[float, float]:
    """Seconds of a whole step on cached frame tokens, and the peak memory of its process in bytes.

    Raises:
        subprocess.CalledProcessError: the process failed, or was killed because memory was short.
    """
    recipe, changes = STAGES[CACHED]
    job = {
        "recipe": str(recipe),
        "changes": changes | {"prost.batch_size": batch, "toybox.clips": max(batch, changes["toybox.clips"])},
        "einsum": with_einsum,
    }
    done = subprocess.run(
        [sys.executable, __file__, "--alone", json.dumps(job)], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def run_alone(job: dict[str, Any]) -> None:
    """Be the process of `whole_step`: print seconds and bytes."""

    def match_plainly(model: ProST, text: TextPrototypes, video: VideoPrototypes) -> Similarity:
        return plain_match(text, video, model.config.object_phrase_weight)

    with ExitStack() as stack:
        if job["einsum"]:
            stack.enter_context(patch.object(ProST, "match", match_plainly))
        spent, _ = measure_step(Path(job["recipe"]), job["changes"], WHOLE_STEPS)
    print(json.dumps([sum(spent.values()), 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))


def print_whole_steps(batches: list[int], free: float) -> None:
    """A row for each batch and way to match."""
    print(
        "\n| batch | matching of the step | step, s | times as fast | peak memory, MiB |\n|---|---|---|---|---|"
    )
    for batch in batches:
        seconds, peak = whole_step(batch, with_einsum=False)
        needed = peak + einsum_bytes(replace(TOYBOX, texts=batch, videos=batch))
        if needed < free:
            slower, most = whole_step(batch, with_einsum=True)
            print(f"| {batch} | {EINSUM_STEP} | {slower:.3g} | 1 | {most / MIB:.0f} |")
            ratio = f"{slower / seconds:.2f}"
        else:
            print(f"| {batch} | {EINSUM_STEP} | not measured: would take {needed / GIB:.0f} GiB | | |")
            ratio = ""
        print(f"| {batch} | {OUR_STEP} | {seconds:.3g} | {ratio} | {peak / MIB:.0f} |", flush=True)


def main() -> None:
    """Measure, and print three tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--steps", type=int, default=23, help="of each stage; the first two and the last do not count"
    )
    parser.add_argument("--batches", type=int, nargs="*", default=[32, 128, 512, 1024])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each way to match a batch, roughly")
    parser.add_argument(
        "--memory", type=float, help="GiB that the einsum of a batch may take, instead of what is free"
    )
    parser.add_argument("--alone", help=argparse.SUPPRESS)  # how the script starts itself for a whole step
    given = parser.parse_args()
    if given.alone:
        run_alone(json.loads(given.alone))
        return
    if given.steps < LEAST_STEPS:
        parser.error(
            f"--steps {given.steps}; expected: {LEAST_STEPS} or more, since three of them do not count"
        )
    print(f"{machine_line(CPU)}, {torch.get_num_threads()} threads\n")
    for name, (recipe, changes) in STAGES.items():
        spent, reads = measure_step(recipe, changes, given.steps)
        whole = sum(spent.values())
        print(f"{name}: {whole:.2f} s a step; single numbers read in a step that is not logged: {reads}\n")
        print("| part | share, % | ms |\n|---|---|---|")
        for part, seconds in sorted(spent.items(), key=lambda each: -each[1]):
            print(f"| {part} | {100 * seconds / whole:.1f} | {1000 * seconds:.1f} |")
        print(flush=True)
    print("| batch | way | time, s | speed-up | memory, MiB |\n|---|---|---|---|---|")
    for batch in given.batches:
        free = free_memory(CPU) if given.memory is None else given.memory * GIB
        group = training_group(TOYBOX, batch, CPU, free)
        for row in measure_group(group, given.seconds, CPU):
            memory = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
            print(f"| {batch} | {row.name} | {row.seconds:.3g} | {row.speedup:.2f} | {memory} |", flush=True)
        for missing in group.not_measured:
            print(f"| {batch} | not measured: {missing} | | | |")
    free = free_memory(CPU) if given.memory is None else given.memory * GIB
    print_whole_steps(given.batches, math.inf if free is None else free)


if __name__ == "__main__":
    main()
