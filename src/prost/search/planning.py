"""What an `add` would do, told without decoding or writing anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from prost.errors import VideoError
from prost.search.finding import outside_of
from prost.search.index_run import AddReport, must_be_read
from prost.search.missing_files import is_gone, sort_gone
from prost.search.records import VideoRow
from prost.video.files import FoundVideos, content_hash, look_at


def plan_add(
    found: FoundVideos,
    rows: Sequence[VideoRow],
    *,
    library: str,
    retry_failed: bool = False,
    verify: bool = False,
    remove_missing: bool = False,
) -> AddReport:
    """Tell what `Library.add` would do with some videos.

    New and changed files are hashed, so that moves are known. They are not decoded: a file that cannot be shown is
    listed as added, unless it failed before.

    Args:
        found: the videos.
        rows: what the library knows; none where there is no library yet.
        library: the library's folder.
        retry_failed: as for `add`.
        verify: as for `add`.
        remove_missing: as for `add`.
    """
    report = AddReport(passed_over=found.passed_over, excluded=found.excluded)
    known = {row.path: row for row in rows}
    by_content: dict[str, list[VideoRow]] = defaultdict(list)
    for row in rows:
        if row.content is not None:
            by_content[row.content].append(row)
    paths = outside_of(library, found)
    moved_from: set[str] = set()
    for path in paths:
        before = known.get(path)
        try:
            file = found.seen.get(path) or look_at(path)
            if before is not None and not verify and not must_be_read(file, before, retry_failed):
                alike = [before]
            else:
                alike = by_content.get(content_hash(path), [])
        except VideoError as error:
            report.failed.append((path, error.reason))
            continue
        failed = [row for row in alike if not row.indexed]
        source = next((row.path for row in alike if row.path not in moved_from and is_gone(row.path)), None)
        if failed and len(failed) == len(alike) and not retry_failed:
            report.failed.append((path, failed[0].reason or ""))
            if before is not None:
                report.not_retried.append(path)
        elif before is not None and before in alike:
            (report.unchanged if before.indexed else report.added).append(path)
        elif source is not None:
            moved_from.add(source)
            report.moved.append(path)
        else:
            report.added.append(path)
    rest = [path for path in known if path not in moved_from]
    gone = sort_gone(rest, paths, [str(folder) for folder in found.folders])
    report.removed.extend(sorted([*gone.deleted, *gone.missing] if remove_missing else gone.deleted))
    if not remove_missing:
        report.missing.extend(gone.missing)
    return report
