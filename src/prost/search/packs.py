"""Packs: the files that a scan reads. They are derived from the clips table and can always be made again.

    holiday.prost/packs/
        current.json                 names the files in use; moving it to its place is the commit
        codebooks-<hash>.map         centroids of the object and of the event prototypes
        <hash>-v7-0.pack             codes of the clips of some fragments; 7 is the version of the clips table
        events-hnsw-<hash>-v7.index  an index over event prototypes, if one was asked for

Every file is immutable. A reader opens the files that `current.json` names and keeps them open. A writer makes new
files, commits, and removes the files that are no longer named. A pack does not decide which clips exist: its rows are
looked up in the version of the clips table that a search reads, and rows that are gone are left out.

The packs of a library on object storage lie there, and are copied to this machine to be read; see `pack_cache`.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from prost.durable import write_whole
from prost.errors import PackDamaged
from prost.search.codebook import Codebook
from prost.search.codes import Codebooks, CodedClips
from prost.search.fragments import Pages
from prost.search.mapped import MappedFile, open_mapped, remove, write_mapped
from prost.search.pack_cache import FOLDER, RemotePacks
from prost.search.records import PrototypeSizes
from prost.search.storage_errors import storage_errors
from prost.search.store import Store

CURRENT = "current.json"
# A reader that read `current.json` just before a commit finds files gone, and reads it again.
ATTEMPTS = 5
# The file name of rows that compaction dropped; no data file has it.
DROPPED = ""

Read = TypeVar("Read")


@dataclass(frozen=True, kw_only=True)
class PackedFragment:
    """Rows of one fragment in a pack.

    Attributes:
        file: name of the fragment's data file.
        rows: how many of its rows are in the pack.
        pages: where the data file holds its prototypes, if it holds them row after row.
    """

    file: str
    rows: int
    pages: dict[str, Pages] | None = None


@dataclass(frozen=True, kw_only=True)
class MovedRows:
    """Where compaction puts the rows of one data file.

    Attributes:
        offsets: places in the data file of the rows that are kept, ascending `[n]`.
        fragments: the new data files, each with the number of these rows that go there, in their order.
        first: place of the first of these rows in the first new data file. In each later file they begin at 0.
    """

    offsets: NDArray[np.int64]
    fragments: tuple[PackedFragment, ...]
    first: int

    def new_places(self) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
        """For each kept row the number of its new file in `fragments`, and its place in there `[n]`."""
        numbers = np.repeat(np.arange(len(self.fragments)), [each.rows for each in self.fragments])
        starts = [self.first, *(0 for _ in self.fragments[1:])]
        offsets = [
            np.arange(start, start + each.rows) for start, each in zip(starts, self.fragments, strict=True)
        ]
        return numbers, np.concatenate([np.empty(0, np.int64), *offsets]).astype(np.uint32)


@dataclass(frozen=True)
class PackedRows:
    """The clips that something was derived from: rows of fragments, fragment after fragment.

    Attributes:
        fragments: the fragments.
        offsets: place of each row in its fragment `[n]`.
    """

    fragments: tuple[PackedFragment, ...]
    offsets: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def joined(cls, parts: Sequence[PackedRows]) -> PackedRows:
        """The rows of one or more parts, part after part."""
        return cls(
            tuple(fragment for part in parts for fragment in part.fragments),
            np.concatenate([part.offsets for part in parts]),
        )

    def slices(self) -> list[tuple[PackedFragment, slice]]:
        """Each fragment with its place among the rows."""
        ends = np.cumsum([0, *(fragment.rows for fragment in self.fragments)]).tolist()
        return [
            (fragment, slice(first, first + fragment.rows))
            for fragment, first in zip(self.fragments, ends[:-1], strict=True)
        ]

    def by_file(self) -> dict[str, NDArray[np.uint32]]:
        """The places of the rows in each data file, ascending, by its name."""
        places: dict[str, list[NDArray[np.uint32]]] = {}
        for fragment, rows in self.slices():
            places.setdefault(fragment.file, []).append(self.offsets[rows])
        return {file: np.sort(np.concatenate(parts)) for file, parts in places.items()}

    def moved(self, moves: Mapping[str, MovedRows]) -> PackedRows:
        """The same rows after compaction, in the same order; dropped rows are rows of a file `DROPPED`.

        Args:
            moves: by the names of the data files that compaction replaces; other files keep their rows.
        """
        fragments, offsets = [], []
        for fragment, places in self.slices():
            old = self.offsets[places]
            move = moves.get(fragment.file)
            if move is None:
                fragments.append(fragment)
                offsets.append(old)
                continue
            numbers, new = move.new_places()
            kept = np.minimum(np.searchsorted(move.offsets, old), max(0, len(move.offsets) - 1))
            alive = move.offsets[kept] == old if len(move.offsets) else np.zeros(len(old), dtype=bool)
            files = np.where(alive, numbers[kept] if len(numbers) else 0, -1)
            for number, run in groupby(files.tolist()):
                rows = sum(1 for _ in run)
                target = PackedFragment(file=DROPPED, rows=rows) if number < 0 else move.fragments[number]
                fragments.append(PackedFragment(file=target.file, rows=rows, pages=target.pages))
            offsets.append(np.where(alive, new[kept] if len(new) else 0, 0).astype(np.uint32))
        return PackedRows(tuple(fragments), np.concatenate([np.empty(0, np.uint32), *offsets]))


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Coded clips, and which rows of the clips table they are.

    Attributes:
        rows: of the table.
        clips: the same number, in the same order.
        errors: sums of 1 - cosine between a prototype and its centroid, over the object and the event prototypes.
    """

    rows: PackedRows
    clips: CodedClips
    errors: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def files(self) -> set[str]:
        """Names of the data files that it covers."""
        return {fragment.file for fragment in self.rows.fragments}

    def only(self, files: set[str]) -> Pack | None:
        """The clips of some data files; None where it has none of them."""
        kept = [(fragment, rows) for fragment, rows in self.rows.slices() if fragment.file in files]
        if not kept:
            return None
        if len(kept) == len(self.rows.fragments):
            return self
        rows = PackedRows(
            tuple(fragment for fragment, _ in kept),
            np.concatenate([self.rows.offsets[part] for _, part in kept]),
        )
        clips = CodedClips.joined([self.clips[part] for _, part in kept])
        return Pack(rows=rows, clips=clips, errors=self.errors * (len(rows) / len(self)))

    def moved(self, moves: Mapping[str, MovedRows]) -> Pack:
        """The same clips after compaction; see `PackedRows.moved`."""
        return replace(self, rows=self.rows.moved(moves))

    @classmethod
    def joined(cls, parts: Sequence[Pack]) -> Pack:
        """The clips of one or more packs, pack after pack."""
        return cls(
            rows=PackedRows.joined([part.rows for part in parts]),
            clips=CodedClips.joined([part.clips for part in parts]),
            errors=np.sum([part.errors for part in parts], axis=0),
        )


