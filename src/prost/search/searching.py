"""From a sentence to hits: the clips that may be found, candidates among them, their exact scores, their moments."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from prost.errors import LibraryDamaged, PackDamaged
from prost.model.joint_scorer import JUDGED
from prost.model.matching import TextPrototypes
from prost.search.background import BEHIND, FEW, Background, BackgroundFile, UnrelatedTexts, score_unrelated
from prost.search.confidence import Confidence, FalseAlarms
from prost.search.exact import ClipScores
from prost.search.hits import Hit, Moment, SearchResult
from prost.search.joint import probability, reordered
from prost.search.moments import MomentRule, merge_moments, moment, relevance, winning_event
from prost.search.near_duplicates import collapse
from prost.search.packs import pack_folder
from prost.search.present import present
from prost.search.ranking import Ranked, rank
from prost.search.reading import places_of
from prost.search.records import VideoRow
from prost.search.request import INDEX, Request
from prost.search.snapshot import ClipSnapshot, StoredClip
from prost.search.store import Store
from prost.search.unrelated import COUNT
from prost.search.view import Sight, View, Views
from prost.video.subtitles import Cue

# Searches begun anew because a writer had replaced the files meanwhile, before the error is believed.
ATTEMPTS = 5
# Videos whose best moments decide which further moments of a hit are shown.
COMPARED = 10
Read = TypeVar("Read")


class Ranker(Protocol):
    """Who scores the clips of a library exactly that may be among the best: this process, or others."""

    def versions(self) -> tuple[int, int]:
        """The versions of videos and clips to search."""

    def rank(self, sight: Sight, request: Request) -> Ranked:
        """Scores of clips of `sight.view.snapshot`; at least one clip may be found."""

    def renew(self) -> None:
        """Search the latest versions from now on, since the files of older ones may be gone."""

    def close(self) -> None:
        """Let go of what the next search would take anew."""


class OwnRanker:
    """This process ranks, in the latest version.

    Args:
        store: the library.
    """

    def __init__(self, store: Store) -> None:
        self.versions = store.versions

    def rank(self, sight: Sight, request: Request) -> Ranked:
        """As `prost.search.ranking.rank`."""
        return rank(sight.view, request, sight.allowed)

    def renew(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Hits, the clips that each of them was made of, notes, and the fraction of the clips that was searched."""

    hits: list[Hit] = field(default_factory=list)
    clips: list[list[StoredClip]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    searched: float = 1.0


class Searcher:
    """Searches a library. What it has read stays in memory until the library changes. Threads may share it.

    Args:
        store: the library.
        memory: bytes of prototypes that may stay in memory.
        rule: for the start and end of moments.
        unrelated: sentences to compare with where the library stores no scores of them; None where there is no model.
        ranker: who scores the clips; None for this process.
    """

    def __init__(
        self,
        store: Store,
        memory: int,
        rule: MomentRule,
        unrelated: UnrelatedTexts | None,
        ranker: Ranker | None = None,
    ) -> None:
        self._store = store
        self._ranker = OwnRanker(store) if ranker is None else ranker
        self._unrelated = unrelated
        self._joint = None if unrelated is None else unrelated.joint
        self._background_file = BackgroundFile.of(store)
        self._background_lock = threading.Lock()
        # How far a stored background is behind a snapshot, and a background that was made for one.
        self._behind: tuple[Background, ClipSnapshot, float] | None = None
        self._made: tuple[ClipSnapshot, Background] | None = None
        self._rule = rule
        self._views = Views(store, pack_folder(store), memory)

    def forget(self) -> None:
        """Free the memory."""
        self._views.forget()
        self._ranker.close()
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
            asked = replace(request, limit=wanted)
            found = self._retried(lambda asked=asked: self._found(asked))  # type: ignore[misc]
            kept = found.hits if request.all_duplicates else collapse(found.hits, found.clips)
            enough = request.all_duplicates or len(kept) >= request.limit or len(found.hits) < wanted
            if enough:
                confidence = _best_confidence(
                    found.hits, filtered=request.where is not None, partly=found.searched < 1
                )
                return SearchResult(kept[: request.limit], found.notes, confidence, found.searched)
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
            view = self._look(None).view
            rows = view.snapshot.clips_of(content)
            return view.snapshot.stored_clips(rows, view.reader()) if len(rows) else []

        return self._retried(read)

    def _moments_at(self, request: Request, spans: Sequence[tuple[str, float, float]]) -> list[Moment | None]:
        view = self._look(None).view
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
        there = present([video, *(row for row in rows if row.path != video.path)])
        first = there or video
        return Hit(
            video=first,
            moments=tuple(moments),
            copies=tuple(row.path for row in rows if row.path != first.path),
            missing=there is None,
            sources=sources,
            words=words,
        )

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
            self._ranker.renew()
        return read()

    def _is_behind(self) -> bool:
        """Whether the library has changed since a search looked at it."""
        return self._views.seen() != self._store.versions()

    def _found(self, request: Request) -> _Found:
        joint = self._joint if request.joint else None
        sight = self._look(request.where, request.coarse == INDEX)
        if not sight.allowed.any():
            return _Found()
        compared = max(request.limit, COMPARED)
        judged = compared if joint is None else max(compared, JUDGED)
        ranked = self._ranker.rank(sight, replace(request, limit=judged))
        view, ranking, notes = sight.view, ranked.ranking, ranked.notes
        if not len(ranking.rows):
            return _Found(notes=notes, searched=ranked.searched)
        snapshot, scores = view.snapshot, ranking.scores
        false_alarms = self._false_alarms(view, request, notes) if request.with_confidence else None
        profile = None
        if false_alarms is not None and false_alarms.profiles is not None:
            profile = view.profile(request, ranking)
        best = _best_videos(snapshot.content_of[ranking.rows], judged)
        # Moments are shown that score as well as the best ones of so many videos, whether these are shown or not. The
        # moments of a single video have nothing to be compared with.
        worth = scores.total[best[:COMPARED][-1][1][0]] if len(best) > 1 else -math.inf
        logits: NDArray[np.float64] | None = None
        if joint is not None:
            firsts = ranking.rows[[found[0] for _, found in best]]
            logits = joint.of_clips(request.text, snapshot.prototypes(firsts, view.reader()))[0]
            order = reordered(logits)[: request.limit]
            best, logits = [best[place] for place in order], logits[order]
        best = best[: request.limit]
        contents = [snapshot.contents[content].as_py() for content, _ in best]
        owners = sight.findable.owners(contents, sight.places)
        members = [
            self._members(
                request, owners[content][0], found[scores.total[found] >= min(worth, scores.total[found[0]])]
            )
            for content, (_, found) in zip(contents, best, strict=True)
        ]
        stored = snapshot.stored_clips(ranking.rows[np.concatenate(members)], view.reader())
        hits: list[Hit] = []
        clips_of_hits: list[list[StoredClip]] = []
        for place, (content, found) in enumerate(zip(contents, members, strict=True)):
            clips, stored = stored[: len(found)], stored[len(found) :]
            clips_of_hits.append(clips)
            moments = [
                self._moment(clip, request.text, scores, member)
                for clip, member in zip(clips, found, strict=True)
            ]
            # One stat a hit: copies are looked at only where the file is gone or another one.
            video = present(owners[content])
            first = video or owners[content][0]
            merged = tuple(merge_moments(moments, request.per_video, self._rule))
            logit = None if logits is None else float(logits[place])
            judged_by = merged[0].score if logit is None else logit
            hits.append(
                Hit(
                    video=first,
                    moments=merged,
                    confidence=None
                    if false_alarms is None
                    else false_alarms.confidence(judged_by, request.words, profile),
                    copies=tuple(row.path for row in owners[content] if row is not first),
                    missing=video is None,
                    joint_score=None if logit is None else probability(logit),
                )
            )
        return _Found(hits=hits, clips=clips_of_hits, notes=notes, searched=ranked.searched)

    def _look(self, where: str | None, with_index: bool = False) -> Sight:
        return self._views.look(self._ranker.versions(), where, with_index)

    def _false_alarms(self, view: View, request: Request, notes: list[str]) -> FalseAlarms | None:
        """What the scores of hits, or their logits, are compared with; None, with a note, where there is nothing."""
        joint = self._joint if request.joint else None
        with self._background_lock:
            try:
                stored = None if self._background_file is None else self._background_file.read()
            except PackDamaged as damage:
                notes.append(f"{damage.arrived}; try: prost optimize")
                stored = None
            if stored is not None and stored.made_with(request.object_phrase_weight, joint):
                known = self._behind
                if known is None or known[0] is not stored or known[1] is not view.snapshot:
                    self._behind = known = stored, view.snapshot, stored.behind(view.snapshot)
                if known[2] <= BEHIND:
                    return stored.false_alarms if joint is None else stored.joint_false_alarms
            made = self._made
            if (
                made is None
                or made[0] is not view.snapshot
                or not made[1].made_with(request.object_phrase_weight, joint)
            ):
                self._made = None
                background = None
                if self._unrelated is not None:
                    background = score_unrelated(
                        self._unrelated.encode(FEW),
                        view.snapshot,
                        view.opened,
                        request.object_phrase_weight,
                        joint,
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
            return made[1].false_alarms if joint is None else made[1].joint_false_alarms

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
        curve = relevance(phrase, clip.object, clip.event_attention[winner], self._rule)
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


def _best_confidence(hits: Sequence[Hit], *, filtered: bool, partly: bool) -> Confidence | None:
    """The confidence of the hit that fits best; None where no hit has one."""
    known = [hit.confidence for hit in hits if hit.confidence is not None]
    if not known:
        return None
    best = min(known, key=lambda each: each.false_alarm_rate)
    return replace(best, of_best=True, filtered=filtered, partly=partly)


def _best_videos(content_of: NDArray[np.integer], limit: int) -> list[tuple[int, NDArray[np.intp]]]:
    """Contents in the order of their best clips, each with the places of its clips, best first."""
    contents, first = np.unique(content_of, return_index=True)
    best = contents[np.argsort(first)][:limit]
    return [(int(content), np.flatnonzero(content_of == content)) for content in best]
