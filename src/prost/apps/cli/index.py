"""`prost index`: adds videos to a library."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prost.apps.cli.options import (
    AddingModelOption,
    DeviceOption,
    ExcludeOption,
    FitOption,
    FormOption,
    JsonOption,
    LibraryOption,
    TagOption,
    WaitOption,
    WorkersOption,
    clips_with,
    load_for_adding,
    make_or_open_library,
    note_model,
)
from prost.apps.cli.output import ShowProgress, print_json, print_line, progress, say
from prost.errors import LibraryError, MissingPath, ModelMismatch, NoVideos, ProstError, UsageError
from prost.printable import counted

if TYPE_CHECKING:
    from prost.model.dual_encoder import DualEncoder
    from prost.model.prost import ProST
    from prost.search.index_run import AddReport, IndexProgress
    from prost.search.library import Library
    from prost.search.records import ClipSettings, VideoRow
    from prost.search.source import Source, WorkForOthers
    from prost.video.files import FoundVideos

# More files with a note are counted, not listed.
NOTES = 20


def index(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Video files, and folders with everything below them; also on an object store (s3://bucket/folder)."
        ),
    ],
    library: LibraryOption,
    model: AddingModelOption = None,
    device: DeviceOption = "auto",
    tag: TagOption = None,
    workers: WorkersOption = None,
    form: FormOption = "auto",
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Read all files, also those of the same size and modification time as before, and index again what "
            "changed. Of files above 64 MiB the head, the middle and the tail are compared.",
        ),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try files again that failed before and did not change.")
    ] = False,
    exclude: ExcludeOption = None,
    fit: FitOption = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Also remove videos that are gone and may come back: many at once, or all of a folder. Without it "
            "they stay in the library and are counted as missing.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be added, moved and removed, and write nothing. Files are not decoded, so a broken "
            "one counts as added.",
        ),
    ] = False,
    remove_old: Annotated[
        bool,
        typer.Option(
            "--remove-old", help="After a change of the model, delete the tables that the former model made."
        ),
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Decode and encode on a Ray cluster: `local` starts one on this machine, HOST:PORT is the head of one "
            "that this machine belongs to. All its machines must see the videos, and a library in a folder, under the "
            "same paths. --workers is the number of decoding processes in all. Needs the extra `ray`.",
        ),
    ] = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add videos to a library. Those that are in it already and did not change are not decoded again.

    With another --model than the library was made by, all its videos are indexed again beside the present tables, which
    serve searches meanwhile; when all are done, searches use the new model. An interrupted change goes on where it was.

    A file `.prostignore` in a folder names what is left out there and below: one glob a line, # starts a comment.

    A file that cannot be read is recorded with the reason and does not stop the others. The exit code is 1 if a file
    that was named itself failed, or if all files failed.
    """
    # Before a library is made: a mistyped folder must not leave an empty one.
    found = _find(paths, library, yes, exclude or ())
    clips = clips_with(library, fit)
    if dry_run:
        _print_plan(
            found,
            library,
            clips,
            retry_failed=retry_failed,
            verify=verify,
            remove_missing=yes,
            as_json=as_json,
        )
        return
    if ray is not None:
        from prost.scale.cluster import expect_reachable

        expect_reachable(ray)
    # The encoders of a cluster have devices of their own.
    here = device if ray is None else "cpu"
    given, loaded = load_for_adding(library, model, here, ["prost", "index", *map(str, paths)])
    try:
        opened = make_or_open_library(library, given, loaded, clips=clips)
    except ModelMismatch:
        if model is None:
            raise
        if ray is not None:
            raise UsageError(
                f"--ray, and another model than that of {library}",
                "the library's own model",
                "change the model without --ray, or index into a new library",
            ) from None
        _expect_clips(library, clips)
        _change_model(
            library,
            given,
            loaded,
            paths,
            found,
            tags=tag or (),
            yes=yes,
            workers=workers,
            form=form,
            wait=wait,
            remove_old=remove_old,
            as_json=as_json,
        )
        return
    with opened, _cluster(ray, device, workers) as elsewhere:
        report = add(
            opened,
            found,
            tags=tag or (),
            workers=workers,
            form=form,
            retry_failed=retry_failed,
            verify=verify,
            remove_missing=yes,
            wait=wait,
            elsewhere=elsewhere,
        )
        failed_now = {row.path: row for row in _failed_rows(opened)}
    if remove_old:
        _remove_old(library)
    # A file that was named is told of again; of those that were found, only how many failed before.
    known = set(report.not_retried) - {os.path.abspath(path.expanduser()) for path in paths}
    failures = [
        {
            "path": path,
            "reason": reason,
            "detail": failed_now[path].detail or "" if path in failed_now else "",
            "known": path in known,
        }
        for path, reason in report.failed
    ]
    if as_json:
        notes = [{"path": path, "detail": detail} for path, detail in report.notes]
        print_json({**asdict(report), "failed": failures, "notes": notes})
    else:
        _print_report(report, failures)
    _exit_if_failed(paths, report, failures)


