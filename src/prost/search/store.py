"""A library on disk: two Lance tables and a description.

    holiday.prost/
        library.json    format, model, clip settings, sizes; written last, so it marks a whole library
        videos.lance    one row a file seen
        clips.lance     one row a clip: 8-bit object prototypes with scales, event prototypes, frame times
        writer.lock     held, with the writer's process id inside, while a process writes

Clips belong to a file's *content*, not to its path: copies share them, and a moved file keeps them. Every
commit is atomic. Clips are committed before the videos that they belong to, so a video exists only when its
row does; clips without a video (a writer was killed between the two) are swept when the next writer begins.
Readers never wait: they read the latest whole version.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import lance
import numpy as np
import pyarrow as pa
import pyarrow.fs
from numpy.typing import NDArray

from prost.errors import (
    BadFilter,
    LibraryBusy,
    LibraryDamaged,
    LibraryError,
    MissingPath,
    StorageError,
    UsageError,
)

FORMAT = 1
DESCRIPTION = "library.json"
VIDEOS = "videos.lance"
CLIPS = "clips.lance"
LOCK = "writer.lock"

# Rows of the paper's sizes take 80 kB: by Lance's default of a million rows a fragment would take 80 GB.
FRAGMENT_BYTES = 256 << 20
SMALL_FRAGMENTS = 16

# A reader may still scan a version that a writer has replaced.
OLD_VERSIONS_LIVE = timedelta(minutes=10)

KEYS_PER_FILTER = 500

REFUSALS = {
    errno.ENOSPC: ("no space left", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EFBIG: ("a file would exceed the size allowed", "raise the limit on file sizes"),
    errno.EACCES: ("no permission", "another folder, or change its permissions"),
    errno.EPERM: ("no permission", "another folder, or change its permissions"),
    errno.EROFS: ("the disk is read-only", "another folder"),
    errno.EIO: ("the disk reports an error", "check the disk"),
}


@dataclass(frozen=True)
class ClipSettings:
    """How videos are cut into clips: windows of at most `longest` seconds that share `overlap` of it."""

    longest: float = 12.0
    overlap: float = 0.25


@dataclass(frozen=True)
class PrototypeSizes:
    """Sizes of one clip's prototypes.

    Attributes:
        frames: L.
        objects: N_o.
        events: N_e.
        width: D.
    """

    frames: int
    objects: int
    events: int
    width: int


@dataclass(frozen=True)
class Description:
    """What a library is made of; `library.json`."""

    model: str
    fingerprint: str
    sizes: PrototypeSizes
    clips: ClipSettings
    format: int = FORMAT

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; ValueError, KeyError or TypeError where it is something else."""
        values = json.loads(text)
        return cls(
            model=str(values["model"]),
            fingerprint=str(values["fingerprint"]),
            sizes=PrototypeSizes(**values["sizes"]),
            clips=ClipSettings(**values["clips"]),
            format=int(values["format"]),
        )


@dataclass(frozen=True)
class VideoRow:
    """One file that a library has seen.

    Attributes:
        path: absolute.
        size: bytes.
        modified: modification time, nanoseconds since 1970.
        added: when it was first taken in, UTC, ISO 8601 to the second.
        status: `indexed` or `failed`.
        content: hash of the content; None where the file could not be read.
        reason: why it failed.
        detail: what the decoder said about it, or which clips were damaged.
        duration: seconds.
        fps: frames a second.
        width: pixels, as shown.
        height: pixels, as shown.
        codec: FFmpeg's name of it.
        clips: number of clips.
        tags: words that the user gave it.
    """

    path: str
    size: int
    modified: int
    added: str
    status: str
    content: str | None = None
    reason: str | None = None
    detail: str | None = None
    duration: float | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    clips: int = 0
    tags: tuple[str, ...] = ()

    @property
    def indexed(self) -> bool:
        """Whether it can be found."""
        return self.status == "indexed"


