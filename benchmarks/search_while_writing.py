"""Time and correctness of searches while another process writes to the library.

    python benchmarks/search_while_writing.py                      20,000 clips, about 0.6 GB on disk, minutes
    python benchmarks/search_while_writing.py --clips 200000 --seconds 60

The same sentences are searched again and again while another process (a) adds videos in small commits and codes them,
as `prost index` does with encoded videos, (b) adds a few videos and then runs `prost optimize`, which merges files, and
`prost optimize --retrain`, which codes all clips again, in turn, or (c) does so with `--eager`, as a process that does
not give way. The other process is stopped every other slice of time (SIGSTOP), and the searches meanwhile are the quiet
ones that the times beside it are compared with. So both are measured in the same minute, with the same other work on
the machine. A search is correct if its hits are those of exact scores of all clips in a version of the library that was
the latest one during the search.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prost.bench.generator import CLIPS_A_BLOCK, Generator, Recombination
from prost.bench.real import held_out_captions, real_prototypes
from prost.evaluation.machine import describe_machine
from prost.model.checkpoint import load_prost
from prost.search.library import Library
from prost.search.optimizing import bring_up_to_date
from prost.search.packs import pack_folder
from prost.search.quantise import quantise
from prost.search.records import ClipRows, VideoRow
from prost.search.store import Store
from prost.video.sampling import sample_times

WANTED = 10
CLIPS_A_VIDEO, CLIP_SECONDS = 8, 12.0
# Videos in each commit of the writer, and seconds of pause after it.
VIDEOS_A_COMMIT, PAUSE = 16, 0.5
# Seconds in which the other process runs, and then as long not.
SLICE = 2.0
SCORE_TOLERANCE = 1e-4
ADDING, OPTIMIZING, EAGERLY = "adds videos", "optimizes", "optimizes with --eager"


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One search.

    Attributes:
        query: number of the sentence.
        began, ended: seconds since 1970.
        hits: path and score of each hit, best first.
        uncoded: whether clips without codes were scored exactly, according to the notes of the result.
    beside: whether the other process ran.
    """

    query: int
    began: float
    ended: float
    hits: list[tuple[str, float]]
    uncoded: bool
    beside: bool

    @property
    def milliseconds(self) -> float:
        """Time that it took."""
        return 1000 * (self.ended - self.began)


def generator(model: Any, given: argparse.Namespace) -> Generator:
    """A generator from the prototypes of rendered videos."""
    return Generator(
        real_prototypes(model, given.work, given.videos, lambda done, total, what: None), Recombination()
    )


def put_videos(store: Store, clips: Generator, block: int, first: int, count: int) -> list[str]:
    """Commit videos made of clips of one block; returns their paths."""
    recipe = clips.block(block, CLIPS_A_VIDEO * (first + count))
    made = clips.materialise(recipe)
    codes, scales = quantise(made.object.transpose(0, 2, 1, 3))
    starts = np.arange(CLIPS_A_VIDEO) * CLIP_SECONDS
    times = starts[:, None] + sample_times(0.0, CLIP_SECONDS, codes.shape[1])
    attention = np.full((CLIPS_A_VIDEO, made.event.shape[1], codes.shape[1]), 1 / codes.shape[1], np.float32)
    rows, videos = [], []
    for number in range(first, first + count):
        name = f"{block:05}-{number:03}"
        own = slice(number * CLIPS_A_VIDEO, (number + 1) * CLIPS_A_VIDEO)
        rows.append(
            ClipRows(
                content=name,
                first=0,
                start=starts,
                end=starts + CLIP_SECONDS,
                frame_times=times,
                object_codes=codes[own],
                object_scales=scales[own],
                event=made.event[own],
                event_attention=attention,
            )
        )
        videos.append(
            VideoRow(
                path=f"/generated/{name}.mp4",
                size=0,
                modified=0,
                added="",
                status="indexed",
                content=name,
                duration=CLIPS_A_VIDEO * CLIP_SECONDS,
                clips=CLIPS_A_VIDEO,
            )
        )
    store.append_clips(rows)
    store.put_videos(videos)
    return [video.path for video in videos]


