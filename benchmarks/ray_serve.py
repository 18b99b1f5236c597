"""Latency of searches through shards on Ray Serve against those of one process, for the same library.

    python benchmarks/ray_serve.py --clips 10000 --searches 60

Makes a library of drawn films, and of clips whose prototypes mix theirs with noise, in several fragments. Then asks
each sentence of one process and of the shards in turn, so that both meet the same other work on the machine. The
shards are replicas of a local Ray cluster. Compares the hits too, and prints a table.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import prost
import prost.search.store
from prost.apps.server.on_ray import shards_on_ray
from prost.evaluation.machine import processor_name
from prost.search.library import Library
from serving import make_library

QUERIES = (
    "a red ball falls",
    "a blue house",
    "a cat's face grows, then spins",
    "a boat moves left",
    "a green tree blinks",
)
SHARDS = (1, 2)
# Smaller than that of a library, so that a library of some thousand clips has fragments to divide.
FRAGMENT_BYTES = 32 << 20


def search(library: Library, query: str) -> tuple[float, list[tuple[str, float]]]:
    """Milliseconds of a search by pictures, and its hits with scores to four digits."""
    began = time.perf_counter()
    result = library.search(query, sources=("picture",))
    milliseconds = 1000 * (time.perf_counter() - began)
    assert result.searched == 1, result.notes
    return milliseconds, [(hit.path, round(hit.score, 4)) for hit in result]


def compare(path: Path, count: int, searches: int) -> tuple[list[float], list[float], int]:
    """Milliseconds of searches in one process and through shards, in turn, and how many had the same hits."""
    model = prost.load("toybox")
    with (
        shards_on_ray("local", count) as shards,
        Library(path, model) as alone,
        Library(path, model) as sharded,
    ):
        sharded.search_through(shards)
        for library in (alone, sharded):
            for query in QUERIES:  # warms what is read first
                search(library, query)
        times: tuple[list[float], list[float]] = ([], [])
        same = 0
        for number in range(searches):
            query = QUERIES[number % len(QUERIES)]
            found = []
            for library, into in zip((alone, sharded), times, strict=True):
                milliseconds, hits = search(library, query)
                into.append(milliseconds)
                found.append(hits)
            same += found[0] == found[1]
    return *times, same


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--searches", type=int, default=60)
    given = parser.parse_args()
    prost.search.store.FRAGMENT_BYTES = FRAGMENT_BYTES
    with tempfile.TemporaryDirectory(prefix="prost-ray-") as place:
        path = make_library(Path(place), given.clips)
        print(
            f"{given.clips:,} clips; {os.cpu_count()} cores, {processor_name()}; load {os.getloadavg()[0]:.1f}\n"
        )
        print(
            "| shards | searches | same hits | one process, p50 / p95 ms | shards, p50 / p95 ms | p50 | p95 |"
        )
        print("|---" * 7 + "|")
        for count in SHARDS:
            alone, sharded, same = compare(path, count, given.searches)
            (middle, tail), (other, other_tail) = (np.percentile(each, [50, 95]) for each in (alone, sharded))
            print(
                f"| {count} | {given.searches} | {same} | {middle:.1f} / {tail:.1f} | {other:.1f} / {other_tail:.1f} "
                f"| {other / middle:.2f} x | {other_tail / tail:.2f} x |",
                flush=True,
            )
        print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
