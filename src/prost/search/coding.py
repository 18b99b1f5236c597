"""Keep the packs of a library up to date: train codebooks, code clips, merge packs. The writer holds the lock.

New clips are coded with the codebooks that are there. The codebooks are trained again, and all clips coded again, when
the library has outgrown them, or when later clips fit them worse than the clips that they were trained on. Readers use
the old packs until the new ones are committed, and those that have them open even longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import lance
import numpy as np
import torch
from numpy.typing import NDArray

from prost.errors import PackDamaged
from prost.object_store import is_remote
from prost.progress import Advance
from prost.search.codebook import SAMPLES_A_CENTROID, codebook_size, train_codebook
from prost.search.codes import Codebooks, CodedClips, code_clips
from prost.search.fragments import (
    FlatRows,
    Pages,
    agree,
    column_array,
    data_file,
    find_pages,
    read_prototypes,
)
from prost.search.packs import Current, Pack, PackedFragment, PackedRows, PackFolder, open_or_damaged
from prost.search.storage_errors import storage_errors
from prost.search.store import Store

# Smaller libraries get no codes: scoring all their clips exactly takes one or two tenths of a second.
SCAN_FROM = 4096
# Clips whose prototypes are sampled to train the codebook of object prototypes.
SAMPLED_CLIPS = 8192
CLIPS_AT_ONCE = 256
# A pack is made in memory: 2**18 clips of the bundled model take 300 MB.
PACK_CLIPS = 2**18

# The library has outgrown its codebooks when it holds this many times the clips that they were trained on and larger
# codebooks would suit it.
OUTGROWN = 4
# The codebooks have drifted when the mean error of all clips is this many times the error after training.
DRIFTED = 1.25


@dataclass(kw_only=True)
class CodingReport:
    """What a run over the packs did.

    Attributes:
        clips: clips in the packs.
        coded: clips coded by this run.
        trained: why the codebooks were trained; empty if they were not.
        damaged: files that were damaged and made again, a line each.
        object_error: mean of 1 - cosine between object prototypes and their centroids, over all clips.
        event_error: the same for event prototypes.
    """

    clips: int = 0
    coded: int = 0
    trained: str = ""
    damaged: list[str] = field(default_factory=list)
    object_error: float = 0.0
    event_error: float = 0.0


@dataclass(kw_only=True)
class _SoundFiles:
    """The undamaged files of a folder.

    Attributes:
        current: what `current.json` names.
        books: the codebooks.
        packs: by the names of their files.
        index: name of the index, damaged or not.
    """

    current: Current | None = None
    books: Codebooks | None = None
    packs: dict[str, Pack] = field(default_factory=dict)
    index: str | None = None


class Coding:
    """One run over the packs of a library.

    Args:
        store: the library.
        folder: its packs.
        progress: called with the clips coded and the clips to code.

    Raises:
        LibraryDamaged: Lance cannot read the clips table.
        StorageError: the disk refuses.
    """

    def __init__(self, store: Store, folder: PackFolder, *, progress: Advance | None = None) -> None:
        self._folder = folder
        self._progress = progress
        self._sizes = store.description.sizes
        with storage_errors(store.root):
            self._table: lance.LanceDataset = store.clips()
            self._fragments = {data_file(fragment): fragment for fragment in self._table.get_fragments()}
            self._rows = {file: fragment.count_rows() for file, fragment in self._fragments.items()}
        self._report = CodingReport()

    def run(self, *, retrain: bool = False, smallest: int = SCAN_FROM) -> CodingReport:
        """Bring the packs up to date, and remove files that are not in use.

        Args:
            retrain: train the codebooks again in any case.
            smallest: libraries of fewer clips that have no packs get none.

        Raises:
            LibraryDamaged: Lance cannot read the clips table.
            StorageError: the disk refuses; the packs before are still in use.
        """
        clips = sum(self._rows.values())
        found = self._open()
        if found.current is None and clips < smallest and not self._report.damaged:
            self._folder.sweep(None)
            return self._report
        current, books, packs = found.current, found.books, found.packs
        reason = self._due(current, books, packs, clips, retrain)
        if current is None or books is None or (reason and clips):
            self._report.trained = reason
            books = self._train(clips)
            current = Current(
                fingerprint=self._folder.fingerprint,
                codebooks=self._folder.write_codebooks(books),
                clips=clips,
            )
            packs = {}
        kept = {
            name: part for name, pack in packs.items() if (part := pack.only(set(self._rows))) is not None
        }
        covered = {file for pack in kept.values() for file in pack.files}
        fresh = list(self._code(books, [file for file in self._rows if file not in covered]))
        names = self._write(current, packs, kept, fresh)
        # The index does not depend on the codebooks. A damaged one stays named, so that its kind is known.
        current = replace(current, packs=tuple(names), index=found.index)
        if current != found.current:
            self._folder.commit(current)
        else:
            self._folder.sweep(current)
        self._sum_up([*kept.values(), *fresh])
        return self._report

    def _open(self) -> _SoundFiles:
        """Open what is undamaged; the rest is reported and made again."""
        try:
            current = self._folder.current()
        except PackDamaged as damage:
            self._report.damaged.append(damage.arrived)
            return _SoundFiles(index=self._folder.lost_index())
        if current is None:
            return _SoundFiles(index=self._folder.lost_index())
        found = _SoundFiles(current=current, index=current.index)
        try:
            found.books = open_or_damaged(lambda: self._folder.codebooks(current.codebooks))
        except PackDamaged as damage:
            self._report.damaged.append(damage.arrived)
            return found
        for name in current.packs:
            try:
                found.packs[name] = self._open_pack(name, current.codebooks)
            except PackDamaged as damage:
                self._report.damaged.append(damage.arrived)
        return found

    def _open_pack(self, name: str, codebooks: str) -> Pack:
        return open_or_damaged(lambda: self._folder.pack(name, codebooks))

    def _due(
        self,
        current: Current | None,
        books: Codebooks | None,
        packs: dict[str, Pack],
        clips: int,
        retrain: bool,
    ) -> str:
        """Why codebooks have to be trained; empty if they do not."""
        if current is None:
            return "there were none"
        if books is None:
            return "they were damaged"
        if retrain:
            return "it was asked for"
        prototypes = self._sizes.frames * self._sizes.objects
        if clips >= OUTGROWN * current.clips and codebook_size(clips * prototypes) > codebook_size(
            current.clips * prototypes
        ):
            return f"the library grew from {current.clips} to {clips} clips"
        error, _ = _mean_errors(list(packs.values()), prototypes, self._sizes.events)
        if error > DRIFTED * books.object.error and error > 0.01:
            return f"the quantisation error drifted from {books.object.error:.4f} to {error:.4f}"
        return ""

    def _train(self, clips: int) -> Codebooks:
        """Train on a sample: some object prototypes of some clips, and the events of more clips."""
        random = np.random.default_rng(0)
        width = self._sizes.width
        slots = self._sizes.frames * self._sizes.objects
        books = []
        for column, a_clip in (("object_codes", slots), ("event", self._sizes.events)):
            size = codebook_size(clips * a_clip)
            wanted = SAMPLES_A_CENTROID * size
            sampled = min(clips, SAMPLED_CLIPS if column == "object_codes" else -(-wanted // a_clip))
            rows = np.sort(random.choice(clips, sampled, replace=False)) if clips else np.empty(0, np.int64)
            from_each = min(a_clip, -(-wanted // max(1, sampled)))
            parts = []
            for piece in np.array_split(rows, max(1, -(-sampled // CLIPS_AT_ONCE))):
                with storage_errors(self._table.uri):
                    table = self._table.take(piece.tolist(), columns=[column])
                vectors = column_array(table, column, self._sizes).reshape(len(piece), a_clip, width)
                chosen = random.permuted(np.tile(np.arange(a_clip), (len(piece), 1)), axis=1)[:, :from_each]
                parts.append(np.take_along_axis(vectors, chosen[:, :, None], axis=1).reshape(-1, width))
            books.append(train_codebook(torch.from_numpy(np.concatenate(parts)), size))
        return Codebooks(*books)

    def _code(self, books: Codebooks, files: list[str]) -> Iterator[Pack]:
        """Code the clips of some data files, a pack at a time."""
        to_code = sum(self._rows[file] for file in files)
        parts: list[Pack] = []
        for file in files:
            if sum(map(len, parts)) + self._rows[file] > PACK_CLIPS and parts:
                yield Pack.joined(parts)
                parts = []
            part = self._code_fragment(books, file, to_code)
            if part is not None:
                parts.append(part)
        if parts:
            yield Pack.joined(parts)

    def _code_fragment(self, books: Codebooks, file: str, to_code: int) -> Pack | None:
        flat, pages = self._flat_rows(file)
        offsets, coded, errors = [], [], []
        for prototypes in read_prototypes(self._table, self._fragments[file], self._sizes, CLIPS_AT_ONCE):
            if flat is not None and not agree(flat, prototypes):
                flat, pages = None, None
            clips, error = code_clips(books, prototypes.object_codes, prototypes.event)
            offsets.append(prototypes.offsets.astype(np.uint32))
            coded.append(clips)
            errors.append(error)
            self._report.coded += len(clips)
            if self._progress is not None:
                self._progress(self._report.coded, to_code, "")
        if not coded:
            return None
        fragment = PackedFragment(file=file, rows=sum(map(len, offsets)), pages=pages)
        return Pack(
            rows=PackedRows((fragment,), np.concatenate(offsets)),
            clips=CodedClips.joined(coded),
            errors=np.sum(errors, axis=0),
        )

    def _flat_rows(self, file: str) -> tuple[FlatRows | None, dict[str, Pages] | None]:
        if is_remote(self._table.uri):
            return None, None
        path = os.path.join(self._table.uri, "data", file)
        pages = find_pages(path, self._fragments[file].physical_rows, self._sizes)
        return (None, None) if pages is None else (FlatRows(path, pages, self._sizes), pages)

    def _write(
        self, current: Current, packs: dict[str, Pack], kept: dict[str, Pack], fresh: list[Pack]
    ) -> list[str]:
        """Write what is new. Small packs before it are merged into it, so that there are few packs."""
        names = [name for name in current.packs if name in kept]
        pending = list(fresh)
        if len(pending) == 1:
            while names and len(kept[names[-1]]) <= min(2 * len(pending[0]), PACK_CLIPS - len(pending[0])):
                pending[0] = Pack.joined([kept[names.pop()], pending[0]])
        written = []
        for number, (name, pack) in enumerate(
            [*((name, kept[name]) for name in names), *((None, pack) for pack in pending)]
        ):
            unchanged = name is not None and packs[name] is pack
            written.append(
                name
                if name is not None and unchanged
                else self._folder.write_pack(pack, current.codebooks, self._table.version, number)
            )
        return written

    def _sum_up(self, packs: list[Pack]) -> None:
        self._report.clips = sum(map(len, packs))
        prototypes = self._sizes.frames * self._sizes.objects
        self._report.object_error, self._report.event_error = _mean_errors(
            packs, prototypes, self._sizes.events
        )


def codes_are_current(store: Store, folder: PackFolder) -> bool | None:
    """Whether sound packs cover every clip of a library; None where there are none."""
    try:
        current = folder.current()
        if current is None:
            return None
        covered = {file for name in current.packs for file in folder.pack(name, current.codebooks).files}
    except (PackDamaged, FileNotFoundError):
        return False
    with storage_errors(store.root):
        return {data_file(fragment) for fragment in store.clips().get_fragments()} <= covered


def _mean_errors(packs: list[Pack], prototypes: int, events: int) -> tuple[float, float]:
    """Mean errors of an object and of an event prototype; 0 without clips."""
    clips = sum(map(len, packs))
    sums: NDArray[np.float64] = np.sum([pack.errors for pack in packs], axis=0) if packs else np.zeros(2)
    means = sums / max(1, clips) / (prototypes, events)
    return float(means[0]), float(means[1])
