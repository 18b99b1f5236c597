"""Recall@1 through files, index and search: drawn videos are written, indexed with default clips, and searched.

The first caption of each video is the query. Unlike `prost eval`, which takes frames as they are drawn, everything on
the way of a user's videos takes part: codecs, windows of long videos, 8-bit rows, and the search. Hits are in the order
of the joint scorer if the model has one; the order by the score alone is counted too.

    python benchmarks/through_files.py
    python benchmarks/through_files.py --videos 150 --seed 77 --model runs/toybox-6-joint/best
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import prost
from prost.data.toybox import read_captions, write


def found_first(
    library: prost.Library, queries: Sequence[tuple[Path, str]], *, joint: bool
) -> Iterator[bool]:
    """Whether the first hit of each query is its video.

    Args:
        library: of the videos.
        queries: video and sentence of each.
        joint: whether the joint scorer orders the best hits.
    """
    for video, sentence in queries:
        hits = library.search(sentence, limit=1, joint=joint)
        yield bool(hits) and Path(hits[0].path) == video


def main() -> None:
    """Write, index and search; print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="toybox", help="name, folder or file")
    parser.add_argument("--videos", type=int, default=150)
    parser.add_argument("--seed", type=int, default=77)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "videos").resolve()
        write(folder, videos=given.videos, seed=given.seed)
        queries = [(folder / row["video"], row["captions"][0]) for row in read_captions(folder)]
        library = prost.Library(Path(temporary, "library.prost"), prost.load(given.model))
        report = library.add(folder)
        print(f"{len(queries)} videos, seed {given.seed}, model {given.model}: {report}\n")
        print("| hits in the order of | R@1, % |\n|---|---|")
        for name, joint in (("the search", True), ("the score", False)):
            found = list(found_first(library, queries, joint=joint))
            print(f"| {name} | {100 * sum(found) / len(found):.1f} |", flush=True)


if __name__ == "__main__":
    main()
