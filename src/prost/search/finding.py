"""What `Library.add` works on: the videos at some paths, also where some of the paths are gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from prost.errors import NoVideos
from prost.object_store import is_remote
from prost.search.missing_files import is_gone, is_under
from prost.video.files import FoundVideos, find_videos
from prost.video.remote import address_of, bucket_of, place_of

PathLike = str | os.PathLike[str]


def find_for_add(
    paths: PathLike | Iterable[PathLike],
    *,
    known: Callable[[], Sequence[str]],
    remove_missing: bool = False,
    exclude: Sequence[str] = (),
) -> FoundVideos:
    """Find the videos at some paths in one walk.

    Args:
        paths: files or folders, or addresses on an object store.
        known: gives the absolute paths that the library knows; called only where paths are gone or without videos.
        remove_missing: a path may be gone, or have no videos, if the library knows files there.
        exclude: globs of files and folders to leave out.

    Returns:
        the videos; `folders` holds the gone paths too.

    Raises:
        MissingPath: a path is not there.
        NoVideos: no video was found.
    """
    given = absolute_paths(paths)
    gone = [path for path in given if remove_missing and not _is_there(path) and _is_known(path, known())]
    rest = [path for path in given if path not in gone]
    try:
        found = find_videos(rest, exclude=exclude)
    except NoVideos:
        if not gone and not (remove_missing and any(_is_known(path, known()) for path in rest)):
            raise
        found = FoundVideos([], [], folders=[path for path in rest if os.path.isdir(path)])
    return replace(found, folders=[*gone, *found.folders])


def outside_of(library: str, found: FoundVideos) -> list[str]:
    """The found paths that are not in the library's own folder."""
    return [os.fspath(path) for path in found.videos if not is_under(os.fspath(path), library)]


def absolute_paths(paths: PathLike | Iterable[PathLike]) -> list[str]:
    """One path or several, as absolute texts; addresses on an object store stay what they are."""
    given = [paths] if isinstance(paths, str | bytes | os.PathLike) else list(paths)
    names = map(os.fsdecode, given)
    return [address_of(name) or os.path.abspath(os.path.expanduser(name)) for name in names]


def _is_there(path: str) -> bool:
    """Whether there is a file or a folder; for a place that cannot be looked at, too."""
    if not is_remote(path):
        return not is_gone(path)
    return not is_gone(path) or next(bucket_of(path).below(place_of(path).name), None) is not None


def _is_known(path: str, known: Sequence[str]) -> bool:
    """Whether the library knows the path, or a file in it."""
    return any(is_under(name, path) for name in known)
