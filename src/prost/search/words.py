"""The table `words`: cues of subtitle files and text tracks, with a full text index.

    words.lance     one row a cue, and one row a video that says what was read of it

The words of a library can always be read again from its files. They are read after the videos were committed; what an
interruption leaves out is read by the next run, because the row that says what was read is committed with the cues.
A library without this table is searched by pictures alone.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import lance
import pyarrow as pa
from lance.query import MatchQuery

from prost.errors import LibraryDamaged, VideoError
from prost.search.filters import expect_filter
from prost.search.records import VideoRow
from prost.search.schema import path_as_text, path_key, video_rows
from prost.search.storage_errors import storage_errors
from prost.search.store import SMALL_FRAGMENTS, WORDS, Store
from prost.video.files import SeenFile
from prost.video.isolation import IsolatedDecoder
from prost.video.subtitles import Cue, find_sidecars

# A change of what is read of a file: words read by older versions are read again.
READING = 1
# The position of the row that says what was read of a video.
MARKER = -1

SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),  # key of the video's row
        pa.field("position", pa.int32(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("read", pa.string(), nullable=False),  # what was read, see `_state`
    ]
)
INDEX = "text_idx"

COMMIT_VIDEOS = 64
COMMIT_CUES = 50_000
COMMIT_SECONDS = 10.0
# Cues that are asked for at first.
FIRST_CUES = 256


@dataclass(frozen=True, kw_only=True)
class FoundWords:
    """A video whose words fit a query.

    Attributes:
        video: the video.
        cues: those that fit, best first.
    """

    video: VideoRow
    cues: tuple[Cue, ...]


def index_words(store: Store, paths: Sequence[str]) -> list[tuple[str, str]]:
    """Read the words of the indexed videos among some paths, where they or their subtitle files have changed.

    Args:
        store: the library; the writer's lock is held by the caller.
        paths: absolute paths.

    Returns:
        path of a video and what was left out of its words.

    Raises:
        StorageError: the disk refuses.
    """
    wanted = set(paths)
    every = [row for row in store.read_videos() if row.indexed]
    rows = [row for row in every if row.path in wanted]
    # Which film a subtitle file belongs to is told by all films of its folder.
    folders = {os.path.dirname(row.path) for row in rows}
    sidecars = find_sidecars([row.path for row in every if os.path.dirname(row.path) in folders])
    known = _known_states(store)
    states = {row.path: _state(row, sidecars[row.path]) for row in rows}
    changed = [row for row in rows if known.get(path_key(row.path)) != states[row.path]]
    if not changed:
        return []
    notes: list[tuple[str, str]] = []
    pending: dict[str, tuple[str, list[Cue]]] = {}
    last_commit = time.monotonic()
    with IsolatedDecoder() as decoder:
        for row in changed:
            try:
                files = [sidecar.path for sidecar in sidecars[row.path]]
                cues, left_out = decoder.read_words(row.path, files)
            except VideoError as error:
                cues, left_out = [], [f"its words cannot be read ({error.reason})"]
            notes += [(row.path, note) for note in left_out]
            pending[path_key(row.path)] = (states[row.path], cues)
            due = (
                len(pending) >= COMMIT_VIDEOS
                or sum(len(cues) for _, cues in pending.values()) >= COMMIT_CUES
                or time.monotonic() - last_commit >= COMMIT_SECONDS
            )
            if due:
                _replace(store, pending)
                pending, last_commit = {}, time.monotonic()
    _replace(store, pending)
    _tidy(store)
    return notes


def sweep_words(store: Store) -> None:
    """Delete the words of videos that the library no longer shows; the writer's lock is held by the caller."""
    known = _known_states(store)
    if known:
        _delete(
            store, sorted(known.keys() - {path_key(row.path) for row in store.read_videos() if row.indexed})
        )
        _record(store)


