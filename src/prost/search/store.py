"""A library on disk or on an object store: two Lance tables and a description.

    holiday.prost/
        library.json    format, model, clip settings, sizes; written last, so it marks a whole library
        checksums.json  size and CRC-32 of each file of the tables
        videos.lance    one row a file
        clips.lance     one row a clip: 8-bit object prototypes with scales, event prototypes, frame times
        writer.lock     held, with the writer's process id inside, while a process writes; on an object store its lease

Clips belong to a file's *content*, not to its path: copies share them, and a moved file keeps them. Every
commit is atomic. Clips are committed before the videos that they belong to, so a video exists only when its
row does. Clips without a video (a writer was killed between the two commits) are deleted when the next writer
begins. Readers never wait: they read the latest whole version.

On an object store the lock is a lease, which a writer loses when it does not renew it, for example because its machine
was asleep. Two rules keep such a writer from harm. It looks at the lease after it has read the version that a commit
builds on, and before it commits. And who takes over an expired lease first commits a restore of the latest version
to each table: Lance refuses every later commit that builds on an older version than that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import lance
import pyarrow as pa
from lance.commit import CommitConflictError
from lance.optimize import Compaction, CompactionOptions, RewriteResult

from prost.errors import LibraryDamaged, MissingPath, UsageError
from prost.model.encoding import PrecisionClass
from prost.object_store import CLOCK, ObjectStore, is_remote, lance_options
from prost.search.description import DESCRIPTION, Description, read_description, write_description
from prost.search.filters import expect_filter
from prost.search.generations import POINTER, library_root, refuse_older_switches
from prost.search.lease import Lease, hold_lease, lost_lease
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
from prost.search.table_files import CHECKSUMS, TableFiles
from prost.search.writer_lock import LOCK, writer_lock

VIDEOS = "videos.lance"
CLIPS = "clips.lance"
# Words can be read again from the videos, so this table need not be there; see `search/words.py`.
WORDS = "words.lance"

# Rows of the paper's sizes take 80 kB: by Lance's default of a million rows a fragment would take 80 GB.
FRAGMENT_BYTES = 256 << 20
SMALL_FRAGMENTS = 16

# A reader may still scan a version that a writer has replaced.
OLD_VERSIONS_LIVE = timedelta(minutes=10)
# On an object store also where everything that is not needed goes: a search reads there for longer.
REMOTE_VERSIONS_LIVE = timedelta(hours=1)

# Where the schema of a table holds the description of its library.
TABLE_NOTE = b"prost.library"
SET_ASIDE = "set-aside"
REPAIR = "prost doctor --verify --repair"

BeforeCompaction = Callable[[lance.LanceDataset, Sequence[RewriteResult]], None]


class Store:
    """The tables of one library.

    Args:
        root: the library's folder, or the URI of one on an object store (`s3://...`).
        description: what is in it.
        storage_options: what Lance needs to reach an object store.

    Attributes:
        files: of the tables; None on an object store, which keeps checksums itself.
        objects: what is beside the tables on an object store; None in a folder.
    """

    def __init__(
        self, root: str, description: Description, storage_options: Mapping[str, str] | None = None
    ) -> None:
        self.root = root
        self.description = description
        self.storage_options = lance_options(storage_options)
        self.files = TableFiles(root, (VIDEOS, CLIPS, WORDS)) if self.local else None
        self.objects = None if self.local else ObjectStore(root, storage_options)
        self._lease: Lease | None = None

    @classmethod
    def open(cls, root: str, storage_options: Mapping[str, str] | None = None) -> Self:
        """Open a library; nothing is written.

        Raises:
            MissingPath: there is none.
            LibraryDamaged: its description or a table cannot be read.
            LibraryError: it was written by a newer prost.
            StorageError: the disk refuses.
        """
        root = library_root(root, storage_options)
        try:
            store = cls.with_description(root, storage_options)
        except MissingPath:
            with storage_errors(root):
                _expect_no_tables(root, storage_options)
            raise
        for name in (VIDEOS, CLIPS):
            noted = noted_description(root, name, storage_options)
            if noted is not None and noted.id != store.description.id:
                raise LibraryDamaged(f"{root}: {name} belongs to another library", suggestion=REPAIR)
        return store

    @classmethod
    def create(
        cls, root: str, description: Description, storage_options: Mapping[str, str] | None = None
    ) -> Self:
        """Make an empty library in a new or empty folder; a library that another process made meanwhile is opened.

        What a creation that broke off left behind is replaced; on an object store its empty tables are used.

        Raises:
            UsageError: the folder holds other things, or on an object store empty tables of other sizes.
            LibraryDamaged: the folder holds the tables of a library that lost its description.
            LibraryBusy: another process is making it.
            StorageError: the disk refuses.
        """
        root = library_root(root, storage_options)
        store = cls(root, replace(description, id=uuid4().hex), storage_options)
        if store.local:
            with storage_errors(store.root):
                _expect_no_tables(store.root)
                _expect_empty(Path(store.root))
                Path(store.root).mkdir(parents=True, exist_ok=True)
        with store.locked():
            if read_description(store.root, storage_options) is not None:
                return cls.open(store.root, storage_options)
            if store.objects is not None:
                store._expect_no_objects(store.objects)
            for name, schema in ((CLIPS, clip_schema(description.sizes)), (VIDEOS, VIDEO_SCHEMA)):
                store._create_table(name, schema)
            with storage_errors(store.root):
                store._record()
            store.write_description(store.description)
        return store

    @classmethod
    def with_description(cls, root: str, storage_options: Mapping[str, str] | None = None) -> Self:
        """A library whose tables need not be readable.

        Raises:
            MissingPath: there is no `library.json`.
            LibraryDamaged: it cannot be read.
        """
        description = read_description(root, storage_options)
        if description is None:
            raise MissingPath(
                f"no library at {root}", "a folder made by `prost index`", "index some videos first"
            )
        return cls(root, description, storage_options)

    def refresh_description(self) -> None:
        """Read the description again, since the first clips of another process fix the class of precision."""
        self.description = read_description(self.root, self.storage_options) or self.description

    def set_precision(self, precision: PrecisionClass) -> None:
        """Give a library without clips another class of precision; the caller holds the writer's lock.

        Raises:
            StorageError: the disk refuses.
        """
        described = replace(self.description, precision=precision)
        # The tables are compared, too: an earlier change may have been interrupted.
        for name in (CLIPS, VIDEOS):
            if noted_description(self.root, name, self.storage_options) != described:
                with storage_errors(self.root):
                    self._note(self.table(name), described)
                    self._record()
        if self.description != described:
            self.write_description(described)
            self.description = described

    @property
    def local(self) -> bool:
        """Whether the library lies in a folder of this machine."""
        return not is_remote(self.root)

    def videos(self) -> lance.LanceDataset:
        """The latest version of the videos table."""
        return self.table(VIDEOS)

    def clips(self) -> lance.LanceDataset:
        """The latest version of the clips table."""
        return self.table(CLIPS)

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
        """Hold the writer's lock or lease; what a killed writer left behind is deleted first.

        Args:
            wait: wait until another writer is done, instead of raising.

        Raises:
            LibraryBusy: another process or thread writes.
            StorageError: the disk refuses.
        """
        with self.locked(wait=wait):
            if self.files is not None:
                self.files.forget()  # another process may have written since
            self.sweep()
            yield

    def append_clips(self, clips: Sequence[ClipRows]) -> None:
        """Commit clips; they become visible with the video of their content."""
        self.append_fragments(self.write_fragments(clips))

    def write_fragments(self, clips: Sequence[ClipRows]) -> list[lance.FragmentMetadata]:
        """Write clips to files of the table that nobody sees before `append_fragments`; needs no lock.

        What is never appended a later writer removes: in a folder the next, on an object store after some days.
        """
        with storage_errors(self.root):
            return lance.fragment.write_fragments(
                clip_table(clips, self.description.sizes),
                self.uri(CLIPS),
                schema=self.clips().schema,
                max_rows_per_file=self.rows_per_fragment(),
                max_bytes_per_file=2 * FRAGMENT_BYTES,
                storage_options=self.storage_options,
            )

    def append_fragments(self, fragments: Sequence[lance.FragmentMetadata]) -> None:
        """Commit what `write_fragments` wrote, in this process or in others."""
        with storage_errors(self.root):
            version = self.clips().version
            self._commit(CLIPS, lance.LanceOperation.Append(list(fragments)), version)

    def put_videos(self, videos: Sequence[VideoRow], *, remove: Sequence[str] = ()) -> None:
        """Commit rows of files, in one step with the removal of others; a row of the same path is replaced.

        A moved file is one commit, so that an interruption never leaves it under both paths.

        Args:
            videos: the rows.
            remove: paths whose rows are removed; their clips go with the next sweep.
        """
        if not videos:
            self.delete_videos(remove)
            return
        table = video_table(videos)
        with storage_errors(self.root):
            merge = self.videos().merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
            if remove:
                keys = ", ".join(f"'{path_key(path)}'" for path in remove)
                merge = merge.when_not_matched_by_source_delete(f"key IN ({keys})")
            self._commit(VIDEOS, merge.execute_uncommitted(table)[0])

    def delete_videos(self, paths: Sequence[str]) -> None:
        """Commit the removal of rows; their clips go with the next sweep."""
        self.delete_rows(VIDEOS, "key", [path_key(path) for path in paths])

    def delete_clips(self, contents: Sequence[str]) -> None:
        """Commit the removal of all clips of some contents."""
        self.delete_rows(CLIPS, "content", contents)

    def make_table(self, name: str, schema: pa.Schema) -> None:
        """Commit an empty table, unless there is one."""
        if self.existing_table(name) is not None:
            return
        self.expect_held()
        try:
            with storage_errors(self.root), self.refusing_late_commits():
                lance.write_dataset(
                    schema.empty_table(), self.uri(name), storage_options=self.storage_options
                )
        except (LibraryDamaged, OSError):
            # The former writer may have made it in this instant.
            if self.existing_table(name) is None:
                raise
        self._record()

    def append_rows(self, name: str, rows: pa.Table) -> None:
        """Commit rows to a table."""
        with storage_errors(self.root):
            version = self.table(name).version
            fragments = lance.fragment.write_fragments(
                rows, self.uri(name), schema=rows.schema, storage_options=self.storage_options
            )
            self._commit(name, lance.LanceOperation.Append(list(fragments)), version)

    def delete_rows(self, name: str, column: str, keys: Sequence[str]) -> None:
        """Commit the removal of all rows of a table that have one of some keys in a column."""
        if not keys:
            return
        schema = pa.schema([pa.field(column, pa.string(), nullable=False)])
        with storage_errors(self.root):
            merge = self.table(name).merge_insert(column).when_matched_delete()
            transaction, _ = merge.execute_uncommitted(pa.table({column: list(keys)}, schema=schema))
            self._commit(name, transaction)

    def drop_fragments(self, table: str, numbers: Sequence[int]) -> None:
        """Commit the removal of whole fragments, whose files need not be readable."""
        with storage_errors(self.root):
            version = self.table(table).version
            operation = lance.LanceOperation.Delete(
                updated_fragments=[], deleted_fragment_ids=list(numbers), predicate="false"
            )
            self._commit(table, operation, version)

    def sweep(self) -> None:
        """Delete the clips that no video owns, and the files of writes that never ended."""
        if self.files is not None:
            with storage_errors(self.root):
                self.files.remove_leftovers()
        owned = {video.content for video in self.read_videos() if video.indexed}
        with storage_errors(self.root):
            contents = self.clips().to_table(columns=["content"])["content"].unique().to_pylist()
        self.delete_clips(sorted(set(contents) - owned))

    def tidy(self, *, thorough: bool = False, before_compaction: BeforeCompaction | None = None) -> None:
        """Merge small fragments, and drop versions and files that nobody reads any more.

        Args:
            thorough: merge any two small fragments, and take the bytes of removed rows off the disk at once; otherwise
                merge only when there are many, and keep old versions for readers.
            before_compaction: called with the clips table and the new data files that are about to replace some of
                its fragments, before readers see them.
        """
        for name, rows in ((CLIPS, self.rows_per_fragment()), (VIDEOS, 1 << 20)):
            with storage_errors(self.root):
                table = self.table(name)
                fragments = table.get_fragments()
                small = sum(fragment.count_rows() < rows for fragment in fragments)
                removed = any(fragment.deletion_file() for fragment in fragments)
            if small > (1 if thorough else SMALL_FRAGMENTS) or (thorough and removed):
                self._compact(table, name, rows, thorough, before_compaction if name == CLIPS else None)
            with storage_errors(self.root):
                self.expect_held()
                # Files of interrupted commits look like those of a running one. The lock of a folder says that there is
                # none; on an object store Lance keeps such files for seven days.
                self.table(name).cleanup_old_versions(
                    older_than=self.versions_live(thorough=thorough), delete_unverified=self.local
                )
        if self.files is not None:
            with storage_errors(self.root):
                self.files.record()

    def make_anew(self, name: str, rows: pa.Table | None = None) -> str:
        """Set a table aside and make one with some rows, or an empty one; returns where the old one lies now."""
        aside = next(
            place for number in count(1) if not self._is_there(place := f"{name}.{SET_ASIDE}-{number}")
        )
        if self.objects is not None:
            self.expect_held()
            self.objects.move(name, aside)
        else:
            with storage_errors(self.root):
                if os.path.lexists(self.uri(name)):
                    os.rename(self.uri(name), self.uri(aside))
        schema = VIDEO_SCHEMA if name == VIDEOS else clip_schema(self.description.sizes)
        # In one step with its rows: an interruption leaves no table, and not an empty one that seems whole.
        self._create_table(name, schema, rows)
        with storage_errors(self.root):
            self._record()
        return self.uri(aside)

    def _is_there(self, name: str) -> bool:
        if self.objects is not None:
            return bool(self.objects.sizes(name))
        return os.path.lexists(self.uri(name))

    def check_sizes(self) -> None:
        """Compare the sizes of the data files in use with those that were written; nothing is read.

        Raises:
            LibraryDamaged: a file is gone, or has another size.
        """
        if self.files is None:
            return
        for name in (VIDEOS, CLIPS):
            with storage_errors(self.root):
                files = [
                    file for each in self.table(name).get_fragments() for file in fragment_files(name, each)
                ]
                wrong = [f"{file} {fault}" for file in files if (fault := self.files.resized(file))]
            if wrong:
                raise LibraryDamaged(f"{self.root}: {'; '.join(wrong[:3])}", suggestion=REPAIR)

    def changed(self, file: str) -> str:
        """What is wrong with a file of a table; empty where nothing is, or on object storage, which has no checksums.

        Args:
            file: relative to the library's folder.

        Raises:
            StorageError: the disk refuses to read it.
        """
        if self.files is None:
            return ""
        with storage_errors(self.root):
            return self.files.changed(file)

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
                suggestion=REPAIR,
            )

    def nbytes(self) -> int:
        """Bytes that the library takes on the disk or on the object store."""
        if self.objects is not None:
            return sum(self.objects.sizes().values())
        files = (Path(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        total = 0
        for file in files:
            with suppress(FileNotFoundError):  # a writer tidies up meanwhile
                total += file.stat().st_size
        return total

    def uri(self, name: str) -> str:
        """Where a table is, as Lance takes it."""
        return f"{self.root.rstrip('/')}/{name}"

    def table(self, name: str, version: int | None = None) -> lance.LanceDataset:
        """A version of a table; None for the latest."""
        return lance.dataset(self.uri(name), version=version, storage_options=self.storage_options)

    def rows_per_fragment(self) -> int:
        """Clips of one fragment at most, once small fragments were joined."""
        return max(1, FRAGMENT_BYTES // clip_row_bytes(self.description.sizes))

    def existing_table(self, name: str) -> lance.LanceDataset | None:
        """The latest version of a table; None where there is none.

        Raises:
            LibraryDamaged: it cannot be read.
            StorageError: the disk or the object store refuses.
        """
        if self.local and not os.path.isdir(self.uri(name)):
            return None
        try:
            with storage_errors(self.root):
                return self.table(name)
        except LibraryDamaged as damage:
            if "not found" in damage.arrived.lower():
                return None
            raise

    def versions_live(self, *, thorough: bool = False) -> timedelta:
        """How long versions are kept that a writer has replaced.

        Args:
            thorough: not for readers in a folder.
        """
        if not self.local:
            return REMOTE_VERSIONS_LIVE
        return timedelta(0) if thorough else OLD_VERSIONS_LIVE

    def expect_held(self) -> None:
        """Look whether this writer still holds the lease of a library on an object store.

        It is called after the version was read that a commit builds on, and before the commit.

        Raises:
            LibraryBusy: another writer took it over.
            StorageError: the store refuses.
        """
        if self._lease is not None:
            self._lease.expect_held()

    def _create_table(self, name: str, schema: pa.Schema, rows: pa.Table | None = None) -> None:
        # The description in the table tells whose it is, and can replace a lost `library.json`.
        described = schema.with_metadata({TABLE_NOTE: self.description.to_json()})
        there = self.local and os.path.exists(self.uri(name))
        if not self.local and (table := self.existing_table(name)) is not None:
            # Lance lets an overwrite land after a restore, so one that was prepared before a takeover could not be
            # refused.
            if not table.schema.remove_metadata().equals(schema):
                raise UsageError(
                    f"{self.root} holds an empty {name} of other sizes, which an interrupted creation left behind",
                    "a new place",
                    "another name, or remove what is there",
                )
            with storage_errors(self.root):
                self._note(table, self.description)
            return
        self.expect_held()
        with storage_errors(self.root), self.refusing_late_commits():
            lance.write_dataset(
                described.empty_table() if rows is None else rows.replace_schema_metadata(described.metadata),
                self.uri(name),
                mode="overwrite" if there else "create",
                storage_options=self.storage_options,
            )

    def _note(self, table: lance.LanceDataset, description: Description) -> None:
        """Commit the description to a table."""
        self.expect_held()
        with self.refusing_late_commits():
            table.update_schema_metadata({TABLE_NOTE.decode(): description.to_json()})

    def write_description(self, description: Description) -> None:
        """Write `library.json`; on an object store only if no other writer wrote it meanwhile. The lock is held.

        Raises:
            LibraryBusy: another writer took the lease over.
            StorageError: the disk or the store refuses.
        """
        if self.objects is None:
            write_description(self.root, description)
            return
        data = description.to_json().encode()
        found = self.objects.read(DESCRIPTION)
        self.expect_held()
        if self.objects.replace(DESCRIPTION, data, None if found is None else found.version) is None:
            # It may be this write that arrived, though its first answer did not.
            found = self.objects.read(DESCRIPTION)
            if found is None or found.data != data:
                raise lost_lease(self.root)

    def _compact(
        self,
        table: lance.LanceDataset,
        name: str,
        rows: int,
        thorough: bool,
        before: BeforeCompaction | None,
    ) -> None:
        # Compaction would give changed bytes a new file, with a checksum that fits them.
        for fragment in table.get_fragments():
            for file in fragment_files(name, fragment):
                if wrong := self.changed(file):
                    raise LibraryDamaged(f"{os.path.join(self.root, file)} {wrong}", suggestion=REPAIR)
        options: CompactionOptions = {
            "target_rows_per_fragment": rows,
            "max_bytes_per_file": 2 * FRAGMENT_BYTES,
            "num_threads": 1,
        }
        if thorough:
            options["materialize_deletions_threshold"] = 0.0
        with storage_errors(self.root):
            rewrites = [task.execute(table) for task in Compaction.plan(table, options).tasks]
        if not rewrites:
            return
        if before is not None:
            before(table, rewrites)
        with storage_errors(self.root):
            self._flush(name)
            self.expect_held()
            with self.refusing_late_commits():
                Compaction.commit(table, rewrites)
            self._record()

    def _commit(self, name: str, operation: Any, read_version: int | None = None) -> None:
        """Make a change the latest version of a table: its files are on the disk before, its manifest after."""
        self._flush(name)
        self.expect_held()
        with self.refusing_late_commits():
            lance.LanceDataset.commit(
                self.uri(name), operation, read_version=read_version, storage_options=self.storage_options
            )
        self._record()

    def _flush(self, name: str) -> None:
        if self.files is not None:
            self.files.flush(name)

    def _record(self) -> None:
        if self.files is not None:
            self.files.record()

    @contextmanager
    def locked(self, *, wait: bool = False, damaged: bool = False) -> Iterator[None]:
        """Hold the writer's lock or lease, and leave everything as it is.

        Args:
            wait: wait until another writer is done, instead of raising.
            damaged: take it also where a table cannot be read. Then the caller calls `refuse_older_commits` once all
                can be read; a lease that was taken over before that is left to expire.

        Raises:
            LibraryBusy: another process or thread writes.
            LibraryDamaged: a table cannot be read, and `damaged` is false.
            StorageError: the disk refuses.
        """
        if self.objects is None:
            with writer_lock(self.root, wait=wait):
                yield
            return
        with hold_lease(self.objects, wait=wait) as self._lease:
            try:
                if not damaged:
                    self.refuse_older_commits()
                yield
            finally:
                self._lease = None

    def refuse_older_commits(self) -> None:
        """After a takeover on an object store: make fail what the former writer prepared and has not committed.

        Raises:
            LibraryDamaged: a table cannot be read.
            LibraryBusy: another writer took over.
            StorageError: the store refuses.
        """
        if self._lease is None or self._lease.fenced:
            return
        for name in (CLIPS, VIDEOS, WORDS):
            self._refuse_older_commits(name)
        self.expect_held()
        refuse_older_switches(self.root, self.storage_options)
        self._lease.fenced = True

    def _refuse_older_commits(self, name: str) -> None:
        """Make all commits to a table fail that build on a version from before now: those of the former writer."""
        try:
            table = self.existing_table(name)
            if table is not None and not table.version:
                raise LibraryDamaged(
                    f"{self.root}: the newest manifest of {name} is empty", suggestion=REPAIR
                )
        except LibraryDamaged:
            if name != WORDS:
                raise
            self.remove_objects(WORDS)  # words can be read again
            return
        if table is None:
            return
        with storage_errors(self.root):
            before = table.version
            self.expect_held()
            table.restore()
            if table.version != before + 1:
                # A commit of the former writer came in between. It stands, so its version is restored again.
                table.checkout_version(table.version - 1).restore()

    def remove_objects(self, table: str) -> None:
        """Remove a table from an object store.

        Raises:
            LibraryBusy: another writer took over.
            StorageError: the store refuses.
        """
        assert self.objects is not None
        names = list(self.objects.sizes(table))
        self.expect_held()
        self.objects.remove(names)

    @contextmanager
    def refusing_late_commits(self) -> Iterator[None]:
        """Context around a commit.

        Raises:
            LibraryBusy: the lease was lost, and taken over between the look at it and the commit.
        """
        try:
            yield
        except (CommitConflictError, OSError, RuntimeError):
            self.expect_held()
            raise

    def _expect_no_objects(self, objects: ObjectStore) -> None:
        """Refuse a place on an object store that holds other things, or tables with rows.

        Raises:
            UsageError: other things.
            LibraryDamaged: it is a library that lost its description.
        """
        if objects.names() - {VIDEOS, CLIPS, LOCK, CLOCK, POINTER}:
            raise UsageError(
                f"{self.root} holds other things and no library", "a new place", f"{self.root}/library.prost"
            )
        for name in (VIDEOS, CLIPS):
            table = self.existing_table(name)
            with storage_errors(self.root):
                if table is not None and table.count_rows():
                    raise _lost_description(self.root)


def noted_description(
    root: str, name: str, storage_options: Mapping[str, str] | None = None
) -> Description | None:
    """The description that a table of a library carries; None in a library of an older version.

    Raises:
        LibraryDamaged: it cannot be read.
        StorageError: the disk refuses.
    """
    uri = f"{root.rstrip('/')}/{name}"
    options = lance_options(storage_options)
    with storage_errors(root):
        noted = (lance.dataset(uri, storage_options=options).schema.metadata or {}).get(TABLE_NOTE)
    return None if noted is None else Description.from_json(noted.decode("utf-8", "replace"), uri)


def fragment_files(table: str, fragment: lance.LanceFragment) -> list[str]:
    """The files of a fragment, relative to the library's folder: its data, and the list of its deleted rows."""
    names = [f"{table}/data/{file.path}" for file in fragment.data_files()]
    deleted = fragment.deletion_file()
    return [*names, f"{table}/{deleted}"] if deleted else names


def _expect_no_tables(root: str, storage_options: Mapping[str, str] | None = None) -> None:
    """Refuse a place whose tables hold rows, though its description is missing.

    Raises:
        LibraryDamaged: it is a library that lost its description.
    """
    for name in (VIDEOS, CLIPS):
        uri = f"{root.rstrip('/')}/{name}"
        if not is_remote(root) and not os.path.isdir(uri):
            continue
        try:
            rows = lance.dataset(uri, storage_options=lance_options(storage_options)).count_rows()
        except ValueError as error:
            # Making a library was interrupted before it held anything.
            if "not found" not in str(error).lower():
                raise
            continue
        if rows:
            raise _lost_description(root)


def _lost_description(root: str) -> LibraryDamaged:
    return LibraryDamaged(
        f"{root} holds tables, but {DESCRIPTION} is missing",
        suggestion=f"{REPAIR}, or restore it from a backup",
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
    if names - {VIDEOS, CLIPS, LOCK, CHECKSUMS, f"{DESCRIPTION}.new", f"{CHECKSUMS}.new"}:
        raise UsageError(
            f"{folder} holds other things and no library", "a new or empty folder", f"{folder}/library.prost"
        )
