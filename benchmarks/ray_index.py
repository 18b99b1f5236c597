"""Indexing on a Ray cluster of this machine against one process: work per clip, overhead, workers, and kills.

    python benchmarks/ray_index.py [--videos 60] [--long 360] [--skip-kills]

Every library is compared with that of the one process: the same rows, bit for bit where nothing else is printed. The
same ways index a longer folder, too. What each further clip of it takes is the work per clip, without what a run takes
to start.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import ray
from tests.ray_cluster import ray_cluster

import prost
from prost.data.toybox import write
from prost.scale.cluster import connected
from prost.scale.indexing import on_ray
from prost.search.library import Library
from prost.search.store import Store


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--long", type=int, default=360, help="videos of the longer folder")
    parser.add_argument("--skip-kills", action="store_true")
    arguments = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}, cores: {os.cpu_count()}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        films, long = work / "films", work / "long"
        write(films, videos=arguments.videos)
        write(long, videos=arguments.long)
        add_to(work / "warm.prost", next(films.glob("*.mp4")), {})
        one = add_to(work / "one.prost", films, {"workers": 1})
        expected = rows_of(work / "one.prost")
        clips = len(expected["key"])
        tell("one process, 1 decoder", one, clips, "")
        long_one = add_to(work / "long-one.prost", long, {"workers": 1})
        all_expected = rows_of(work / "long-one.prost")
        all_clips = len(all_expected["key"])
        tell("the longer folder", long_one, all_clips, "")
        tell_further("one process", long_one - one, all_clips - clips)
        for cores in (2, 4):
            started = time.monotonic()
            with ray_cluster(nodes=2, cpus=cores // 2) as address:
                print(
                    f"(two nodes with {cores} cores as Ray counts them: ready in {time.monotonic() - started:.1f} s)"
                )
                for again in ("first run", "second run"):
                    root = work / f"ray-{cores}-{again}.prost"
                    seconds = add_to(root, films, {"elsewhere": on_ray()})
                    tell(f"Ray, {cores} cores, {again}", seconds, clips, compared(root, expected))
                root = work / f"ray-{cores}-long.prost"
                long_ray = add_to(root, long, {"elsewhere": on_ray()})
                tell(
                    f"Ray, {cores} cores, the longer folder",
                    long_ray,
                    all_clips,
                    compared(root, all_expected),
                )
                tell_further(f"Ray, {cores} cores", long_ray - seconds, all_clips - clips)
                if cores == 4 and not arguments.skip_kills:
                    kills(address, work, films, expected)
        again_one = add_to(work / "one-again.prost", films, {"workers": 1})
        tell("one process, 1 decoder, again", again_one, clips, compared(work / "one-again.prost", expected))
    print(f"load average after: {os.getloadavg()[0]:.1f}")


def add_to(root: Path, films: Path, choices: dict[str, Any]) -> float:
    """Seconds of one `add`, in float32: on this machine alone the fastest form that was measured would be taken."""
    with Library(root, prost.load("toybox")) as library:
        return library.add(films, form="fp32", **choices).seconds


def tell(what: str, seconds: float, clips: int, verdict: str) -> None:
    """Print a row."""
    print(f"{what:33} {seconds:7.1f} s {1000 * seconds / clips:8.0f} ms a clip  {verdict}", flush=True)


def tell_further(what: str, seconds: float, clips: int) -> None:
    """Print what each clip of the longer folder took beyond those of the short one."""
    print(f"{what + ', each further clip':43} {1000 * seconds / clips:8.0f} ms a clip", flush=True)


def rows_of(root: Path) -> dict[str, Any]:
    """The clips table sorted by key, as columns, and the videos."""
    store = Store.open(str(root))
    columns = store.clips().to_table().sort_by("key").to_pydict()
    return {**columns, "videos": [{**vars(row), "added": ""} for row in store.read_videos()]}


def compared(root: Path, expected: dict[str, Any]) -> str:
    """How a library differs from the expected one."""
    found = rows_of(root)
    if found == expected:
        return "equal to the bit"
    exact = [
        name for name in expected if name not in ("event", "event_attention", "object_codes", "object_scales")
    ]
    if any(found[name] != expected[name] for name in exact):
        return "DIFFERENT ROWS"
    event = np.abs(np.array(found["event"]) - np.array(expected["event"])).max()
    codes = np.array(found["object_codes"], dtype=int) - np.array(expected["object_codes"], dtype=int)
    return f"same rows; events differ by {event:.0e} at most, {np.mean(codes != 0):.1e} of the 8-bit codes by 1 step"


def kills(address: str, work: Path, films: Path, expected: dict[str, Any]) -> None:
    """Kill a decoder, an encoder and the driver in the middle of a run."""
    session = ray.get_runtime_context().get_session_name()
    for name in ("Decoder", "Encoder"):
        root = work / f"killed-{name}.prost"
        killer = multiprocessing.get_context("spawn").Process(target=kill_actor, args=(name, session))
        killer.start()
        try:
            seconds = add_to(root, films, {"elsewhere": on_ray()})
        finally:
            killer.join()
        assert killer.exitcode == 0, f"no {name} was found"
        tell(f"killed: an actor {name}", seconds, len(expected["key"]), compared(root, expected))
    root = work / "killed-driver.prost"
    Library(root, prost.load("toybox")).close()
    driver = multiprocessing.get_context("spawn").Process(target=drive, args=(address, root, films))
    driver.start()
    kept = wait_for(lambda: len(Store.open(str(root)).read_videos()))
    assert driver.pid is not None
    os.kill(driver.pid, signal.SIGKILL)
    driver.join()
    seconds = add_to(root, films, {"elsewhere": on_ray()})
    verdict = f"{kept} videos had been committed; {compared(root, expected)}"
    tell("killed: the driver; run again", seconds, len(expected["key"]), verdict)


def kill_actor(name: str, session: str) -> None:
    """End the first process of an actor of a class in a session of Ray, a second after it appeared."""

    def found() -> int | None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                raylet = Path("/proc", parent, "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if command.startswith("ray::MapWorker") and name in command and session in raylet:
                return int(folder.name)
        return None

    process = wait_for(found)
    time.sleep(1)
    os.kill(process, signal.SIGKILL)


def drive(address: str, root: Path, films: Path) -> None:
    """What the driver does that is killed."""
    with connected(address):
        add_to(root, films, {"elsewhere": on_ray()})


def wait_for(condition: Callable[[], Any]) -> Any:
    """What a condition gives once it is true."""
    end = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)
    return value


if __name__ == "__main__":
    main()
