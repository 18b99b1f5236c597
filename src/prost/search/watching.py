"""Watching folders: a file is indexed once it has stood still, and a deleted one leaves the library.

The state is the library itself, so a watch that was stopped goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from prost.errors import LibraryBusy, MissingPath, NoVideos, VideoError
from prost.object_store import is_remote
from prost.search.choosing_form import AUTO
from prost.search.finding import absolute_paths
from prost.search.index_run import AddReport
from prost.search.library import Library
from prost.search.missing_files import is_gone, is_under
from prost.search.reading import STILL_BEING_WRITTEN
from prost.video.files import FoundVideos, SeenFile, find_videos, look_at
from prost.video.subtitles import find_sidecars

# Files that are added at a time: what was found meanwhile waits on the disk, not in memory.
BATCH_FILES = 64


@dataclass(frozen=True, kw_only=True)
class WatchReport:
    """What a look at watched folders changed; paths are absolute.

    Attributes:
        added: new files, and copies of known ones.
        changed: known files with another content than before.
        moved: known under a path that is gone.
        removed: see `AddReport`; `missing`, `failed` and `notes` likewise.
        missing: files that have gone missing since the look before.
        back: files that were missing and are there again, as they were.
        words: videos whose subtitle files came, changed or went.
        failed: path and reason.
        notes: path and detail.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    back: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


class Watcher:
    """Keeps a library up to date with folders, by polling.

    A file is added at the second of two polls that show the same size and modification time. A file that failed is
    tried again when it changes. A file counts as gone at the second poll that does not show it, so that one that
    moved is seen at its new place first.

    Args:
        library: opened with a model; nobody else may use the object meanwhile.
        folders: folders to watch; one that is not there now is looked for at each poll.
        exclude: globs of files and folders to leave out.
        tags: words that the files get that are indexed.
        workers: processes that decode.
        form: as for `Library.add`.
        announce: as for `Library.add`.
        on_busy: called when another process writes; the watch then waits for it.
    """

    def __init__(
        self,
        library: Library,
        folders: Sequence[str | os.PathLike[str]],
        *,
        exclude: Sequence[str] = (),
        tags: Sequence[str] = (),
        workers: int | None = None,
        form: str = AUTO,
        announce: Callable[[str], None] | None = None,
        on_busy: Callable[[LibraryBusy], None] | None = None,
    ) -> None:
        self._library = library
        self._folders = absolute_paths(folders)
        self._exclude = exclude
        self._choices: dict[str, Any] = {"tags": tags, "workers": workers, "form": form, "announce": announce}
        self._on_busy = on_busy
        rows = [
            row for row in library.videos() if any(is_under(row.path, folder) for folder in self._folders)
        ]
        # Files that need nothing until they change.
        self._settled = {
            row.path: SeenFile(path=row.path, size=row.size, modified=row.modified)
            for row in rows
            if row.content is not None
        }
        # Subtitle files beside the videos: as they were read, and at the poll before. What changed before the watch is
        # read once, without a word.
        self._read_beside: dict[str, list[SeenFile]] = {}
        self._seen_beside: dict[str, list[SeenFile]] | None = None
        self._caught_up = False
        self._indexed = {row.path for row in rows if row.indexed}
        self._seen: dict[str, SeenFile] = {}
        self._gone: set[str] = set()
        # Gone files that the library keeps, since they may come back.
        self._missing: set[str] = set()

    def run(self, interval: float) -> Iterator[WatchReport]:
        """Poll without end, at some seconds from the end of one poll to the next; yields what changed."""
        while True:
            yield from self.poll()
            time.sleep(interval)

    def poll(self) -> Iterator[WatchReport]:
        """Look at the folders once and bring the library up to date; yields a report for each batch.

        Raises:
            StorageError: the disk refuses; what was committed is kept.
        """
        seen = {file.path: file for file in self._look()}
        ready = [
            file
            for path, file in seen.items()
            if self._seen.get(path) == file and self._settled.get(path) != file
        ]
        self._seen = seen
        yield from self._look_beside(find_sidecars(list(seen)))
        for start in range(0, len(ready), BATCH_FILES):
            yield self._add(ready[start : start + BATCH_FILES])
        gone = {path for path in self._settled if path not in seen and is_gone(path)}
        settled_gone, self._gone = gone == self._gone, gone
        back = sorted(path for path in self._missing - gone if path in seen)
        self._missing &= gone
        if back:
            yield WatchReport(back=back)
        if settled_gone and gone != self._missing:
            report = self._remove_gone()
            if report.removed or report.missing:
                yield report

    def _look_beside(self, beside: dict[str, list[SeenFile]]) -> Iterator[WatchReport]:
        """Read the subtitle files anew that came, changed or went, and have stood still since the poll before."""
        before, self._seen_beside = self._seen_beside, beside
        if before is None:
            return
        changed = [
            path
            for path in self._settled
            if path in beside
            and self._seen[path] == self._settled[path]  # a video that changes is read with its subtitles
            and before.get(path) == beside[path]
            and self._read_beside.get(path, []) != beside[path]
        ]
        if changed:
            report = self._write(FoundVideos(changed, []), tags=())
            self._read_beside.update((path, beside[path]) for path in changed)
            told = WatchReport(words=sorted(changed) if self._caught_up else [], notes=report.notes)
            if told != WatchReport():
                yield told
        self._caught_up = True

    def _look(self) -> Iterator[SeenFile]:
        present = [folder for folder in self._folders if is_remote(folder) or os.path.isdir(folder)]
        try:
            found = find_videos(present, exclude=self._exclude) if present else FoundVideos([], [])
        except (MissingPath, NoVideos):  # all are gone, or a folder went meanwhile
            return
        for place in found.videos:
            path = os.fspath(place)
            try:
                yield found.seen.get(path) or look_at(path)
            except VideoError:  # gone since, or a link that leads nowhere
                continue

    def _add(self, files: Sequence[SeenFile]) -> WatchReport:
        report = self._write(FoundVideos([file.path for file in files], []))
        changing = {path for path, reason in report.failed if reason == STILL_BEING_WRITTEN}
        self._settled.update((file.path, file) for file in files if file.path not in changing)
        beside = self._seen_beside or {}
        self._read_beside.update((file.path, beside.get(file.path, [])) for file in files)
        known = set(self._indexed)
        self._indexed.update(report.added, report.moved)
        return WatchReport(
            added=[path for path in report.added if path not in known],
            changed=[path for path in report.added if path in known],
            moved=report.moved,
            failed=report.failed,
            notes=report.notes,
        )

    def _remove_gone(self) -> WatchReport:
        shown = [path for path in self._settled if path in self._seen]
        report = self._write(FoundVideos(shown, [], folders=self._folders))
        before, self._missing = self._missing, set(report.missing)
        for path in self._gone - self._missing:  # removed, or moved before
            del self._settled[path]
            self._indexed.discard(path)
        return WatchReport(
            removed=report.removed, missing=[path for path in report.missing if path not in before]
        )

    def _write(self, found: FoundVideos, **others: Any) -> AddReport:
        choices = {**self._choices, **others}
        try:
            return self._library.add(found, **choices)
        except LibraryBusy as busy:
            if self._on_busy is not None:
                self._on_busy(busy)
            return self._library.add(found, **choices, wait=True)
