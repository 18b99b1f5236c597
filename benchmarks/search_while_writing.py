"""Time and correctness of searches while another process writes to the library.

    python benchmarks/search_while_writing.py                      20,000 clips, about 0.6 GB on disk, minutes
    python benchmarks/search_while_writing.py --clips 200000 --seconds 60

The same sentences are searched repeatedly (a) without another process, (b) while another process adds videos in small
commits and codes them, as `prost index` does with encoded videos, and (c) while another process runs `optimize` with
new codebooks. A search is correct if its hits are those of exact scores of all clips in a version of the library that
was the latest one during the search. Times of (b) and (c) are given as multiples of (a); all processes share the cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
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
SCORE_TOLERANCE = 1e-4
QUIET, ADDING, OPTIMIZING = "nothing beside", "another process adds", "another process optimizes"


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One search.

    Attributes:
        query: number of the sentence.
        began, ended: seconds since 1970.
        hits: path and score of each hit, best first.
        uncoded: whether clips without codes were scored exactly, according to the notes of the result.
    """

    query: int
    began: float
    ended: float
    hits: list[tuple[str, float]]
    uncoded: bool


@dataclass
class Phase:
    """Searches during one kind of work of another process."""

    searches: list[Searched] = field(default_factory=list)

    def milliseconds(self) -> np.ndarray:
        """Time of each search."""
        return np.array([1000 * (each.ended - each.began) for each in self.searches])


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
    """The other process: write until the time is over, and print for each commit its time and what it added."""
    model = load_prost(given.model)
    library = Library(given.library, model)
    store = Store.open(library.path)
    clips, ended = generator(model, given), time.time() + given.seconds
    print("ready", flush=True)
    block, first = given.first_block, 0
    while time.time() < ended:
        if given.write == OPTIMIZING:
            library.optimize(retrain=True)
            continue
        with store.writing():
            paths = put_videos(store, clips, block, first, VIDEOS_A_COMMIT)
            print(json.dumps({"at": time.time(), "paths": paths}), flush=True)
            packs = pack_folder(store)
            assert packs is not None
            bring_up_to_date(store, packs)
        first += VIDEOS_A_COMMIT
        if CLIPS_A_VIDEO * (first + VIDEOS_A_COMMIT) > CLIPS_A_BLOCK:
            block, first = block + 1, 0
        time.sleep(PAUSE)


def search_beside(
    library: Library, queries: list[str], given: argparse.Namespace, work: str
) -> tuple[Phase, list[dict[str, Any]]]:
    """Search while another process works; returns the searches and the commits of that process."""
    log = given.work / "commits.txt"
    writer = None
    if work != QUIET:
        with log.open("w", encoding="utf-8") as output:
            writer = subprocess.Popen(
                [sys.executable, __file__, "--write", work, "--library", library.path, "--work", str(given.work),
                 "--seconds", str(given.seconds), "--videos", str(given.videos), "--model", given.model,
                 "--first-block", str(-(-given.clips // CLIPS_A_BLOCK))],
                stdout=output,
            )  # fmt: skip
        while not log.read_text(encoding="utf-8"):
            if writer.poll() is not None:
                raise SystemExit(f"the writer ended with {writer.returncode}")
            time.sleep(0.05)
    phase, ended = Phase(), time.time() + given.seconds
    while time.time() < ended or (writer is not None and writer.poll() is None):
        query = len(phase.searches) % len(queries)
        began = time.time()
        found = library.search(queries[query], limit=WANTED, per_video=1, coarse="scan")
        ended_at = time.time()
        hits = [(hit.path, hit.moments[0].score) for hit in found]
        uncoded = any("no codes" in note for note in found.notes)
        phase.searches.append(Searched(query=query, began=began, ended=ended_at, hits=hits, uncoded=uncoded))
    if writer is None:
        return phase, []
    if writer.wait():
        raise SystemExit(f"the writer ended with {writer.returncode}")
    return phase, [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[1:]]


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
    """Make a library, search it in three phases, and compare with exact scores of all clips."""
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
    for work in (QUIET, ADDING, OPTIMIZING):
        phases[work], added = search_beside(library, queries, given, work)
        commits += added
    # A version lacks at most the videos that were added later, so its best videos are among these.
    limit = WANTED + sum(len(each["paths"]) for each in commits)
    exact = []
    for query in queries:
        found = library.search(query, limit=limit, per_video=1, coarse="exact")
        exact.append([(hit.path, hit.moments[0].score) for hit in found])
    rows = []
    quiet = phases[QUIET].milliseconds()
    for work, phase in phases.items():
        shares = [agreement(each, exact[each.query], commits) for each in phase.searches]
        p50, p95 = np.percentile(phase.milliseconds(), [50, 95])
        rows.append(
            {
                "beside": work,
                "searches": len(shares),
                "p50_ms": float(p50),
                "p95_ms": float(p95),
                "p50_ratio": float(p50 / np.median(quiet)),
                "p95_ratio": float(p95 / np.percentile(quiet, 95)),
                "right_hits": float(np.mean(shares)),
                "all_right": float(np.mean(np.array(shares) == 1)),
                "worst": float(min(shares)),
                "uncoded": float(np.mean([each.uncoded for each in phase.searches])),
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
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the three ways")
    parser.add_argument("--work", type=Path, default=Path("bench"))
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    for name in ("--write", "--library"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--first-block", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write(given)
        return
    report = measure(given)
    print(f"{given.clips:,} clips; {report['videos_added']} videos added in {report['commits']} commits\n")
    print(
        "| beside | searches | p50, ms | p95, ms | p50 | p95 | right hits | searches all right | clips without codes |"
    )
    print("|---" * 9 + "|")
    for row in report["phases"]:
        print(
            f"| {row['beside']} | {row['searches']} | {row['p50_ms']:.1f} | {row['p95_ms']:.1f} "
            f"| {row['p50_ratio']:.2f} x | {row['p95_ratio']:.2f} x "
            f"| {100 * row['right_hits']:.2f}% | {100 * row['all_right']:.1f}% "
            f"| {100 * row['uncoded']:.1f}% |"
        )
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
