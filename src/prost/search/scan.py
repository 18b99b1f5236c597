"""The scan: both scores of every clip, approximately, by look-ups alone.

Object-phrase matching takes the maximum over phrases before anything is summed. With a table of each centroid's best
cosine with a query's phrases, `m[c] = max_p <phr_p, c>`, the score of a clip is

    op ~= 1/N_o sum_o max_l m[code(l, o)]        es ~= max_e s[code(e)]

without a matrix product a clip and without the phrases. Of a slot only its *different* codes are kept, four to a
64-bit word: frames that look alike cost nothing, and a slot of twelve frames is three loads. The event score costs
three look-ups, and since the two scores agree it tells for most clips that the other need not be computed: how much
is enough, a sample of the clips tells first (`PruningThresholds`). The clips that the two tables like best have
their event score computed again from 8-bit event prototypes (`refine`), because a code says little about a single
vector; the best of those go on to the exact formula (`prost.search.rerank`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from prost.model.matching import TextPrototypes, unit
from prost.search.codebook import Codebook
from prost.search.quantise import quantise

CODES_A_WORD = 4
# Clips that all queries go over before the next ones are read from memory: some 70 kB of codes.
CLIPS_AT_ONCE = 256

# One clip in so many is sampled, but no fewer clips than this.
LONGEST_STRIDE, SAMPLED_CLIPS = 64, 4096
# With a shorter stride a sample costs more than it saves.
SHORTEST_STRIDE = 4
# Deviations of their number by which the sample may hold too many good clips, before all have to be gone over again.
SPREAD = 3.0
# Share of the sample that has to be hopeless for its event score: fewer clips prove little, and save little.
LEAST_HOPELESS = 0.25
# Deviations of the sampled object-phrase scores, added to the largest that were seen; and what sums of cosines are
# off in float32.
MARGIN, ROUNDING = 0.3, 1e-6

COMPILED: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "fastmath": {"contract", "reassoc", "nsz"},
    "error_model": "numpy",
}


@dataclass(frozen=True)
class Codebooks:
    """The codebooks of one library: one for object prototypes, one for event prototypes."""

    object: Codebook
    event: Codebook


@dataclass(frozen=True)
class CodedClips:
    """What n clips are scanned by.

    Attributes:
        words: object codes, four to a word; each clip's slots one after another, each of equally many words `[W]`.
        starts: place of each clip's first word, and W at the end `[n + 1]`.
        event_codes: `[n, N_e]`.
        event: directions of the event prototypes in 8 bits `[n, N_e, D]`.
        event_scales: `[n, N_e]`, so that `event_scales[..., None] * event` has length one.
        slots: N_o.
    """

    words: NDArray[np.uint64]
    starts: NDArray[np.int64]
    event_codes: NDArray[np.uint16]
    event: NDArray[np.int8]
    event_scales: NDArray[np.float32]
    slots: int

    def __len__(self) -> int:
        return len(self.event_codes)

    def __getitem__(self, rows: slice) -> CodedClips:
        """Some neighbours, without a copy of their codes."""
        first, last, _ = rows.indices(len(self))
        last = max(first, last)
        begin, end = self.starts[first], self.starts[last]
        return CodedClips(
            self.words[begin:end],
            self.starts[first : last + 1] - begin,
            self.event_codes[first:last],
            self.event[first:last],
            self.event_scales[first:last],
            self.slots,
        )

    @classmethod
    def joined(cls, parts: Sequence[CodedClips]) -> CodedClips:
        """One or more parts, one after another."""
        before = np.cumsum([0, *(len(part.words) for part in parts)])
        starts = [part.starts[:-1] + words for part, words in zip(parts, before[:-1], strict=True)]
        return cls(
            np.concatenate([part.words for part in parts]),
            np.concatenate([*starts, before[-1:]]),
            np.concatenate([part.event_codes for part in parts]),
            np.concatenate([part.event for part in parts]),
            np.concatenate([part.event_scales for part in parts]),
            parts[0].slots,
        )


@dataclass(frozen=True)
class QueryTables:
    """What Q sentences look up.

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
            codebooks.object.best_cosines(text.phrase).numpy(),
            codebooks.event.best_cosines(text.sentence[:, None]).numpy(),
            unit(text.sentence).numpy(),
            object_phrase_weight,
        )

    def __len__(self) -> int:
        return len(self.sentence)

    def __getitem__(self, queries: NDArray[np.intp]) -> QueryTables:
        return QueryTables(
            self.object[queries], self.event[queries], self.sentence[queries], self.object_phrase_weight
        )


