"""The scan: approximate scores of every clip, by look-ups alone.

Object-phrase matching takes the maximum over phrases before anything is summed. With a table of each centroid's best
cosine with a query's phrases, `m[c] = max_p <phr_p, c>`, the scores of a clip are

    op ~= 1/N_o sum_o max_l m[code(l, o)]        es ~= max_e s[code(e)]

without a matrix product for each clip. The event score costs three look-ups. Because the two scores correlate, it
shows for most clips that their object codes need not be read; a sample of the clips gives the threshold
(`PruningThresholds`). The clips with the best scores by codes get their event score again from 8-bit event prototypes
(`refine`), because a code says little about a single vector. The best of these are then scored by the exact formula
(`prost.search.rerank`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from prost.model.matching import TextPrototypes
from prost.model.vectors import unit
from prost.search.candidates import Candidates
from prost.search.codes import Codebooks, CodedClips
from prost.search.pruning import PruningThresholds

# One clip of each stride is sampled: the longest stride that gives this many clips.
LONGEST_STRIDE, SAMPLED_CLIPS = 64, 4096
# With a shorter stride a sample costs more than it saves.
SHORTEST_STRIDE = 4
# Clips whose event scores are refined, for each candidate.
REFINED_PER_CANDIDATE, REFINED_OF_ONE_SLOT = 3, 10


@dataclass(frozen=True, kw_only=True)
class QueryTables:
    """The look-up tables of Q sentences.

    Attributes:
        object: best cosine of each object centroid with a phrase `[Q, K]`.
        event: cosine of each event centroid with the sentence `[Q, K_e]`.
        sentence: sentence prototypes of length one `[Q, D]`.
        object_phrase_weight: of the model's configuration.
    """

    object: NDArray[np.float32]
    event: NDArray[np.float32]
    sentence: NDArray[np.float32]
    object_phrase_weight: float

    @classmethod
    def of(cls, text: TextPrototypes, codebooks: Codebooks, object_phrase_weight: float) -> QueryTables:
        """Compute the tables of sentences whose prototypes are on the CPU."""
        return cls(
            object=codebooks.object.best_cosines(text.phrase).numpy(),
            event=codebooks.event.best_cosines(text.sentence[:, None]).numpy(),
            sentence=unit(text.sentence).numpy(),
            object_phrase_weight=object_phrase_weight,
        )

    def __len__(self) -> int:
        return len(self.sentence)

    def __getitem__(self, queries: NDArray[np.intp]) -> QueryTables:
        return QueryTables(
            object=self.object[queries],
            event=self.event[queries],
            sentence=self.sentence[queries],
            object_phrase_weight=self.object_phrase_weight,
        )


def scan(
    tables: QueryTables,
    parts: Sequence[CodedClips],
    count: int,
    allowed: Sequence[NDArray[np.bool_]] | None = None,
) -> list[Candidates]:
    """The clips with the largest approximate similarity, for each of Q sentences in one pass.

    A sample of the clips is scored first. It gives the scores that a clip needs to be among the best
    (`PruningThresholds`). A clip among the best is left out only if its object-phrase score is larger, by a margin,
    than that of every sampled clip whose event score is not larger.

    Args:
        tables: of the sentences.
        parts: the coded clips; rows are counted through all parts.
        count: clips to return for each sentence; fewer where there are fewer.
        allowed: for each part the clips that may be found `[n]`; None for all.
    """
    if allowed is None:
        allowed = [np.ones(len(part), dtype=bool) for part in parts]
    clips = sum(int(np.count_nonzero(each)) for each in allowed)
    count = min(count, clips)
    if count < 1:
        return [Candidates.none() for _ in range(len(tables))]
    stride = min(LONGEST_STRIDE, clips // SAMPLED_CLIPS)
    if stride < SHORTEST_STRIDE:
        return _scan_above(PruningThresholds.open(len(tables)), tables, parts, count, allowed)
    thresholds = PruningThresholds.from_sample(*_sample(tables, parts, allowed, stride), count, clips)
    found = _scan_above(thresholds, tables, parts, count, allowed)
    few = np.flatnonzero([len(each) < count for each in found])
    if len(few):
        # The sample held more good clips than its fraction, or the event threshold left too many clips out.
        again = _scan_above(PruningThresholds.open(len(few)), tables[few], parts, count, allowed)
        for query, each in zip(few, again, strict=True):
            found[query] = each
    return found


def _sample(
    tables: QueryTables, parts: Sequence[CodedClips], allowed: Sequence[NDArray[np.bool_]], stride: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weighted object-phrase scores and event-sentence scores of one clip in `stride`, each `[Q, m]`."""
    kernels = _kernels()
    random = np.random.default_rng(0)
    scores = []
    for part, may in zip(parts, allowed, strict=True):
        # A random clip of each stride, because the order of clips may be periodic.
        rows = np.arange(0, len(part), stride)
        rows = np.minimum(rows + random.integers(0, stride, len(rows)), len(part) - 1)
        with kernels.ONE_AT_A_TIME:
            scores.append(kernels.both_scores(*_tables_and_codes(tables, part), rows[may[rows]], part.slots))
    object, event = (np.concatenate(each, axis=1) for each in zip(*scores, strict=True))
    return object, event


