"""Globs that name what a walk over folders leaves out, given by the caller or in ignore files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

IGNORE_FILE = ".prostignore"


@dataclass(frozen=True)
class Glob:
    """A glob that applies to a folder and all that is below it.

    Without a slash it is matched with the names of files and folders, else with their path below the folder. A star
    also stands for slashes. A slash at the end means folders only.

    Attributes:
        pattern: the glob.
        folder: absolute path of the folder.
    """

    pattern: str
    folder: str

    def matches(self, path: str, is_folder: bool) -> bool:
        """Whether it names a file or folder, whose path is absolute and below the folder."""
        pattern = self.pattern.removesuffix("/")
        if pattern != self.pattern and not is_folder:
            return False
        if "/" not in pattern:
            return fnmatchcase(os.path.basename(path), pattern)
        return fnmatchcase(os.path.relpath(path, self.folder), pattern.removeprefix("/"))


def read_ignore_file(folder: str) -> list[Glob]:
    """The globs of a folder's ignore file, one a line; a line that starts with # is a comment.

    Raises:
        OSError: there is one, but it cannot be read.
    """
    try:
        with open(os.path.join(folder, IGNORE_FILE), "rb") as file:
            lines = os.fsdecode(file.read()).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return globs_of(lines, folder)


def globs_of(lines: Iterable[str], folder: str) -> list[Glob]:
    """Globs for a folder; empty ones and comments are left out."""
    patterns = [line.strip() for line in lines]
    return [Glob(pattern, folder) for pattern in patterns if pattern and not pattern.startswith("#")]


def inherited_globs(folder: str) -> list[Glob]:
    """The globs of the ignore files above a folder.

    Raises:
        OSError: one cannot be read.
    """
    above: list[Glob] = []
    while (parent := os.path.dirname(folder)) != folder:
        above += read_ignore_file(parent)
        folder = parent
    return above
