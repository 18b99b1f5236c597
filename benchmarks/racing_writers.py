"""Writers that race to add videos to one library on object storage: what they tried, what landed, what was lost.

The server is a real one on this machine (moto's S3). Each writer is a process. Some writers are killed in the middle of
a commit, and some are suspended past their lease and woken: the others take their lease over.

    python benchmarks/racing_writers.py --videos 8 > benchmarks/results/2026-11-26-object-storage.md
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.search import bucket_writers
from tests.search.bucket_server import BUCKET, BucketServer, bucket_server
from tests.search.conftest import COLOURS, ColourModel, paint_video

from prost.search.lease import LEASE_SECONDS
from prost.search.library import Library
from prost.search.store import Store

# Seconds of the lease of a writer that is killed or suspended, so that the race need not wait for long.
SHORT_LEASE = 5.0


@dataclass(kw_only=True)
class Race:
    """One row of the table.

    Attributes:
        name: what raced.
        tried: adds of one video that were begun.
        landed: adds that ended well.
        refused: adds of writers that lost their lease, and were told so.
        killed: adds of writers that were killed.
        busy: how often a writer that does not wait was told that another writes.
        lost: videos that landed and are not there, or lack clips.
        doubled: videos or contents of which something is there twice.
        problems: what `verify` finds.
        seconds: how long it took.
    """

    name: str
    tried: int = 0
    landed: int = 0
    refused: int = 0
    killed: int = 0
    busy: int = 0
    lost: int = 0
    doubled: int = 0
    problems: int = 0
    seconds: float = 0.0


def race(
    server: BucketServer,
    name: str,
    shares: list[list[str]],
    *,
    wait: bool,
    interrupted: list[tuple[str, int]],
) -> Race:
    """Let writers race.

    Args:
        server: where.
        name: of the row.
        shares: the videos of each writer.
        wait: whether writers wait for each other, or try again.
        interrupted: videos of further writers, and the signal that stops each in the middle of its commit.
    """
    began = time.monotonic()
    root = f"s3://{BUCKET}/{name.replace(' ', '-').replace(',', '')}.prost"
    Library(root, ColourModel())
    row = Race(name=name, tried=sum(map(len, shares)) + len(interrupted))
    stopped = []
    for path, number in interrupted:
        writer = bucket_writers.start(
            bucket_writers.stop_before_commit, root, server.environment, path, SHORT_LEASE
        )
        word, process = writer.hear(300)
        assert word == "ready", word
        os.kill(process, number)
        stopped.append((writer, process, number))
        # The next one takes the lease over, so that each is stopped within its commit.
        time.sleep(SHORT_LEASE + 3)
    racing = [
        bucket_writers.start(bucket_writers.add_each, root, server.environment, share, wait)
        for share in shares
    ]
    landed: list[str] = []
    for writer in racing:
        _, outcome = writer.hear(1200)
        landed += outcome.landed
        row.busy += outcome.busy
        assert not outcome.failed, outcome.failed
    for writer, process, number in stopped:
        if number == signal.SIGKILL:
            row.killed += 1
            continue
        writer.said.send("go on")
        os.kill(process, signal.SIGCONT)
        word, path = writer.hear(300)
        if word == "landed":
            landed.append(path)
        elif word == "LibraryBusy":
            row.refused += 1
        else:
            raise SystemExit(f"{word}: {path}")
    for writer in [*racing, *(writer for writer, _, _ in stopped)]:
        writer.process.join()
    row.landed, row.seconds = len(landed), time.monotonic() - began
    look(root, landed, row)
    return row


def look(root: str, landed: list[str], row: Race) -> None:
    """Count what is lost and doubled."""
    store = Store.open(root)
    rows = store.read_videos()
    paths = Counter(video.path for video in rows)
    clips = Counter(store.clips().to_table(columns=["key"])["key"].to_pylist())
    of_content = Counter(key.rsplit(":", 1)[0] for key in clips)
    whole = {video.path for video in rows if of_content[video.content or ""] == video.clips}
    row.lost = len(set(landed) - whole)
    row.doubled = sum(count > 1 for count in [*paths.values(), *clips.values()])
    row.problems = len(Library(root).verify())


def main() -> None:
    """Run the races and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=20, help="videos in all of each race")
    videos = parser.parse_args().videos
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder, bucket_server() as server:
        os.environ.update(server.environment)
        colours = [colour for colour in COLOURS if colour != "magenta"]
        films = [
            str(
                paint_video(
                    Path(folder, f"{number:02}.mp4"),
                    (colours[number % 7], 0.3 + 0.1 * (number // 7)),
                    (colours[number // 7], 0.5),
                )
            )
            for number in range(videos)
        ]
        killed, asleep = signal.SIGKILL, signal.SIGSTOP
        rows = [
            race(server, "two writers, waiting", [films[0::2], films[1::2]], wait=True, interrupted=[]),
            race(
                server,
                "two writers, the same files",
                [films[: videos // 2], films[: videos // 2]],
                wait=True,
                interrupted=[],
            ),
            race(
                server,
                "three writers, trying again",
                [films[0::3], films[1::3], films[2::3]],
                wait=False,
                interrupted=[],
            ),
            race(
                server,
                "two writers after two killed ones",
                [films[0::2], films[1::2]],
                wait=True,
                interrupted=[(films[0], killed), (films[1], killed)],
            ),
            race(
                server,
                "two writers after two suspended ones",
                [films[2::2], films[3::2]],
                wait=True,
                interrupted=[(films[0], asleep), (films[1], asleep)],
            ),
        ]
    print(report(rows, videos))


def report(rows: list[Race], videos: int) -> str:
    """The page of results."""
    names = ("tried", "landed", "refused", "killed", "busy", "lost", "doubled", "problems")
    lines = [
        "# Writers that race on object storage",
        "",
        f"`python benchmarks/racing_writers.py --videos {videos}`, on a machine with two cores and other work on it,",
        "against moto's S3 server on the same machine. Each try is one `add` of one video by a library that is",
        "opened anew.",
        "",
        f"A lease lasts {LEASE_SECONDS:g} s; that of the killed and suspended writers {SHORT_LEASE:g} s. These are",
        "stopped between the commit of the clips and that of the video. The suspended ones are woken when the others",
        "are done: a writer whose lease was taken over has to be refused.",
        "",
        f"| race | {' | '.join(names)} | seconds |",
        f"|---|{'---:|' * (len(names) + 1)}",
    ]
    for row in rows:
        figures = " | ".join(str(getattr(row, name)) for name in names)
        lines.append(f"| {row.name} | {figures} | {row.seconds:.0f} |")
    lines += [
        "",
        "- refused: writers that lost their lease and were told so; their commit did not land.",
        "- busy: how often a writer that does not wait was told that another writes; it tries again.",
        "- lost: videos that landed and are not there with all their clips.",
        "- doubled: videos or clips that are there twice.",
        "- problems: what `verify` finds afterwards.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
