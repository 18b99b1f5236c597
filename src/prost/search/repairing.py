"""Make a damaged library whole again: keep what is sound, and encode again what is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from prost.errors import LibraryDamaged, ModelMismatch
from prost.search.background import UnrelatedTexts, bring_background_up_to_date
from prost.search.choosing_form import encoder_of_class
from prost.search.description import DESCRIPTION, Description, expect_same_model, read_description
from prost.search.encode import PrototypeModel
from prost.search.generations import library_root
from prost.search.index_run import IndexProgress, IndexRun
from prost.search.optimizing import bring_up_to_date
from prost.search.packs import pack_folder
from prost.search.records import VideoRow
from prost.search.rolling_back import roll_back
from prost.search.salvage import salvaged_videos
from prost.search.schema import video_table
from prost.search.source import ThisMachine
from prost.search.storage_errors import storage_errors
from prost.search.store import CLIPS, VIDEOS, Store, noted_description
from prost.search.verifying import (
    Kind,
    Problem,
    verify_library,
    verify_tables,
    wrong_counts,
)
from prost.search.words import drop_words
from prost.video.reader import VideoReader

CLIPS_LOST = "its clips were lost"


@dataclass(kw_only=True)
class RepairReport:
    """What `repair_library` did.

    Attributes:
        problems: what was wrong.
        set_aside: folders of tables that could not be used; they were renamed and can be deleted.
        encoded: paths of videos that were encoded again.
        failed: path and reason of each video that could not be encoded again. It is tried again by every `add`.
        videos_kept: rows that were read from the data files of a videos table without a sound manifest. Videos that had
            been removed may be among them, and those of damaged data files are not.
        videos_lost: rows of the videos table that were lost; an `add` of their folders brings them back.
        left: what is still wrong.
    """

    problems: list[Problem] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    encoded: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    videos_kept: int = 0
    videos_lost: int = 0
    left: list[Problem] = field(default_factory=list)


def repair_library(
    path: str | os.PathLike[str],
    model: PrototypeModel,
    *,
    storage_options: Mapping[str, str] | None = None,
    workers: int | None = None,
    wait: bool = False,
    progress: Callable[[IndexProgress], None] | None = None,
) -> RepairReport:
    """Make a damaged library whole again.

    Damaged fragments are dropped, a damaged manifest gives way to the one before it, and a table that cannot be used
    at all is set aside and made anew, with the videos that its data files still tell. Then the videos that lack clips
    are encoded again from their files. An interrupted repair leaves a library that can be used; a second one, or `add`,
    does the rest.

    Args:
        path: of the library; it need not be one that can be opened.
        model: the one that made the library.
        storage_options: what Lance needs to reach an object store.
        workers: processes that decode.
        wait: wait while another process writes, instead of raising LibraryBusy.
        progress: called after each video that is encoded again.

    Raises:
        MissingPath: there is no library.
        ModelMismatch: another model made the library.
        LibraryDamaged: `library.json` is lost, and no table tells what it held.
        LibraryBusy: another process writes.
        StorageError: the disk refuses.
    """
    report = RepairReport(problems=verify_library(path, storage_options))
    if not report.problems:
        return report
    root = library_root(path, storage_options)
    store = Store(root, _description(root, report, storage_options), storage_options)
    expect_same_model(root, store.description, model)
    with store.locked(wait=wait, damaged=True):
        if library_root(path, storage_options) != root:
            raise ModelMismatch(f"the model of {path} was changed meanwhile", suggestion="repair it again")
        if any(problem.kind is Kind.DESCRIPTION for problem in report.problems):
            store.write_description(store.description)
            # Nothing else could be looked at without it.
            report.problems += verify_library(path, storage_options)
        if any(problem.kind is Kind.WORDS for problem in report.problems):
            drop_words(store)
        _repair_manifests(store)
        _repair_tables(store, report)
        store.refuse_older_commits()
        lost = _mark_lost_clips(store)
        if lost:
            fit = store.description.clips.fit
            with VideoReader(size=model.config.image_size, fit=fit, workers=workers) as reader:
                precision = store.description.precision
                run = IndexRun(
                    store=store,
                    source=ThisMachine(
                        encoder=lambda files: encoder_of_class(model, precision),
                        reader=reader,
                        settings=store.description.clips,
                        frames=model.config.frames,
                    ),
                    progress=progress,
                ).run(lost, [])
            report.encoded, report.failed = [*run.added, *run.unchanged, *run.moved], run.failed
        store.sweep()
        store.check_counts()
        packs = pack_folder(store)
        bring_up_to_date(store, packs)
        bring_background_up_to_date(store, packs, UnrelatedTexts.of(model), exactly=False)
    report.left = verify_library(path, storage_options)
    return report


def _description(root: str, report: RepairReport, storage_options: Mapping[str, str] | None) -> Description:
    """The description of a library, from its tables where it was lost."""
    described = None
    if not any(problem.kind is Kind.DESCRIPTION for problem in report.problems):
        described = read_description(root, storage_options)
    for name in (CLIPS, VIDEOS):
        if described is None:
            with suppress(LibraryDamaged):
                described = noted_description(root, name, storage_options)
    if described is None:
        raise LibraryDamaged(
            f"{root}: {DESCRIPTION} is lost, and no table tells what it held",
            suggestion="restore it from a backup, or index the videos into a new library",
        )
    return described


def _repair_manifests(store: Store) -> None:
    """Remove damaged manifests: the newest sound one before them is the latest version then."""
    for problem in verify_tables(store):
        if store.objects is not None and problem.kind is Kind.TABLE:
            roll_back(store, problem.place)
        elif problem.kind is Kind.MANIFEST:
            with storage_errors(store.root):
                Path(store.root, problem.place).unlink(missing_ok=True)
    if store.files is not None:
        with storage_errors(store.root):
            store.files.record()


def _repair_tables(store: Store, report: RepairReport) -> None:
    problems = verify_tables(store)
    for name in (VIDEOS, CLIPS):
        mine = [problem for problem in problems if problem.place == name]
        if any(problem.kind in (Kind.TABLE, Kind.OTHER_LIBRARY) for problem in mine):
            ours = name == VIDEOS and not any(problem.kind is Kind.OTHER_LIBRARY for problem in mine)
            # Before the table is moved: copies on an object store are as old as the move.
            kept = salvaged_videos(store) if ours else []
            report.videos_kept += len(kept)
            report.set_aside.append(store.make_anew(name, video_table(kept) if kept else None))
        elif damaged := [problem.fragment for problem in mine if problem.kind is Kind.FRAGMENT]:
            if name == VIDEOS:
                rows = store.table(name).get_fragments()
                report.videos_lost += sum(
                    each.metadata.num_rows for each in rows if each.fragment_id in damaged
                )
            store.drop_fragments(name, damaged)


def _mark_lost_clips(store: Store) -> list[str]:
    """Mark the videos whose clips are not all there as failed, so that they are encoded again; their paths."""
    wrong = {problem.place for problem in wrong_counts(store)}
    rows = store.read_videos()
    contents = {row.content for row in rows if row.path in wrong}
    lost = [row for row in rows if row.indexed and row.content in contents]
    if lost:
        store.put_videos([_lost(row) for row in lost])
        store.delete_clips(sorted(content for content in contents if content))
    return [row.path for row in lost]


def _lost(row: VideoRow) -> VideoRow:
    return replace(row, status="failed", content=None, reason=CLIPS_LOST, clips=0)
