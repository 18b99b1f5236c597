"""One version of a library, or of a part of it, as searches see it: its videos, its clips, its codes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from prost.errors import NotCoded, PackDamaged
from prost.search.background import profile_rows
from prost.search.confidence import Profile
from prost.search.exact import ClipPrototypes, total_scores
from prost.search.findable import FindableVideos
from prost.search.fragments import RowReader
from prost.search.packs import Current, PackFolder
from prost.search.parts import Part
from prost.search.request import Request
from prost.search.rerank import Ranking
from prost.search.shortlist import OpenedPacks, Shortlist, open_packs
from prost.search.snapshot import ClipSnapshot
from prost.search.store import Store


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
            how = "prost optimize --index hnsw" if coarse == "index" else "prost optimize"
            raise NotCoded("the library has no codes", "coarse='exact'", how)
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


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What one search may find.

    Attributes:
        findable: the videos.
        places: of the videos that may be found, among these.
        view: the clips.
        allowed: the clips that may be found `[n]`.
    """

    findable: FindableVideos
    places: NDArray[np.int64]
    view: View
    allowed: NDArray[np.bool_]


class Views:
    """What was read of a library stays in memory until another version is asked for. Threads may share it.

    Args:
        store: the library.
        packs: its packs.
        memory: bytes of prototypes that may stay in memory.
        part: the part of the clips that is seen; None for all.
    """

    def __init__(self, store: Store, packs: PackFolder, memory: int, part: Part | None = None) -> None:
        self._store, self._packs = store, packs
        self._memory, self._part = memory, part
        self._lock = threading.Lock()
        self._findable: FindableVideos | None = None
        self._view: View | None = None
        # What may be found without a filter, of one version of the videos and one of the clips.
        self._all: Sight | None = None

    def forget(self) -> None:
        """Free the memory."""
        with self._lock:
            self._findable, self._view, self._all = None, None, None

    def seen(self) -> tuple[int | None, int | None]:
        """The versions of videos and clips that are in memory."""
        with self._lock:
            findable, view = self._findable, self._view
        return (
            None if findable is None else findable.version,
            None if view is None else view.snapshot.version,
        )

    def look(self, versions: tuple[int, int], where: str | None, with_index: bool = False) -> Sight:
        """One version, and the clips that may be found.

        Args:
            versions: of the videos and the clips.
            where: an expression over the videos; None for all.
            with_index: whether the index is opened, too.

        Raises:
            BadFilter: the expression cannot be read.
            LibraryDamaged: the tables cannot be read.
            StorageError: the disk refuses.
        """
        with self._lock:
            videos, clips = versions
            if self._findable is None or self._findable.version != videos:
                self._findable = FindableVideos(self._store, videos)
            view = self._view_of(clips, with_index)
            findable, known = self._findable, self._all
            if where is None:
                if (
                    known is None
                    or known.findable is not findable
                    or known.view.snapshot is not view.snapshot
                ):
                    self._all = known = _sight(findable, view, None)
                return known if known.view is view else replace(known, view=view)
        return _sight(findable, view, where)

    def _view_of(self, version: int, with_index: bool) -> View:
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
            and (not with_index or current is None or current.index is None or has_index(self._view.opened))
            and self._packs.unchanged()
        ):
            return self._view
        snapshot = self._view.snapshot if self._view is not None else None
        self._view = None  # so that two versions need not fit in memory
        if snapshot is None or snapshot.version != version:
            snapshot = self._all = None
            snapshot = ClipSnapshot(self._store, self._memory, version=version, part=self._part)
        if current is not None:
            try:
                opened = open_packs(self._packs, with_index=with_index)
            except PackDamaged as damage:
                damaged = (damage.arrived,)
        if opened is not None:
            damaged = opened.damaged
            current = opened.current
            if self._part is not None:
                opened = opened.only(set(snapshot.rows.fragments))
        self._view = View(snapshot=snapshot, current=current, opened=opened, damaged=damaged)
        return self._view


def has_index(opened: OpenedPacks | None) -> bool:
    """Whether the index is among the opened files."""
    return opened is not None and opened.index is not None


def _sight(findable: FindableVideos, view: View, where: str | None) -> Sight:
    places, snapshot = findable.matching(where), view.snapshot
    allowed = np.zeros(0, dtype=bool)
    if len(snapshot):
        allowed = findable.owned(snapshot.contents, places)[snapshot.content_of]
    return Sight(findable=findable, places=places, view=view, allowed=allowed)
