"""Where a model lies: a name or a path becomes a file or folder on this machine. Nothing is downloaded here."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from prost.errors import MissingPath, ModelNotHere
from prost.model.catalogue import BUNDLED, ENTRIES, MODELS, CatalogueEntry
from prost.model.model_files import has_vocabulary, weight_files
from prost.places import data_folder

# File beside the weights of a pulled model with what was pulled; written last, so that it marks a whole model.
RECORD = "source.json"


@dataclass(frozen=True, kw_only=True)
class PulledModel:
    """What `prost models pull` wrote: the contents of `source.json`.

    Attributes:
        name: of the catalogue, or owner/name on the hub.
        source: "hub:OWNER/NAME" or "modelscope:OWNER/NAME".
        revision: the commit.
        files: bytes of each file, by its name.
        digests: hash of each file that was compared, as "sha256:..." or "git:...".
    """

    name: str
    source: str
    revision: str
    files: dict[str, int]
    digests: dict[str, str]

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def locate(name_or_path: str) -> Path:
    """Find the file or folder of a model on this machine.

    A name of the catalogue wins over a folder of the same name; `./siglip2-b16` means the folder. Where a path
    `owner/name` exists, it is the path.

    Args:
        name_or_path: a name of the catalogue, a folder, a weights file, or `owner/name` on the Hugging Face hub.

    Raises:
        ModelNotHere: the name is known, or may be on the hub, and the model is not on this machine.
        MissingPath: the path does not exist.
    """
    if name_or_path in ENTRIES:
        found = find_named(name_or_path)
        if found is None:
            raise ModelNotHere(
                f"the model {name_or_path} is not on this machine",
                suggestion=f"prost models pull {name_or_path}" + _folder_hint(name_or_path),
            )
        return found
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    if is_hub_name(name_or_path):
        found = find_named(name_or_path)
        if found is None:
            raise ModelNotHere(
                f"{name_or_path} is no path, and no model of that name is on this machine",
                suggestion=f"prost models pull {name_or_path}, if it is on the Hugging Face hub",
            )
        return found
    raise MissingPath(
        f"{name_or_path} does not exist",
        f"a folder, a weights file, owner/name on the Hugging Face hub, or a model of `prost models list`: "
        f"{', '.join(ENTRIES)}",
    )


def find_named(name: str) -> Path | None:
    """Find a whole model by its name: bundled, pulled, or in the hub's own cache.

    Args:
        name: of the catalogue, or `owner/name` on the hub.

    Returns:
        its folder, or None.

    Raises:
        MissingPath: this installation lacks the bundled model.
    """
    if name == BUNDLED:
        return _bundled()
    folder = pulled_folder(name)
    if _is_whole(folder):
        return folder
    entry = ENTRIES.get(name)
    if entry is None:
        return _in_hub_cache(name)
    return _in_hub_cache(entry.repository) if entry.host == "hub" else None


def is_hub_name(name: str) -> bool:
    """Whether a name can be `owner/name` on the hub, which allows no double dots and dashes."""
    owner_and_name = re.fullmatch(r"([\w.-]+)/([\w.-]+)", name)
    return owner_and_name is not None and not any(
        part.startswith(".") or ".." in part or "--" in part for part in owner_and_name.groups()
    )


def is_name(name_or_path: str) -> bool:
    """Whether `locate` takes this as a name and not as a path."""
    return name_or_path in ENTRIES or (
        is_hub_name(name_or_path) and not Path(name_or_path).expanduser().exists()
    )


def pulled_folder(name: str) -> Path:
    """Folder of a pulled model, whether or not it is there; names on the hub have no double dash."""
    return models_folder() / name.replace("/", "--")


def models_folder() -> Path:
    """Folder of all pulled models."""
    return data_folder() / "models"


def read_record(folder: Path) -> PulledModel | None:
    """Read what was pulled into a folder; None if nothing was, or if a file is gone or has another size."""
    try:
        record = PulledModel(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
        if any((folder / name).stat().st_size != size for name, size in record.files.items()):
            return None
    except (OSError, ValueError, TypeError):
        return None
    return record


def catalogue() -> list[CatalogueEntry]:
    """List the models that prost knows by name, each with whether it is on this machine."""
    return [replace(entry, here=find_named(entry.name) is not None) for entry in MODELS]


def pulled_models() -> list[PulledModel]:
    """List the models that were pulled and are whole, by name."""
    records = (read_record(folder) for folder in sorted(models_folder().glob("[!.]*")))
    return [record for record in records if record is not None]


def _is_whole(folder: Path) -> bool:
    """Whether a folder of a model is whole: by its record, or by its weights where a person has put the files there."""
    if (folder / RECORD).exists():
        return read_record(folder) is not None
    return folder.is_dir() and bool(weight_files(os.listdir(folder)))


def _bundled() -> Path:
    bundled = Path(str(resources.files("prost") / "models" / BUNDLED))
    if not (bundled / "model.safetensors").is_file():
        raise MissingPath(
            f"the bundled model {BUNDLED!r} is not in this installation", suggestion="reinstall prost"
        )
    return bundled


def _folder_hint(name: str) -> str:
    return f", or ./{name} for the folder of that name that is here" if Path(name).exists() else ""


def _in_hub_cache(repository: str) -> Path | None:
    """The newest snapshot of a repository in the hub's own cache, if it has configuration, weights and vocabulary.

    A file in a snapshot is whole. A snapshot lacks files after an interrupted download, and where another program has
    fetched only those that it needed.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for configuration in ("config.json", "open_clip_config.json", "configuration.json"):
        try:
            cached = try_to_load_from_cache(repository, configuration)
        except HFValidationError:  # no repository can have this name
            return None
        if not isinstance(cached, str):
            continue
        names = os.listdir(Path(cached).parent)
        if weight_files(names) and has_vocabulary(names):
            return Path(cached).parent
    return None
