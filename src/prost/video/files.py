"""Finding files in folders, videos above all, and recognising a video that moved."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from prost.errors import MissingPath, NoVideos, VideoError
from prost.object_store import is_remote
from prost.video.container import regular_file
from prost.video.exclusion import Glob, globs_of, inherited_globs, read_ignore_file
from prost.video.objects import ObjectWalk
from prost.video.reasons import Reason, reason_not_opened
from prost.video.remote import ObjectReader, address_of, at_hand, look_at_object, modified_ns
from prost.video.signature import HEAD_BYTES, is_text, starts_like_video

# Extensions (lower case) by which a folder's videos are known. A file named one by one needs none of them.
# fmt: off
VIDEO_EXTENSIONS = frozenset((
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v",
    ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".mxf", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv",
    ".ogm", ".rm", ".rmvb", ".dv", ".gif", ".insv", ".lrv", ".tod", ".dav", ".vro", ".m2p", ".trp", ".wtv",
    ".dvr-ms", ".h264", ".h265", ".hevc", ".264", ".265", ".y4m", ".ivf", ".nut", ".mk3d", ".mj2", ".mjpeg",
))

# Extensions of files that are no videos for certain. Files with other extensions, or none, are looked into.
OTHER_EXTENSIONS = frozenset((
    # pictures and sound
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".svg", ".ico", ".psd",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".thm", ".mp3", ".m4a", ".m4b", ".aac", ".wav", ".flac", ".ogg", ".oga",
    ".opus", ".wma", ".mka", ".aif", ".aiff", ".mid",
    # text, data and programs
    ".txt", ".md", ".rst", ".html", ".htm", ".css", ".js", ".mjs", ".jsx", ".tsx", ".json", ".jsonl", ".xml", ".xmp",
    ".yaml", ".yml", ".toml", ".ini", ".cfg", ".log", ".csv", ".tsv", ".srt", ".vtt", ".ass", ".sub", ".idx", ".nfo",
    ".py", ".pyc", ".c", ".h", ".cc", ".cpp", ".hpp", ".rs", ".go", ".java", ".class", ".rb", ".php", ".sh", ".bat",
    ".exe", ".dll", ".so", ".o", ".a", ".lib", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt",
    ".ttf", ".otf", ".woff", ".woff2", ".db", ".sqlite", ".parquet", ".npy", ".npz", ".pt", ".safetensors", ".lance",
    # archives, and what is not finished
    ".zip", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".iso", ".part", ".crdownload", ".tmp", ".torrent",
))
# fmt: on

# These also end the names of program text (TypeScript), so the first bytes decide.
ALSO_TEXT_EXTENSIONS = frozenset((".ts", ".mts"))

WHOLE_FILE_BYTES = 64 << 20
BLOCK_BYTES = 4 << 20


class Readable(Protocol):
    """What the content of a file is read from."""

    def seek(self, place: int, /) -> int:
        """Go to a byte."""

    def read(self, size: int, /) -> bytes:
        """So many bytes from there."""


@dataclass(frozen=True, kw_only=True)
class SeenFile:
    """A file as its folder shows it.

    Attributes:
        path: absolute, or an address on an object store.
        size: bytes.
        modified: nanoseconds since 1970.
    """

    path: str
    size: int
    modified: int


@dataclass(frozen=True)
class FoundVideos:
    """What a search through files and folders gave.

    Attributes:
        videos: absolute paths, and addresses on object stores as texts; sorted, each once. Links are not resolved.
        unreadable: folders that could not be listed, sorted; what lies in them is unknown, not absent.
        passed_over: number of files in the folders that are no videos by their names, nor by their first bytes.
        folders: absolute paths of the given paths that are folders.
        excluded: number of files and folders that globs left out; what lies in such a folder is not counted.
        seen: what an object store told of its videos while they were found, by their addresses.
    """

    videos: Sequence[Path | str]
    unreadable: Sequence[Path]
    passed_over: int = 0
    folders: Sequence[Path | str] = ()
    excluded: int = 0
    seen: Mapping[str, SeenFile] = field(default_factory=dict)


def find_videos(
    paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str], *, exclude: Sequence[str] = ()
) -> FoundVideos:
    """Every video under the given files and folders.

    Folders are walked to the bottom, links to folders included, each real folder once (so loops end). Hidden
    files and folders (a name that starts with a dot) are passed over. Files with an extension that says nothing are
    taken where their first bytes are those of a video. A file that is named itself is always taken. Hard links are
    files of their own. `~` is the home folder.

    What a glob of `exclude` or of an ignore file (`.prostignore`, one glob a line) matches is left out, unless it is
    named itself. The globs of an ignore file apply to its folder and below; see `prost.video.exclusion.Glob`.

    On an object store (`s3://bucket/folder`) the objects below an address are found by the same rules.

    Args:
        paths: files and folders, or addresses.
        exclude: globs that apply to each of the folders.

    Raises:
        MissingPath: a path that is not there.
        NoVideos: not one video was found.
        StorageError: an object store refuses.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    videos: set[str] = set()
    others: set[str] = set()
    unreadable: set[str] = set()
    excluded: set[str] = set()
    folders: list[Path | str] = []
    seen: dict[str, SeenFile] = {}
    for path in given:
        if address := address_of(os.fsdecode(path)):
            walk = ObjectWalk(address, exclude)
            if walk.is_folder:
                folders.append(address)
            for each in walk.objects():
                is_video = not walk.is_folder or _is_video_name(each.address, each.head)
                (videos if is_video else others).add(each.address)
                seen[each.address] = SeenFile(
                    path=each.address, size=each.seen.size, modified=modified_ns(each.seen)
                )
            excluded |= walk.excluded
            continue
        absolute = os.path.abspath(os.path.expanduser(os.fsdecode(path)))
        if os.path.isdir(absolute):
            folders.append(Path(absolute))
            for entry in files_under(absolute, unreadable, globs_of(exclude, absolute), excluded):
                (videos if _looks_like_video(entry) else others).add(entry.path)
        elif os.path.lexists(absolute):
            videos.add(absolute)
        else:
            name = os.fsdecode(path)
            raise MissingPath(f"{name} is not there", "a video file or a folder", "check the path")
    videos, others, excluded = (_by_one_way(paths) for paths in (videos, others, excluded))
    if not videos:
        raise NoVideos(
            f"no video in {', '.join(os.fsdecode(path) for path in given) or 'an empty list'}"
            + (f" ({len(unreadable)} folders could not be read)" if unreadable else ""),
            " ".join(sorted(VIDEO_EXTENSIONS)),
            "another folder, or name the file itself",
        )
    return FoundVideos(
        _sorted_places(videos),
        _sorted_paths(unreadable),
        passed_over=len(others - videos),
        folders=folders,
        excluded=len(excluded - videos),
        seen={path: file for path, file in seen.items() if path in videos},
    )


