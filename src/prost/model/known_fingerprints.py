"""Fingerprints of model files, remembered on this machine: to hash the weights of a large model takes seconds.

A fingerprint is kept under the state of the files that the model was read from: their paths, sizes and times of change.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from prost.durable import replaced_whole
from prost.places import cache_folder

# Part of every key. Raise it when the same files and choices come to give other prototypes.
RULE = "1"
# A file that was changed in the last moments may change again without another time of change.
SETTLED_NS = 2_000_000_000


def state_of_files(files: Iterable[Path]) -> str | None:
    """Name the state of files.

    Args:
        files: all files that the model was read from.

    Returns:
        A hash; None if one of them was changed in the last two seconds, or is no longer there.
    """
    digest = blake2b(RULE.encode(), digest_size=16)
    for path in sorted(files):
        try:
            found = path.stat()
        except OSError:
            return None
        if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < SETTLED_NS:
            return None
        facts = (str(path.absolute()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        digest.update(repr(facts).encode())
    return digest.hexdigest()


def recall(key: str) -> str | None:
    """The fingerprint that is remembered under a key; None if there is none."""
    try:
        found = (_folder() / key).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return found if re.fullmatch(r"[0-9a-f]{24}", found) else None


def remember(key: str, fingerprint: str) -> None:
    """Keep a fingerprint; a cache that cannot be written is no error, since it only saves time."""
    with suppress(OSError):
        _folder().mkdir(parents=True, exist_ok=True)
        temporary = _folder() / f".{key}.{os.getpid()}.part"
        with replaced_whole(_folder() / key, temporary):
            temporary.write_text(fingerprint, encoding="ascii")


def _folder() -> Path:
    return cache_folder() / "fingerprints"
