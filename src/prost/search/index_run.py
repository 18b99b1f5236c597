"""Bring a library up to date: which files are new, which moved, are gone, or cannot be shown."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prost.errors import VideoError
from prost.interruption import put_off
from prost.search.encode import EncodedClip
from prost.search.missing_files import is_gone, sort_gone
from prost.search.reading import (
    STILL_BEING_WRITTEN,
    FileToRead,
    KnownContent,
    Refused,
    expect_unchanged,
    refusal,
    windows_of,
)
from prost.search.records import ClipRows, VideoRow, now
from prost.search.source import EncodedFile, Source, SourceEvent, WrittenClips
from prost.search.store import Store
from prost.video.files import SeenFile, look_at
from prost.video.reader import ReadEnd

NOT_FINITE = "the model gave numbers that are not finite"

# A commit takes some tens of milliseconds; what an interruption can lose is bounded by these.
COMMIT_VIDEOS = 32
COMMIT_SECONDS = 10.0
COMMIT_BYTES = 64 << 20


@dataclass(kw_only=True)
class AddReport:
    """What `Library.add` found; paths are absolute.

    Attributes:
        added: indexed now: new files, copies of known ones, and files whose content changed.
        unchanged: known already and not read again.
        moved: known under a path that is gone.
        removed: files that were deleted; searches find them no more.
        missing: files that are not there now but may come back, such as those of a disk that is not mounted. They
            stay in the library; `add(..., remove_missing=True)` or `remove` removes them.
        failed: path and reason of each file that cannot be shown, also of those that failed before and were
            not tried again.
        not_retried: paths of the failed files that failed before and were not tried again.
        notes: path and detail of each added file of which something is left out, such as damaged clips.
        passed_over: number of files in the folders that are no videos.
        excluded: number of files and folders that globs left out.
        seconds: how long it took.
    """

    added: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    not_retried: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    passed_over: int = 0
    excluded: int = 0
    seconds: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """How many files were added, unchanged, moved, removed, failed and missing."""
        parts = ("added", "unchanged", "moved", "removed", "failed", "missing")
        return {part: len(getattr(self, part)) for part in parts}

    def __str__(self) -> str:
        return ", ".join(
            f"{count} {part}" for part, count in self.counts.items() if count or part != "missing"
        )


@dataclass(frozen=True, kw_only=True)
class IndexProgress:
    """How far an `add` is.

    Attributes:
        done: files that are done.
        total: files in all.
        path: the file that was done last, or that is being read.
        failed: how many of the done ones failed, now or before.
        clips_done: clips of the file that is being read that are done; 0 after the end of a file.
        clips_total: clips of that file in all.
    """

    done: int
    total: int
    path: str
    failed: int = 0
    clips_done: int = 0
    clips_total: int = 0


class IndexRun:
    """One run of `Library.add`; the writer's lock is held by the caller.

    Args:
        store: the library.
        source: reads and encodes the files that must be read; called if there are some.
        tags: words for all the files.
        retry_failed: try files again that failed before, though they did not change.
        verify: read the content of all files, also of those whose size and modification time are the same.
        remove_missing: also remove files that may come back.
        progress: called after each clip of a file of several clips, and after each file.
    """

    def __init__(
        self,
        *,
        store: Store,
        source: Source,
        tags: Sequence[str] = (),
        retry_failed: bool = False,
        verify: bool = False,
        remove_missing: bool = False,
        progress: Callable[[IndexProgress], None] | None = None,
    ) -> None:
        self._store = store
        self._source = source
        self._tags = tuple(tags)
        self._retry_failed = retry_failed
        self._verify = verify
        self._remove_missing = remove_missing
        self._progress = progress
        self._report = AddReport()
        self._rows: dict[str, VideoRow] = {}
        self._by_content: dict[str, list[VideoRow]] = defaultdict(list)
        # Never forgotten within a run: clips stay in their table until its end, though their last row may go.
        self._known: dict[str, VideoRow] = {}
        self._pending_clips: list[ClipRows] = []
        self._pending_written: list[WrittenClips] = []
        self._pending_rows: dict[str, VideoRow] = {}
        self._pending_deletions: set[str] = set()
        # Clips of the file that is being read: how many were shown, and how many gave no finite numbers.
        self._shown = 0
        self._not_finite = 0
        self._last_commit = time.monotonic()
        self._committing = False
        self._done = 0
        self._total = 0

    def run(
        self, paths: Sequence[str], folders: Sequence[str], seen: Mapping[str, SeenFile] | None = None
    ) -> AddReport:
        """Work on files.

        Args:
            paths: absolute paths of the files, or addresses.
            folders: absolute paths of the folders that they were found in. What the library knows of these
                folders and is no longer there is removed, or reported as missing.
            seen: what is known already of how some of them are now, by their paths.
        """
        started = time.monotonic()
        self._total = len(paths)
        for row in self._store.read_videos():
            self._remember(row)
        try:
            now = seen or {}
            self._read([file for path in paths if (file := self._unknown(path, now.get(path))) is not None])
        except BaseException:
            # After Ctrl-C, too, what is finished is kept. A commit that failed is not repeated, since its first half
            # may stand already; the next writer deletes that half.
            if not self._committing:
                self._commit()
            raise
        self._remove_gone(paths, folders)
        self._commit()
        self._report.seconds = round(time.monotonic() - started, 3)
        return self._report

    def _unknown(self, path: str, seen: SeenFile | None) -> SeenFile | None:
        """The file, where it must be read; None where its row tells all."""
        try:
            file = seen or look_at(path)
        except VideoError as error:
            nothing = SeenFile(path=path, size=0, modified=0)
            self._refuse(Refused(file=nothing, content=None, reason=error.reason, detail=error.detail))
            return None
        row = self._rows.get(path)
        if row is None or self._verify or must_be_read(file, row, self._retry_failed):
            return file
        if row.indexed:
            self._keep(row)
            return None
        self._report.failed.append((path, row.reason or ""))
        self._report.not_retried.append(path)
        self._finish(path)
        return None

    def _needs_no_decoding(self, content: str) -> bool:
        row = self._known.get(content)
        return row is not None and (row.indexed or not self._retry_failed)

    def _read(self, files: Sequence[SeenFile]) -> None:
        if files:
            self._source(files, self._needs_no_decoding, self._take)

    def _take(self, event: SourceEvent) -> None:
        match event:
            case EncodedClip():
                self._keep_clip(event)
            case WrittenClips():
                self._pending_written.append(event)
            case ReadEnd():
                encoded = EncodedFile(end=event, shown=self._shown, not_finite=self._not_finite)
                self._shown = self._not_finite = 0
                self._end(encoded)
            case EncodedFile():
                self._end(event)
            case KnownContent():
                self._recognise(event)
            case Refused():
                self._refuse(event)
        if self._commit_is_due():
            self._commit()

    def _keep_clip(self, clip: EncodedClip) -> None:
        windows = windows_of(clip.window.info, self._store.description.clips)
        self._tell_clip(clip, len(windows))
        # Counted before anybody knows which clips are finite, so that clips of one file can be encoded in any order.
        place = self._shown + self._not_finite
        if not clip.finite:
            self._not_finite += 1
            return
        start, end = windows[clip.window.index]
        content = clip.window.request.key.content
        self._pending_clips.append(clip.rows(content, place, start, end))
        self._shown += 1

    def _tell_clip(self, clip: EncodedClip, clips: int) -> None:
        """Report the progress within a long film."""
        if self._progress is not None and clip.window.index + 1 < clips:
            self._progress(
                IndexProgress(
                    done=self._done,
                    total=self._total,
                    path=clip.window.request.path,
                    failed=len(self._report.failed),
                    clips_done=clip.window.index + 1,
                    clips_total=clips,
                )
            )

    def _end(self, encoded: EncodedFile) -> None:
        """All clips of a file have been taken: it is indexed, or refused."""
        end, shown = encoded.end, encoded.shown
        read: FileToRead = end.request.key
        damaged = end.failed + encoded.not_finite
        failure = end.failure
        if failure is None and not shown:
            failure = VideoError(read.file.path, NOT_FINITE)
        try:
            if failure is not None:
                raise failure
            expect_unchanged(read.file)
        except VideoError as error:
            self._refuse(refusal(read.file, read.content, error))
            return
        before = self._rows.get(read.file.path)
        info = end.info
        assert info is not None  # only a failure has none
        of_damage = f"{damaged} of {end.windows} clips damaged" if damaged else ""
        row = VideoRow(
            path=read.file.path,
            size=read.file.size,
            modified=read.file.modified,
            added=before.added if before else now(),
            status="indexed",
            content=read.content,
            detail="; ".join(filter(None, (of_damage, info.note))) or None,
            duration=info.duration,
            fps=info.fps,
            width=info.width,
            height=info.height,
            codec=info.codec,
            clips=shown,
            tags=self._tags_of(read.file.path),
        )
        self._put(row)
        self._report_added(row)
        self._finish(read.file.path)

    def _recognise(self, known: KnownContent) -> None:
        """A content that the library has: the file was touched, it moved, or it is a copy."""
        file = known.file
        alike = self._known.get(known.content)
        if alike is None:  # an earlier file of this content changed while it was read
            self._refuse(Refused(file=file, content=None, reason=STILL_BEING_WRITTEN))
            return
        siblings = self._by_content.get(known.content, [])
        before = self._rows.get(file.path)
        touched = before if before in siblings else None
        moved = next((row for row in siblings if is_gone(row.path)), None) if touched is None else None
        row = replace(touched or moved or alike, path=file.path, size=file.size, modified=file.modified)
        if moved:
            row = replace(row, tags=_united(row.tags, self._tags))
            self._drop(moved)
        else:
            row = replace(row, added=before.added if before else now(), tags=self._tags_of(file.path))
        self._put(row)
        if not row.indexed:
            self._report.failed.append((row.path, row.reason or ""))
        elif touched:
            self._report.unchanged.append(row.path)
        elif moved:
            self._report.moved.append(row.path)
        else:
            self._report_added(row)
        self._finish(row.path)

    def _report_added(self, row: VideoRow) -> None:
        self._report.added.append(row.path)
        if row.detail:
            self._report.notes.append((row.path, row.detail))

    def _keep(self, row: VideoRow) -> None:
        tags = self._tags_of(row.path)
        if tags != row.tags:
            self._put(replace(row, tags=tags))
        self._report.unchanged.append(row.path)
        self._finish(row.path)

    def _refuse(self, refused: Refused) -> None:
        file, content = refused.file, refused.content
        self._pending_clips = [clips for clips in self._pending_clips if clips.content != content]
        before = self._rows.get(file.path)
        # What was indexed stays while nobody can say that the file itself is bad.
        if content is not None or before is None or not before.indexed:
            self._put(
                VideoRow(
                    path=file.path,
                    size=file.size,
                    modified=file.modified,
                    added=before.added if before else now(),
                    status="failed",
                    content=content,
                    reason=str(refused.reason),
                    detail=refused.detail or None,
                    tags=self._tags_of(file.path),
                )
            )
        self._report.failed.append((file.path, str(refused.reason)))
        self._finish(file.path)

    def _tags_of(self, path: str) -> tuple[str, ...]:
        """The tags of a path, old and new: they are the user's and outlive a change of the content."""
        before = self._rows.get(path)
        return _united(before.tags if before else (), self._tags)

    def _remove_gone(self, paths: Sequence[str], folders: Sequence[str]) -> None:
        gone = sort_gone(list(self._rows), paths, folders)
        removed = [*gone.deleted, *gone.missing] if self._remove_missing else gone.deleted
        for path in sorted(removed, key=os.fsencode):
            self._drop(self._rows[path])
            self._report.removed.append(path)
        if not self._remove_missing:
            self._report.missing.extend(gone.missing)

    def _put(self, row: VideoRow) -> None:
        before = self._rows.get(row.path)
        if before is not None:
            self._forget(before)
        self._remember(row)
        self._pending_rows[row.path] = row
        self._pending_deletions.discard(row.path)

    def _drop(self, row: VideoRow) -> None:
        self._forget(row)
        self._pending_rows.pop(row.path, None)
        self._pending_deletions.add(row.path)

    def _remember(self, row: VideoRow) -> None:
        self._rows[row.path] = row
        if row.content is not None:
            self._by_content[row.content].append(row)
            if row.indexed or row.content not in self._known:
                self._known[row.content] = row

    def _forget(self, row: VideoRow) -> None:
        del self._rows[row.path]
        if row.content is not None:
            self._by_content[row.content].remove(row)

    def _finish(self, path: str) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(
                IndexProgress(done=self._done, total=self._total, path=path, failed=len(self._report.failed))
            )

    def _commit_is_due(self) -> bool:
        return (
            len(self._pending_rows) >= COMMIT_VIDEOS
            or sum(clips.nbytes for clips in self._pending_clips)
            + sum(written.nbytes for written in self._pending_written)
            >= COMMIT_BYTES
            or time.monotonic() - self._last_commit >= COMMIT_SECONDS
        )

    def _commit(self) -> None:
        """Clips first, so that a video never stands without them. A stop waits for the end of the commit."""
        with put_off():
            self._committing = True
            if self._pending_clips:
                self._store.append_clips(self._pending_clips)
                self._pending_clips = []
            if self._pending_written:
                self._store.append_fragments(
                    [part for each in self._pending_written for part in each.fragments]
                )
                self._pending_written = []
            if self._pending_rows or self._pending_deletions:
                removed = sorted(self._pending_deletions, key=os.fsencode)
                self._store.put_videos(list(self._pending_rows.values()), remove=removed)
                self._pending_rows = {}
                self._pending_deletions = set()
            self._committing = False
        self._last_commit = time.monotonic()


def must_be_read(file: SeenFile, row: VideoRow, retry_failed: bool) -> bool:
    """Whether a file's row does not tell all that is known of it."""
    if (row.size, row.modified) != (file.size, file.modified):
        return True
    # What could not even be read may be readable now: permissions leave no trace in a file.
    return not row.indexed and (retry_failed or row.content is None)


def _united(tags: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*tags, *more)))
