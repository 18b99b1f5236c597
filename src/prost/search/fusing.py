"""Two rankings of videos, by picture and by words, made one by reciprocal rank fusion.

Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods",
SIGIR 2009: the score of a video is the sum over the rankings of 1 / (k + rank), with k = 60. Scores of pictures
(cosines) and of words (BM25) cannot be compared; ranks can.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from prost.errors import LibraryDamaged, UsageError
from prost.search.hits import PICTURE, WORDS, Hit, Moment, SearchResult
from prost.search.moments import MOMENT_RULE
from prost.search.request import Request
from prost.search.searching import Searcher
from prost.search.store import Store
from prost.search.words import FoundWords, find_words
from prost.video.subtitles import Cue

SOURCES = (PICTURE, WORDS)
K = 60
# Each ranking is read to this depth, in multiples of the hits wanted and at least so many videos.
DEPTH = 3
LEAST_DEPTH = 50


def reciprocal_rank_fusion(rankings: Sequence[Sequence[str]]) -> list[str]:
    """One ranking out of several, best first; ties keep the order of the first ranking.

    >>> reciprocal_rank_fusion([["a", "b", "c"], ["c", "d"]])
    ['c', 'a', 'b', 'd']
    """
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (K + rank)
    return sorted(scores, key=lambda item: -scores[item])


def search_sources(
    searcher: Searcher, store: Store, request: Request, query: str, sources: Sequence[str]
) -> SearchResult:
    """Search by pictures, by words, or by both. Where no words fit, the answer is that of the pictures.

    Args:
        searcher: of the library, by pictures.
        store: the library.
        request: the search by pictures.
        query: the sentence.
        sources: `picture`, `words`, or both.

    Raises:
        UsageError: an unknown source, or none.
        BadFilter: `where` cannot be read.
    """
    if not sources or set(sources) - set(SOURCES):
        raise UsageError(f"sources {list(sources)}", "picture, words, or both")
    depth = max(DEPTH * request.limit, LEAST_DEPTH)
    notes: list[str] = []
    found: list[FoundWords] = []
    if WORDS in sources:
        try:
            found = find_words(store, query, videos=depth, where=request.where)
        except LibraryDamaged as damage:
            notes.append(f"words were not searched: {damage.arrived}; `prost index` reads them again")
    if not found:
        result = searcher.search(request) if PICTURE in sources else SearchResult()
        return SearchResult(result, [*result.notes, *notes], result.confidence, result.searched)
    pictured = searcher.search(replace(request, limit=depth)) if PICTURE in sources else SearchResult()
    return SearchResult(
        _fused(searcher, request, pictured, found)[: request.limit],
        [*pictured.notes, *notes],
        pictured.confidence,
        pictured.searched,
    )


def _fused(
    searcher: Searcher, request: Request, pictured: Sequence[Hit], found: Sequence[FoundWords]
) -> list[Hit]:
    by_picture = {hit.path: hit for hit in pictured}
    # Copies and other versions of a film are one hit, whichever of the files has the words.
    owner = {path: hit.path for hit in pictured for path in (*hit.copies, *hit.near_duplicates, hit.path)}
    by_words: dict[str, FoundWords] = {}
    contents: dict[str | None, str] = {}
    for each in found:
        first = contents.setdefault(each.video.content, each.video.path)
        by_words.setdefault(owner.get(each.video.path, owner.get(first, first)), each)
    rankings = [list(by_picture), list(by_words)]
    order = reciprocal_rank_fusion(rankings)[: request.limit]
    moments = _moments(searcher, request, [by_words[path] for path in order if path in by_words])
    places = {path: place for ranking in rankings[1:] for place, path in enumerate(ranking)}
    hits = []
    for path in order:
        hit, words = by_picture.get(path), by_words.get(path)
        if words is None:
            assert hit is not None
            hits.append(hit)
            continue
        spoken, cues = moments[words.video.path], words.cues[: request.per_video]
        if hit is None:
            if spoken:
                hits.append(searcher.hit_of(words.video, spoken, request.where, (WORDS,), cues))
            continue
        words_first = places[path] < list(by_picture).index(path)
        both = [*spoken, *hit.moments] if words_first else [*hit.moments, *spoken]
        hits.append(replace(hit, moments=tuple(_apart(both)), sources=SOURCES, words=cues))
    return hits


def _moments(searcher: Searcher, request: Request, found: Sequence[FoundWords]) -> dict[str, list[Moment]]:
    """The moments at which the words of each video are shown, by the video's path."""
    spans = [
        (words.video.content or "", *_shown_at(cue, words.video.duration))
        for words in found
        for cue in words.cues[: request.per_video]
    ]
    moments = iter(searcher.moments_at(request, spans))
    return {
        words.video.path: [
            moment for _ in words.cues[: request.per_video] if (moment := next(moments)) is not None
        ]
        for words in found
    }


def _shown_at(cue: Cue, duration: float | None) -> tuple[float, float]:
    """Start and end of the moment at which a cue is shown, within its video.

    Subtitles made for a longer cut go on beyond the end; such words stand at the end of the video.
    """
    if not duration:
        return cue.start, cue.end
    last = max(0.0, duration - MOMENT_RULE.shortest)
    return cue.start if cue.start < duration else last, min(cue.end, duration)


def _apart(moments: Sequence[Moment]) -> list[Moment]:
    """The moments without those that lie inside an earlier one."""
    kept: list[Moment] = []
    for moment in moments:
        if not any(
            before.start <= moment.start + math.ulp(1.0) and moment.end <= before.end for before in kept
        ):
            kept.append(moment)
    return kept
