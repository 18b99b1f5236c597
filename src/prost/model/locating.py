"""Where a model lies: a bundled name, a path or a name on the hub becomes a file or folder on this machine."""

from __future__ import annotations

import logging
import re
from importlib import resources
from pathlib import Path

from prost.errors import CheckpointError, MissingPath

BUNDLED = ("toybox",)
HUB_FILES = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "pytorch_model.bin",
    "configuration.json",
]

log = logging.getLogger("prost")


def locate(name_or_path: str) -> Path:
    """Find the file or folder on this machine that a name means.

    A bundled name wins over a folder of the same name; `./toybox` means the folder.

    Raises:
        MissingPath: the path does not exist, and it is not a bundled model or a name on the hub.
        CheckpointError: a name on the hub that cannot be fetched.
    """
    if name_or_path in BUNDLED:
        bundled = Path(str(resources.files("prost") / "models" / name_or_path))
        if not (bundled / "model.safetensors").is_file():
            raise MissingPath(
                f"the bundled model {name_or_path!r} is not in this installation",
                suggestion="reinstall prost",
            )
        return bundled
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name_or_path) and not path.parent.exists():
        return _from_hub(name_or_path)
    raise MissingPath(
        f"{name_or_path} does not exist",
        f"a folder, a weights file, a bundled model ({', '.join(BUNDLED)}), or owner/name on the hub",
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=True))
    except Exception:  # not cached yet, for which the hub's library raises several errors
        log.warning("%s is not in the local cache: downloading it", name)
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except Exception as error:  # no network, no repository, no permission: it raises a dozen kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(
            f"{name} is not a local path and cannot be fetched from the hub ({reason})",
            suggestion="check the name and the network, or download it yourself and give the folder",
        ) from None
