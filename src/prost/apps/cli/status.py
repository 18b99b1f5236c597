"""`prost status`: what a library holds, and what is wrong with it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from prost.apps.cli.index import with_detail
from prost.apps.cli.options import JsonOption, LibraryOption
from prost.apps.cli.output import print_json, print_line, print_table
from prost.printable import format_bytes

if TYPE_CHECKING:
    from prost.search.last_run import LastRun
    from prost.search.pack_cache import CacheState
    from prost.search.records import VideoRow

CODES = {True: "current", False: "not current; prost optimize brings them up to date", None: "none"}


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the indexed files of a library are now.

    Attributes:
        duplicates: lists of paths that hold the same content.
        moved: pairs of a path that is gone and another one with the same content.
        missing: other paths that are gone.
    """

    duplicates: list[list[str]]
    moved: list[tuple[str, str]]
    missing: list[str]


def status(library: LibraryOption, as_json: JsonOption = False) -> None:
    """Tell what a library holds: videos, clips, failed, moved and missing files, duplicates, size, model, codes."""
    from prost.search.library import Library

    with Library(library) as opened:
        stats = opened.stats()
        rows = opened.videos()
        last_run = opened.last_run()
    failed = [row for row in rows if not row.indexed]
    noted = [row for row in rows if row.indexed and row.detail]
    other_tables = _other_tables(library)
    places = find_places([row for row in rows if row.indexed])
    if as_json:
        values: dict[str, Any] = {
            "library": opened.path,
            "videos": stats.videos,
            "clips": stats.clips,
            "seconds": stats.seconds,
            "failed": [
                {"path": row.path, "reason": row.reason, "detail": row.detail or ""} for row in failed
            ],
            "notes": [{"path": row.path, "detail": row.detail} for row in noted],
            "moved": [{"from": gone, "to": present} for gone, present in places.moved],
            "missing": places.missing,
            "duplicates": places.duplicates,
            "bytes": stats.nbytes,
            "model": stats.model,
            "fingerprint": stats.fingerprint,
            "codes_current": stats.codes_current,
            "pack_cache": None if stats.cache is None else asdict(stats.cache),
            "last_run": None if last_run is None else asdict(last_run),
            "other_tables": other_tables,
        }
        print_json(values)
        return
    print_table(
        ["library", opened.path],
        [
            ["videos", f"{stats.videos:,} ({stats.seconds / 3600:.1f} hours)"],
            ["clips", f"{stats.clips:,}"],
            ["failed", f"{len(failed):,}"],
            ["read in part", f"{len(noted):,}"],
            ["moved", f"{len(places.moved):,}"],
            ["missing", f"{len(places.missing):,}"],
            ["duplicates", f"{sum(len(paths) - 1 for paths in places.duplicates):,}"],
            ["size", format_bytes(stats.nbytes)],
            ["model", f"{stats.model} ({stats.fingerprint})"],
            ["codes", CODES[stats.codes_current]],
            *([] if stats.cache is None else [["pack cache", _describe_cache(stats.cache)]]),
            ["last run", "unknown" if last_run is None else _describe_run(last_run)],
        ],
    )
    for tables in other_tables:
        print_line(
            f"tables of another model: {tables['model']}, {tables['videos']} videos, in {tables['place']} (a change of "
            "the model that is not finished, or a former model: prost index --remove-old deletes it)"
        )
    for row in failed:
        print_line(f"failed: {row.path}: {with_detail(row.reason or '', row.detail)}")
    for row in noted:
        print_line(f"note: {row.path}: {row.detail}")
    for gone, present in places.moved:
        print_line(f"moved: {gone} to {present}")
    for path in places.missing:
        print_line(f"missing: {path}")
    for first, *others in places.duplicates:
        print_line(f"duplicates: {first} and {', '.join(others)}")


def _other_tables(library: str) -> list[dict[str, Any]]:
    """Tables that searches do not read: those of a former model, or of one that the library is being changed to."""
    from prost.search.description import library_top
    from prost.search.generations import other_generations
    from prost.search.store import Store

    top = library_top(library)
    others = []
    for place in other_generations(top):
        store = Store.with_description(place)
        rows = store.read_videos()
        others.append(
            {"place": place, "model": store.description.model, "videos": sum(row.indexed for row in rows)}
        )
    return others


def _describe_run(run: LastRun) -> str:
    counts = ", ".join(f"{count} {part}" for part, count in run.counts.items() if count)
    return f"{run.ended} ({counts or 'no files'})"


def _describe_cache(cache: CacheState) -> str:
    return f"{cache.path}: {format_bytes(cache.nbytes)} of at most {format_bytes(cache.limit)}"


def find_places(rows: list[VideoRow]) -> Places:
    """Look which of some indexed files are still at their path, and which hold the same content."""
    from prost.search.missing_files import gone_among

    missing = gone_among(row.path for row in rows)
    present: dict[str, list[str]] = defaultdict(list)
    gone: list[VideoRow] = []
    for row in rows:
        if row.path in missing:
            gone.append(row)
        else:
            present[row.content or row.path].append(row.path)
    return Places(
        duplicates=[paths for paths in present.values() if len(paths) > 1],
        moved=[(row.path, present[row.content][0]) for row in gone if row.content in present],
        missing=[row.path for row in gone if row.content not in present],
    )
