"""Load any benchmark by its name."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from prost.data.benchmarks.activitynet import activitynet
from prost.data.benchmarks.didemo import didemo, didemo_prost
from prost.data.benchmarks.folder import BenchmarkFolder
from prost.data.benchmarks.lsmdc import lsmdc
from prost.data.benchmarks.msrvtt import msrvtt_7k, msrvtt_9k, msrvtt_full
from prost.data.benchmarks.msvd import msvd
from prost.data.benchmarks.pairs import pairs
from prost.data.benchmarks.vatex import vatex
from prost.data.benchmarks.youcook2 import youcook2
from prost.data.records import Benchmark, shared_files
from prost.errors import UsageError
from prost.printable import counted

PUBLISHED: dict[str, Callable[[BenchmarkFolder], Benchmark]] = {
    "msrvtt-9k": msrvtt_9k,
    "msrvtt-7k": msrvtt_7k,
    "msrvtt-full": msrvtt_full,
    "didemo": didemo,
    "didemo-prost": didemo_prost,
    "vatex": vatex,
    "lsmdc": lsmdc,
    "youcook2": youcook2,
    "msvd": msvd,
    "activitynet": activitynet,
}
OWN_PAIRS = "pairs"
BENCHMARK_NAMES = (*PUBLISHED, OWN_PAIRS)


def load_benchmark(name: str, folder: Path, videos: Path | None = None) -> Benchmark:
    """Read the annotations of a benchmark and look for its videos, without opening them.

    Args:
        name: one of `BENCHMARK_NAMES`.
        folder: the annotations are anywhere below it; for own pairs also the file itself.
        videos: the videos are anywhere below it; None for the same folder.

    Returns:
        all records; those whose video is missing have no path.

    Raises:
        UsageError: an unknown name.
        MissingPath: a folder or an annotation file does not exist.
        BadAnnotations: annotations that cannot be read or contradict each other.
    """
    if name == OWN_PAIRS:
        return pairs(Path(folder), None if videos is None else Path(videos))
    if name not in PUBLISHED:
        near = difflib.get_close_matches(name, BENCHMARK_NAMES, n=1)
        raise UsageError(
            f"no benchmark is called {name!r}", ", ".join(BENCHMARK_NAMES), *(repr(other) for other in near)
        )
    found = BenchmarkFolder(Path(folder), None if videos is None else Path(videos))
    return _with_overlaps(PUBLISHED[name](found))


def _with_overlaps(benchmark: Benchmark) -> Benchmark:
    """Add a note for each pair of splits that share videos."""
    notes = list(benchmark.notes)
    for one, other in itertools.combinations(benchmark.splits, 2):
        if shared := shared_files(benchmark.splits[one], benchmark.splits[other]):
            videos = counted(len(shared), "video is", "videos are")
            notes.append(f"{videos} in {one} and in {other} ({shared[0]}, ...)")
    return replace(benchmark, notes=tuple(notes))
