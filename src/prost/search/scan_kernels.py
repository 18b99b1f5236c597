"""The compiled loops of the scan.

Array arguments have the shapes of `QueryTables` and `CodedClips`; `objects` is a table of object-phrase scores that is
already multiplied by the weight and divided by the number of slots.

Kernels that run on several threads are called within `ONE_AT_A_TIME`: numba's workqueue threading layer ends the
process when two threads start such kernels at once, and with the other layers they would only compete for the cores.
"""

from __future__ import annotations

import threading
from typing import Any

import numba
import numpy as np

from prost.search.compiling import compiled

ONE_AT_A_TIME = threading.Lock()

thread_count = numba.get_num_threads

# Number of clips that all queries go over before the next clips are read from memory: about 70 kB of codes.
CLIPS_AT_ONCE = 256

COMPILED: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"contract", "reassoc", "nsz"},
    "error_model": "numpy",
}


@compiled(**COMPILED)
def _push(scores, rows, size, score, row):  # type: ignore[no-untyped-def]
    """Push a clip into a heap of the best clips and return the heap's size; the root is the worst of them.

    Clips arrive in the order of their rows, so the one that is already there is the better of two equal ones.
    """
    if size < len(scores):
        place = size
        while place > 0:
            parent = (place - 1) >> 1
            # A later row is worse, so it goes nearer to the root than an equal earlier one.
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


@compiled(inline="always", **COMPILED)
def _best_of_word(table, four):  # type: ignore[no-untyped-def]
    """The largest of four look-ups."""
    low, bits = np.uint64(0xFFFF), np.uint64(16)
    first, second = table[four & low], table[(four >> bits) & low]
    third, fourth = table[(four >> np.uint64(32)) & low], table[four >> np.uint64(48)]
    return max(max(first, second), max(third, fourth))


@compiled(inline="always", **COMPILED)
def _object_score(table, words, starts, clip, slots):  # type: ignore[no-untyped-def]
    """The sum over a clip's slots of the best look-up of each.

    Indices are unsigned because a signed index costs a test for negative numbers.
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


@compiled(inline="always", **COMPILED)
def _event_score(table, codes, clip):  # type: ignore[no-untyped-def]
    """The best look-up of a clip's events."""
    best = table[codes[clip, 0]]
    for event in range(1, codes.shape[1]):
        best = max(best, table[codes[clip, event]])
    return best


@compiled(parallel=True, **COMPILED)
def both_scores(objects, events, words, starts, event_codes, rows, slots):  # type: ignore[no-untyped-def]
    """Weighted object-phrase scores and event-sentence scores of some clips, each `[Q, N]`."""
    object_scores = np.empty((len(objects), len(rows)), dtype=np.float32)
    event_scores = np.empty((len(objects), len(rows)), dtype=np.float32)
    for place in numba.prange(len(rows)):
        for query in range(len(objects)):
            object_scores[query, place] = _object_score(objects[query], words, starts, rows[place], slots)
            event_scores[query, place] = _event_score(events[query], event_codes, rows[place])
    return object_scores, event_scores


@compiled(parallel=True, **COMPILED)
def best_clips(  # type: ignore[no-untyped-def]
    objects, events, words, starts, event_codes, allowed, slots, least_total, least_event, count, threads
):
    """The best clips of each query from each thread's part: scores and rows `[Q, threads, count]`, row -1 for none.

    The tables of a query stay in a core's second-level cache while it goes over a block of clips, and the block stays
    there for the next query. The event scores of the block come first, without a branch. Object codes are read only
    for the clips that can still be among the best.
    """
    clips, queries = len(allowed), len(objects)
    best = np.full((queries, threads, count), -np.inf, dtype=np.float32)
    places = np.full((queries, threads, count), -1, dtype=np.int64)
    for thread in numba.prange(threads):
        sizes = np.zeros(queries, dtype=np.int64)
        passed = np.empty(CLIPS_AT_ONCE, dtype=np.int64)
        event_scores = np.empty(CLIPS_AT_ONCE, dtype=np.float32)
        first, end = clips * thread // threads, clips * (thread + 1) // threads
        for begin in range(first, end, CLIPS_AT_ONCE):
            for query in range(queries):
                table, size, kept = objects[query], sizes[query], 0
                for clip in range(begin, min(begin + CLIPS_AT_ONCE, end)):
                    event_score = _event_score(events[query], event_codes, clip)
                    passed[kept], event_scores[kept] = clip, event_score
                    kept += allowed[clip] & (event_score >= least_event[query])
                for place in range(kept):
                    clip = passed[place]
                    total = event_scores[place] + _object_score(table, words, starts, clip, slots)
                    if total >= least_total[query] and (size < count or total > best[query, thread, 0]):
                        size = _push(best[query, thread], places[query, thread], size, total, clip)
                sizes[query] = size
    return best, places


@compiled(parallel=True, **COMPILED)
def fine_event_scores(sentence, event, scales, rows):  # type: ignore[no-untyped-def]
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


@compiled(nogil=True, error_model="numpy")
def inverse_lengths(codes):  # type: ignore[no-untyped-def]
    """One over the length of each row of `[n, D]` int8, 0 for zero rows; the codes are not copied to floats."""
    inverse = np.zeros(len(codes), dtype=np.float32)
    for row in range(len(codes)):
        square = np.int32(0)
        for component in range(codes.shape[1]):
            code = np.int32(codes[row, component])
            square += code * code
        if square > 0:
            inverse[row] = np.float32(1 / np.sqrt(square))
    return inverse
