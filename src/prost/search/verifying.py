"""Is a library whole? Files against their checksums, tables against each other, packs against theirs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import lance

from prost.errors import LibraryDamaged, PackDamaged
from prost.search.description import DESCRIPTION, read_description
from prost.search.generations import library_root
from prost.search.packs import PackFolder, pack_folder
from prost.search.records import VideoRow
from prost.search.schema import VIDEO_SCHEMA, clip_schema, video_rows
from prost.search.storage_errors import first_sentence, is_refusal, storage_errors
from prost.search.store import CLIPS, VIDEOS, WORDS, Store, fragment_files, noted_description
from prost.search.words import SCHEMA, open_words

ROWS_AT_ONCE = 64


class Kind(StrEnum):
    """What is wrong, and so what a repair does about it."""

    DESCRIPTION = "description"
    TABLE = "table"
    MANIFEST = "manifest"
    OTHER_LIBRARY = "other library"
    FRAGMENT = "fragment"
    CLIPS = "clips"
    PACKS = "packs"
    WORDS = "words"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a library.

    Attributes:
        kind: what kind of thing.
        place: the file, table or content.
        detail: what is wrong with it.
        fragment: number of the fragment in the table `place`, where a fragment is damaged; otherwise -1.
    """

    kind: Kind
    place: str
    detail: str
    fragment: int = -1

    def __str__(self) -> str:
        return f"{self.place}: {self.detail}"


def verify_library(
    path: str | os.PathLike[str], storage_options: Mapping[str, str] | None = None
) -> list[Problem]:
    """Read a whole library and list what is wrong with it; nothing is written.

    Every file of the latest version is compared with its checksum, or decoded where it has none. Every video must
    have its clips, and no others; description and tables must belong together. On an object store, which keeps
    checksums itself, everything is decoded. A writer that runs meanwhile can cause false alarms.

    Args:
        path: of the library; it need not be one that can be opened.
        storage_options: what Lance needs to reach an object store.

    Raises:
        MissingPath: there is no library.
        LibraryError: a newer prost wrote it.
        StorageError: the disk refuses.
    """
    root = library_root(path, storage_options)
    try:
        description = read_description(root, storage_options)
    except LibraryDamaged as damage:
        return [Problem(kind=Kind.DESCRIPTION, place=DESCRIPTION, detail=damage.arrived)]
    if description is None:
        try:
            Store.open(root, storage_options)
        except LibraryDamaged:
            return [Problem(kind=Kind.DESCRIPTION, place=DESCRIPTION, detail="is missing")]
    assert description is not None  # Store.open raised MissingPath
    store = Store(root, description, storage_options)
    return [*verify_tables(store), *_packs(store), *_words(store)]


def verify_tables(store: Store) -> list[Problem]:
    """What is wrong with the tables of a library."""
    problems: list[Problem] = []
    for name in (VIDEOS, CLIPS):
        problems += _table(store, name)
    if not problems:
        problems += wrong_counts(store)
    return problems


def wrong_counts(store: Store) -> list[Problem]:
    """Contents whose clips are not those that their videos should have."""
    with storage_errors(store.root):
        keys = store.clips().to_table(columns=["key", "content"])
        there: dict[str, list[str]] = {}
        for key, content in zip(keys["key"].to_pylist(), keys["content"].to_pylist(), strict=True):
            there.setdefault(content, []).append(key)
    videos: dict[str, VideoRow] = {
        row.content: row for row in store.read_videos() if row.indexed and row.content
    }
    problems = []
    for content, row in videos.items():
        # A clip without finite numbers leaves a gap in the places, so these tell nothing.
        found = Counter(there.get(content, []))
        if len(found) != row.clips or max(found.values(), default=0) > 1:
            detail = f"{found.total()} clips are there, {row.clips} belong there"
            problems.append(Problem(kind=Kind.CLIPS, place=row.path, detail=detail))
    return problems


