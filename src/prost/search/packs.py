"""Packs: what the scan reads, derived from the clips table and made again whenever it is lost.

    holiday.prost/packs/
        current.json              names the files that are in use; moving it to its place is the commit
        codebooks-<hash>.map      centroids of the object and of the event prototypes
        <hash>-v7-0.pack          codes of the clips of some fragments, by the table version they were made for
        events-<hash>-v7.index    an index over event prototypes, where one was asked for

Every file is immutable. A reader opens what `current.json` names and keeps it mapped; a writer makes new files,
commits, and removes what is named no more. A pack never says that a clip exists: its rows are looked up in the
version of the clips table that a search reads, and those that are gone are passed over.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prost.errors import PackDamaged
from prost.search.codebook import Codebook
from prost.search.codes import Codebooks, CodedClips
from prost.search.fragments import Pages
from prost.search.mapped import REBUILT, MappedFile, open_mapped, sync_folder, write_mapped
from prost.search.records import PrototypeSizes
from prost.search.store import Store

FOLDER = "packs"
CURRENT = "current.json"
# A reader that read `current.json` just before a commit finds files gone, and reads it again.
ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class PackedFragment:
    """The rows of one fragment in a pack.

    Attributes:
        file: name of the fragment's data file.
        rows: how many of its rows are in the pack.
        pages: where the data file holds its prototypes, if it holds them row after row.
    """

    file: str
    rows: int
    pages: dict[str, Pages] | None = None


@dataclass(frozen=True)
class PackedRows:
    """Which clips something was derived from: rows of fragments, one fragment after another.

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
        """One or more parts, one after another."""
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


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Coded clips, and which they are.

    Attributes:
        rows: of the table.
        clips: as many, in the same order.
        errors: sums over the object and over the event prototypes of 1 - cosine with the centroid.
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
        """The part of some data files; None where it has none of them."""
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

    @classmethod
    def joined(cls, parts: Sequence[Pack]) -> Pack:
        """One or more parts, one after another."""
        return cls(
            rows=PackedRows.joined([part.rows for part in parts]),
            clips=CodedClips.joined([part.clips for part in parts]),
            errors=np.sum([part.errors for part in parts], axis=0),
        )


@dataclass(frozen=True, kw_only=True)
class Current:
    """What `current.json` names.

    Attributes:
        fingerprint: of the model of the library.
        codebooks: name of a file.
        clips: clips of the library when the codebooks were trained.
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


@dataclass
class PackFolder:
    """The derived files of one library.

    Attributes:
        path: of the folder; made when something is written.
        fingerprint: of the library's model.
        sizes: of its prototypes.
    """

    path: Path
    fingerprint: str
    sizes: PrototypeSizes
    # Files are immutable: what was opened and verified once stays good.
    _opened: dict[str, MappedFile] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def current(self) -> Current | None:
        """What is in use; None where nothing was ever made.

        Raises:
            PackDamaged: it cannot be read, or is of another model.
        """
        try:
            values = json.loads((self.path / CURRENT).read_text(encoding="utf-8"))
            current = Current(**{**values, "packs": tuple(values["packs"])})
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise PackDamaged(
                f"{self.path / CURRENT}: cannot be read ({type(error).__name__})", suggestion=REBUILT
            ) from None
        if current.fingerprint != self.fingerprint:
            raise PackDamaged(
                f"{self.path}: made by model {current.fingerprint}, the library by {self.fingerprint}",
                suggestion=REBUILT,
            )
        return current

    def codebooks(self, name: str) -> Codebooks:
        """Open codebooks.

        Raises:
            FileNotFoundError: they are gone.
            PackDamaged: they are damaged, or of another model.
        """
        file = self._open(name, "codebooks")
        if file.notes["fingerprint"] != self.fingerprint or file.notes["width"] != self.sizes.width:
            raise PackDamaged(
                f"{file.path}: codebooks of another model ({file.notes['fingerprint']})", suggestion=REBUILT
            )
        return Codebooks(*(_codebook(file, part) for part in ("object", "event")))

    def pack(self, name: str, codebooks: str) -> Pack:
        """Open a pack.

        Args:
            name: of its file.
            codebooks: name of the file of the codebooks that it must have been coded with.

        Raises:
            FileNotFoundError: it is gone.
            PackDamaged: it is damaged, or was coded with others.
        """
        file = self._open(name, "pack")
        if file.notes["codebooks"] != codebooks:
            raise PackDamaged(
                f"{file.path}: coded with {file.notes['codebooks']}, not {codebooks}", suggestion=REBUILT
            )
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

    def index(self, name: str) -> tuple[PackedRows, str, NDArray[np.uint8]]:
        """Open an index: the clips it covers, its kind, and its bytes.

        Raises:
            FileNotFoundError: it is gone.
            PackDamaged: it is damaged.
        """
        file = self._open(name, "index")
        return _rows(file), file.notes["index"], file.arrays["bytes"]

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
            pack: what to write.
            codebooks: name of the codebooks that it was coded with.
            version: of the clips table.
            number: tells packs of one version apart.
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
        notes = {**_row_notes(rows), "index": kind}
        return self._write(
            f"events-{{hash}}-v{version}.index", "index", notes, {"offsets": rows.offsets, "bytes": data}
        )

    def commit(self, current: Current) -> None:
        """Make files the ones in use, and remove all others."""
        self.path.mkdir(exist_ok=True)
        temporary = self.path / f"{CURRENT}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(asdict(current), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path / CURRENT)
        sync_folder(self.path)
        for unused in self.path.iterdir():
            if unused.name != CURRENT and unused.name not in current.files:
                # On some systems a file that a reader has mapped cannot go yet; the next commit tries again.
                _remove(unused)
        with self._lock:
            self._opened = {name: file for name, file in self._opened.items() if name in current.files}

    def nbytes(self) -> dict[str, int]:
        """Bytes on disk of the packs' arrays and of the other files in use, by what they are."""
        current = self.current()
        sizes: dict[str, int] = {}
        for name in sorted(current.files) if current else []:
            kind = {"map": "codebooks", "index": "index"}.get(name.rpartition(".")[2], "pack")
            arrays = self._open(name, kind).arrays
            parts = arrays if kind == "pack" else {kind: None}
            for part, array in parts.items():
                size = (self.path / name).stat().st_size if array is None else array.nbytes
                sizes[part] = sizes.get(part, 0) + size
        return sizes

    def _open(self, name: str, kind: str) -> MappedFile:
        with self._lock:
            file = self._opened.get(name)
        if file is None:
            file = open_mapped(self.path / name, kind)
            file.verify()
            with self._lock:
                self._opened[name] = file
        return file

    def _write(self, pattern: str, kind: str, notes: dict[str, Any], arrays: dict[str, NDArray]) -> str:
        self.path.mkdir(exist_ok=True)
        written = write_mapped(self.path, pattern, kind, notes, arrays)
        return written.name


def pack_folder(store: Store) -> PackFolder | None:
    """The packs of a library; None for one on an object store, whose files cannot be mapped."""
    if not store.local:
        return None
    description = store.description
    return PackFolder(Path(store.root, FOLDER), description.fingerprint, description.sizes)


def _codebook(file: MappedFile, part: str) -> Codebook:
    # Copied: they are looked at for every clip that is coded, and torch wants memory that it may write to.
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


def _remove(file: Path) -> None:
    try:
        file.unlink()
    except OSError:
        if file.exists() and os.name == "posix":
            raise