@contextmanager
def _cluster(
    address: str | None, device: str, decoders: int | None
) -> Iterator[Callable[[WorkForOthers], Source] | None]:
    """Context with the machines that read and encode; None for this one alone."""
    if address is None:
        yield None
        return
    from prost.scale.cluster import connected
    from prost.scale.indexing import on_ray

    # Ray Data would make its core warn of the arguments of actors.
    with connected(address, core_log_level="fatal"):
        yield on_ray(device=device, decoders=decoders)


def _expect_clips(library: str, clips: ClipSettings | None) -> None:
    """Raise LibraryError for a library that was made with other clips."""
    from prost.search.library import Library

    Library(library, clips=clips).close()


def _change_model(
    library: str,
    given: str,
    model: ProST | DualEncoder,
    paths: Sequence[Path],
    found: FoundVideos,
    *,
    tags: Sequence[str],
    yes: bool,
    workers: int | None,
    form: str,
    wait: bool,
    remove_old: bool,
    as_json: bool,
) -> None:
    """Index a library again by another model, and tell what came of it.

    Raises:
        LibraryError: videos would be left behind, so that the former model stays in use.
    """
    from prost.search.changing_model import change_model

    say(f"note: {library} was made by another model; its videos are indexed again by {given} beside it")
    with progress("indexing", "files") as show:
        change = change_model(
            library,
            model,
            also=found.videos,
            tags=tags,
            leave_behind=yes,
            workers=workers,
            form=form,
            announce=say,
            wait=wait,
            progress=lambda at: show_indexed(show, at),
            before_switch=lambda place: note_model(place, given),
        )
    failures = [
        {"path": path, "reason": reason, "detail": "", "known": False}
        for path, reason in change.report.failed
    ]
    if not change.switched:
        _print_report(change.report, failures)
        first = change.left_behind[0]
        raise LibraryError(
            f"{len(change.left_behind)} videos of the library cannot be indexed by {given}, such as {first}, so the "
            "former model stays in use",
            suggestion="bring them back and run the command again, or --yes to leave them behind",
        )
    if remove_old:
        _remove_old(library)
    if as_json:
        print_json(
            {
                **asdict(change.report),
                "failed": failures,
                "left_behind": change.left_behind,
                "switched": change.switched,
            }
        )
    else:
        _print_report(change.report, failures)
        print_line(f"searches use {given} now")
        if not remove_old:
            say("note: the tables of the former model are still there; prost index --remove-old deletes them")
    _exit_if_failed(paths, change.report, failures)


def _remove_old(library: str) -> None:
    from prost.search.description import library_top
    from prost.search.generations import other_generations, remove_generation

    top = library_top(library)
    for generation in other_generations(top):
        remove_generation(top, generation)
        say(f"removed the tables in {generation}")


def add(library: Library, paths: Iterable[Path] | FoundVideos, **choices: Any) -> AddReport:
    """`Library.add` with a progress bar."""
    with progress("indexing", "files") as show:
        return library.add(paths, progress=lambda at: show_indexed(show, at), announce=say, **choices)


def show_indexed(show: ShowProgress, at: IndexProgress) -> None:
    """Show how far an indexing is, within a long film too, and how many files failed so far."""
    part = at.clips_done / at.clips_total if at.clips_total else 0.0
    clip = f"clip {at.clips_done} of {at.clips_total}" if at.clips_total else ""
    failed = f"{at.failed} failed" if at.failed else ""
    show(at.done + part, at.total, at.path, ", ".join(filter(None, (clip, failed))))


