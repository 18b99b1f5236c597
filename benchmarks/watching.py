"""What `prost watch` indexes when: a file that is copied slowly, many files at once, and a restart in the middle.

    python benchmarks/watching.py --files 500

Prints a table with the seconds since the files were there.
"""

from __future__ import annotations

import argparse
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from prost.data.toybox import write
from prost.search.library import Library

INTERVAL = 1.0


class Watch:
    """A running `prost watch --json`."""

    def __init__(self, folder: Path, library: Path) -> None:
        command = [sys.executable, "-m", "prost", "watch", folder, "--library", library, "--model", "toybox"]
        command += ["--interval", str(INTERVAL), "--json"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._lines: queue.Queue[tuple[float, str]] = queue.Queue()
        assert self._process.stderr is not None
        while not (line := self._process.stderr.readline()).startswith("watching"):
            assert line, "the watch did not start"
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put((time.monotonic(), line))

    def added(self, count: int) -> list[float]:
        """Wait until so many files were added; when each was told."""
        times = []
        while len(times) < count:
            moment, line = self._lines.get(timeout=600)
            assert json.loads(line)["event"] == "added", line
            times.append(moment)
        return times

    def stop(self) -> int:
        """End it by SIGTERM; how many more files it had told of."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0
        time.sleep(0.2)
        return self._lines.qsize()


def main() -> None:
    """Watch, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        content = sorted(write(place / "made", videos=1, seed=1).glob("*.mp4"))[0].read_bytes()
        folder, library = place / "watched", place / "library.prost"
        folder.mkdir()
        print("| what happened | indexed | seconds |\n|---|---|---|")

        watch = Watch(folder, library)
        with open(folder / "slow.mp4", "wb") as file:
            for start in range(0, len(content), -(-len(content) // 20)):
                file.write(content[start : start + -(-len(content) // 20)])
                file.flush()
                time.sleep(0.25)
        whole = time.monotonic()
        (told,) = watch.added(1)
        print(f"| a file copied in 5 s | 1, after it was whole | {told - whole:.1f} |")

        for number in range(given.files):
            # A box that players skip makes each content another.
            box = (12).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big")
            (folder / f"{number:05d}.mp4").write_bytes(content + box)
        dropped = time.monotonic()
        first = watch.added(given.files // 3)
        print(f"| {given.files} files at once | the first | {first[0] - dropped:.1f} |")
        print(f"| the same | a third of them | {first[-1] - dropped:.1f} |")
        done = len(first) + watch.stop()
        print(f"| stopped by SIGTERM, started again | {done} before the stop | |")
        restarted = time.monotonic()
        watch = Watch(folder, library)
        rest = watch.added(given.files - done)
        print(
            f"| the same | the remaining {len(rest)}, none twice | {rest[-1] - restarted:.1f} after the restart |"
        )
        watch.stop()
        with Library(library) as opened:
            assert opened.stats().videos == given.files + 1


if __name__ == "__main__":
    main()
