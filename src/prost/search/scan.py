"""The scan: both scores of every clip, approximately, by look-ups alone.

Object-phrase matching takes the maximum over phrases before anything is summed. With a table of each centroid's best
cosine with a query's phrases, `m[c] = max_p <phr_p, c>`, the score of a clip is

    op ~= 1/N_o sum_o max_l m[code(l, o)]        es ~= max_e s[code(e)]

without a matrix product a clip and without the phrases. Of a slot only its *different* codes are kept, four to a
64-bit word: frames that look alike cost nothing, and a slot of twelve frames is three loads. The clips that the two
tables like best have their event score computed again from 8-bit event prototypes (`refine`), because a code says
little about a single vector; the best of those go on to the exact formula (`prost.search.rerank`).
"""

from __future__ import annotations

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
    tables: QueryTables, clips: CodedClips, count: int, allowed: NDArray[np.bool_] | None = None
) -> list[Candidates]:
    """The clips with the largest approximate similarity, for each of Q sentences in one pass.

    Args:
        tables: of the sentences.
        clips: of the library, or a part of it.
        count: clips to keep for each sentence; fewer are returned where there are fewer.
        allowed: `[n]`, which clips may be found; None for all.
    """
    count = min(count, len(clips))
    if count < 1:
        return [Candidates(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in range(len(tables))]
    scores, places = _scan(
        tables.object * np.float32(tables.object_phrase_weight / clips.slots),
        tables.event,
        clips.words,
        clips.starts,
        clips.event_codes,
        np.ones(len(clips), dtype=bool) if allowed is None else allowed,
        clips.slots,
        count,
        numba.get_num_threads(),
    )
    found = []
    for query in range(len(tables)):
        there = places[query] >= 0  # a thread may have had fewer clips
        found.append(Candidates.best(places[query][there], scores[query][there], count))
    return found


def refine(tables: QueryTables, clips: CodedClips, candidates: Sequence[Candidates]) -> list[Candidates]:
    """Candidates of each sentence, with event-sentence scores from 8-bit event prototypes instead of codes."""
    refined = []
    for query, found in enumerate(candidates):
        coarse = tables.event[query][clips.event_codes[found.rows]].max(axis=1)
        fine = _event_scores(tables.sentence[query], clips.event, clips.event_scales, found.rows)
        refined.append(Candidates.best(found.rows, found.scores - coarse + fine, len(found)))
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


@numba.njit(parallel=True, **COMPILED)
def _scan(objects, events, words, starts, event_codes, allowed, slots, count, threads):  # type: ignore[no-untyped-def]
    """The best clips of each query, from each thread's share: scores and rows `[Q, threads, count]`.

    A query's tables stay in a core's second cache while it goes over a block of clips, and the block stays there
    for the next query. Indices are unsigned, since a signed one costs a test for negative numbers.
    """
    clips, queries, one = len(allowed), len(objects), np.uint64(1)
    best = np.full((queries, threads, count), -np.inf, dtype=np.float32)
    places = np.full((queries, threads, count), -1, dtype=np.int64)
    for thread in numba.prange(threads):
        sizes = np.zeros(queries, dtype=np.int64)
        share, end = clips * thread // threads, clips * (thread + 1) // threads
        for begin in range(share, end, CLIPS_AT_ONCE):
            for query in range(queries):
                table, size = objects[query], sizes[query]
                for clip in range(begin, min(begin + CLIPS_AT_ONCE, end)):
                    if not allowed[clip]:
                        continue
                    word = np.uint64(starts[clip])
                    more = (starts[clip + 1] - starts[clip]) // slots - 1
                    total = np.float32(0)
                    for _ in range(slots):
                        slot_best = _best_of_word(table, words[word])
                        word += one
                        for _ in range(more):
                            slot_best = max(slot_best, _best_of_word(table, words[word]))
                            word += one
                        total += slot_best
                    event_best = events[query, event_codes[clip, 0]]
                    for event in range(1, event_codes.shape[1]):
                        event_best = max(event_best, events[query, event_codes[clip, event]])
                    total += event_best
                    if size < count or total > best[query, thread, 0]:
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