def _scan_above(
    thresholds: PruningThresholds,
    tables: QueryTables,
    parts: Sequence[CodedClips],
    count: int,
    allowed: Sequence[NDArray[np.bool_]],
) -> list[Candidates]:
    """The best of the clips above the thresholds, at most `count`."""
    kernels = _kernels()
    rows: list[list[NDArray[np.int64]]] = [[] for _ in range(len(tables))]
    scores: list[list[NDArray[np.float32]]] = [[] for _ in range(len(tables))]
    before = 0
    for part, may in zip(parts, allowed, strict=True):
        with kernels.ONE_AT_A_TIME:
            best, places = kernels.best_clips(
                *_tables_and_codes(tables, part),
                may,
                part.slots,
                thresholds.total,
                thresholds.event,
                min(count, len(part)),
                kernels.thread_count(),
            )
        for query in range(len(tables)):
            there = places[query] >= 0  # a thread may have had fewer clips
            rows[query].append(places[query][there] + before)
            scores[query].append(best[query][there])
        before += len(part)
    return [
        Candidates(np.concatenate(rows[query]), np.concatenate(scores[query])).best(count)
        for query in range(len(tables))
    ]


def _kernels() -> ModuleType:
    """The compiled loops. They are loaded by the first scan, since that takes nearly a second."""
    from prost.search import scan_kernels

    return scan_kernels


def _tables_and_codes(tables: QueryTables, part: CodedClips) -> tuple[NDArray, ...]:
    """Tables and codes, as the kernels take them."""
    return (
        tables.object * np.float32(tables.object_phrase_weight / part.slots),
        tables.event,
        part.words,
        part.starts,
        part.event_codes,
    )


def refined_count(candidates: int, slots: int) -> int:
    """How many of the clips that the scan prefers are refined, to give so many candidates.

    Errors of the codes are averaged over the object slots, so scores by codes are least certain with one slot (decision
    0077).
    """
    return candidates * (REFINED_OF_ONE_SLOT if slots == 1 else REFINED_PER_CANDIDATE)


def refine(
    tables: QueryTables, parts: Sequence[CodedClips], candidates: Sequence[Candidates]
) -> list[Candidates]:
    """The candidates of each sentence, with event-sentence scores from 8-bit event prototypes instead of codes."""
    kernels = _kernels()
    ends = np.cumsum([len(part) for part in parts])
    refined = []
    for query, found in enumerate(candidates):
        scores, event = found.scores.copy(), np.empty_like(found.scores)
        part_of = np.searchsorted(ends, found.rows, side="right")
        for number in np.unique(part_of):
            part, here = parts[number], part_of == number
            rows = found.rows[here] - (ends[number] - len(part))
            coarse = tables.event[query][part.event_codes[rows]].max(axis=1)
            with kernels.ONE_AT_A_TIME:
                fine = kernels.fine_event_scores(tables.sentence[query], part.event, part.event_scales, rows)
            scores[here] += fine - coarse
            event[here] = fine
        refined.append(Candidates(found.rows, scores, event).best(len(found)))
    return refined
