"""Latency of searches through HTTP while many clients ask at once, and the memory of the server.

    python benchmarks/serving.py --clients 20 --seconds 60

Makes a library of drawn films, and of clips whose prototypes mix theirs with noise. Serves it with `prost serve` in a
process of its own, and lets each client ask for one search after another without a pause. Then the same with sentences
that are encoded one by one. Prints a table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np

import prost
from prost.data.toybox import write
from prost.evaluation.machine import processor_name
from prost.model.encoding import encode_text
from prost.search.library import Library
from prost.search.quantise import quantise
from prost.search.records import ClipRows, VideoRow
from prost.search.snapshot import StoredClip
from prost.search.store import Store

FILMS = 8
CLIPS_PER_VIDEO = 4
# Of the prototypes' own deviation; with less, clips are near-duplicates of each other.
NOISE = 1.0
SERVE = """
import sys
from prost.apps.server import searches
searches.LARGEST_BATCH = int(sys.argv.pop(1))
from prost.apps.cli import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came of one run.

    Attributes:
        latencies: of the answers, milliseconds.
        errors: other answers than 200, and none.
        before: resident memory of the server after the first search, MiB.
        after: at the end, MiB.
        seconds: the run took.
    """

    latencies: list[float]
    errors: int
    before: float
    after: float
    seconds: float


def make_library(place: Path, clips: int) -> Path:
    """A library of the films and of many clips like theirs, with codes."""
    folder = write(place / "films", videos=FILMS, seed=11)
    library = Library(place / "library.prost", prost.load("toybox"))
    library.add(folder)
    random = np.random.default_rng(1)
    store = Store.open(library.path)
    films = [row for row in library.videos() if row.indexed]
    stored = [library.clips_of(row)[0] for row in films]
    for first in range(0, clips // CLIPS_PER_VIDEO, 250):
        rows, videos = [], []
        for number in range(first, min(first + 250, clips // CLIPS_PER_VIDEO)):
            chosen = [stored[place] for place in random.integers(0, len(stored), CLIPS_PER_VIDEO)]
            rows.append(_clips(f"{number:032x}", chosen, random))
            videos.append(_video(films[0], number))
        store.append_clips(rows)
        store.put_videos(videos)
    library.optimize()
    return Path(library.path)


def _clips(content: str, like: list[StoredClip], random: np.random.Generator) -> ClipRows:
    object = _mixed(np.stack([clip.object for clip in like]), random)
    event = _mixed(np.stack([clip.event for clip in like]), random)
    codes, scales = quantise(object)
    start = 9.0 * np.arange(len(like))
    return ClipRows(
        content=content,
        first=0,
        start=start,
        end=start + 12.0,
        frame_times=start[:, None] + (np.arange(object.shape[1]) + 0.5),
        object_codes=codes,
        object_scales=scales,
        event=event,
        event_attention=np.stack([clip.event_attention for clip in like]),
    )


def _mixed(parts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each clip's prototypes, mixed with those of another clip and with noise."""
    share = random.uniform(0.3, 0.7, (len(parts), *[1] * (parts.ndim - 1)))
    noise = NOISE * parts.std() * random.normal(size=parts.shape)
    return (share * parts + (1 - share) * np.roll(parts, 1, axis=0) + noise).astype(np.float32)


def _video(like: VideoRow, number: int) -> VideoRow:
    return replace(
        like, path=f"/films/{number:06}.mp4", content=f"{number:032x}", clips=CLIPS_PER_VIDEO, duration=39.0
    )


def measure(library: Path, queries: list[str], clients: int, seconds: float, batch: int) -> Measured:
    """Serve a library and let clients search it."""
    command = [sys.executable, "-c", SERVE, str(batch), "serve", "--library", str(library), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        try:
            with httpx.Client(base_url=address, timeout=120) as client:
                for query in queries[:3]:
                    client.get("/api/search", params={"q": query}).raise_for_status()
            before = _resident(server.pid)
            latencies: list[float] = []
            errors = [0]
            end = time.monotonic() + seconds

            def ask(first: int) -> None:
                with httpx.Client(base_url=address, timeout=120) as client:
                    place = first
                    while time.monotonic() < end:
                        started = time.perf_counter()
                        try:
                            answer = client.get("/api/search", params={"q": queries[place % len(queries)]})
                            failed = answer.status_code != 200 or not answer.json()["hits"]
                        except httpx.HTTPError:
                            failed = True
                        if failed:
                            errors[0] += 1
                        else:
                            latencies.append(1000 * (time.perf_counter() - started))
                        place += clients

            threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
            started = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            took = time.monotonic() - started
            after = _resident(server.pid)
        finally:
            server.terminate()
        assert server.wait(60) == 0
    return Measured(latencies=latencies, errors=errors[0], before=before, after=after, seconds=took)


def _resident(pid: int) -> float:
    """Resident memory of a process, MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no VmRSS")


def encoding(queries: list[str]) -> tuple[float, float]:
    """Milliseconds for twenty sentences, one by one and as a batch."""
    model, some = prost.load("toybox"), queries[:20]
    times = []
    for batches in ([[query] for query in some], [some]):
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            for batch in batches:
                encode_text(model, batch)
            best = min(best, time.perf_counter() - started)
        times.append(1000 * best)
    return times[0], times[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    colours = ("red", "blue", "green", "yellow", "purple", "orange", "white", "pink")
    things = ("ball", "boat", "tree", "house", "fish", "car", "star", "heart", "rocket")
    acts = ("falls", "grows", "moves left", "spins", "blinks")
    queries = [f"a {colour} {thing} {act}" for act in acts for thing in things for colour in colours]
    with tempfile.TemporaryDirectory() as place:
        library = make_library(Path(place), given.clips)
        alone, together = encoding(queries)
        print(
            f"{processor_name()}; {given.clips} clips; {given.clients} clients for {given.seconds:g} s each\n"
        )
        print(f"twenty sentences: {alone:.1f} ms one by one, {together:.1f} ms as a batch\n")
        print(
            "| clients | sentences a batch | answers | a second | p50, ms | p95, ms | errors | memory, MiB |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for clients, batch in ((1, 32), (given.clients, 32), (given.clients, 1)):
            seconds = given.seconds if batch > 1 and clients > 1 else min(given.seconds, 20.0)
            found = measure(library, queries, clients, seconds, batch)
            p50, p95 = np.percentile(found.latencies, [50, 95])
            print(
                f"| {clients} | {batch} | {len(found.latencies)} | {len(found.latencies) / found.seconds:.1f} "
                f"| {p50:.0f} | {p95:.0f} | {found.errors} | {found.before:.0f} → {found.after:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