def write(given: argparse.Namespace) -> None:
    """The other process: write until told to stop, and print for each commit its time and what it added."""
    model = load_prost(given.model)
    store = Store.open(given.library)
    clips = generator(model, given)
    optimize = [sys.executable, "-m", "prost", "optimize", "--library", given.library]
    print("ready", flush=True)
    block, first = given.first_block, 0
    while not stop_file(given).exists():
        with store.writing():
            paths = put_videos(store, clips, block, first, VIDEOS_A_COMMIT)
            print(json.dumps({"at": time.time(), "paths": paths}), flush=True)
            packs = pack_folder(store)
            assert packs is not None
            bring_up_to_date(store, packs)
        first += VIDEOS_A_COMMIT
        if CLIPS_A_VIDEO * (first + VIDEOS_A_COMMIT) > CLIPS_A_BLOCK:
            block, first = block + 1, 0
        if given.write == ADDING:
            time.sleep(PAUSE)
            continue
        eager = ["--eager"] if given.write == EAGERLY else []
        for options in (eager, [*eager, "--retrain"]):
            subprocess.run([*optimize, *options], check=True, stdout=subprocess.DEVNULL)


def stop_file(given: argparse.Namespace) -> Path:
    """When it is there, the other process ends."""
    return Path(given.work, "stop")


