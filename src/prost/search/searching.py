"""From a sentence to hits: the clips that may be found, candidates among them, their exact scores, their moments."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from prost.errors import LibraryDamaged, NotCoded, PackDamaged, UsageError
from prost.model.matching import TextPrototypes
from prost.search.background import (
    BEHIND,
    FEW,
    Background,
    BackgroundFile,
    UnrelatedTexts,
    profile_rows,
    score_unrelated,
)
from prost.search.candidates import Candidates
from prost.search.coding import SCAN_FROM
from prost.search.confidence import Confidence, FalseAlarms, Profile
from prost.search.exact import ClipPrototypes, ClipScores, total_scores
from prost.search.findable import FindableVideos
from prost.search.fragments import RowReader
from prost.search.hits import Hit, Moment, SearchResult
from prost.search.moments import MomentRule, merge_moments, moment, relevance, winning_event
from prost.search.near_duplicates import collapse
from prost.search.packs import Current, pack_folder
from prost.search.reading import places_of
from prost.search.records import VideoRow
from prost.search.rerank import CANDIDATES, RECALL, Ranking, Reranking
from prost.search.shortlist import OpenedPacks, Shortlist, open_packs
from prost.search.snapshot import ClipSnapshot, StoredClip
from prost.search.store import Store
from prost.search.unrelated import COUNT
from prost.video.subtitles import Cue

SCAN, INDEX, EXACT = "scan", "index", "exact"
# Searches begun anew because a writer had replaced the files meanwhile, before the error is believed.
ATTEMPTS = 5
COARSE = (SCAN, INDEX, EXACT)
Read = TypeVar("Read")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to search for.

    Attributes:
        text: prototypes of one sentence, on the CPU.
        object_phrase_weight: of the model's configuration.
        limit: hits at most.
        per_video: moments of a hit at most.
        where: an expression over the videos.
        coarse: how candidates are chosen; None chooses what suits the library.
        recall: expected fraction of the best clips that is found.
        all_duplicates: whether files that show the film of a better hit are hits as well.
        with_confidence: whether the scores of hits are compared with those of unrelated sentences.
    """

    text: TextPrototypes
    object_phrase_weight: float
    limit: int
    per_video: int
    where: str | None = None
    coarse: str | None = None
    recall: float = RECALL
    all_duplicates: bool = False
    with_confidence: bool = True

    def __post_init__(self) -> None:
        for name, value in (("limit", self.limit), ("per_video", self.per_video)):
            if value < 1:
                raise UsageError(f"{name} {value}", "1 or more")
        if self.coarse is not None and self.coarse not in COARSE:
            raise UsageError(f"coarse {self.coarse!r}", "scan, index or exact", "leave it out")
        if not 0 < self.recall <= 1:
            raise UsageError(f"recall {self.recall:g}", "above 0, at most 1")


@dataclass(kw_only=True)
class View:
    """One version of the clips, and what is derived from it.

    Attributes:
        snapshot: of the clips.
        current: what `current.json` named.
        opened: the files; None if none were made yet, or all are damaged.
        damaged: what is wrong with them, a line each.
    """

    snapshot: ClipSnapshot
    current: Current | None
    opened: OpenedPacks | None
    damaged: tuple[str, ...]
    _shortlists: dict[str, Shortlist] = field(default_factory=dict)
    _reader: RowReader | None = None
    _profiled: ClipPrototypes | None = None

    def shortlist(self, coarse: str) -> Shortlist:
        """A way to choose candidates.

        Raises:
            NotCoded: the library lacks what it needs.
        """
        if self.opened is None:
            raise NotCoded("the library has no codes", "coarse='exact'", "prost optimize")
        if coarse not in self._shortlists:
            self._shortlists[coarse] = self.opened.shortlist(self.snapshot.rows, coarse)
        return self._shortlists[coarse]

    def reader(self) -> RowReader:
        """A reader of the prototypes of single clips."""
        if self._reader is None:
            self._reader = self.snapshot.reader(self.opened.pages if self.opened else {})
        return self._reader

    def profile(self, request: Request, ranking: Ranking) -> Profile | None:
        """How the sentence scores over the library, whatever the filter.

        Args:
            request: the search.
            ranking: exact scores of some clips; if they are all, no others are computed.
        """
        rows = profile_rows(self.snapshot)
        if len(ranking.rows) == len(self.snapshot):
            return Profile.of(ranking.scores.total[np.argsort(ranking.rows)][rows])
        if self._profiled is None:
            self._profiled = self.reader().read(rows)
        scores = total_scores(request.text, self._profiled, request.object_phrase_weight)[0]
        return Profile.of(scores)