@dataclass(frozen=True)
class ClipRows:
    """n clips of one video, as they are stored.

    Attributes:
        content: hash of the video's content.
        first: position in the video of the first of them.
        start: `[n]` seconds.
        end: `[n]` seconds.
        frame_times: `[n, L]` seconds.
        object_codes: 8-bit object prototypes `[n, L, N_o, D]`.
        object_scales: `[n, L, N_o]`.
        event: event prototypes `[n, N_e, D]`.
        event_attention: `[n, N_e, L]`.
    """

    content: str
    first: int
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    frame_times: NDArray[np.float64]
    object_codes: NDArray[np.int8]
    object_scales: NDArray[np.float32]
    event: NDArray[np.float32]
    event_attention: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def nbytes(self) -> int:
        """Memory taken, nearly all of it prototypes."""
        return self.object_codes.nbytes + self.object_scales.nbytes + self.event.nbytes


VIDEO_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),  # hash of the path's bytes: a name may be no text
        pa.field("path_bytes", pa.binary(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("folder", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("modified", pa.int64(), nullable=False),
        pa.field("added", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("content", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("duration", pa.float64()),
        pa.field("fps", pa.float64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("codec", pa.string()),
        pa.field("clips", pa.int32(), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
    ]
)

# What a `where` expression may speak about.
FILTER_COLUMNS = (
    "path, folder, name, size (bytes), duration (seconds), fps, width, height, codec, tags, "
    "added ('2026-01-31'), status, reason, clips"
)


def clip_schema(sizes: PrototypeSizes) -> pa.Schema:
    """Columns of the clips table: every row has the same size."""
    slots = sizes.frames * sizes.objects
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("content", pa.string(), nullable=False),
            pa.field("start", pa.float64(), nullable=False),
            pa.field("end", pa.float64(), nullable=False),
            pa.field("frame_times", pa.list_(pa.float64(), sizes.frames), nullable=False),
            pa.field("object_codes", pa.list_(pa.int8(), slots * sizes.width), nullable=False),
            pa.field("object_scales", pa.list_(pa.float32(), slots), nullable=False),
            pa.field("event", pa.list_(pa.float32(), sizes.events * sizes.width), nullable=False),
            pa.field("event_attention", pa.list_(pa.float32(), sizes.events * sizes.frames), nullable=False),
        ]
    )


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
        text = _read_description(root)
        if text is None:
            raise MissingPath(
                f"no library at {root}", "a folder made by `prost index`", "index some videos first"
            )
        try:
            stored = json.loads(text).get("format")
            if isinstance(stored, int) and stored > FORMAT:
                raise LibraryError(
                    f"{root} has library format {stored}",
                    f"format {FORMAT} or older",
                    "a newer version of prost",
                )
            description = Description.from_json(text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LibraryDamaged(
                f"{root}: {DESCRIPTION} cannot be read ({type(error).__name__}: {error})",
                suggestion="restore it from a backup, or index the videos into a new library",
            ) from None
        store = cls(root, description, storage_options)
        with store.touching():
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
        store = cls(root, description, storage_options)
        with store.touching():
            if store.local:
                _expect_empty(Path(root))
                Path(root).mkdir(parents=True, exist_ok=True)
            with store._lock():
                for name, schema in ((CLIPS, clip_schema(description.sizes)), (VIDEOS, VIDEO_SCHEMA)):
                    store._create_table(name, schema)
                _write_description(root, description.to_json())
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
        with self.touching():
            return self.videos().version, self.clips().version

    def read_videos(self, where: str | None = None) -> list[VideoRow]:
        """Rows of the videos table, sorted by path.

        Args:
            where: an SQL expression over its columns.

        Raises:
            BadFilter: the expression cannot be read.
        """
        with self.touching():
            table = self.videos()
            if where is not None:
                self.check_filter(table, where)
            return video_rows(table.to_table(filter=where))

    def check_filter(self, table: lance.LanceDataset, where: str) -> None:
        """Refuse an expression that does not speak of the videos table.

        Raises:
            BadFilter: it cannot be read.
        """
        try:
            if ";" in re.sub(r"'[^']*'", "", where):
                # Lance would read up to the semicolon and pass over the rest.
                raise ValueError("a semicolon")
            table.scanner(columns=["key"], filter=where, limit=1).to_table()
        except ValueError as error:
            raise BadFilter(
                f"filter {where!r} cannot be read ({_first_sentence(error)})",
                f"an SQL expression over {FILTER_COLUMNS}",
                "duration < 60 AND folder LIKE '%holiday%'",
            ) from None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock; what a killed writer left behind is swept first.

        Raises:
            LibraryBusy: another process or thread writes.
            StorageError: the disk refuses.
        """
        with self._lock():
            self.sweep()
            yield

    def append_clips(self, clips: Sequence[ClipRows]) -> None:
        """Commit clips; they become visible with the video of their content."""
        schema = clip_schema(self.description.sizes)
        table = pa.concat_tables(_clip_table(rows, schema) for rows in clips)
        with self.touching():
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
        table = pa.Table.from_pylist([_video_columns(video) for video in videos], schema=VIDEO_SCHEMA)
        with self.touching():
            merge = self.videos().merge_insert("key")
            merge.when_matched_update_all().when_not_matched_insert_all().execute(table)

    def delete_videos(self, paths: Sequence[str]) -> None:
        """Commit the removal of rows; their clips go with the next sweep."""
        with self.touching():
            _delete_in(self.videos(), "key", [path_key(path) for path in paths])

    def sweep(self) -> None:
        """Delete the clips that no video owns."""
        with self.touching():
            owned = {video.content for video in self.read_videos() if video.indexed}
            clips = self.clips()
            orphans = set(clips.to_table(columns=["content"])["content"].unique().to_pylist()) - owned
            _delete_in(clips, "content", sorted(orphans))

    def tidy(self, thorough: bool = False) -> None:
        """Merge small fragments, and drop versions and files that nobody reads any more.

        Args:
            thorough: merge any two small fragments and drop deleted rows; otherwise only when there are many.
        """
        with self.touching():
            for table, rows in ((self.clips(), self._rows_per_fragment()), (self.videos(), 1 << 20)):
                small = sum(fragment.count_rows() < rows for fragment in table.get_fragments())
                if small > (1 if thorough else SMALL_FRAGMENTS):
                    table.optimize.compact_files(
                        target_rows_per_fragment=rows, max_bytes_per_file=2 * FRAGMENT_BYTES, num_threads=1
                    )
                # Files of interrupted commits look like those of a running one; the lock says that there is
                # none.
                table.cleanup_old_versions(older_than=OLD_VERSIONS_LIVE, delete_unverified=self.local)

    def check_counts(self) -> None:
        """Compare the clips that videos claim with those that are there.

        Raises:
            LibraryDamaged: they differ.
        """
        with self.touching():
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
        lance.write_dataset(
            schema.empty_table(),
            self._uri(name),
            mode="overwrite" if self.local and os.path.exists(self._uri(name)) else "create",
            storage_options=self._storage_options,
        )

    def _rows_per_fragment(self) -> int:
        sizes = self.description.sizes
        row_bytes = (
            sizes.frames * sizes.objects * (sizes.width + 4) + sizes.events * (sizes.width + sizes.frames) * 4
        )
        return max(1, FRAGMENT_BYTES // row_bytes)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # An object store has no locks: there, one writer at a time is the user's promise.
        if not self.local:
            yield
            return
        import fcntl  # here, so that searching works on systems without it

        with self.touching():
            file = open(os.path.join(self.root, LOCK), "a+", encoding="ascii")  # noqa: SIM115
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise LibraryBusy(
                    f"{self.root} is being written by process {file.read().strip() or 'unknown'}",
                    "one writer at a time; searching is possible meanwhile",
                    "again when that process is done",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)

    @contextmanager
    def touching(self) -> Iterator[None]:
        """Context that turns what Lance and the system raise into errors of ours."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            raise _translated(self.root, error) from error
        except BaseException as error:
            # A panic inside Lance is no Exception; damaged files can cause one.
            if type(error).__name__ == "PanicException":
                raise _translated(self.root, error) from error
            raise


def path_key(path: str) -> str:
    """Key of a path's row."""
    return blake2b(os.fsencode(path), digest_size=16).hexdigest()


def _video_columns(video: VideoRow) -> dict[str, Any]:
    path = _as_text(video.path)
    folder, name = os.path.split(path)
    values = {field.name: getattr(video, field.name) for field in fields(video)}
    return {
        **values,
        "key": path_key(video.path),
        "path_bytes": os.fsencode(video.path),
        "path": path,
        "folder": folder,
        "name": name,
        "tags": list(video.tags),
    }


def video_rows(table: pa.Table) -> list[VideoRow]:
    """Rows of the videos table as records, sorted by path."""
    rows = (_video_row(row) for row in table.to_pylist())
    return sorted(rows, key=lambda video: os.fsencode(video.path))


def _video_row(columns: dict[str, Any]) -> VideoRow:
    values = {field.name: columns[field.name] for field in fields(VideoRow)}
    return VideoRow(**{**values, "path": os.fsdecode(columns["path_bytes"]), "tags": tuple(columns["tags"])})


def _as_text(path: str) -> str:
    """A path that can be stored as text: bytes that are no UTF-8 are spelled out."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _clip_table(clips: ClipRows, schema: pa.Schema) -> pa.Table:
    count = len(clips)
    columns = {
        "key": pa.array([f"{clips.content}:{clips.first + index}" for index in range(count)]),
        "content": pa.array([clips.content] * count),
        "start": pa.array(clips.start),
        "end": pa.array(clips.end),
    }
    for name in ("frame_times", "object_codes", "object_scales", "event", "event_attention"):
        values = np.ascontiguousarray(getattr(clips, name))
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)
    return pa.table(columns, schema=schema)


def _delete_in(table: lance.LanceDataset, column: str, keys: Sequence[str]) -> None:
    for first in range(0, len(keys), KEYS_PER_FILTER):
        quoted = ", ".join(f"'{key}'" for key in keys[first : first + KEYS_PER_FILTER])
        table.delete(f"{column} IN ({quoted})")


def _expect_empty(folder: Path) -> None:
    """Refuse a place where a new library would lie among other things."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file", "a new or empty folder for the library")
    names = {entry.name for entry in folder.iterdir()}
    if names - {VIDEOS, CLIPS, LOCK, f"{DESCRIPTION}.new"}:
        raise UsageError(
            f"{folder} holds other things and no library", "a new or empty folder", f"{folder}/library.prost"
        )
    for name in names & {VIDEOS, CLIPS}:
        # Making a library was interrupted before it held anything, or else its description was lost.
        with suppress(ValueError):
            if lance.dataset(str(folder / name)).count_rows():
                raise LibraryDamaged(
                    f"{folder} holds tables, but {DESCRIPTION} is missing",
                    suggestion="restore it from a backup, or index the videos into a new library",
                )


def _read_description(root: str) -> str | None:
    """The text of `library.json`; None where there is none."""
    filesystem, path = _file_system(root)
    try:
        with filesystem.open_input_file(path) as file:
            return file.read().decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _translated(root, error) from None


def _write_description(root: str, text: str) -> None:
    """Write `library.json` in one step: under another name first, then moved to its place."""
    filesystem, path = _file_system(root)
    with filesystem.open_output_stream(f"{path}.new") as file:
        file.write(text.encode())
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        with open(f"{path}.new", "rb") as written:
            os.fsync(written.fileno())
    filesystem.move(f"{path}.new", path)


def _file_system(root: str) -> tuple[pyarrow.fs.FileSystem, str]:
    if "://" not in root:
        return pyarrow.fs.LocalFileSystem(), os.path.join(root, DESCRIPTION)
    filesystem, path = pyarrow.fs.FileSystem.from_uri(root)
    return filesystem, f"{path.rstrip('/')}/{DESCRIPTION}"


def _translated(root: str, error: BaseException) -> StorageError | LibraryDamaged:
    """Lance passes the system's error number on in its text only."""
    found = re.search(r"os error (\d+)", str(error))
    number = int(found.group(1)) if found else getattr(error, "errno", None)
    if number in REFUSALS:
        what, suggestion = REFUSALS[number]
        return StorageError(f"{root}: {what}; what was stored is kept", suggestion=suggestion)
    return LibraryDamaged(
        f"{root}: a table cannot be read ({_first_sentence(error)})",
        suggestion="restore the library from a backup, or index the videos into a new one",
    )


def _first_sentence(error: BaseException) -> str:
    """The words of a Lance error without the places in its source code."""
    text = re.sub(r",? ?(/[\w./-]+\.rs:\d+:\d+)", "", str(error))
    text = re.sub(
        r"\. Valid fields are .*", "", text
    )  # names columns of Lance's own; ours are listed beside it
    for noise in ("LanceError(IO): ", "External error: ", "Invalid user input: ", "Schema error: "):
        text = text.replace(noise, "")
    return text.strip().splitlines()[0][:200].rstrip(" .,") if text.strip() else type(error).__name__
