"""Folders of this user: data that stays, and caches that may be deleted."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """Folder of what stays until the user removes it: the default library, models, measured forms.

    Returns:
        `$PROST_HOME` if it is set, otherwise the system's usual place: `$XDG_DATA_HOME/prost` or
        `~/.local/share/prost`, on macOS `~/Library/Application Support/prost`, on Windows `%LOCALAPPDATA%\\prost`. It
        need not exist.
    """
    if home := _from_environment("PROST_HOME"):
        return home
    return (_from_environment("XDG_DATA_HOME") or _usual_data()) / "prost"


def cache_folder() -> Path:
    """Folder of what may be deleted at any time and is then made again.

    Returns:
        `$PROST_HOME/cache` if that variable is set, otherwise the system's usual place: `$XDG_CACHE_HOME/prost` or
        `~/.cache/prost`, on macOS `~/Library/Caches/prost`, on Windows `%LOCALAPPDATA%\\prost\\cache`. It need not
        exist.
    """
    if home := _from_environment("PROST_HOME"):
        return home / "cache"
    if caches := _from_environment("XDG_CACHE_HOME"):
        return caches / "prost"
    if sys.platform == "win32":
        return _usual_data() / "prost" / "cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "prost"


def _usual_data() -> Path:
    if sys.platform == "win32":
        return _from_environment("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    return Path.home() / ("Library/Application Support" if sys.platform == "darwin" else ".local/share")


def _from_environment(name: str) -> Path | None:
    """The absolute path in a variable; an empty variable counts as absent."""
    value = os.environ.get(name)
    return Path(value).expanduser().absolute() if value else None
