"""The child process of a job: indexes one folder, prints how far it is as JSON lines, and ends with its parent.

It reads one JSON line with the request. As long as its standard input is open, somebody waits for it; when that closes,
the server is gone, and the work ends as after Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

from prost.apps.cli.options import load_library_model
from prost.errors import ProstError
from prost.printable import printable
from prost.search.index_run import IndexProgress
from prost.search.library import Library

# Seconds between two lines about progress.
LINE_EVERY = 0.2
# Seconds that the work gets to end in order once the server is gone.
GRACE = 20.0
INTERRUPTED = 130


def main() -> int:
    """Index a folder; returns the exit code."""
    # A library that prints must not print into a line of ours.
    lines = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)

    def tell(**line: Any) -> None:
        lines.write(json.dumps(line) + "\n")
        lines.flush()

    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    last = 0.0

    def show(at: IndexProgress) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY or at.done == at.total:
            last = time.monotonic()
            name = printable(os.path.basename(at.path))
            tell(done=at.done, total=at.total, failed=at.failed, name=name)

    try:
        model = load_library_model(asked["library"], asked["model"], asked["device"])
        with Library(asked["library"], model) as library:
            report = library.add(asked["folder"], progress=show)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ProstError as error:
        tell(problem=str(error))
        return 1
    tell(summary=str(report), failed_files=len(report.failed))
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE)
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