def _table(store: Store, name: str) -> Iterator[Problem]:
    with storage_errors(store.root):
        files = store.files.manifests(name) if store.files is not None else []
    manifests = [
        Problem(kind=Kind.MANIFEST, place=file, detail=wrong)
        for file in files
        if (wrong := store.changed(file))
    ]
    try:
        other = noted_description(store.root, name, store.storage_options)
    except LibraryDamaged as damage:
        yield from manifests or [Problem(kind=Kind.TABLE, place=name, detail=damage.arrived)]
        return
    if other is not None and other != store.description:
        what = (
            "belongs to another library"
            if other.id != store.description.id
            else f"does not fit {DESCRIPTION}"
        )
        yield Problem(kind=Kind.OTHER_LIBRARY, place=name, detail=what)
        return
    if manifests:
        yield from manifests
        return
    with storage_errors(store.root):
        table = store.table(name)
    expected = VIDEO_SCHEMA if name == VIDEOS else clip_schema(store.description.sizes)
    if not table.schema.remove_metadata().equals(expected):
        yield Problem(kind=Kind.OTHER_LIBRARY, place=name, detail=f"its columns do not fit {DESCRIPTION}")
        return
    for fragment in table.get_fragments():
        if wrong := _wrong_with(store, name, table, fragment):
            yield Problem(kind=Kind.FRAGMENT, place=name, detail=wrong, fragment=fragment.fragment_id)


def _wrong_with(store: Store, name: str, table: lance.LanceDataset, fragment: lance.LanceFragment) -> str:
    """What is wrong with a fragment; empty where nothing is."""
    files = fragment_files(name, fragment)
    for file in files:
        if wrong := store.changed(file):
            return f"{file} {wrong}"
    if store.files is not None and all(store.files.has_checksum(file) for file in files):
        return ""
    try:
        rows = 0
        for batch in table.scanner(fragments=[fragment], batch_size=ROWS_AT_ONCE).to_batches():
            batch.validate(full=True)
            rows += batch.num_rows
            if name == VIDEOS:
                video_rows(batch)
        if rows != fragment.count_rows():
            return f"{files[0]} holds {rows} rows instead of {fragment.count_rows()}"
    except (OSError, ValueError, OverflowError) as error:
        if is_refusal(store.root, error):
            with storage_errors(store.root):
                raise
        # The rows are read for nothing but to see whether they can be read.
        return f"{files[0]} cannot be read ({first_sentence(error)})"
    return ""


def _words(store: Store) -> list[Problem]:
    """What is wrong with the words, which a repair drops and the next run reads again."""
    try:
        table = open_words(store)
    except LibraryDamaged as damage:
        return [Problem(kind=Kind.WORDS, place=WORDS, detail=damage.arrived)]
    if table is None:
        return []
    if not table.schema.remove_metadata().equals(SCHEMA):
        return [Problem(kind=Kind.WORDS, place=WORDS, detail="its columns are not those of words")]
    if store.files is None:
        try:
            with storage_errors(store.root):
                table.to_table()
        except LibraryDamaged as damage:
            return [Problem(kind=Kind.WORDS, place=WORDS, detail=damage.arrived)]
        return []
    with storage_errors(store.root):
        names = store.files.names(WORDS)
    wrong = (f"{file} {fault}" for file in names if (fault := store.changed(file)))
    return [Problem(kind=Kind.WORDS, place=WORDS, detail=fault) for fault in wrong]


def _packs(store: Store) -> list[Problem]:
    return [
        Problem(kind=Kind.PACKS, place="packs", detail=f"{damage}; `prost optimize` makes them again")
        for damage in _damaged_packs(pack_folder(store))
    ]


def _damaged_packs(folder: PackFolder) -> Iterator[str]:
    try:
        current = folder.current()
        if current is None:
            return
        folder.codebooks(current.codebooks)
    except PackDamaged as damage:
        yield damage.arrived
        return
    except FileNotFoundError as error:
        yield f"{error.filename} is gone"
        return
    for name in current.packs:
        try:
            folder.pack(name, current.codebooks)
        except PackDamaged as damage:
            yield damage.arrived
        except FileNotFoundError as error:
            yield f"{error.filename} is gone"
    if current.index is not None:
        try:
            folder.index(current.index)
        except PackDamaged as damage:
            yield damage.arrived
        except FileNotFoundError as error:
            yield f"{error.filename} is gone"
