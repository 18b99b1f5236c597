"""When the last `add` ended and what it did: `last_run.json`, beside `library.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from prost.errors import StorageError
from prost.search.records import now
from prost.search.small_files import read_small, write_small

LAST_RUN = "last_run.json"


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """The last `add` that ended.

    Attributes:
        ended: UTC, ISO 8601 to the second.
        counts: how many files were added, unchanged, moved, removed, failed and missing.
    """

    ended: str
    counts: dict[str, int]


def write_last_run(
    root: str, counts: dict[str, int], storage_options: Mapping[str, str] | None = None
) -> None:
    """Store that a run ended now.

    Raises:
        StorageError: the disk or the object store refuses.
    """
    run = LastRun(ended=now(), counts=counts)
    write_small(root, LAST_RUN, (json.dumps(asdict(run), indent=2) + "\n").encode(), storage_options)


def read_last_run(root: str, storage_options: Mapping[str, str] | None = None) -> LastRun | None:
    """The last run of a library; None where none is stored, or where the file cannot be understood."""
    try:
        data = read_small(root, LAST_RUN, storage_options)
        if data is None:
            return None
        values = json.loads(data)
        return LastRun(
            ended=str(values["ended"]), counts={str(part): int(n) for part, n in values["counts"].items()}
        )
    except (OSError, StorageError, ValueError, KeyError, TypeError, AttributeError):
        return None
