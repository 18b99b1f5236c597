"""What a library is made of: `library.json`, written last when a library is made, so that it marks a whole one."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Self

import pyarrow.fs

from prost.errors import LibraryDamaged, LibraryError
from prost.search.records import ClipSettings, PrototypeSizes
from prost.search.storage_errors import storage_errors

FORMAT = 1
DESCRIPTION = "library.json"


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a library is made of.

    Attributes:
        model: name of the model that made it.
        fingerprint: of that model.
        sizes: of its prototypes.
        clips: how videos are cut.
        format: version of the library's format.
    """

    model: str
    fingerprint: str
    sizes: PrototypeSizes
    clips: ClipSettings
    format: int = FORMAT

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, root: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            LibraryDamaged: it is something else.
            LibraryError: a newer prost wrote it.
        """
        try:
            values = json.loads(text)
            stored = values["format"]
            if isinstance(stored, int) and stored > FORMAT:
                raise LibraryError(
                    f"{root} has library format {stored}",
                    f"format {FORMAT} or older",
                    "a newer version of prost",
                )
            return cls(
                model=str(values["model"]),
                fingerprint=str(values["fingerprint"]),
                sizes=PrototypeSizes(**values["sizes"]),
                clips=ClipSettings(**values["clips"]),
                format=int(stored),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise LibraryDamaged(
                f"{root}: {DESCRIPTION} cannot be read ({type(error).__name__}: {error})",
                suggestion="restore it from a backup, or index the videos into a new library",
            ) from None


def read_description(root: str) -> Description | None:
    """The description of a library; None where there is none.

    Raises:
        LibraryDamaged: it cannot be read.
        LibraryError: a newer prost wrote it.
        StorageError: the disk refuses.
    """
    filesystem, path = _file_system(root)
    try:
        with storage_errors(root), filesystem.open_input_file(path) as file:
            text = file.read().decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Description.from_json(text, root)


def write_description(root: str, description: Description) -> None:
    """Write `library.json` in one step: under another name first, then moved to its place.

    Raises:
        StorageError: the disk refuses.
    """
    filesystem, path = _file_system(root)
    with storage_errors(root):
        with filesystem.open_output_stream(f"{path}.new") as file:
            file.write(description.to_json().encode())
        if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
            with open(f"{path}.new", "rb") as written:
                os.fsync(written.fileno())
        filesystem.move(f"{path}.new", path)


def _file_system(root: str) -> tuple[pyarrow.fs.FileSystem, str]:
    if "://" not in root:
        return pyarrow.fs.LocalFileSystem(), os.path.join(root, DESCRIPTION)
    filesystem, path = pyarrow.fs.FileSystem.from_uri(root)
    return filesystem, f"{path.rstrip('/')}/{DESCRIPTION}"
