"""Exact scores of the clips that may be among the best, of a whole library or of one part of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prost.printable import counted
from prost.search.candidates import Candidates
from prost.search.coding import SCAN_FROM
from prost.search.request import EXACT, INDEX, SCAN, Request
from prost.search.rerank import CANDIDATES, Ranking, Reranking
from prost.search.snapshot import ClipSnapshot
from prost.search.view import View, has_index


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Clips scored exactly, and what is to be said about it.

    Attributes:
        ranking: of clips of the snapshot, best first.
        uncoded: clips without codes, which were scored exactly.
        damaged: what is wrong with the codes, a line each.
        searched: fraction of the clips that was searched, from 0 to 1.
    """

    ranking: Ranking
    uncoded: int = 0
    damaged: tuple[str, ...] = ()
    searched: float = 1.0

    @property
    def notes(self) -> list[str]:
        """What the user should know, a line each."""
        notes = []
        if self.searched < 1:
            notes.append(
                f"the answer is partial: {percent(self.searched)} of the clips were searched, since a replica "
                "that owns others does not answer; search again in a while"
            )
        if self.damaged:
            notes.append(
                f"{'; '.join(self.damaged)}; clips without codes were scored exactly; try: prost optimize"
            )
        elif self.uncoded > SCAN_FROM:
            clips = counted(self.uncoded, "clip has no codes yet and was", "clips have no codes yet and were")
            notes.append(f"{clips} scored exactly; try: prost optimize")
        return notes


def rank(view: View, request: Request, allowed: NDArray[np.bool_]) -> Ranked:
    """Exact scores of the clips that may be among the best, best first.

    Args:
        view: the clips.
        request: the search.
        allowed: the clips that may be found `[n]`.

    Raises:
        NotCoded: it asks for codes or an index that the library does not have.
    """
    coarse = request.coarse or default_coarse(view)
    if coarse == EXACT:
        return Ranked(ranking=_exact(view.snapshot, request, np.flatnonzero(allowed)))
    if view.damaged and view.opened is None:
        ranking = _exact(view.snapshot, request, np.flatnonzero(allowed))
        return Ranked(ranking=ranking, damaged=view.damaged)
    if coarse == INDEX and view.damaged and not has_index(view.opened):
        coarse = SCAN
    unknown = np.flatnonzero(allowed & ~view.shortlist(coarse).covered)
    rankings = _rankings(view, coarse, request, allowed)
    if len(unknown):
        rankings.append(_exact(view.snapshot, request, unknown))
    return Ranked(ranking=Ranking.joined(rankings), uncoded=len(unknown), damaged=view.damaged)


def warm(view: View) -> None:
    """Do now what the first search would wait for."""
    if default_coarse(view) == SCAN:
        view.shortlist(SCAN)
        view.reader()
    else:
        view.snapshot.keep()


def percent(fraction: float) -> str:
    """A fraction in whole percents; 100 % only if it is all, 0 % only if it is nothing.

    >>> percent(0.999), percent(0.25), percent(0.001)
    ('99 %', '25 %', '1 %')
    """
    if fraction in (0, 1):
        return f"{100 * fraction:.0f} %"
    return f"{min(max(round(100 * fraction), 1), 99)} %"


def default_coarse(view: View) -> str:
    """How candidates are chosen where the search does not say: by the size of the whole library."""
    return SCAN if view.snapshot.whole >= SCAN_FROM and view.opened else EXACT


def _rankings(view: View, coarse: str, request: Request, allowed: NDArray[np.bool_]) -> list[Ranking]:
    """Exact scores of candidates among the allowed clips that `coarse` covers, until they hold enough videos.

    One long video can fill the list of candidates. The videos found so far are then left out of the next list.
    """
    content_of = view.snapshot.content_of
    shortlist = view.shortlist(coarse)
    left = allowed & shortlist.covered
    rankings: list[Ranking] = []
    found = np.empty(0, dtype=content_of.dtype)
    while len(found) < request.limit and left.any():
        count = max(CANDIDATES, request.limit)
        candidates = shortlist.find(
            request.text, request.object_phrase_weight, count, None if left.all() else left
        )
        if len(candidates) == 0:
            # An index need not reach the clips that a filter leaves. What the scan cannot reach is scored exactly.
            scanned = left & view.shortlist(SCAN).covered if coarse == INDEX else np.zeros_like(left)
            if scanned.any():
                rankings += _rankings(view, SCAN, request, scanned)
            if (left & ~scanned).any():
                rankings.append(_exact(view.snapshot, request, np.flatnonzero(left & ~scanned)))
            break
        ranking = _reranked(view, candidates, request, request.limit - len(found))
        rankings.append(ranking)
        found = np.union1d(found, content_of[ranking.rows])
        if len(found) < request.limit:
            left = left & ~np.isin(content_of, found)
    return rankings


def _exact(snapshot: ClipSnapshot, request: Request, rows: NDArray[np.int64]) -> Ranking:
    """Exact scores of some clips."""
    return Ranking.of(rows, snapshot.score(request.text, rows, request.object_phrase_weight))


def _reranked(view: View, candidates: Candidates, request: Request, videos: int) -> Ranking:
    """Exact scores of candidates, until the best of them hold `videos` videos or all are scored."""
    reranking = Reranking(request.text, candidates, view.reader().read, request.object_phrase_weight)
    wanted = videos
    while True:
        ranking = reranking.rank(wanted, request.recall)
        if reranking.finished:
            return ranking
        first_of_each = np.sort(np.unique(view.snapshot.content_of[ranking.rows], return_index=True)[1])
        # The last wanted video comes with its first clip, so the ranking has to be right up to there.
        needed = int(first_of_each[videos - 1]) + 1 if len(first_of_each) >= videos else 2 * len(ranking.rows)
        if needed <= wanted:
            return ranking
        wanted = needed