@dataclass(frozen=True, kw_only=True)
class Current:
    """The contents of `current.json`.

    Attributes:
        fingerprint: of the model of the library.
        codebooks: name of a file.
        clips: number of clips in the library when the codebooks were trained.
        packs: names of files.
        index: name of a file, or None.
    """

    fingerprint: str
    codebooks: str
    clips: int
    packs: tuple[str, ...] = ()
    index: str | None = None

    @property
    def files(self) -> set[str]:
        """All names."""
        return {self.codebooks, *self.packs, *([self.index] if self.index else [])}

    @property
    def index_kind(self) -> str | None:
        """Kind of the index, which its name holds, so that a lost or damaged index can be made again."""
        return _index_kind(self.index) if self.index else None


@dataclass(kw_only=True)
class PackFolder:
    """The derived files of one library.

    Attributes:
        path: of the folder; it is made when something is written.
        fingerprint: of the library's model.
        sizes: of its prototypes.
        remote: where the files come from, if the library lies on object storage; `path` then holds copies.
    """

    path: Path
    fingerprint: str
    sizes: PrototypeSizes
    remote: RemotePacks | None = None
    # Files that were written since the last commit.
    _fresh: set[str] = field(default_factory=set, repr=False)
    # Files are immutable, so one that was verified once is not verified again.
    _opened: dict[str, MappedFile] = field(default_factory=dict, repr=False)
    _books: tuple[str, Codebooks] | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def current(self) -> Current | None:
        """The files in use; None if none were made yet.

        Raises:
            PackDamaged: `current.json` cannot be read, or is of another model.
            StorageError: the object store refuses.
        """
        path = self.path / CURRENT
        try:
            data = path.read_bytes() if self.remote is None else self.remote.read(CURRENT)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _damaged(f"{path}: it cannot be read ({error.strerror})") from None
        if data is None:
            return None
        try:
            current = _parse_current(data.decode("utf-8"))
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(f"{path}: it cannot be read ({type(error).__name__})") from None
        if current.fingerprint != self.fingerprint:
            raise _damaged(
                f"{self.path}: made by model {current.fingerprint}, the library by {self.fingerprint}"
            )
        if self.remote is not None:
            self.remote.use(current.files)
        return current

    def codebooks(self, name: str) -> Codebooks:
        """Open codebooks.

        Raises:
            FileNotFoundError: they are gone.
            PackDamaged: they are damaged, or of another model.
        """
        with self._lock:
            if self._books is not None and self._books[0] == name:
                return self._books[1]
        file = self._verified(name, "codebooks")
        if file.notes["fingerprint"] != self.fingerprint or file.notes["width"] != self.sizes.width:
            raise _damaged(f"{file.path}: codebooks of another model ({file.notes['fingerprint']})")
        books = Codebooks(*(_codebook(file, part) for part in ("object", "event")))
        with self._lock:
            self._books = (name, books)
        return books

    def pack(self, name: str, codebooks: str) -> Pack:
        """Open a pack.

        Args:
            name: of its file.
            codebooks: name of the file of the codebooks that it is expected to be coded with.

        Raises:
            FileNotFoundError: it is gone.
            PackDamaged: it is damaged, or was coded with other codebooks.
        """
        with self._lock:
            file = self._opened.get(name)
        if file is None or not file.unchanged():
            file = self._verified(name, "pack")
        if file.notes["codebooks"] != codebooks:
            raise _damaged(f"{file.path}: coded with {file.notes['codebooks']}, not with {codebooks}")
        with self._lock:
            self._opened[name] = file
        arrays = file.arrays
        clips = CodedClips(
            words=arrays["words"],
            starts=arrays["starts"],
            event_codes=arrays["event_codes"],
            event=arrays["event"],
            event_scales=arrays["event_scales"],
            slots=self.sizes.objects,
        )
        return Pack(rows=_rows(file), clips=clips, errors=np.array(file.notes["errors"]))

    def unchanged(self) -> bool:
        """Whether nobody wrote to the packs that are open; what was overwritten must not be read."""
        with self._lock:
            return all(file.unchanged() for file in self._opened.values())

    def index(self, name: str) -> tuple[PackedRows, str, NDArray[np.uint8]]:
        """Open an index: the clips it covers, its kind, and its bytes.

        Raises:
            FileNotFoundError: it is gone.
            PackDamaged: it is damaged, or of another model.
        """
        file = self._verified(name, "index")
        if file.notes["fingerprint"] != self.fingerprint:
            raise _damaged(f"{file.path}: an index of another model ({file.notes['fingerprint']})")
        return _rows(file), file.notes["index"], file.arrays["bytes"]

    def lost_index(self) -> str | None:
        """Name of the index in a folder whose `current.json` is lost or damaged; None where there is none."""
        names = [file.name for file in self.path.iterdir()] if self.path.is_dir() else []
        if self.remote is not None:
            names = self.remote.names()
        return min((name for name in names if fnmatch(name, "events-*.index")), default=None)

    def write_codebooks(self, books: Codebooks) -> str:
        """Write codebooks; returns the name of their file."""
        notes: dict[str, Any] = {"fingerprint": self.fingerprint, "width": self.sizes.width, "errors": {}}
        arrays: dict[str, NDArray] = {}
        for part, book in (("object", books.object), ("event", books.event)):
            arrays[f"{part}_centroids"] = book.centroids.numpy()
            arrays[f"{part}_cells"] = book.cells.numpy()
            arrays[f"{part}_starts"] = book.starts
            notes["errors"][part] = book.error
        return self._write("codebooks-{hash}.map", "codebooks", notes, arrays)

    def write_pack(self, pack: Pack, codebooks: str, version: int, number: int) -> str:
        """Write a pack; returns the name of its file.

        Args:
            pack: the pack.
            codebooks: name of the codebooks that it was coded with.
            version: of the clips table.
            number: distinguishes the packs of one version.
        """
        clips = pack.clips
        return self._write(
            f"{{hash}}-v{version}-{number}.pack",
            "pack",
            {**_row_notes(pack.rows), "codebooks": codebooks, "errors": pack.errors.tolist()},
            {
                "offsets": pack.rows.offsets,
                "words": clips.words,
                "starts": clips.starts,
                "event_codes": clips.event_codes,
                "event": clips.event,
                "event_scales": clips.event_scales,
            },
        )

    def write_index(self, rows: PackedRows, kind: str, data: NDArray[np.uint8], version: int) -> str:
        """Write an index; returns the name of its file."""
        notes = {**_row_notes(rows), "index": kind, "fingerprint": self.fingerprint}
        pattern = f"events-{kind}-{{hash}}-v{version}.index"
        return self._write(pattern, "index", notes, {"offsets": rows.offsets, "bytes": data})

    def commit(self, current: Current) -> None:
        """Make files the ones in use, and remove all others.

        Raises:
            StorageError: the disk refuses; the files before are still in use.
        """
        content = json.dumps(asdict(current), indent=2).encode()
        if self.remote is not None:
            self.remote.publish({CURRENT, *current.files}, self._fresh & current.files, (CURRENT, content))
            self.remote.use(current.files)
            self._fresh.clear()
            self._forget_unused(current.files)
            return
        with storage_errors(str(self.path)):
            self._make()
            if (self.path / CURRENT).is_dir():
                remove(self.path / CURRENT)
            write_whole(self.path / CURRENT, content)
        self.sweep(current)

    def sweep(self, current: Current | None) -> None:
        """Remove all files but those in use, such as the unfinished ones of a writer that was killed.

        Args:
            current: the files in use; None for none.
        """
        used = {CURRENT, *current.files} if current else set()
        if self.remote is not None:
            self.remote.publish(used)
            self._forget_unused(used)
            return
        with storage_errors(str(self.path)):
            for unused in self.path.iterdir() if self.path.is_dir() else ():
                if unused.name not in used:
                    _remove_if_allowed(unused)
        self._forget_unused(used)

    def _forget_unused(self, used: Collection[str]) -> None:
        with self._lock:
            self._opened = {name: file for name, file in self._opened.items() if name in used}

    def nbytes(self) -> dict[str, int]:
        """Bytes on disk of the arrays of the packs and of the other files in use, by what they are."""
        current = self.current()
        sizes: dict[str, int] = {}
        if current is None:
            return sizes

        def count(part: str, size: int) -> None:
            sizes[part] = sizes.get(part, 0) + size

        count("codebooks", self._place(current.codebooks).stat().st_size)
        for name in current.packs:
            for part, array in open_mapped(self._place(name), "pack").arrays.items():
                count(part, array.nbytes)
        if current.index:
            count("index", self._place(current.index).stat().st_size)
        return sizes

    def _place(self, name: str) -> Path:
        """Where a file is on this machine.

        Raises:
            FileNotFoundError: it is not in the library on object storage.
        """
        return self.path / name if self.remote is None else self.remote.copy(name)

    def _verified(self, name: str, kind: str) -> MappedFile:
        try:
            return _verified(self._place(name), kind)
        except PackDamaged:
            if self.remote is None:
                raise
        # Only the copy may be damaged.
        return _verified(self.remote.copy(name, again=True), kind)

    def _make(self) -> None:
        if not self.path.is_dir():
            remove(self.path)  # a file, or a link that leads nowhere
            self.path.mkdir(parents=self.remote is not None)

    def _write(self, pattern: str, kind: str, notes: dict[str, Any], arrays: dict[str, NDArray]) -> str:
        with storage_errors(str(self.path)):
            self._make()
            name = write_mapped(self.path, pattern, kind, notes, arrays).name
        self._fresh.add(name)
        with self._lock:
            self._opened.pop(name, None)  # a damaged file of this name was replaced
        return name