def _print_report(report: AddReport, failures: list[dict[str, Any]]) -> None:
    for failure in failures:
        if not failure["known"]:
            say(f"failed: {failure['path']}: {with_detail(failure['reason'], failure['detail'])}")
    known = sum(failure["known"] for failure in failures)
    if known:
        say(
            f"note: {known} of the failed files failed before and did not change; `prost status` lists them, "
            "--retry-failed tries them again"
        )
    for path, detail in report.notes[:NOTES]:
        say(f"note: {path}: {detail}")
    if len(report.notes) > NOTES:
        say(f"note: {len(report.notes) - NOTES} more files are read in part; `prost status` lists them")
    _print_left_out(report)
    if report.missing:
        missing = counted(len(report.missing), "video of the library is", "videos of the library are")
        say(
            f"note: {missing} not there now, such as {report.missing[0]}; what is missing stays in the library in case "
            "its disk is not mounted; --yes removes it"
        )
    print_line(str(report))
    if report.added:
        say(f"it took {report.seconds:.1f} s, {report.seconds / len(report.added):.2f} s for each added file")


def _print_left_out(report: AddReport) -> None:
    if report.passed_over:
        files = counted(report.passed_over, "file is no video and was", "files are no videos and were")
        say(f"note: {files} passed over")
    if report.excluded:
        say(f"note: files and folders left out by --exclude or .prostignore: {report.excluded}")


def with_detail(state: str, detail: str | None) -> str:
    """A file's status or the reason of its failure, with the detail if there is one."""
    return f"{state} ({detail})" if detail else state


def _exit_if_failed(paths: Sequence[Path], report: AddReport, failures: list[dict[str, Any]]) -> None:
    """End with exit code 1 if a file that was named itself failed, or if all files failed."""
    from prost.search.finding import absolute_paths

    named = set(absolute_paths(paths))
    if any(failure["path"] in named for failure in failures) or _nothing_else(report):
        raise typer.Exit(1)


def _nothing_else(report: AddReport) -> bool:
    """Whether there were failures only."""
    return bool(report.failed) and not any((report.added, report.unchanged, report.moved, report.removed))


def _failed_rows(library: Library) -> list[VideoRow]:
    return library.videos("status = 'failed'")


def _find(paths: list[Path], library: str, remove_missing: bool, exclude: Sequence[str]) -> FoundVideos:
    """Find the videos at some paths; where there are none but the library knows some, say how they can be removed.

    With `remove_missing` such a path is right: its videos will be removed.
    """
    from prost.search.finding import absolute_paths, find_for_add
    from prost.search.missing_files import is_under

    try:
        return find_for_add(
            paths,
            known=lambda: [row.path for row in _known_rows(library)],
            remove_missing=remove_missing,
            exclude=exclude,
        )
    except (MissingPath, NoVideos) as error:
        for path, absolute in zip(paths, absolute_paths(paths), strict=True):
            if any(is_under(row.path, absolute) for row in _known_rows(library)):
                suggestion = f"prost remove {path}, if its videos should leave the library"
                raise type(error)(error.arrived, error.expected, suggestion) from None
        raise


def _known_rows(library: str) -> list[VideoRow]:
    from prost.search.library import Library

    try:
        return Library(library).videos()
    except ProstError:  # no library yet, or none that can be read: the paths are what is wrong here
        return []


def _print_plan(
    found: FoundVideos, library: str, clips: ClipSettings | None, *, as_json: bool, **choices: bool
) -> None:
    """Print what would be added, moved and removed."""
    from prost.search.description import read_description
    from prost.search.generations import library_root
    from prost.search.library import Library
    from prost.search.planning import plan_add

    root = library_root(library)
    rows = [] if read_description(root) is None else Library(root, clips=clips).videos()
    report = plan_add(found, rows, library=root, **choices)
    if as_json:
        failed = [{"path": path, "reason": reason} for path, reason in report.failed]
        print_json({**asdict(report), "failed": failed})
        return
    for part in ("added", "moved", "removed", "missing"):
        for path in getattr(report, part):
            print_line(f"{part}: {path}")
    _print_left_out(report)
    print_line(f"would be: {report}")