def _by_one_way(paths: set[str]) -> set[str]:
    """Without those that lead through a link to a folder which was reached without it, from another of the places."""
    real_folders: dict[str, str] = {}

    def straight(path: str) -> str:
        folder, name = os.path.split(path)
        if folder not in real_folders:
            real_folders[folder] = os.path.realpath(folder)
        return os.path.join(real_folders[folder], name)

    return {
        path for path in paths if is_remote(path) or (real := straight(path)) == path or real not in paths
    }


def files_under(
    folder: str | os.PathLike[str],
    unreadable: set[str],
    exclude: Sequence[Glob] = (),
    excluded: set[str] | None = None,
) -> Iterator[os.DirEntry[str]]:
    """Every file below a folder, those nearer to the top first, then by name: the one walk over folders.

    Links to folders are followed, each real folder is walked once (so loops end), and a folder that is reached both
    ways keeps its real path. Hidden files and folders (a name that starts with a dot) are passed over, and so is what
    ignore files exclude.

    Args:
        folder: where to start.
        unreadable: receives the folders that could not be listed, or whose ignore file could not be read.
        exclude: further globs.
        excluded: receives what the globs match.
    """
    walked: set[tuple[int, int]] = set()
    start = os.fspath(folder)
    try:
        globs = [*exclude, *inherited_globs(os.path.abspath(start))]
    except OSError:
        unreadable.add(start)
        return
    folders, linked = deque([(start, globs)]), deque[tuple[str, list[Glob]]]()
    while folders or linked:
        current, globs = folders.popleft() if folders else linked.popleft()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in walked:
                continue
            walked.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(current), key=lambda entry: os.fsencode(entry.name))
            globs = [*globs, *read_ignore_file(current)]
        except OSError:
            unreadable.add(current)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            is_folder = _is_folder(entry)
            if any(glob.matches(entry.path, is_folder) for glob in globs):
                if excluded is not None:
                    excluded.add(entry.path)
            elif is_folder:
                (linked if entry.is_symlink() else folders).append((entry.path, globs))
            else:
                yield entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _looks_like_video(entry: os.DirEntry[str]) -> bool:
    return _is_video_name(entry.name, lambda size: _head(entry, size))


