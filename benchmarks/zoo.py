"""Print the zoo of odd and hostile video files as a table: file, what is odd about it, expected, got.

    python benchmarks/zoo.py

Exits with 1 if anything came out differently. tests/video/test_zoo.py checks the same.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.video.conftest import numbers_of
from tests.video.zoo import ZOO, Specimen

from prost.errors import VideoError
from prost.printable import printable
from prost.video.isolation import IsolatedDecoder

SIZE = 32


def expected(specimen: Specimen) -> str:
    """What must come out."""
    if specimen.reason is not None:
        return f"refused: {specimen.reason}"
    return f"{specimen.duration:.2f} s, {len(specimen.shown)} frames exact"


def got(specimen: Specimen, path: Path, decoder: IsolatedDecoder) -> str:
    """What comes out, in the same words where it is right."""
    try:
        info = decoder.probe(path)
        frames = decoder.decode(path, np.array([time for time, _ in specimen.shown] or [0.0]), SIZE)
    except VideoError as refusal:
        return f"refused: {refusal.reason}"
    wanted = [number for _, number in specimen.shown]
    right = sum(one == other for one, other in zip(numbers_of(frames.pixels), wanted, strict=False))
    near = specimen.duration is not None and abs(info.duration - specimen.duration) <= specimen.tolerance
    duration = specimen.duration if near else info.duration
    exact = "exact" if right == len(wanted) else f"of {len(wanted)} exact"
    return f"{duration:.2f} s, {right} frames {exact}"


def main() -> int:
    """Make each file, look at it, and print the table."""
    wrong = 0
    print("| file | what is odd | expected | got |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, IsolatedDecoder(time_limit=60) as decoder:
        for number, specimen in enumerate(ZOO):
            path = Path(folder) / str(number) / specimen.name
            path.parent.mkdir()
            specimen.make(path)
            wanted, found = expected(specimen), got(specimen, path, decoder)
            wrong += wanted != found
            cells = (specimen.name, specimen.why or "a usual file", wanted, found)
            print("|", " | ".join(printable(cell).replace("|", "\\|") for cell in cells), "|")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
