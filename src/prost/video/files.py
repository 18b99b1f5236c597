"""Finding files in folders, videos above all, and recognising a video that moved."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prost.errors import MissingPath, NoVideos, VideoError
from prost.video.container import regular_file
from prost.video.reasons import Reason

# Extensions (lower case) by which a folder's videos are known. A file named one by one needs none of them.
# fmt: off
VIDEO_EXTENSIONS = frozenset((
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v",
    ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".mxf", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv",
    ".ogm", ".rm", ".rmvb", ".dv", ".gif",
))
# fmt: on

# These also end the names of program text (TypeScript), so the first bytes decide.
TRANSPORT_STREAM_EXTENSIONS = frozenset((".ts", ".mts"))

WHOLE_FILE_BYTES = 64 << 20
BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class FoundVideos:
    """What a search through files and folders gave.

    Attributes:
        videos: absolute paths, sorted, each once; symbolic links are not resolved.
        unreadable: folders that could not be listed, sorted; what lies in them is unknown, not absent.
    """

    videos: list[Path]
    unreadable: list[Path]


def find_videos(paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str]) -> FoundVideos:
    """Every video under the given files and folders.

    Folders are walked to the bottom, links to folders included, each real folder once (so loops end). Hidden
    files and folders (a name that starts with a dot) are passed over. A file that is named itself is taken
    whatever its extension. Hard links are files of their own. `~` is the home folder.

    Raises:
        MissingPath: a path that is not there.
        NoVideos: not one video was found.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    videos: set[str] = set()
    unreadable: set[str] = set()
    for path in given:
        absolute = os.path.abspath(os.path.expanduser(os.fsdecode(path)))
        if os.path.isdir(absolute):
            found = files_under(absolute, unreadable)
            videos.update(entry.path for entry in found if _looks_like_video(entry))
        elif os.path.lexists(absolute):
            videos.add(absolute)
        else:
            name = os.fsdecode(path)
            raise MissingPath(f"{name} is not there", "a video file or a folder", "check the path")
    if not videos:
        raise NoVideos(
            f"no video in {', '.join(os.fsdecode(path) for path in given) or 'an empty list'}"
            + (f" ({len(unreadable)} folders could not be read)" if unreadable else ""),
            " ".join(sorted(VIDEO_EXTENSIONS)),
            "another folder, or name the file itself",
        )
    return FoundVideos(_sorted_paths(videos), _sorted_paths(unreadable))


def files_under(folder: str | os.PathLike[str], unreadable: set[str]) -> Iterator[os.DirEntry[str]]:
    """Every file below a folder, those nearer to the top first, then by name: the one walk over folders.

    Links to folders are followed, each real folder is walked once (so loops end), and a folder that is reached both
    ways keeps its real path. Hidden files and folders (a name that starts with a dot) are passed over.

    Args:
        folder: where to start.
        unreadable: receives the folders that could not be listed.
    """
    walked: set[tuple[int, int]] = set()
    folders, linked = deque([os.fspath(folder)]), deque[str]()
    while folders or linked:
        current = folders.popleft() if folders else linked.popleft()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in walked:
                continue
            walked.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(current), key=lambda entry: os.fsencode(entry.name))
        except OSError:
            unreadable.add(current)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                (linked if entry.is_symlink() else folders).append(entry.path)
            else:
                yield entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _looks_like_video(entry: os.DirEntry[str]) -> bool:
    extension = os.path.splitext(entry.name)[1].lower()
    if extension not in VIDEO_EXTENSIONS:
        return False
    return extension not in TRANSPORT_STREAM_EXTENSIONS or _may_be_transport_stream(entry)


def _may_be_transport_stream(entry: os.DirEntry[str]) -> bool:
    """True unless the file can be read and lacks the sync bytes (0x47 every 188 or 192 bytes)."""
    try:
        if not entry.is_file():
            return True
        with open(entry.path, "rb") as file:
            head = file.read(197)
    except OSError:
        return True
    return head[0:1] == head[188:189] == b"G" or head[4:5] == head[196:197] == b"G" or not head


def _sorted_paths(names: Iterable[str]) -> list[Path]:
    return [Path(name) for name in sorted(names, key=os.fsencode)]


def content_hash(path: str | os.PathLike[str]) -> str:
    """A fingerprint (32 hexadecimal digits, BLAKE2b) by which a moved or copied file is recognised.

    Up to 64 MiB every byte counts. Of a larger file the size and three blocks of 4 MiB count, at the head, in
    the middle and at the tail: enough to recognise a video, not to prove that nobody changed a byte of it.

    Raises:
        VideoError: the file is gone, no regular file, or must not be read.
    """
    size = regular_file(path).st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    try:
        with open(path, "rb") as file:
            if size <= WHOLE_FILE_BYTES:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
            else:
                for offset in (0, (size - BLOCK_BYTES) // 2, size - BLOCK_BYTES):
                    file.seek(offset)
                    digest.update(file.read(BLOCK_BYTES))
    except PermissionError as error:
        raise VideoError(os.fspath(path), Reason.NO_PERMISSION, error.strerror or "") from None
    except OSError as error:
        raise VideoError(os.fspath(path), Reason.GONE, error.strerror or "") from None
    return digest.hexdigest()
