"""What a library is made of: `library.json`, written last when a library is made, so that it marks a whole one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self, get_args
from urllib.parse import unquote

from prost.errors import LibraryDamaged, LibraryError, ModelMismatch, UsageError
from prost.model.encoding import PrecisionClass
from prost.printable import is_utf8
from prost.search.encode import PrototypeModel
from prost.search.records import ClipSettings, PrototypeSizes
from prost.search.small_files import read_small, write_small

FORMAT = 1
DESCRIPTION = "library.json"
OBJECT_STORES = ("s3", "gs")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a library is made of.

    Attributes:
        model: name of the model that made it.
        fingerprint: of that model.
        sizes: of its prototypes.
        clips: how videos are cut.
        precision: class of precision in which its prototypes are computed, `fp32` or `bf16`. Prototypes of two classes
            differ by more than rounding, so one library holds one class. Libraries of older versions are `fp32`.
        id: of this library, made when it was made; its tables carry it too. Empty in libraries of older versions.
        format: version of the library's format.
    """

    model: str
    fingerprint: str
    sizes: PrototypeSizes
    clips: ClipSettings
    precision: PrecisionClass = "fp32"
    id: str = ""
    format: int = FORMAT

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, place: str) -> Self:
        """Read what `to_json` wrote.

        Args:
            text: what is stored.
            place: where, for messages.

        Raises:
            LibraryDamaged: it is something else.
            LibraryError: a newer prost wrote it.
        """
        try:
            values = json.loads(text)
            stored = values["format"]
            if isinstance(stored, int) and stored > FORMAT:
                raise LibraryError(
                    f"{place} has library format {stored}",
                    f"format {FORMAT} or older",
                    "a newer version of prost",
                )
            return cls(
                model=str(values["model"]),
                fingerprint=str(values["fingerprint"]),
                sizes=PrototypeSizes(**values["sizes"]),
                clips=ClipSettings(**values["clips"]),
                precision=_precision_class(values.get("precision", "fp32")),
                id=str(values.get("id", "")),
                format=int(stored),
            )
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise LibraryDamaged(
                f"{place} cannot be read ({type(error).__name__}: {error})",
                suggestion="restore it from a backup, or index the videos into a new library",
            ) from None


def expect_same_model(root: str, described: Description, model: PrototypeModel) -> None:
    """Check that a model made a library; see `made_by`.

    Args:
        root: folder of the library, for messages.
        described: the library's description.
        model: the model.

    Raises:
        ModelMismatch: another one made it.
    """
    if not made_by(described, model):
        raise ModelMismatch(
            f"{root} was made by model {described.model!r} ({described.fingerprint}), "
            f"and this is {model.config.name!r} ({model.fingerprint})",
            "the model that made it, since prototypes of two models cannot be compared",
            f"use {described.model!r}, or index into a new library",
        )


def made_by(described: Description, model: PrototypeModel) -> bool:
    """Whether a model made a library, under its fingerprint now or by an earlier rule of fingerprints."""
    return described.fingerprint == model.fingerprint or (
        described.fingerprint in model.former_fingerprints(described.model)
    )


def _precision_class(value: object) -> PrecisionClass:
    for known in get_args(PrecisionClass):
        if value == known:
            return known
    raise ValueError(f"precision {value!r}")


def read_description(root: str, storage_options: Mapping[str, str] | None = None) -> Description | None:
    """The description of a library; None where there is none.

    Raises:
        LibraryDamaged: it cannot be read.
        LibraryError: a newer prost wrote it.
        StorageError: the disk or the object store refuses.
    """
    data = read_small(root, DESCRIPTION, storage_options)
    if data is None:
        return None
    return Description.from_json(data.decode("utf-8", "replace"), f"{root}/{DESCRIPTION}")


def write_description(root: str, description: Description) -> None:
    """Write `library.json` of a library in a folder, in one step.

    Raises:
        StorageError: the disk refuses.
    """
    write_small(root, DESCRIPTION, description.to_json().encode())


def library_top(path: str | os.PathLike[str]) -> str:
    """Where a library lies: an absolute path, or the URI of one on an object store.

    Raises:
        UsageError: the scheme of the URI is not supported, or the path is not UTF-8.
    """
    name = os.fsdecode(path)
    if not is_utf8(os.path.abspath(name)):
        raise UsageError(f"{name} holds bytes that are not UTF-8", "UTF-8 in the path of a library")
    scheme, separator, rest = name.partition("://")
    if not separator:
        return os.path.abspath(os.path.expanduser(name))
    scheme = scheme.lower()
    if scheme == "file":
        return os.path.abspath(unquote(rest.removeprefix("localhost")))
    if scheme not in OBJECT_STORES:
        raise UsageError(
            f"{name}: a library cannot lie on {scheme}://",
            f"a folder, or {' or '.join(f'{each}://bucket/folder' for each in OBJECT_STORES)}",
        )
    return f"{scheme}://{rest.rstrip('/')}"
