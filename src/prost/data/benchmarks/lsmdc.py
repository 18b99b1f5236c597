"""LSMDC: short clips of films with one sentence each, in tables without headings, with tabs between the columns.

The columns are clip, aligned start and end, extracted start and end, sentence. The times refer to the film; the clip
files are already cut. In train some clips have several lines: their sentences are captions of one clip.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from prost.data.benchmarks.annotations import read_text
from prost.data.benchmarks.folder import BenchmarkFolder
from prost.data.records import Benchmark
from prost.errors import BadAnnotations

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
# For train the readme of the data says 101,079, but not whether it counts clips or lines; a note states both.
EXPECTED: dict[str, int | None] = {"train": None, "val": 7408, "test": 1000}
COLUMNS = 6


def lsmdc(found: BenchmarkFolder) -> Benchmark:
    """Read train, val, and the 1,000 public clips of the challenge as test."""
    splits = {}
    for split, name in FILES.items():
        path = found.need(name)
        sentences, lines = _read(path)
        if lines > len(sentences):
            found.notes.append(f"{split}: {lines:,} lines of {len(sentences):,} clips")
        splits[split] = found.records(list(sentences), path, sentences, path)
    return found.benchmark("lsmdc", splits, EXPECTED)


def _read(path: Path) -> tuple[dict[str, list[str]], int]:
    """Sentences by clip, and the number of lines."""
    sentences: dict[str, list[str]] = defaultdict(list)
    count = 0
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        columns = line.rstrip("\r").split("\t")
        if len(columns) != COLUMNS:
            raise BadAnnotations(
                f"{path}, line {number} has {len(columns)} columns", f"{COLUMNS}, separated by tabs"
            )
        sentences[columns[0].strip()].append(columns[-1])
        count += 1
    if not sentences:
        raise BadAnnotations(f"{path} is empty", suggestion="download the annotations again")
    return sentences, count
