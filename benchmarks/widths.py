"""What does a search cost at the sizes of a published model, beside the small model's? CPU time, queries in turns.

Both libraries are those that `prost bench search` left in `--work`, with and without `--like`. Each query goes to both
in turn, on one thread, so the ratio holds on a busy machine. In each turn a library is also searched with the products
of the rerank in float32 (decision 0064).

    prost bench search --clips 10000 --videos 1200 --queries 30 --rivals none
    prost bench search --clips 10000 --videos 1200 --queries 30 --rivals none --like prost-b16
    python benchmarks/widths.py --clips 10000 --queries 30
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numba
import numpy as np
import torch

from prost.bench.exact_answers import ExactAnswers, answers_file
from prost.bench.library import TABLES, library_folder
from prost.bench.real import held_out_captions
from prost.bench.sizes import PUBLISHED, PrototypeSource
from prost.model import three_parts
from prost.search.packs import pack_folder
from prost.search.rerank import CANDIDATES, Ranking, rerank
from prost.search.shortlist import open_packs
from prost.search.snapshot import ClipSnapshot
from prost.search.store import Store

WANTED, PASSES = 10, 3


@dataclass
class Searched:
    """A generated library that is searched.

    Args:
        source: of its prototypes.
        folder: of the library.
        captions: the queries.
    """

    source: PrototypeSource
    folder: Path
    captions: list[str]

    def __post_init__(self) -> None:
        store = Store.open(str(self.folder / TABLES))
        snapshot, packs = ClipSnapshot(store, memory=0), open_packs(pack_folder(store))
        assert packs is not None
        self._shortlist = packs.shortlist(snapshot.rows, "scan")
        self._read = snapshot.reader(packs.pages).read
        self._text = self.source.sentences(self.captions)

    def search(self, query: int, integers: bool = True) -> tuple[tuple[float, float], Ranking]:
        """CPU milliseconds of the scan and of the rerank, and the clips that were scored.

        Args:
            query: which one.
            integers: whether the rerank may multiply integers.
        """
        text, weight = self._text[query : query + 1], self.source.object_phrase_weight
        start = time.process_time()
        candidates = self._shortlist.find(text, weight, CANDIDATES, None)
        found = time.process_time()
        with nullcontext() if integers else patch.object(three_parts, "pay", lambda *_: False):
            ranking = rerank(text, candidates, self._read, weight, WANTED)
        return (1000 * (found - start), 1000 * (time.process_time() - found)), ranking

    def truth(self) -> ExactAnswers:
        """The exact best clips that the run stored."""
        weight = self.source.object_phrase_weight
        kept = np.load(answers_file(self.folder, len(self.captions), weight))
        return ExactAnswers(rows=kept["rows"], scores=kept["scores"])


@torch.inference_mode()
def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--like", default="prost-b16", choices=list(PUBLISHED))
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--work", type=Path, default=Path("bench"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    captions = held_out_captions(given.queries)
    libraries = []
    for like in (None, given.like):
        source = PrototypeSource.open("toybox", like)
        libraries.append(
            Searched(source, library_folder(given.work, source.description, given.clips), captions)
        )
    ways = [(library, integers) for library in libraries for integers in (False, True)]
    for library, integers in ways:
        library.search(0, integers)
    times = np.empty((len(ways), PASSES, len(captions), 2))
    rankings: list[list[Ranking]] = [[] for _ in ways]
    for turn in range(PASSES):
        for query in range(len(captions)):
            for number, (library, integers) in enumerate(ways):
                times[number, turn, query], ranking = library.search(query, integers)
                if turn == 0:
                    rankings[number].append(ranking)
    print(
        "| library | products | scan | rerank | p50 | p95 | recall@10 | scored exactly, median / most |\n|---"
        + "|---" * 7
        + "|"
    )
    for (library, integers), each, found in zip(ways, np.median(times, axis=1), rankings, strict=True):
        whole, scored = each.sum(axis=1), [len(ranking.rows) for ranking in found]
        recall = library.truth().recall([ranking.rows[:WANTED] for ranking in found])
        print(
            f"| {library.source.description.model} | {'integers' if integers else 'float32'} "
            f"| {np.median(each[:, 0]):.1f} | {np.median(each[:, 1]):.1f} "
            f"| {np.median(whole):.1f} | {np.percentile(whole, 95):.1f} | {recall:.4f} "
            f"| {np.median(scored):.0f} / {max(scored)} |"
        )
    print(f"\nCPU milliseconds of one thread, without the sentence; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
