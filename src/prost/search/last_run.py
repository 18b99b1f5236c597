"""When the last `add` of a local library ended and what it did: `last_run.json`, beside `library.json`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from prost.search.durable import write_whole
from prost.search.storage_errors import storage_errors

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


def write_last_run(root: str, counts: dict[str, int]) -> None:
    """Store that a run ended now; a library on an object store keeps no such file.

    Raises:
        StorageError: the disk refuses.
    """
    if "://" in root:
        return
    run = LastRun(ended=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"), counts=counts)
    with storage_errors(root):
        write_whole(os.path.join(root, LAST_RUN), (json.dumps(asdict(run), indent=2) + "\n").encode())


def read_last_run(root: str) -> LastRun | None:
    """The last run of a library; None where none is stored, or where the file cannot be understood."""
    try:
        with open(os.path.join(root, LAST_RUN), "rb") as file:
            values = json.load(file)
        return LastRun(
            ended=str(values["ended"]), counts={str(part): int(n) for part, n in values["counts"].items()}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