@dataclass(frozen=True)
class Candidates:
    """The clips that a pass likes best for one sentence, best first; of equal ones the earlier first.

    Attributes:
        rows: `[N]`, int64.
        scores: approximate similarity `[N]`, float32.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: slice | NDArray) -> Candidates:
        return Candidates(self.rows[places], self.scores[places])

    @classmethod
    def best(cls, rows: NDArray[np.int64], scores: NDArray[np.float32], count: int) -> Candidates:
        """The best of some clips, in order."""
        if len(rows) > count > 0:
            border = np.partition(scores, len(scores) - count)[len(scores) - count]
            good = scores >= border
            rows, scores = rows[good], scores[good]
        order = np.lexsort((rows, -scores))[:count]
        return cls(rows[order], scores[order])


@dataclass(frozen=True)
class PruningThresholds:
    """What a clip needs to be among the best, as a sample of all clips tells, for each of Q sentences.

    Attributes:
        total: the least approximate similarity `[Q]`.
        event: the least event-sentence score by codes `[Q]`; the object codes of a clip with less are not looked at.
    """

    total: NDArray[np.float32]
    event: NDArray[np.float32]

    @classmethod
    def open(cls, queries: int) -> PruningThresholds:
        """Those that let every clip in."""
        return cls(np.full(queries, -np.inf, np.float32), np.full(queries, -np.inf, np.float32))

    @classmethod
    def of_sample(
        cls, object: NDArray[np.float32], event: NDArray[np.float32], count: int, clips: int
    ) -> PruningThresholds:
        """What the best `count` of some clips need, if m of them are like the rest.

        The two scores agree much, so of the clips with a low event score none has an object-phrase score that could
        make up for it. How large it may be for a given event score is taken to be the largest one of the sampled
        clips whose event score is not larger, and a margin.

        Args:
            object: what object-phrase matching adds to the scores of the sampled clips `[Q, m]`.
            event: event-sentence scores of the sampled clips `[Q, m]`.
            count: how many of the best are wanted.
            clips: how many there are.
        """
        sampled = object.shape[1]
        expected = count * sampled / clips
        rank = math.ceil(expected + SPREAD * math.sqrt(expected))
        if rank > sampled:
            return cls.open(len(object))
        total = np.partition(object + event, sampled - rank, axis=1)[:, sampled - rank]
        reach = object + (MARGIN * object.std(axis=1, keepdims=True) + np.float32(ROUNDING))
        least = np.maximum(event, total[:, None] - reach).min(axis=1)
        hopeless = (event < least[:, None]).mean(axis=1)
        return cls(total, np.where(hopeless < LEAST_HOPELESS, np.float32(-np.inf), least))

    def __getitem__(self, queries: NDArray[np.intp]) -> PruningThresholds:
        return PruningThresholds(self.total[queries], self.event[queries])


def pack_codes(codes: NDArray[np.integer]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Keep the different codes of each slot, four to a word.

    A clip takes as many words a slot as its most varied slot needs, so that one loop serves them all; the places
    that are left repeat a code of the slot, which changes no maximum.

    Args:
        codes: `[n, L, N_o]`, below 2**16.

    Returns:
        words `[W]` and starts `[n + 1]`, as in `CodedClips`.
    """
    clips, frames, slots = codes.shape
    ordered = np.sort(codes.astype(np.uint16).transpose(0, 2, 1), axis=2)  # [n, N_o, L]
    first = np.ones(ordered.shape, dtype=bool)
    first[:, :, 1:] = ordered[:, :, 1:] != ordered[:, :, :-1]
    different = first.sum(axis=2)  # [n, N_o]
    words = -(-different.max(axis=1, initial=1) // CODES_A_WORD)  # [n]
    most = -(-frames // CODES_A_WORD) * CODES_A_WORD
    packed = np.repeat(ordered[:, :, :1], most, axis=2)  # [n, N_o, most]
    clip, slot, _ = np.nonzero(first)
    packed[clip, slot, (np.cumsum(first, axis=2) - 1)[first]] = ordered[first]
    starts = np.zeros(clips + 1, dtype=np.int64)
    np.cumsum(words * slots, out=starts[1:])
    as_words = packed.view(np.uint64)  # [n, N_o, most / 4]
    kept = np.arange(most // CODES_A_WORD) < words[:, None]  # [n, most / 4]
    return as_words[np.broadcast_to(kept[:, None], as_words.shape)], starts


def unpack_codes(clips: CodedClips, clip: int) -> NDArray[np.uint16]:
    """The codes of one clip, with the repeated ones that fill its words `[N_o, 4 * words a slot]`."""
    words = np.array(clips.words[clips.starts[clip] : clips.starts[clip + 1]])
    return words.reshape(clips.slots, -1).view(np.uint16)


def code_clips(
    codebooks: Codebooks, object: NDArray[np.int8] | NDArray[np.float32], event: NDArray[np.float32]
) -> tuple[CodedClips, NDArray[np.float64]]:
    """Code clips.

    Args:
        codebooks: of their library.
        object: object prototypes `[n, L, N_o, D]`, of any length: 8-bit codes do without their scales.
        event: event prototypes `[n, N_e, D]`, of any length.

    Returns:
        the coded clips, and the sums over their object and their event prototypes of 1 - cosine with the centroid.
    """
    width = event.shape[-1]
    (codes, cosines), (event_codes, event_cosines) = (
        book.assign(torch.from_numpy(np.require(vectors, requirements="W")).reshape(-1, width))
        for book, vectors in ((codebooks.object, object), (codebooks.event, event))
    )
    words, starts = pack_codes(codes.view(object.shape[:-1]).numpy())
    event_bytes, _ = quantise(event)
    lengths = np.linalg.norm(event_bytes.astype(np.float32), axis=-1)
    clips = CodedClips(
        words,
        starts,
        event_codes.view(event.shape[:-1]).numpy().astype(np.uint16),
        event_bytes,
        np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0),
        object.shape[2],
    )
    errors = [float((1 - cosine.double()).sum()) for cosine in (cosines, event_cosines)]
    return clips, np.array(errors)


def scan(
    tables: QueryTables,
    parts: Sequence[CodedClips],
    count: int,
    allowed: Sequence[NDArray[np.bool_]] | None = None,
) -> list[Candidates]:
    """The clips with the largest approximate similarity, for each of Q sentences in one pass.

    A sample of the clips is scored first, which tells what a clip needs to be among the best (`PruningThresholds`).
    One of the best is left out only if object-phrase matching likes it better, by a margin, than every sampled clip
    whose event score is not larger.

    Args:
        tables: of the sentences.
        parts: of the library; a row counts through them, as if they were joined.
        count: clips to keep for each sentence; fewer are returned where there are fewer.
        allowed: for each part which of its clips may be found `[n]`; None for all.
    """
    if allowed is None:
        allowed = [np.ones(len(part), dtype=bool) for part in parts]
    clips = sum(int(np.count_nonzero(each)) for each in allowed)
    count = min(count, clips)
    if count < 1:
        return [Candidates(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in range(len(tables))]
    stride = min(LONGEST_STRIDE, clips // SAMPLED_CLIPS)
    if stride < SHORTEST_STRIDE:
        return _scan_within(PruningThresholds.open(len(tables)), tables, parts, count, allowed)
    borders = PruningThresholds.of_sample(*_sample(tables, parts, allowed, stride), count, clips)
    found = _scan_within(borders, tables, parts, count, allowed)
    few = np.flatnonzero([len(each) < count for each in found])
    if len(few):
        # The sample holds more good clips than its share, or all that lack were left out for their events.
        again = _scan_within(PruningThresholds.open(len(few)), tables[few], parts, count, allowed)
        for query, each in zip(few, again, strict=True):
            found[query] = each
    return found


def _sample(
    tables: QueryTables, parts: Sequence[CodedClips], allowed: Sequence[NDArray[np.bool_]], stride: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both scores of one clip in so many, the object-phrase score weighted: each `[Q, m]`."""
    random = np.random.default_rng(0)
    scores = []
    for part, may in zip(parts, allowed, strict=True):
        # A random one of each stride, since the order of clips may have a rhythm of its own.
        rows = np.arange(0, len(part), stride)
        rows = np.minimum(rows + random.integers(0, stride, len(rows)), len(part) - 1)
        scores.append(_both_scores(*_looked_up(tables, part), rows[may[rows]], part.slots))
    object, event = (np.concatenate(each, axis=1) for each in zip(*scores, strict=True))
    return object, event


def _scan_within(
    borders: PruningThresholds,
    tables: QueryTables,
    parts: Sequence[CodedClips],
    count: int,
    allowed: Sequence[NDArray[np.bool_]],
) -> list[Candidates]:
    """The best of the clips within the borders, at most `count`."""
    rows: list[list[NDArray[np.int64]]] = [[] for _ in range(len(tables))]
    scores: list[list[NDArray[np.float32]]] = [[] for _ in range(len(tables))]
    before = 0
    for part, may in zip(parts, allowed, strict=True):
        best, places = _scan(
            *_looked_up(tables, part),
            may,
            part.slots,
            borders.total,
            borders.event,
            min(count, len(part)),
            numba.get_num_threads(),
        )
        for query in range(len(tables)):
            there = places[query] >= 0  # a thread may have had fewer clips
            rows[query].append(places[query][there] + before)
            scores[query].append(best[query][there])
        before += len(part)
    return [
        Candidates.best(np.concatenate(rows[query]), np.concatenate(scores[query]), count)
        for query in range(len(tables))
    ]


def _looked_up(tables: QueryTables, part: CodedClips) -> tuple[NDArray, ...]:
    """Tables and codes, as the kernels take them."""
    return (
        tables.object * np.float32(tables.object_phrase_weight / part.slots),
        tables.event,
        part.words,
        part.starts,
        part.event_codes,
    )


def refine(
    tables: QueryTables, parts: Sequence[CodedClips], candidates: Sequence[Candidates]
) -> list[Candidates]:
    """Candidates of each sentence, with event-sentence scores from 8-bit event prototypes instead of codes."""
    ends = np.cumsum([len(part) for part in parts])
    refined = []
    for query, found in enumerate(candidates):
        scores = found.scores.copy()
        part_of = np.searchsorted(ends, found.rows, side="right")
        for number in np.unique(part_of):
            part, here = parts[number], part_of == number
            rows = found.rows[here] - (ends[number] - len(part))
            coarse = tables.event[query][part.event_codes[rows]].max(axis=1)
            fine = _event_scores(tables.sentence[query], part.event, part.event_scales, rows)
            scores[here] += fine - coarse
        refined.append(Candidates.best(found.rows, scores, len(found)))
    return refined


def reference_scores(tables: QueryTables, clips: CodedClips) -> NDArray[np.float64]:
    """What the scan computes, written plainly: similarity of each sentence and clip by codes `[Q, n]`."""
    scores = np.empty((len(tables), len(clips)))
    for clip in range(len(clips)):
        slots = unpack_codes(clips, clip)
        object_phrase = tables.object.astype(np.float64)[:, slots].max(axis=2).mean(axis=1)
        event_sentence = tables.event.astype(np.float64)[:, clips.event_codes[clip]].max(axis=1)
        scores[:, clip] = event_sentence + tables.object_phrase_weight * object_phrase
    return scores


@numba.njit(**COMPILED)
def _push(scores, rows, size, score, row):  # type: ignore[no-untyped-def]
    """Put a clip into a heap of the best, whose root is the worst of them; returns the heap's size.

    Clips come in the order of their rows, so of equal scores the one that is there already is the better.
    """
    if size < len(scores):
        place = size
        while place > 0:
            parent = (place - 1) >> 1
            # A later row is worse: it has to come nearer to the root than an equal one.
            if scores[parent] < score:
                break
            scores[place], rows[place] = scores[parent], rows[parent]
            place = parent
        scores[place], rows[place] = score, row
        return size + 1
    if score <= scores[0]:
        return size
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            scores[other] < scores[child] or (scores[other] == scores[child] and rows[other] > rows[child])
        ):
            child = other
        if scores[child] > score:
            break
        scores[place], rows[place] = scores[child], rows[child]
        place = child
    scores[place], rows[place] = score, row
    return size


@numba.njit(inline="always", **COMPILED)
def _best_of_word(table, four):  # type: ignore[no-untyped-def]
    """The largest of four look-ups."""
    low, bits = np.uint64(0xFFFF), np.uint64(16)
    first, second = table[four & low], table[(four >> bits) & low]
    third, fourth = table[(four >> np.uint64(32)) & low], table[four >> np.uint64(48)]
    return max(max(first, second), max(third, fourth))


@numba.njit(inline="always", **COMPILED)
def _object_score(table, words, starts, clip, slots):  # type: ignore[no-untyped-def]
    """The sum over a clip's slots of the best look-up of each.

    Indices are unsigned, since a signed one costs a test for negative numbers.
    """
    word, one = np.uint64(starts[clip]), np.uint64(1)
    more = (starts[clip + 1] - starts[clip]) // slots - 1
    total = np.float32(0)
    for _ in range(slots):
        slot_best = _best_of_word(table, words[word])
        word += one
        for _ in range(more):
            slot_best = max(slot_best, _best_of_word(table, words[word]))
            word += one
        total += slot_best
    return total


@numba.njit(inline="always", **COMPILED)
def _event_score(table, codes, clip):  # type: ignore[no-untyped-def]
    """The best look-up of a clip's events."""
    best = table[codes[clip, 0]]
    for event in range(1, codes.shape[1]):
        best = max(best, table[codes[clip, event]])
    return best


@numba.njit(parallel=True, **COMPILED)
def _both_scores(objects, events, words, starts, event_codes, rows, slots):  # type: ignore[no-untyped-def]
    """Object-phrase parts and event-sentence scores of some clips `[Q, N]`."""
    object_scores = np.empty((len(objects), len(rows)), dtype=np.float32)
    event_scores = np.empty((len(objects), len(rows)), dtype=np.float32)
    for place in numba.prange(len(rows)):
        for query in range(len(objects)):
            object_scores[query, place] = _object_score(objects[query], words, starts, rows[place], slots)
            event_scores[query, place] = _event_score(events[query], event_codes, rows[place])
    return object_scores, event_scores


@numba.njit(parallel=True, **COMPILED)
def _scan(  # type: ignore[no-untyped-def]
    objects, events, words, starts, event_codes, allowed, slots, least_total, least_event, count, threads
):
    """The best clips of each query, from each thread's share: scores and rows `[Q, threads, count]`.

    A query's tables stay in a core's second cache while it goes over a block of clips, and the block stays there
    for the next query. The block's event scores come first, without a branch; only the clips that can still get in
    have their object codes read.
    """
    clips, queries = len(allowed), len(objects)
    best = np.full((queries, threads, count), -np.inf, dtype=np.float32)
    places = np.full((queries, threads, count), -1, dtype=np.int64)
    for thread in numba.prange(threads):
        sizes = np.zeros(queries, dtype=np.int64)
        hopeful = np.empty(CLIPS_AT_ONCE, dtype=np.int64)
        event_scores = np.empty(CLIPS_AT_ONCE, dtype=np.float32)
        share, end = clips * thread // threads, clips * (thread + 1) // threads
        for begin in range(share, end, CLIPS_AT_ONCE):
            for query in range(queries):
                table, size, kept = objects[query], sizes[query], 0
                for clip in range(begin, min(begin + CLIPS_AT_ONCE, end)):
                    event_score = _event_score(events[query], event_codes, clip)
                    hopeful[kept], event_scores[kept] = clip, event_score
                    kept += allowed[clip] & (event_score >= least_event[query])
                for place in range(kept):
                    clip = hopeful[place]
                    total = event_scores[place] + _object_score(table, words, starts, clip, slots)
                    if total >= least_total[query] and (size < count or total > best[query, thread, 0]):
                        size = _push(best[query, thread], places[query, thread], size, total, clip)
                sizes[query] = size
    return best, places


@numba.njit(parallel=True, **COMPILED)
def _event_scores(sentence, event, scales, rows):  # type: ignore[no-untyped-def]
    """Best cosine of the sentence `[D]` with the 8-bit events of some clips `[N]`."""
    scores = np.empty(len(rows), dtype=np.float32)
    for place in numba.prange(len(rows)):
        row = rows[place]
        best = np.float32(-np.inf)
        for each in range(event.shape[1]):
            dot = np.float32(0)
            for component in range(event.shape[2]):
                dot += sentence[component] * np.float32(event[row, each, component])
            best = max(best, dot * scales[row, each])
        scores[place] = best
    return scores
