"""Measures time, recall and memory of searches in a generated library, in a separate process.

Memory is read from `/proc/self/status` after each query. `rss_mb` is the largest anonymous memory of the process
(RssAnon). Mapped pages of tables and packs (RssFile) belong to the system's cache, which can reclaim them, and are
reported separately.
"""

from __future__ import annotations

import multiprocessing
import os
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
from prost.bench.sizes import PrototypeSource
from prost.model.matching import TextPrototypes
from prost.search.exact import ClipPrototypes, score
from prost.search.rerank import CANDIDATES, Ranking, rerank
from prost.search.shortlist import open_packs

# Numbers of candidates that are scored exactly, one for each point of the curves.
DEPTHS = (50, 100, 200, 500, 1000, 2000)
WARM_PASSES = 3
Read = Callable[[NDArray[np.int64]], ClipPrototypes]
Find = Callable[[TextPrototypes, int], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Times:
    """Milliseconds of each query `[Q]`, for each part of the search."""

    text: list[float]
    find: list[float]
    rerank: list[float]

    def whole(self, with_text: bool = True) -> NDArray[np.float64]:
        """Milliseconds from the sentence, or without text from its prototypes, to the ranked clips."""
        return np.array(self.find) + self.rerank + (np.array(self.text) if with_text else 0.0)


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One point of the curve of one way to choose candidates.

    Attributes:
        depth: number of candidates N.
        ms: median time of a query without its text.
        recall: recall of the exact top-10.
    """

    depth: int
    ms: float
    recall: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Time, recall and memory of searching a library by scan and rerank.

    Attributes:
        warm: times with the rows that the queries need in the system's cache.
        cold: times with these rows read from the disk.
        recall: recall of the exact top-10, with the default recall target.
        reranked: number of clips scored exactly for each query.
        curve: recall and time with fixed numbers of candidates.
        rss_mb: largest memory of the process itself.
        mapped_mb: mapped pages of files at that moment.
    """

    warm: Times
    cold: Times
    recall: float
    reranked: list[int]
    curve: list[CurvePoint]
    rss_mb: float
    mapped_mb: float


def measure_search(
    library: GeneratedLibrary, model: str, like: str | None, captions: Sequence[str], truth: ExactAnswers
) -> Measurement:
    """Measure in a new process that loads only what a search needs.

    Args:
        library: library to search.
        model: name or path, as for `prost.load`.
        like: sizes of the prototypes; see `PrototypeSource`.
        captions: the queries.
        truth: the exact best clips of the queries.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(_measure, library, model, like, list(captions), truth).result()


def curve(
    text: TextPrototypes, truth: ExactAnswers, find: Find, read: Read, object_phrase_weight: float, clips: int
) -> list[CurvePoint]:
    """Recall and time for several numbers of candidates.

    Args:
        text: prototypes of Q queries.
        truth: the exact best clips of the queries.
        find: chooses candidates.
        read: reads the prototypes of candidates.
        object_phrase_weight: from the model's configuration.
        clips: number of clips in the library; depths beyond it are left out.
    """
    points = []
    for depth in [depth for depth in DEPTHS if depth <= clips] or [clips]:
        _rank(text[:1], find, read, object_phrase_weight, depth)
        found, times = [], []
        for query in range(len(text)):
            # The first run brings the rows into the cache, the second one is timed.
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
def _measure(
    library: GeneratedLibrary, name: str, like: str | None, captions: list[str], truth: ExactAnswers
) -> Measurement:
    source = PrototypeSource.open(name, like)
    weight = source.object_phrase_weight
    snapshot, packs = library.snapshot(), open_packs(library.packs())
    assert packs is not None
    shortlist = packs.shortlist(snapshot.rows, "scan")
    wanted = truth.rows.shape[1]
    memory = [_memory_mb()]

    def search(caption: str, read: Read) -> tuple[Ranking, tuple[float, float, float]]:
        start = time.perf_counter()
        text = source.sentences([caption])
        encoded = time.perf_counter()
        candidates = shortlist.find(text, weight, min(CANDIDATES, len(snapshot)), None)
        chosen = time.perf_counter()
        ranking = rerank(text, candidates, read, weight, wanted)
        done = time.perf_counter()
        memory.append(_memory_mb())
        return ranking, (1000 * (encoded - start), 1000 * (chosen - encoded), 1000 * (done - chosen))

    search(captions[0], snapshot.reader(packs.pages).read)  # loads compiled code and packs
    _forget_rows(library)
    read = snapshot.reader(packs.pages).read
    _, cold = zip(*(search(caption, read) for caption in captions), strict=True)
    passes = [[search(caption, read) for caption in captions] for _ in range(WARM_PASSES)]
    rankings = [ranking for ranking, _ in passes[0]]
    warm = np.median([[times for _, times in one] for one in passes], axis=0)

    def find(text: TextPrototypes, count: int) -> NDArray[np.int64]:
        # The same candidates as in a search, cut to `count`.
        return shortlist.find(text, weight, min(max(count, CANDIDATES), len(snapshot)), None).rows[:count]

    text = source.sentences(captions)
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
    """Drop the rows from the system's cache where the system supports it; no process may have them mapped."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in (library.folder / TABLES).glob("clips.lance/data/*"):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)  # pages not written yet cannot be dropped
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _times(parts: NDArray[np.float64]) -> Times:
    """Times from an array `[Q, 3]`."""
    text, find, rerank = parts.T.tolist()
    return Times(text=text, find=find, rerank=rerank)


def _memory_mb() -> tuple[float, float]:
    """Anonymous memory of this process and its mapped pages, MiB.

    On macOS the peak of all memory and 0; on Windows, which has no such call, 0 and 0.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        values = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
        return int(values["RssAnon"]) / 1024, int(values["RssFile"]) / 1024
    try:
        import resource
    except ImportError:
        return 0.0, 0.0
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 0.0