def _is_video_name(name: str, head: Callable[[int], bytes | None]) -> bool:
    """Whether a file is a video by its name or, where that tells nothing, by its first bytes."""
    extension = os.path.splitext(name)[1].lower()
    if extension in ALSO_TEXT_EXTENSIONS:
        # What cannot be read is taken, so that its failure is told.
        first = head(HEAD_BYTES)
        return first is None or not is_text(first)
    if extension in VIDEO_EXTENSIONS:
        return True
    return extension not in OTHER_EXTENSIONS and starts_like_video(head(HEAD_BYTES) or b"")


def _head(entry: os.DirEntry[str], size: int) -> bytes | None:
    """The first bytes of a regular file; None where there are none to be had."""
    try:
        if not entry.is_file():
            return None
        with open(entry.path, "rb") as file:
            return file.read(size)
    except OSError:
        return None


def _sorted_paths(names: Iterable[str]) -> list[Path]:
    return [Path(name) for name in sorted(names, key=os.fsencode)]


def _sorted_places(names: Iterable[str]) -> list[Path | str]:
    return [name if is_remote(name) else Path(name) for name in sorted(names, key=os.fsencode)]


def look_at(path: str) -> SeenFile:
    """Size and modification time of a file or an object.

    Raises:
        VideoError: it is gone, or lies where nobody may look.
        StorageError: an object store refuses.
    """
    if is_remote(path):
        found = look_at_object(path)
        if found is None:
            raise VideoError(path, Reason.GONE)
        return SeenFile(path=path, size=found.size, modified=modified_ns(found))
    try:
        status = os.stat(path)
    except OSError as error:
        raise VideoError(path, reason_not_opened(error), error.strerror or "") from None
    return SeenFile(path=path, size=status.st_size, modified=status.st_mtime_ns)


def content_hash(path: str | os.PathLike[str]) -> str:
    """A fingerprint (32 hexadecimal digits, BLAKE2b) by which a moved or copied file is recognised.

    Up to 64 MiB every byte counts. For a larger file the size and three blocks of 4 MiB count, at the head, in
    the middle and at the tail: enough to recognise a video, not to prove that nobody changed a byte of it.

    Raises:
        VideoError: the file is gone, no regular file, or must not be read.
        StorageError: an object store refuses.
    """
    name = os.fspath(path)
    if is_remote(name):
        size = look_at(name).size
        if size > WHOLE_FILE_BYTES:
            return content_hash_of(ObjectReader(name), size)
        with at_hand(name) as copy:
            return content_hash(copy)
    size = regular_file(path).st_size
    try:
        with open(path, "rb") as file:
            return content_hash_of(file, size)
    except OSError as error:
        raise VideoError(os.fspath(path), reason_not_opened(error), error.strerror or "") from None


def content_hash_of(file: Readable, size: int) -> str:
    """`content_hash` of an open file.

    Args:
        file: at its beginning; afterwards it is at any place.
        size: bytes.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    if size <= WHOLE_FILE_BYTES:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    else:
        for offset in (0, (size - BLOCK_BYTES) // 2, size - BLOCK_BYTES):
            file.seek(offset)
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()
