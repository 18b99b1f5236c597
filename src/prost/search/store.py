"""A library on disk: two Lance tables and a description.

    holiday.prost/
        library.json    format, model, clip settings, sizes; written last, so it marks a whole library
        videos.lance    one row a file
        clips.lance     one row a clip: 8-bit object prototypes with scales, event prototypes, frame times
        writer.lock     held, with the writer's process id inside, while a process writes

Clips belong to a file's *content*, not to its path: copies share them, and a moved file keeps them. Every
commit is atomic. Clips are committed before the videos that they belong to, so a video exists only when its
row does. Clips without a video (a writer was killed between the two commits) are deleted when the next writer
begins. Readers never wait: they read the latest whole version.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Self

import lance
import pyarrow as pa
from lance.optimize import Compaction, CompactionOptions, RewriteResult

from prost.errors import LibraryDamaged, MissingPath, UsageError
from prost.search.description import (
    DESCRIPTION,
    Description,
    library_root,
    read_description,
    write_description,
)
from prost.search.filters import expect_filter
from prost.search.records import ClipRows, VideoRow
from prost.search.schema import (
    VIDEO_SCHEMA,
    clip_row_bytes,
    clip_schema,
    clip_table,
    path_key,
    video_rows,
    video_table,
)
from prost.search.storage_errors import storage_errors
from prost.search.writer_lock import LOCK, writer_lock

VIDEOS = "videos.lance"
CLIPS = "clips.lance"

# Rows of the paper's sizes take 80 kB: by Lance's default of a million rows a fragment would take 80 GB.
FRAGMENT_BYTES = 256 << 20
SMALL_FRAGMENTS = 16

# A reader may still scan a version that a writer has replaced.
OLD_VERSIONS_LIVE = timedelta(minutes=10)

KEYS_PER_FILTER = 500

BeforeCompaction = Callable[[lance.LanceDataset, Sequence[RewriteResult]], None]


class Store:
    """The tables of one library.

    Args:
        root: the library's folder, or the URI of one on an object store (`s3://...`).
        description: what is in it.
        storage_options: what Lance needs to reach an object store.
    """

    def __init__(
        self, root: str, description: Description, storage_options: Mapping[str, str] | None = None
    ) -> None:
        self.root = root
        self.description = description
        self._storage_options = dict(storage_options) if storage_options else None

    @classmethod
    def open(cls, root: str, storage_options: Mapping[str, str] | None = None) -> Self:
        """Open a library; nothing is written.

        Raises:
            MissingPath: there is none.
            LibraryDamaged: its description or a table cannot be read.
            LibraryError: it was written by a newer prost.
            StorageError: the disk refuses.
        """
        root = library_root(root)
        description = read_description(root)
        if description is None:
            if "://" not in root:
                with storage_errors(root):
                    _expect_no_tables(root)
            raise MissingPath(
                f"no library at {root}", "a folder made by `prost index`", "index some videos first"
            )
        store = cls(root, description, storage_options)
        with storage_errors(root):
            store.videos()
            store.clips()
        return store

    @classmethod
    def create(
        cls, root: str, description: Description, storage_options: Mapping[str, str] | None = None
    ) -> Self:
        """Make an empty library in a new or empty folder.

        Raises:
            UsageError: the folder holds other things.
            LibraryDamaged: the folder holds the tables of a library that lost its description.
            LibraryBusy: another process is making it.
            StorageError: the disk refuses.
        """
        store = cls(library_root(root), description, storage_options)
        if store.local:
            with storage_errors(store.root):
                _expect_no_tables(store.root)
                _expect_empty(Path(store.root))
                Path(store.root).mkdir(parents=True, exist_ok=True)
        with store._lock():
            for name, schema in ((CLIPS, clip_schema(description.sizes)), (VIDEOS, VIDEO_SCHEMA)):
                store._create_table(name, schema)
            write_description(store.root, description)
        return store

    @property
    def local(self) -> bool:
        """Whether the library lies in a folder of this machine."""
        return "://" not in self.root

    def videos(self) -> lance.LanceDataset:
        """The latest version of the videos table."""
        return lance.dataset(self._uri(VIDEOS), storage_options=self._storage_options)

    def clips(self) -> lance.LanceDataset:
        """The latest version of the clips table."""
        return lance.dataset(self._uri(CLIPS), storage_options=self._storage_options)

    def versions(self) -> tuple[int, int]:
        """Versions of the videos and the clips: when they stay, nothing changed."""
        with storage_errors(self.root):
            return self.videos().version, self.clips().version

    def read_videos(self, where: str | None = None) -> list[VideoRow]:
        """Rows of the videos table, sorted by path.

        Args:
            where: an SQL expression over its columns.

        Raises:
            BadFilter: the expression cannot be read.
        """
        with storage_errors(self.root):
            table = self.videos()
            rows = table.to_table(filter=None if where is None else expect_filter(table, where))
        return video_rows(rows)

    @contextmanager
    def writing(self, *, wait: bool = False) -> Iterator[None]:
        """Hold the writer's lock; what a killed writer left behind is deleted first.

        Args:
            wait: wait until another writer is done, instead of raising.

        Raises:
            LibraryBusy: another process or thread writes.
            StorageError: the disk refuses.
        """
        with self._lock(wait):
            self.sweep()
            yield

    def append_clips(self, clips: Sequence[ClipRows]) -> None:
        """Commit clips; they become visible with the video of their content."""
        table = clip_table(clips, self.description.sizes)
        with storage_errors(self.root):
            lance.write_dataset(
                table,
                self._uri(CLIPS),
                mode="append",
                max_rows_per_file=self._rows_per_fragment(),
                max_bytes_per_file=2 * FRAGMENT_BYTES,
                storage_options=self._storage_options,
            )

    def put_videos(self, videos: Sequence[VideoRow]) -> None:
        """Commit rows of files; a row of the same path is replaced."""
        table = video_table(videos)
        with storage_errors(self.root):
            merge = self.videos().merge_insert("key")
            merge.when_matched_update_all().when_not_matched_insert_all().execute(table)

    def delete_videos(self, paths: Sequence[str]) -> None:
        """Commit the removal of rows; their clips go with the next sweep."""
        with storage_errors(self.root):
            _delete_in(self.videos(), "key", [path_key(path) for path in paths])

    def sweep(self) -> None:
        """Delete the clips that no video owns."""
        with storage_errors(self.root):
            owned = {video.content for video in self.read_videos() if video.indexed}
            clips = self.clips()
            orphans = set(clips.to_table(columns=["content"])["content"].unique().to_pylist()) - owned
            _delete_in(clips, "content", sorted(orphans))

    def tidy(self, *, thorough: bool = False, before_compaction: BeforeCompaction | None = None) -> None:
        """Merge small fragments, and drop versions and files that nobody reads any more.

        Args:
            thorough: merge any two small fragments and drop deleted rows; otherwise only when there are many.
            before_compaction: called with the clips table and the new data files that are about to replace some of
                its fragments, before readers see them.
        """
        for open_table, rows, before in (
            (self.clips, self._rows_per_fragment(), before_compaction),
            (self.videos, 1 << 20, None),
        ):
            with storage_errors(self.root):
                table = open_table()
                small = sum(fragment.count_rows() < rows for fragment in table.get_fragments())
                options = CompactionOptions(
                    target_rows_per_fragment=rows, max_bytes_per_file=2 * FRAGMENT_BYTES, num_threads=1
                )
                tasks = (
                    Compaction.plan(table, options).tasks
                    if small > (1 if thorough else SMALL_FRAGMENTS)
                    else []
                )
                rewrites = [task.execute(table) for task in tasks]
            if rewrites:
                if before is not None:
                    before(table, rewrites)
                with storage_errors(self.root):
                    Compaction.commit(table, rewrites)
            with storage_errors(self.root):
                # Files of interrupted commits look like those of a running one, but the lock is held, so no other
                # commit runs.
                open_table().cleanup_old_versions(older_than=OLD_VERSIONS_LIVE, delete_unverified=self.local)

    def check_counts(self) -> None:
        """Compare the clips that videos claim with those that are there.

        Raises:
            LibraryDamaged: they differ.
        """
        with storage_errors(self.root):
            claimed = {video.content: video.clips for video in self.read_videos() if video.indexed}
            contents = self.clips().to_table(columns=["content"])["content"]
            there = {row["values"].as_py(): row["counts"].as_py() for row in contents.value_counts()}
        wrong = [
            content for content in claimed.keys() | there.keys() if claimed.get(content) != there.get(content)
        ]
        if wrong:
            raise LibraryDamaged(
                f"{self.root}: {len(wrong)} videos do not have the clips that they should "
                f"({sum(there.values())} clips are there, {sum(claimed.values())} belong there)",
                suggestion="index the videos into a new library",
            )

    def nbytes(self) -> int:
        """Bytes that a local library takes on disk; 0 for one on an object store."""
        if not self.local:
            return 0
        files = (Path(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        total = 0
        for file in files:
            with suppress(FileNotFoundError):  # a writer tidies up meanwhile
                total += file.stat().st_size
        return total

    def _uri(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def _create_table(self, name: str, schema: pa.Schema) -> None:
        with storage_errors(self.root):
            lance.write_dataset(
                schema.empty_table(),
                self._uri(name),
                mode="overwrite" if self.local and os.path.exists(self._uri(name)) else "create",
                storage_options=self._storage_options,
            )

    def _rows_per_fragment(self) -> int:
        return max(1, FRAGMENT_BYTES // clip_row_bytes(self.description.sizes))

    @contextmanager
    def _lock(self, wait: bool = False) -> Iterator[None]:
        # An object store has no locks: there, the user has to take care that only one writer runs.
        if not self.local:
            yield
            return
        with writer_lock(self.root, wait=wait):
            yield


def _delete_in(table: lance.LanceDataset, column: str, keys: Sequence[str]) -> None:
    for first in range(0, len(keys), KEYS_PER_FILTER):
        quoted = ", ".join(f"'{key}'" for key in keys[first : first + KEYS_PER_FILTER])
        table.delete(f"{column} IN ({quoted})")


def _expect_no_tables(root: str) -> None:
    """Refuse a folder whose tables hold rows, though its description is missing.

    Raises:
        LibraryDamaged: it is a library that lost its description.
    """
    for name in (VIDEOS, CLIPS):
        if not os.path.isdir(os.path.join(root, name)):
            continue
        try:
            rows = lance.dataset(os.path.join(root, name)).count_rows()
        except ValueError as error:
            # Making a library was interrupted before it held anything.
            if "not found" not in str(error).lower():
                raise
            continue
        if rows:
            raise LibraryDamaged(
                f"{root} holds tables, but {DESCRIPTION} is missing",
                suggestion="restore it from a backup, or index the videos into a new library",
            )


def _expect_empty(folder: Path) -> None:
    """Refuse a place where a new library would lie among other things.

    Raises:
        UsageError: there are some.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file", "a new or empty folder for the library")
    names = {entry.name for entry in folder.iterdir()}
    if names - {VIDEOS, CLIPS, LOCK, f"{DESCRIPTION}.new"}:
        raise UsageError(
            f"{folder} holds other things and no library", "a new or empty folder", f"{folder}/library.prost"
        )