class Searcher:
    """Searches a library. What it has read stays in memory until the library changes. Threads may share it.

    Args:
        store: the library.
        memory: bytes of prototypes that may stay in memory.
        rule: for the start and end of moments.
        unrelated: sentences to compare with where the library stores no scores of them; None where there is no model.
    """

    def __init__(self, store: Store, memory: int, rule: MomentRule, unrelated: UnrelatedTexts | None) -> None:
        self._store = store
        self._unrelated = unrelated
        self._background_file = BackgroundFile.of(store)
        self._background_lock = threading.Lock()
        # How far a stored background is behind a snapshot, and a background that was made for one.
        self._behind: tuple[Background, ClipSnapshot, float] | None = None
        self._made: tuple[ClipSnapshot, Background] | None = None
        self._memory = memory
        self._rule = rule
        self._packs = pack_folder(store)
        self._lock = threading.Lock()
        self._findable: FindableVideos | None = None
        self._view: View | None = None
        # Videos and clips that may be found without a filter, for one version of the videos and one of the clips.
        self._all: tuple[FindableVideos, ClipSnapshot, NDArray[np.int64], NDArray[np.bool_]] | None = None

    def forget(self) -> None:
        """Free the memory."""
        with self._lock:
            self._findable, self._view, self._all = None, None, None
        with self._background_lock:
            self._behind, self._made = None, None

    def search(self, request: Request) -> SearchResult:
        """Find videos and their moments.

        Raises:
            BadFilter: `where` cannot be read.
            NotCoded: `coarse` asks for codes or an index that the library does not have.
            LibraryDamaged: the tables cannot be read.
            StorageError: the disk refuses.
        """
        wanted = request.limit
        while True:
            hits, clips, notes = self._current(replace(request, limit=wanted))
            confidence = _best_confidence(hits, filtered=request.where is not None)
            if request.all_duplicates:
                return SearchResult(hits, notes, confidence)
            kept = collapse(hits, clips)
            if len(kept) >= request.limit or len(hits) < wanted:
                return SearchResult(kept[: request.limit], notes, confidence)
            wanted *= 2  # near-duplicates took places that belong to other videos

    def moments_at(self, request: Request, spans: Sequence[tuple[str, float, float]]) -> list[Moment | None]:
        """Stretches of videos as moments, with the exact scores of the clips that they lie in.

        Args:
            request: the search; its filter is not applied.
            spans: content, start and end in seconds.

        Returns:
            a moment for each; None where the content has no clips.
        """
        return self._retried(lambda: self._moments_at(request, spans))

    def clips_of(self, content: str) -> list[StoredClip]:
        """All clips of a content, in the order of time; none where the library does not have it.

        Raises:
            LibraryDamaged: the tables cannot be read.
            StorageError: the disk refuses.
        """

        def read() -> list[StoredClip]:
            _, _, view, _ = self._look(None)
            rows = view.snapshot.clips_of(content)
            return view.snapshot.stored_clips(rows, view.reader()) if len(rows) else []

        return self._retried(read)

    def _moments_at(self, request: Request, spans: Sequence[tuple[str, float, float]]) -> list[Moment | None]:
        _, _, view, _ = self._look(None)
        snapshot = view.snapshot
        tiles = [snapshot.clips_at(*span) for span in spans]
        rows = np.unique(np.concatenate(tiles)) if tiles else np.empty(0, dtype=np.intp)
        if not len(rows):
            return [None] * len(spans)
        scores = snapshot.score(request.text, rows, request.object_phrase_weight)
        clips = snapshot.stored_clips(rows, view.reader())
        moments: list[Moment | None] = []
        for found, (_, start, end) in zip(tiles, spans, strict=True):
            if not len(found):
                moments.append(None)
                continue
            indices = np.searchsorted(rows, found)
            index = indices[np.argmax(scores.total[indices])]
            times = clips[index].frame_times
            moments.append(
                replace(
                    self._moment(clips[index], request.text, scores, index),
                    start=start,
                    end=end,
                    frame_time=float(times[np.argmin(np.abs(times - (start + end) / 2))]),
                )
            )
        return moments

    def hit_of(
        self,
        video: VideoRow,
        moments: Sequence[Moment],
        where: str | None,
        sources: tuple[str, ...],
        words: tuple[Cue, ...],
    ) -> Hit:
        """A hit of a video that something else than its pictures has found."""
        condition = f"content = '{video.content}' AND status = 'indexed'"
        rows = self._store.read_videos(condition if where is None else f"({where}) AND {condition}")
        there = next((row for row in rows if os.path.exists(row.path)), None)
        first = there or video
        return Hit(
            video=first,
            moments=tuple(moments),
            copies=tuple(row.path for row in rows if row.path != first.path),
            missing=there is None,
            sources=sources,
            words=words,
        )

    def _current(self, request: Request) -> tuple[list[Hit], list[list[StoredClip]], list[str]]:
        """As `_found`, of a version of the library whose files are still there."""
        return self._retried(lambda: self._found(request))

    def _retried(self, read: Callable[[], Read]) -> Read:
        """What `read` returns, of a version of the library whose files are still there."""
        for _ in range(ATTEMPTS):
            try:
                return read()
            except LibraryDamaged:
                if not self._is_behind():
                    raise
            # A writer has replaced the files that this search was reading.
            self.forget()
        return read()

    def _is_behind(self) -> bool:
        """Whether the library has changed since a search looked at it."""
        with self._lock:
            seen = (self._findable and self._findable.version, self._view and self._view.snapshot.version)
        return seen != self._store.versions()

    def _found(self, request: Request) -> tuple[list[Hit], list[list[StoredClip]], list[str]]:
        """Hits, the clips that each of them was made of, and notes."""
        findable, places, view, allowed = self._look(request.where, request.coarse == INDEX)
        notes: list[str] = []
        if not allowed.any():
            return [], [], notes
        ranking = self._ranked(view, request, allowed, notes)
        snapshot, scores = view.snapshot, ranking.scores
        false_alarms = self._false_alarms(view, request, notes) if request.with_confidence else None
        profile = None
        if false_alarms is not None and false_alarms.profiles is not None:
            profile = view.profile(request, ranking)
        best = _best_videos(snapshot.content_of[ranking.rows], request.limit)
        last_score = scores.total[best[-1][1][0]]
        contents = [snapshot.contents[content].as_py() for content, _ in best]
        owners = findable.owners(contents, places)
        members = [
            self._members(request, owners[content][0], found[scores.total[found] >= last_score])
            for content, (_, found) in zip(contents, best, strict=True)
        ]
        stored = snapshot.stored_clips(ranking.rows[np.concatenate(members)], view.reader())
        hits: list[Hit] = []
        clips_of_hits: list[list[StoredClip]] = []
        for content, found in zip(contents, members, strict=True):
            clips, stored = stored[: len(found)], stored[len(found) :]
            clips_of_hits.append(clips)
            moments = [
                self._moment(clip, request.text, scores, place)
                for clip, place in zip(clips, found, strict=True)
            ]
            # One stat a hit: copies are looked at only where the file is gone.
            video = next((row for row in owners[content] if os.path.exists(row.path)), None)
            first = video or owners[content][0]
            merged = tuple(merge_moments(moments, request.per_video, self._rule))
            hits.append(
                Hit(
                    video=first,
                    moments=merged,
                    confidence=None
                    if false_alarms is None
                    else false_alarms.confidence(merged[0].score, profile),
                    copies=tuple(row.path for row in owners[content] if row is not first),
                    missing=video is None,
                )
            )
        return hits, clips_of_hits, notes

    def _look(
        self, where: str | None, with_index: bool = False
    ) -> tuple[FindableVideos, NDArray[np.int64], View, NDArray[np.bool_]]:
        """The latest versions, and the clips that may be found.

        The version of the videos is read first, because clips are committed before their video.
        """
        with self._lock:
            videos, clips = self._store.versions()
            if self._findable is None or self._findable.version != videos:
                self._findable = FindableVideos(self._store)
            view = self._latest_view(clips, with_index)
            findable, snapshot = self._findable, view.snapshot
            if where is None:
                if self._all is None or self._all[0] is not findable or self._all[1] is not snapshot:
                    places = findable.matching()
                    self._all = (findable, snapshot, places, _owned(findable, snapshot, places))
                return findable, self._all[2], view, self._all[3]
        places = findable.matching(where)
        return findable, places, view, _owned(findable, snapshot, places)

    def _latest_view(self, version: int, with_index: bool) -> View:
        damaged: tuple[str, ...] = ()
        current, opened = None, None
        try:
            current = self._packs.current()
        except PackDamaged as damage:
            damaged = (damage.arrived,)
        if (
            self._view is not None
            and not self._view.damaged  # a file that was made again may have the same name
            and (self._view.snapshot.version, self._view.current) == (version, current)
            and (not with_index or current is None or current.index is None or _has_index(self._view.opened))
            and self._packs.unchanged()
        ):
            return self._view
        snapshot = self._view.snapshot if self._view is not None else None
        self._view = None  # so that two versions need not fit in memory
        if snapshot is None or snapshot.version != version:
            snapshot = None
            snapshot = ClipSnapshot(self._store, self._memory)
        if current is not None:
            try:
                opened = open_packs(self._packs, with_index=with_index)
            except PackDamaged as damage:
                damaged = (damage.arrived,)
        if opened is not None:
            damaged = opened.damaged
            current = opened.current
        self._view = View(snapshot=snapshot, current=current, opened=opened, damaged=damaged)
        return self._view

    def _ranked(self, view: View, request: Request, allowed: NDArray[np.bool_], notes: list[str]) -> Ranking:
        """Exact scores of the clips that may be among the best, best first."""
        coarse = request.coarse or (SCAN if len(view.snapshot) >= SCAN_FROM and view.opened else EXACT)
        if view.damaged and coarse != EXACT:
            notes.append(
                f"{'; '.join(view.damaged)}; clips without codes were scored exactly; try: prost optimize"
            )
        if coarse == EXACT or (view.damaged and view.opened is None):
            return _exact(view.snapshot, request, np.flatnonzero(allowed))
        if coarse == INDEX and view.damaged and not _has_index(view.opened):
            coarse = SCAN
        unknown = np.flatnonzero(allowed & ~view.shortlist(coarse).covered)
        if len(unknown) > SCAN_FROM and not view.damaged:
            notes.append(
                f"{len(unknown)} clips have no codes yet and were scored exactly; try: prost optimize"
            )
        rankings = self._rankings(view, coarse, request, allowed)
        if len(unknown):
            rankings.append(_exact(view.snapshot, request, unknown))
        return Ranking.joined(rankings)

    def _rankings(
        self, view: View, coarse: str, request: Request, allowed: NDArray[np.bool_]
    ) -> list[Ranking]:
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
                    rankings += self._rankings(view, SCAN, request, scanned)
                if (left & ~scanned).any():
                    rankings.append(_exact(view.snapshot, request, np.flatnonzero(left & ~scanned)))
                break
            ranking = _reranked(view, candidates, request, request.limit - len(found))
            rankings.append(ranking)
            found = np.union1d(found, content_of[ranking.rows])
            if len(found) < request.limit:
                left = left & ~np.isin(content_of, found)
        return rankings

    def _false_alarms(self, view: View, request: Request, notes: list[str]) -> FalseAlarms | None:
        """What the scores of hits are compared with; None, with a note, where there is nothing."""
        with self._background_lock:
            try:
                stored = None if self._background_file is None else self._background_file.read()
            except PackDamaged as damage:
                notes.append(f"{damage.arrived}; try: prost optimize")
                stored = None
            if stored is not None and stored.object_phrase_weight == request.object_phrase_weight:
                known = self._behind
                if known is None or known[0] is not stored or known[1] is not view.snapshot:
                    self._behind = known = stored, view.snapshot, stored.behind(view.snapshot)
                if known[2] <= BEHIND:
                    return stored.false_alarms
            made = self._made
            if (
                made is None
                or made[0] is not view.snapshot
                or made[1].object_phrase_weight != request.object_phrase_weight
            ):
                self._made = None
                background = None
                if self._unrelated is not None:
                    background = score_unrelated(
                        self._unrelated.encode(FEW), view.snapshot, view.opened, request.object_phrase_weight
                    )
                if background is None:
                    notes.append("how well the hits fit is not known; try: prost optimize")
                    return None
                self._made = made = view.snapshot, background
            note = (
                f"how well the hits fit is estimated from {FEW} sentences, which were scored for this search"
            )
            if self._background_file is not None:
                note += f"; `prost optimize` stores the scores of {COUNT}"
            notes.append(note)
            return made[1].false_alarms

    def _members(self, request: Request, video: VideoRow, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """The clips of one video that its moments are made of, best first."""
        # Only clips that overlap can show the same moment, so this many are enough to have `per_video` left.
        settings = self._store.description.clips
        neighbours = 2 * (math.ceil(settings.overlap / (1 - settings.overlap)) + 1)
        tiles = len(places_of(video, settings.fit))
        return places[: request.per_video * (1 + neighbours) * tiles]

    def _moment(self, clip: StoredClip, text: TextPrototypes, scores: ClipScores, place: np.intp) -> Moment:
        phrase, sentence = text.phrase[0].numpy(), text.sentence[0].numpy()
        winner = winning_event(sentence, clip.event)
        curve = relevance(phrase, sentence, clip.object, clip.event_attention, winner, self._rule)
        start, end = moment(clip.frame_times, clip.start, clip.end, curve, self._rule)
        inside = (clip.frame_times >= start) & (clip.frame_times <= end)
        best = int(np.argmax(np.where(inside, curve, -np.inf)))
        return Moment(
            start=start,
            end=end,
            score=float(scores.total[place]),
            object_phrase=float(scores.object_phrase[place]),
            event_sentence=float(scores.event_sentence[place]),
            frame_time=float(clip.frame_times[best]),
            clip=clip.key,
            clip_start=float(clip.start),
            clip_end=float(clip.end),
        )


def _best_confidence(hits: Sequence[Hit], *, filtered: bool) -> Confidence | None:
    """The confidence of the hit that fits best; None where no hit has one."""
    known = [hit.confidence for hit in hits if hit.confidence is not None]
    if not known:
        return None
    return replace(min(known, key=lambda each: each.false_alarm_rate), of_best=True, filtered=filtered)


def _has_index(opened: OpenedPacks | None) -> bool:
    return opened is not None and opened.index is not None


def _owned(findable: FindableVideos, snapshot: ClipSnapshot, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which clips belong to one of some videos."""
    if not len(snapshot):
        return np.zeros(0, dtype=bool)
    return findable.owned(snapshot.contents, places)[snapshot.content_of]


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


def _best_videos(content_of: NDArray[np.integer], limit: int) -> list[tuple[int, NDArray[np.intp]]]:
    """Contents in the order of their best clips, each with the places of its clips, best first."""
    contents, first = np.unique(content_of, return_index=True)
    best = contents[np.argsort(first)][:limit]
    return [(int(content), np.flatnonzero(content_of == content)) for content in best]