def find_words(store: Store, query: str, *, videos: int, where: str | None = None) -> list[FoundWords]:
    """The videos whose words fit a query best, ranked by their best cue (BM25).

    Args:
        store: the library.
        query: words.
        videos: largest number of videos.
        where: an expression over the videos.

    Raises:
        BadFilter: `where` cannot be read.
        LibraryDamaged: the words cannot be read.
    """
    table = open_words(store)
    if table is None:
        return []
    with storage_errors(store.root):
        videos_table = store.videos()
        condition = "status = 'indexed'"
        if where is not None:
            condition = f"{expect_filter(videos_table, where)} AND {condition}"
        if not any(index.name == INDEX for index in table.describe_indices()):
            return []
        wanted = FIRST_CUES
        while True:
            found = table.to_table(full_text_query=MatchQuery(query, "text"), limit=wanted).to_pylist()
            keys = list(dict.fromkeys(cue["video"] for cue in found))
            listed = ", ".join(f"'{key}'" for key in keys)
            rows = {}
            if keys:
                matching = videos_table.to_table(filter=f"{condition} AND key IN ({listed})")
                rows = {path_key(row.path): row for row in video_rows(matching)}
            if len(rows) >= videos or len(found) < wanted:
                break
            wanted *= 4
    cues: dict[str, list[Cue]] = {key: [] for key in keys if key in rows}
    for cue in found:
        if cue["video"] in cues:
            cues[cue["video"]].append(
                Cue(start=cue["start"], end=cue["end"], text=cue["text"], source=cue["source"])
            )
    return [FoundWords(video=rows[key], cues=tuple(cues[key])) for key in list(cues)[:videos]]


def open_words(store: Store) -> lance.LanceDataset | None:
    """The latest version of the table; None where there is none.

    Raises:
        LibraryDamaged: it cannot be read.
    """
    return store.existing_table(WORDS)


def drop_words(store: Store) -> None:
    """Remove the table; the next run reads the words again."""
    if store.objects is not None:
        store.remove_objects(WORDS)
        return
    with storage_errors(store.root):
        shutil.rmtree(store.uri(WORDS), ignore_errors=True)
        _record(store)


def _state(row: VideoRow, sidecars: Sequence[SeenFile]) -> str:
    """What is read of a video: its content, and the names, sizes and times of its subtitle files."""
    files = [[path_as_text(os.path.basename(each.path)), each.size, each.modified] for each in sidecars]
    return blake2b(json.dumps([READING, row.content, files]).encode(), digest_size=16).hexdigest()


def _known_states(store: Store) -> dict[str, str]:
    try:
        table = open_words(store)
        if table is None:
            return {}
        with storage_errors(store.root):
            rows = table.to_table(columns=["video", "read"], filter=f"position = {MARKER}")
    except LibraryDamaged:
        drop_words(store)
        return {}
    return dict(zip(rows["video"].to_pylist(), rows["read"].to_pylist(), strict=True))


def _replace(store: Store, videos: dict[str, tuple[str, list[Cue]]]) -> None:
    """Commit the words of some videos: the old ones go first, so that nothing is there twice."""
    if not videos:
        return
    _delete(store, sorted(videos))
    rows = []
    for key, (state, cues) in videos.items():
        values = {"video": key, "read": state}
        rows.append({**values, "position": MARKER, "start": 0.0, "end": 0.0, "text": "", "source": ""})
        for position, cue in enumerate(cues):
            text, source = path_as_text(cue.text), path_as_text(cue.source)
            rows.append(
                {
                    **values,
                    "position": position,
                    "start": cue.start,
                    "end": cue.end,
                    "text": text,
                    "source": source,
                }
            )
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    store.make_table(WORDS, SCHEMA)
    store.append_rows(WORDS, table)


def _delete(store: Store, keys: Sequence[str]) -> None:
    if open_words(store) is not None:
        store.delete_rows(WORDS, "video", keys)


def _tidy(store: Store) -> None:
    """Index what is new, merge small fragments, and drop old versions."""
    table = open_words(store)
    if table is None:
        return
    with storage_errors(store.root), store.refusing_late_commits():
        store.expect_held()
        if len(table.get_fragments()) > SMALL_FRAGMENTS:
            table.optimize.compact_files(num_threads=1)
        if any(index.name == INDEX for index in table.describe_indices()):
            table.optimize.optimize_indices()
        elif table.count_rows("position >= 0"):
            table.create_scalar_index("text", "INVERTED", name=INDEX)
        store.table(WORDS).cleanup_old_versions(older_than=store.versions_live())
    _record(store)


def _record(store: Store) -> None:
    if store.files is not None:
        with storage_errors(store.root):
            store.files.record()
