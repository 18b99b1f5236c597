"""Decode thousands of damaged video files: how many are shown, refused (and why), or answered wrongly.

    python benchmarks/fuzz.py --files 5000 --seed 0

Prints the counts and exits with 1 if a single answer was wrong. tests/video/test_fuzz.py runs a part of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.video.fuzz import run, sound_files


def main() -> int:
    """Fuzz, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sound").mkdir()
        paths = sound_files(Path(folder) / "sound")
        started = time.perf_counter()
        outcome = run(paths, Path(folder), given.files, given.seed)
        seconds = time.perf_counter() - started
    print(f"{given.files} damaged copies of {len(paths)} files, seed {given.seed}, {seconds:.0f} s")
    print(f"| shown | {outcome.shown} |")
    for reason, count in outcome.refused.most_common():
        print(f"| refused: {reason} | {count} |")
    print(f"| answered wrongly | {len(outcome.wrong)} |")
    for line in outcome.wrong:
        print(line)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
