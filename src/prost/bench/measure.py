"""A generated library is searched as a library is, in a process of its own: time, recall and memory.

Memory is read from `/proc/self/status` after every query. `rss_mb` is what the process holds for itself (RssAnon) at
its largest; pages of the tables and packs that it maps (RssFile) belong to the system's cache, which takes them back
when it needs room, and are told apart.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from prost.bench.exact_answers import ExactAnswers
from prost.bench.library import TABLES, GeneratedLibrary
from prost.model.checkpoint import load_prost
from prost.model.matching import TextPrototypes
from prost.search.exact import ClipPrototypes, score
from prost.search.rerank import CANDIDATES, Ranking, rerank
from prost.search.shortlist import open_packs

# Candidates that are scored exactly: the points of the curves.
DEPTHS = (50, 100, 200, 500, 1000, 2000)
WARM_PASSES = 3
Read = Callable[[NDArray[np.int64]], ClipPrototypes]
Find = Callable[[TextPrototypes, int], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Times:
    """Milliseconds of each query `[Q]`, part by part."""

    text: list[float]
    find: list[float]
    rerank: list[float]

    def whole(self, with_text: bool = True) -> NDArray[np.float64]:
        """Milliseconds from the sentence, or from its prototypes, to the ranked clips."""
        return np.array(self.find) + self.rerank + (np.array(self.text) if with_text else 0.0)


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One depth of one way to choose candidates.

    Attributes:
        depth: N.
        ms: median of a query, without its text.
        recall: of the exact top-10.
    """

    depth: int
    ms: float
    recall: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What searching a library by scan and rerank takes and gives.

    Attributes:
        warm: rows that the queries need are in the system's cache.
        cold: they have to be read from the disk.
        recall: of the exact top-10, with the recall target of a library.
        reranked: clips scored exactly, for each query.
        curve: with a fixed number of candidates instead.
        rss_mb: memory of the process itself, at its largest.
        mapped_mb: pages of mapped files that were counted to it then.
    """

    warm: Times
    cold: Times
    recall: float
    reranked: list[int]
    curve: list[CurvePoint]
    rss_mb: float
    mapped_mb: float


def measure_search(
    library: GeneratedLibrary, model: str, captions: Sequence[str], truth: ExactAnswers
) -> Measurement:
    """Measure in a new process, which has loaded nothing but what a search needs.

    Args:
        library: to search.
        model: what `prost.load` takes.
        captions: the queries.
        truth: their exact best.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(_measure, library, model, list(captions), truth).result()


def curve(
    text: TextPrototypes, truth: ExactAnswers, find: Find, read: Read, object_phrase_weight: float, clips: int
) -> list[CurvePoint]:
    """Recall against time, for some numbers of candidates.

    Args:
        text: prototypes of Q queries.
        truth: their exact best.
        find: chooses candidates.
        read: gives their prototypes.
        object_phrase_weight: of the model's configuration.
        clips: in the library; larger depths are left out, except for the first.
    """
    points = []
    for depth in [depth for depth in DEPTHS if depth <= clips] or [clips]:
        _rank(text[:1], find, read, object_phrase_weight, depth)
        found, times = [], []
        for query in range(len(text)):
            # Once to have the rows in the cache, once for the time.
            for _ in range(2):
                start = time.perf_counter()
                ranking = _rank(text[query : query + 1], find, read, object_phrase_weight, depth)
                took = time.perf_counter() - start
            times.append(1000 * took)
            found.append(ranking.rows[: truth.rows.shape[1]])
        points.append(CurvePoint(depth=depth, ms=float(np.median(times)), recall=truth.recall(found)))
    return points


def _rank(text: TextPrototypes, find: Find, read: Read, object_phrase_weight: float, depth: int) -> Ranking:
    rows = find(text, depth)
    return Ranking.of(rows, score(text, read(rows), object_phrase_weight))


@torch.inference_mode()
def _measure(library: GeneratedLibrary, name: str, captions: list[str], truth: ExactAnswers) -> Measurement:
    model = load_prost(name)
    weight = model.config.object_phrase_weight
    snapshot, packs = library.snapshot(), open_packs(library.packs())
    assert packs is not None
    shortlist = packs.shortlist(snapshot.rows, "scan")
    wanted = truth.rows.shape[1]
    memory = [_memory_mb()]

    def search(caption: str, read: Read) -> tuple[Ranking, tuple[float, float, float]]:
        start = time.perf_counter()
        text = model.encode_text([caption])
        encoded = time.perf_counter()
        candidates = shortlist.find(text, weight, min(CANDIDATES, len(snapshot)), None)
        chosen = time.perf_counter()
        ranking = rerank(text, candidates, read, weight, wanted)
        done = time.perf_counter()
        memory.append(_memory_mb())
        return ranking, (1000 * (encoded - start), 1000 * (chosen - encoded), 1000 * (done - chosen))

    search(captions[0], snapshot.reader(packs.pages).read)  # compiled code is loaded, packs are read
    _forget_rows(library)
    read = snapshot.reader(packs.pages).read
    _, cold = zip(*(search(caption, read) for caption in captions), strict=True)
    passes = [[search(caption, read) for caption in captions] for _ in range(WARM_PASSES)]
    rankings = [ranking for ranking, _ in passes[0]]
    warm = np.median([[times for _, times in one] for one in passes], axis=0)

    def find(text: TextPrototypes, count: int) -> NDArray[np.int64]:
        # The first of those that a search has, whatever is scored of them.
        return shortlist.find(text, weight, min(max(count, CANDIDATES), len(snapshot)), None).rows[:count]

    text = model.encode_text(captions)
    points = curve(text, truth, find, read, weight, len(snapshot))
    own, mapped = max(memory)
    return Measurement(
        warm=_times(warm),
        cold=_times(np.array(cold)),
        recall=truth.recall([ranking.rows[:wanted] for ranking in rankings]),
        reranked=[len(ranking.rows) for ranking in rankings],
        curve=points,
        rss_mb=own,
        mapped_mb=mapped,
    )


def _forget_rows(library: GeneratedLibrary) -> None:
    """Take the rows out of the system's cache, where it can be asked to; nobody may have them mapped."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in (library.folder / TABLES).glob("clips.lance/data/*"):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)  # what is not on the disk yet cannot be forgotten
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _times(parts: NDArray[np.float64]) -> Times:
    """Times from an array `[Q, 3]`."""
    text, find, rerank = parts.T.tolist()
    return Times(text=text, find=find, rerank=rerank)


def _memory_mb() -> tuple[float, float]:
    """Memory of this process itself and pages of files mapped into it; elsewhere than on Linux, the largest of all."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        values = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
        return int(values["RssAnon"]) / 1024, int(values["RssFile"]) / 1024
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 0.0
