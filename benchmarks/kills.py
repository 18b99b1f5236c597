"""Kill writers at hundreds of instants: what was lost, what was doubled, what was wrong afterwards.

    python benchmarks/kills.py --kills 200 --seed 0

Half of the kills of each operation happen at flushes to the disk, spread over all of them; the others at random times.
Prints a table and exits with 1 if anything was lost, doubled or wrong. tests/search/test_crashes.py runs a part of it.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.search.killing import OPERATIONS, count_flushes, kill, look, prepare


def main() -> int:
    """Kill, look, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    each = -(-given.kills // len(OPERATIONS))
    failures = 0
    print(
        "| operation | flushes | killed at a flush | killed at a random time | ended before | lost | doubled | wrong |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for operation in OPERATIONS:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            stage = prepare(place, operation)
            flushes = count_flushes(stage, place / "counting")
            started = time.perf_counter()
            kill(stage, place / "whole.prost")
            length = time.perf_counter() - started
            chosen = [1 + number * flushes // (each // 2) for number in range(each // 2)]
            instants = [{"flush": flush} for flush in chosen]
            instants += [{"seconds": chance.uniform(0.0, length)} for _ in range(each - len(chosen))]
            counts = {"flush": 0, "seconds": 0, "ended": 0}
            lost, doubled, wrong = list[str](), list[str](), list[str]()
            for instant in instants:
                copy = place / "copy.prost"
                status = kill(stage, copy, **instant)
                counts["ended" if status == 0 else next(iter(instant))] += 1
                remains = look(stage, copy)
                lost, doubled, wrong = lost + remains.lost, doubled + remains.doubled, wrong + remains.wrong
                if not remains.sound:
                    print(f"{operation} {instant}: {remains}", file=sys.stderr)
                shutil.rmtree(copy)
            failures += len(lost) + len(doubled) + len(wrong)
        print(
            f"| {operation} | {flushes} | {counts['flush']} | {counts['seconds']} | {counts['ended']} | {len(lost)} "
            f"| {len(doubled)} | {len(wrong)} |",
            flush=True,
        )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