def searches(
    library: Library, queries: list[str], given: argparse.Namespace, work: str
) -> tuple[list[Searched], list[dict[str, Any]]]:
    """Search while another process works, and while it is stopped; returns the searches and its commits."""
    log = given.work / "commits.txt"
    stop_file(given).unlink(missing_ok=True)
    with log.open("w", encoding="utf-8") as output:
        writer = subprocess.Popen(
            [sys.executable, __file__, "--write", work, "--library", library.path, "--work", str(given.work),
             "--videos", str(given.videos), "--model", given.model,
             "--first-block", str(-(-given.clips // CLIPS_A_BLOCK))],
            stdout=output, process_group=0,
        )  # fmt: skip
    try:
        while not log.read_text(encoding="utf-8"):
            if writer.poll() is not None:
                raise SystemExit(f"the writer ended with {writer.returncode}")
            time.sleep(0.05)
        found = []
        for beside in slices(writer, given.seconds):
            query = len(found) % len(queries)
            began = time.time()
            result = library.search(
                queries[query], limit=WANTED, per_video=1, coarse="scan", all_duplicates=True
            )
            ended = time.time()
            hits = [(hit.path, hit.moments[0].score) for hit in result]
            uncoded = any("no codes" in note for note in result.notes)
            found.append(
                Searched(query=query, began=began, ended=ended, hits=hits, uncoded=uncoded, beside=beside)
            )
        stop_file(given).touch()
        if writer.wait():
            raise SystemExit(f"the writer ended with {writer.returncode}")
    finally:
        if writer.poll() is None:
            os.killpg(writer.pid, signal.SIGKILL)
    return found, [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[1:]]


def slices(writer: subprocess.Popen[bytes], seconds: float) -> Iterator[bool]:
    """Let the other process run and stop it in turn; gives before each search whether its time counts as beside."""
    for _ in range(max(1, round(seconds / SLICE))):
        for beside in (True, False):
            if not beside:
                # The first search after the stop meets what was written last, so it belongs to the writing.
                os.killpg(writer.pid, signal.SIGSTOP)
                yield True
            ended = time.time() + SLICE
            while time.time() < ended:
                if writer.poll() is not None:
                    raise SystemExit(f"the writer ended with {writer.returncode}")
                yield beside
            if not beside:
                os.killpg(writer.pid, signal.SIGCONT)


def agreement(search: Searched, exact: list[tuple[str, float]], commits: list[dict[str, Any]]) -> float:
    """The fraction of hits that agree with exact scores, for the best-matching version that it may have read.

    Args:
        search: one search.
        exact: all videos that may be among the best in any version, with exact scores in the last version.
        commits: added paths with times, in order.
    """
    # A commit becomes visible slightly before its writer prints it.
    oldest = sum(each["at"] <= search.began for each in commits)
    newest = min(sum(each["at"] <= search.ended for each in commits) + 1, len(commits))
    shares = []
    for version in range(oldest, newest + 1):
        later = {path for each in commits[version:] for path in each["paths"]}
        best = dict([(path, score) for path, score in exact if path not in later][:WANTED])
        right = [abs(best[path] - score) < SCORE_TOLERANCE for path, score in search.hits if path in best]
        shares.append(sum(right) / WANTED)
    return max(shares)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Make a library, search it beside each writer, and compare with exact scores of all clips."""
    model = load_prost(given.model)
    folder = given.work / f"writing-{given.clips}.prost"
    shutil.rmtree(folder, ignore_errors=True)
    given.work.mkdir(parents=True, exist_ok=True)
    library = Library(folder, model)
    clips, store = generator(model, given), Store.open(library.path)
    for block in range(-(-given.clips // CLIPS_A_BLOCK)):
        there = min(CLIPS_A_BLOCK, given.clips - block * CLIPS_A_BLOCK)
        put_videos(store, clips, block, 0, there // CLIPS_A_VIDEO)
    library.optimize()
    queries = held_out_captions(given.queries)
    for query in queries:
        library.search(query, limit=WANTED, per_video=1, coarse="scan")  # warms the caches

    phases, commits = {}, []
    for work in (ADDING, OPTIMIZING, EAGERLY):
        phases[work], added = searches(library, queries, given, work)
        commits += added
    # A version lacks at most the videos that were added later, so its best videos are among these.
    limit = WANTED + sum(len(each["paths"]) for each in commits)
    exact = []
    for query in queries:
        found = library.search(query, limit=limit, per_video=1, coarse="exact", all_duplicates=True)
        exact.append([(hit.path, hit.moments[0].score) for hit in found])
    rows = []
    for work, found in phases.items():
        shares = [agreement(each, exact[each.query], commits) for each in found]
        quiet, beside = (
            np.percentile([each.milliseconds for each in found if each.beside == when], [50, 95])
            for when in (False, True)
        )
        rows.append(
            {
                "other": work,
                "searches_quiet": sum(not each.beside for each in found),
                "searches_beside": sum(each.beside for each in found),
                "quiet_p50_ms": float(quiet[0]),
                "quiet_p95_ms": float(quiet[1]),
                "beside_p50_ms": float(beside[0]),
                "beside_p95_ms": float(beside[1]),
                "p50_ratio": float(beside[0] / quiet[0]),
                "p95_ratio": float(beside[1] / quiet[1]),
                "right_hits": float(np.mean(shares)),
                "all_right": float(np.mean(np.array(shares) == 1)),
                "worst": float(min(shares)),
                "uncoded": float(np.mean([each.uncoded for each in found if each.beside])),
            }
        )
    library.close()
    shutil.rmtree(folder)
    return {
        "clips": given.clips,
        "queries": given.queries,
        "seconds": given.seconds,
        "commits": len(commits),
        "videos_added": sum(len(each["paths"]) for each in commits),
        "machine": describe_machine(),
        "phases": rows,
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="toybox")
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--videos", type=int, default=500, help="drawn videos that the clips are made from")
    parser.add_argument("--seconds", type=float, default=20.0, help="beside each writer, and as long without")
    parser.add_argument("--work", type=Path, default=Path("bench"))
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    for name in ("--write", "--library"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--first-block", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write(given)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a stopped writer must not stay behind
    report = measure(given)
    print(f"{given.clips:,} clips; {report['videos_added']} videos added in {report['commits']} commits\n")
    print(
        "| other process | searches quiet, beside | quiet p50 / p95, ms | beside p50 / p95, ms | p50 | p95 "
        "| right hits | searches all right | met clips without codes |"
    )
    print("|---" * 9 + "|")
    for row in report["phases"]:
        print(
            f"| {row['other']} | {row['searches_quiet']}, {row['searches_beside']} "
            f"| {row['quiet_p50_ms']:.1f} / {row['quiet_p95_ms']:.1f} "
            f"| {row['beside_p50_ms']:.1f} / {row['beside_p95_ms']:.1f} "
            f"| {row['p50_ratio']:.2f} x | {row['p95_ratio']:.2f} x "
            f"| {100 * row['right_hits']:.2f}% | {100 * row['all_right']:.1f}% "
            f"| {100 * row['uncoded']:.1f}% |"
        )
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
