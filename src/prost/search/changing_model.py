"""Changing the model of a library: the new tables are built beside the old ones, which serve searches meanwhile."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prost.errors import UsageError
from prost.search.choosing_form import AUTO
from prost.search.description import library_top, made_by
from prost.search.encode import PrototypeModel
from prost.search.generations import Switch, generation_for
from prost.search.index_run import AddReport, IndexProgress
from prost.search.library import Library
from prost.search.missing_files import gone_among
from prost.search.records import VideoRow
from prost.video.files import FoundVideos


@dataclass(frozen=True, kw_only=True)
class ModelChange:
    """What a change of the model came to.

    Attributes:
        report: of the files that the new model indexed.
        place: the folder of the new tables.
        left_behind: videos of the old tables that the new model cannot index now: they are gone, or fail.
        switched: whether searches use the new model from now on.
    """

    report: AddReport
    place: str
    left_behind: list[str]
    switched: bool


def change_model(
    path: str | os.PathLike[str],
    model: PrototypeModel,
    *,
    storage_options: Mapping[str, str] | None = None,
    also: Sequence[Path | str] = (),
    tags: Sequence[str] = (),
    leave_behind: bool = False,
    workers: int | None = None,
    form: str = AUTO,
    announce: Callable[[str], None] | None = None,
    wait: bool = False,
    progress: Callable[[IndexProgress], None] | None = None,
    before_switch: Callable[[str], None] | None = None,
) -> ModelChange:
    """Index the videos of a library by another model, and let searches use it when all are done.

    An interrupted change goes on where it was. Clip settings and tags are taken over. What was removed from the old
    tables since the change began is removed from the new ones.

    Args:
        path: the library.
        model: the new one.
        storage_options: what Lance needs to reach an object store.
        also: videos to index too, such as new ones.
        tags: words that the videos of `also` get.
        leave_behind: switch although videos of the old tables are not in the new ones.
        workers: processes that decode.
        form: as for `Library.add`.
        announce: as for `Library.add`.
        wait: wait while another process writes.
        progress: as for `Library.add`.
        before_switch: called with the folder of the new tables when they are complete, before searches use them.

    Raises:
        UsageError: the model made this library.
        MissingPath: there is no library.
        LibraryBusy: another process writes to the old or to the new tables, or took over those on an object store.
        ModelMismatch: another process changed the model meanwhile.
        StorageError: the disk refuses; the old tables stay in use.
    """
    top = library_top(path)
    old = Library(top, storage_options=storage_options)
    if made_by(old.description, model):
        raise UsageError(f"{top} is a library of this model already", "another model")
    place = generation_for(top, model, storage_options)
    with Library(place, model, clips=old.description.clips, storage_options=storage_options) as new:
        others = [os.fspath(path) for path in also]
        choices: dict[str, Any] = {
            "workers": workers,
            "form": form,
            "announce": announce,
            "wait": wait,
            "progress": progress,
        }
        total = AddReport()
        done: set[str] = set()
        # What is added to the old tables meanwhile comes last, while nobody can write to them.
        _add(new, _paths(old, others), total, done, **choices)
        with old.as_it_is(wait=wait):
            switch = Switch.of(top, storage_options)
            _add(new, _paths(old, others), total, done, **choices)
            rows = old.videos()
            _remove_others(new, {*(row.path for row in rows), *others}, wait)
            _take_tags_over(new, rows, wait)
            _tag_indexed(new, others, tags, wait)
            indexed = {row.path for row in new.videos() if row.indexed}
            left_behind = [row.path for row in rows if row.indexed and row.path not in indexed]
            switched = leave_behind or not left_behind
            if switched:
                if before_switch is not None:
                    before_switch(place)
                switch.to(place)
    return ModelChange(report=total, place=place, left_behind=left_behind, switched=switched)


def _paths(old: Library, also: Sequence[str]) -> list[str]:
    rows = old.videos()
    gone = gone_among(row.path for row in rows)
    known = [row.path for row in rows if row.path not in gone]
    return list(dict.fromkeys([*known, *also]))


def _add(
    new: Library,
    paths: Sequence[str],
    total: AddReport,
    done: set[str],
    **choices: Any,
) -> None:
    """Index those of the paths that this run has not seen, as `Library.add` does, and add the outcome to a report."""
    fresh = [path for path in paths if path not in done]
    if not fresh:
        return
    report = new.add(FoundVideos(fresh, []), **choices)
    done.update(fresh)
    for part in ("added", "unchanged", "moved", "failed", "notes"):
        getattr(total, part).extend(getattr(report, part))
    total.seconds += report.seconds


def _remove_others(new: Library, wanted: set[str], wait: bool) -> None:
    others = [row.path for row in new.videos() if row.path not in wanted]
    if others:
        new.remove(others, wait=wait)


def _take_tags_over(new: Library, rows: Sequence[VideoRow], wait: bool) -> None:
    known = {row.path for row in new.videos()}
    paths: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in rows:
        if row.tags and row.path in known:
            paths[row.tags].append(row.path)
    for tags, tagged in paths.items():
        new.tag(tagged, tags, wait=wait)


def _tag_indexed(new: Library, paths: Iterable[str], tags: Sequence[str], wait: bool) -> None:
    known = {row.path for row in new.videos()}.intersection(paths)
    if tags and known:
        new.tag(sorted(known), tags, wait=wait)
