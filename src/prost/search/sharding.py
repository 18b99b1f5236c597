"""A library searched by several processes: each owns a part of the fragments, and one merges what they find.

A shard runs the same scan and the same exact rerank as a process that searches alone, on its own part of the clips
(`prost.search.ranking`). It answers with Lance's addresses of its best clips and their scores. Everything that needs
the whole library stays where the answers are merged: which video owns a clip, confidence, moments, near-duplicates,
words. So an answer is that of one process, but for two things: where clips are scanned, each shard proposes
candidates of its own, so that more of them are scored exactly; and scores may differ in their last digits.

All shards are asked for one version of the library. When it changes, they open the new version while they still
answer for the old one, and the new one is asked for when all of them that can be reached have it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prost.errors import LibraryDamaged, ProstError, ShardsGone
from prost.search.exact import ClipScores
from prost.search.packs import PackFolder, pack_folder
from prost.search.parts import Part, useful_parts
from prost.search.ranking import Ranked, rank, warm
from prost.search.records import PrototypeSizes
from prost.search.request import INDEX, Request
from prost.search.rerank import Ranking
from prost.search.schema import clip_row_bytes
from prost.search.storage_errors import storage_errors
from prost.search.store import Store
from prost.search.view import Sight, Views

logger = logging.getLogger("prost.search")

# Bytes of prototypes that one shard owns where their number is not given, and how many there are at most.
SHARD_BYTES, MOST_SHARDS = 8 << 30, 64
# Versions that a shard holds: that which is searched, and the next one.
HELD = 2
# Seconds between two looks at the version of the library and at shards that do not answer.
FOLLOWING = 1.0


@dataclass(frozen=True, kw_only=True)
class LibraryVersion:
    """One state of a library.

    Attributes:
        tables: where its tables are.
        library: the library's identifier.
        videos: version of the videos table.
        clips: version of the clips table.
    """

    tables: str
    library: str
    videos: int
    clips: int

    @classmethod
    def latest(cls, store: Store) -> LibraryVersion:
        """The present state of an open library.

        Raises:
            LibraryDamaged: the tables cannot be read.
            StorageError: the disk refuses.
        """
        videos, clips = store.versions()
        return cls(tables=store.root, library=store.description.id, videos=videos, clips=clips)


@dataclass(frozen=True, kw_only=True)
class ShardAnswer:
    """The best clips of one part of a library.

    Attributes:
        addresses: Lance's address of each clip `[n]`, uint64.
        scores: of the clips.
        uncoded: see `Ranked`.
        damaged: see `Ranked`.
    """

    addresses: NDArray[np.uint64]
    scores: ClipScores
    uncoded: int = 0
    damaged: tuple[str, ...] = ()


class Shards(Protocol):
    """The shards of a library, wherever they run."""

    @property
    def count(self) -> int:
        """How many there are."""

    def prepare(self, version: LibraryVersion) -> None:
        """Let all shards open a version; returns when those that can be reached have it.

        Raises:
            ProstError: what a shard found wrong with the library.
        """

    def rank(self, request: Request, version: LibraryVersion) -> Sequence[ShardAnswer | None]:
        """The answer of each shard; None of one that cannot be reached, or does not have the version.

        Raises:
            ProstError: what a shard found wrong with the request or the library.
        """


class Shard:
    """One part of a library, in the process that owns it. Threads may share it.

    Args:
        part: which one.
        memory: bytes of prototypes that may stay in memory, for each of two versions.
        storage_options: what Lance needs to reach an object store.
    """

    def __init__(self, part: Part, memory: int, storage_options: Mapping[str, str] | None = None) -> None:
        self._part, self._memory = part, memory
        self._storage_options = storage_options
        self._lock = threading.Lock()
        self._opened: tuple[Store, PackFolder] | None = None
        self._views: dict[LibraryVersion, Views] = {}

    def prepare(self, version: LibraryVersion) -> None:
        """Open a version, unless it is open; earlier ones answer meanwhile.

        Raises:
            MissingPath: this machine does not reach the library.
            LibraryDamaged: the version is gone, or cannot be read.
            StorageError: the disk refuses.
        """
        with self._lock:
            if version in self._views:
                return
            store, packs = self._open(version)
        views = Views(store, packs, self._memory, self._part)
        warm(views.look((version.videos, version.clips), None).view)
        with self._lock:
            self._views[version] = views
            while len(self._views) > HELD:
                del self._views[next(iter(self._views))]

    def rank(self, request: Request, version: LibraryVersion) -> ShardAnswer | None:
        """The best clips of this part; None where the version is not open.

        Raises:
            BadFilter: `where` of the request cannot be read.
            NotCoded: it asks for codes or an index that the library does not have.
            LibraryDamaged: files of the version are gone.
            StorageError: the disk refuses.
        """
        with self._lock:
            views = self._views.get(version)
        if views is None:
            return None
        sight = views.look((version.videos, version.clips), request.where, request.coarse == INDEX)
        if not sight.allowed.any():
            return ShardAnswer(addresses=np.empty(0, np.uint64), scores=ClipScores.joined([]))
        ranked = rank(sight.view, request, sight.allowed)
        snapshot, ranking = sight.view.snapshot, ranked.ranking
        kept = _needed(ranking, snapshot.content_of, request.limit)
        return ShardAnswer(
            addresses=snapshot.rows.addresses[ranking.rows[:kept]],
            scores=ranking.scores[:kept],
            uncoded=ranked.uncoded,
            damaged=ranked.damaged,
        )

    def _open(self, version: LibraryVersion) -> tuple[Store, PackFolder]:
        opened = self._opened
        if opened is None or opened[0].root != version.tables or opened[0].description.id != version.library:
            store = Store.open(version.tables, self._storage_options)
            opened = store, pack_folder(store)
        if opened[0].description.id != version.library:
            raise LibraryDamaged(f"{version.tables} holds another library now", suggestion="search again")
        self._opened = opened
        return opened


class ShardedRanker:
    """Lets shards score the clips, and merges their answers. Threads may share it.

    A thread of its own follows the library: it lets the shards open each new version, and those that came back the
    present one.

    Args:
        store: the library.
        shards: who scores.
    """

    def __init__(self, store: Store, shards: Shards) -> None:
        self._store, self._shards = store, shards
        self._lock = threading.Lock()
        self._following = threading.Lock()
        self._version: LibraryVersion | None = None
        self._stop: threading.Event | None = None

    def versions(self) -> tuple[int, int]:
        """The versions that the shards search; the first time, they open the latest ones.

        Raises:
            ProstError: what a shard found wrong with the library.
        """
        with self._lock:
            version = self._version
            if self._stop is None:
                self._stop = threading.Event()
                threading.Thread(
                    target=self._keep_following, args=(self._stop,), name="prost-shards", daemon=True
                ).start()
        if version is None:
            self.renew()
            version = self._version
        assert version is not None
        return version.videos, version.clips

    def rank(self, sight: Sight, request: Request) -> Ranked:
        """Scores of the best clips of all shards that answer.

        Raises:
            ShardsGone: none of them does.
            ProstError: what a shard found wrong with the request or the library.
        """
        snapshot = sight.view.snapshot
        version = LibraryVersion(
            tables=self._store.root,
            library=self._store.description.id,
            videos=sight.findable.version,
            clips=snapshot.version,
        )
        answers = self._shards.rank(request, version)
        clips = snapshot.clips_of_parts(self._shards.count)
        there = [answer for answer in answers if answer is not None]
        if not there:
            raise ShardsGone(
                f"none of the {self._shards.count} replicas of {self._store.root} answers",
                suggestion="again in a while",
            )
        searched = sum(size for size, answer in zip(clips, answers, strict=True) if answer is not None)
        addresses = np.concatenate([answer.addresses for answer in there])
        return Ranked(
            ranking=Ranking.of(
                np.searchsorted(snapshot.rows.addresses, addresses),
                ClipScores.joined([answer.scores for answer in there]),
            ),
            uncoded=sum(answer.uncoded for answer in there),
            damaged=tuple(dict.fromkeys(line for answer in there for line in answer.damaged)),
            searched=searched / snapshot.whole,
        )

    def renew(self) -> None:
        """Let the shards open the latest version, and search it from now on.

        Raises:
            ProstError: what a shard found wrong with the library.
        """
        with self._following:
            version = LibraryVersion.latest(self._store)
            while True:
                try:
                    self._shards.prepare(version)
                    break
                except LibraryDamaged:
                    # A writer may have replaced this version, too.
                    before, version = version, LibraryVersion.latest(self._store)
                    if version == before:
                        raise
            with self._lock:
                self._version = version

    def close(self) -> None:
        """End the thread; the next search starts it again."""
        with self._lock:
            if self._stop is not None:
                self._stop.set()
            self._stop = None

    def _keep_following(self, stop: threading.Event) -> None:
        while not stop.wait(FOLLOWING):
            try:
                self.renew()
            except ProstError as error:
                # Searches go on with the version that is open.
                logger.warning("the shards do not open the latest version: %s", error)
            except (
                Exception
            ):  # a bug of ours, or a system without free files; the next version may come through
                logger.exception("the shards were not told of the latest version")


def shard_count(sizes: PrototypeSizes, clips: int) -> int:
    """How many shards a library gets: one for each 8 GiB of prototypes, at least one."""
    return min(MOST_SHARDS, max(1, -(-clips * clip_row_bytes(sizes) // SHARD_BYTES)))


def shards_with_clips(store: Store, most: int) -> int:
    """How many shards, up to a number, all get clips of a library; one where it has none.

    Raises:
        LibraryDamaged: the table cannot be read.
        StorageError: the disk refuses.
    """
    with storage_errors(store.root):
        return useful_parts([each.count_rows() for each in store.clips().get_fragments()], most)


def _needed(ranking: Ranking, content_of: NDArray[np.integer], videos: int) -> int:
    """How many of the best clips can be among the hits: those that score at least as well as the last of `videos`.

    A video of another shard can only raise the score that a hit needs.
    """
    first_of_each = np.sort(np.unique(content_of[ranking.rows], return_index=True)[1])
    if len(first_of_each) < videos:
        return len(ranking.rows)
    least = ranking.scores.total[first_of_each[videos - 1]]
    return int(np.count_nonzero(ranking.scores.total >= least))