def pack_folder(store: Store) -> PackFolder:
    """The packs of a library."""
    description = store.description
    remote = None
    if store.objects is not None:
        remote = RemotePacks(store.objects, description.id, store.expect_held)
    return PackFolder(
        path=Path(store.root, FOLDER) if remote is None else remote.folder,
        fingerprint=description.fingerprint,
        sizes=description.sizes,
        remote=remote,
    )


def open_or_damaged(read: Callable[[], Read]) -> Read:
    """Open a derived file for a writer, who knows that nobody else removes it.

    Raises:
        PackDamaged: it is damaged or gone.
    """
    try:
        return read()
    except FileNotFoundError as error:
        raise _damaged(f"{error.filename}: it is gone") from None


def _parse_current(text: str) -> Current:
    values = json.loads(text)
    current = Current(**{**values, "packs": tuple(values["packs"])})
    for name in current.files:
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"{name!r} is no file name")
    return current


def _index_kind(name: str) -> str:
    """The kind in `events-<kind>-<hash>-v<version>.index`."""
    return name.removeprefix("events-").rsplit("-", 2)[0]


def _verified(path: Path, kind: str) -> MappedFile:
    file = open_mapped(path, kind)
    file.verify()
    return file


def _codebook(file: MappedFile, part: str) -> Codebook:
    # Copied, because torch warns about memory that it may not write to.
    centroids, cells = (
        torch.from_numpy(np.array(file.arrays[f"{part}_{name}"])) for name in ("centroids", "cells")
    )
    return Codebook(centroids, cells, np.array(file.arrays[f"{part}_starts"]), file.notes["errors"][part])


def _row_notes(rows: PackedRows) -> dict[str, Any]:
    return {"fragments": [asdict(fragment) for fragment in rows.fragments]}


def _rows(file: MappedFile) -> PackedRows:
    fragments = tuple(
        PackedFragment(
            file=values["file"],
            rows=values["rows"],
            pages=values["pages"]
            and {name: [(count, place) for count, place in pages] for name, pages in values["pages"].items()},
        )
        for values in file.notes["fragments"]
    )
    return PackedRows(fragments, file.arrays["offsets"])


def _remove_if_allowed(path: Path) -> None:
    try:
        remove(path)
    except OSError:
        # Some systems refuse to remove a file that a reader has mapped; the next commit tries again.
        if path.exists() and os.name == "posix":
            raise


def _damaged(what: str) -> PackDamaged:
    return PackDamaged(what, suggestion="prost optimize")
