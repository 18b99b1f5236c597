"""Time, recall and memory of search by library size, and R@1 on real videos with and without the scan.

    python benchmarks/search.py                              10,000 and 100,000 clips, about 5 GB on disk
    python benchmarks/search.py --clips 1000000 --queries 100   a million clips, about 45 GB

For each size all figures go to `--folder` as JSON, and curves and histograms as a picture. Results of earlier runs in
`--work` are used again: real prototypes, libraries, exact best clips and the indexes of rivals.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from prost.bench.real import encode_captions, encode_scenes
from prost.bench.report import draw, to_dict
from prost.bench.rivals import RIVALS
from prost.bench.run import BenchSettings, run
from prost.data.toybox import gallery
from prost.evaluation.bootstrap import paired_bootstrap
from prost.evaluation.metrics import ranks
from prost.model.checkpoint import load_prost
from prost.model.matching import VideoPrototypes
from prost.model.prost import ProST
from prost.search.codebook import codebook_size, train_codebook
from prost.search.codes import Codebooks, code_clips
from prost.search.exact import ClipPrototypes
from prost.search.quantise import quantise
from prost.search.rerank import CANDIDATES, rerank
from prost.search.scan import QueryTables, refine, refined_count, scan

COLUMNS = (
    "clips",
    "p50",
    "p95",
    "p50 without text",
    "p50, rows from disk",
    "recall@10",
    "all exactly",
    "faster",
    "memory",
    "bytes a clip",
)


def tell(line: str) -> None:
    """Print a line to stderr; the table goes to stdout."""
    print(line, file=sys.stderr, flush=True)


def growth(given: argparse.Namespace) -> None:
    """Run each size and print one row for each."""
    rows = []
    for clips in given.clips:
        rivals = [] if given.rivals == "none" else given.rivals.split(",")
        plan = BenchSettings(
            clips=clips,
            work=given.work,
            model=given.model,
            queries=given.queries,
            videos=given.videos,
            rivals=rivals,
        )
        report = to_dict(run(plan, tell, lambda done, total, what: None))
        given.folder.mkdir(parents=True, exist_ok=True)
        name = given.folder / f"search-{clips}"
        name.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        draw(report, name.with_suffix(".png"))
        rows.append(report)
    machine = rows[0]["machine"]
    print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['instructions']}; {given.queries} queries, warm\n"
    )
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for row in rows:
        scaled = " (scaled up)" if row["exact"]["scaled"] > 1 else ""
        cells = [
            f"{row['clips']:,}",
            f"{row['p50_ms']:.1f} ms",
            f"{row['p95_ms']:.1f} ms",
            f"{row['without_text_ms'][0]:.1f} ms",
            f"{row['cold_rows_ms'][0]:.1f} ms",
            f"{row['recall_at_10']:.4f}",
            f"{row['exact_ms']:,.0f} ms{scaled}",
            f"{row['speedup_vs_exact']:,.0f} x",
            f"{row['rss_mb']:,.0f} MB",
            f"{row['bytes_per_clip']:,.0f}",
        ]
        print("| " + " | ".join(cells) + " |")


@torch.inference_mode()
def same_recall(model: ProST, name: str) -> None:
    """Compare R@1 on a gallery of real videos: exact float32 scores against scan and rerank of 8-bit prototypes."""
    scenes, weight = gallery(name), model.config.object_phrase_weight
    real = encode_scenes(model, scenes.scenes, lambda done, total, what: None)
    text = encode_captions(model, [query.text for query in scenes.queries])
    truth = np.arange(len(scenes))
    object = torch.from_numpy(real.object).transpose(1, 2).contiguous()  # [n, L, N_o, D]
    exact = ranks(
        model.match(text, VideoPrototypes(object, torch.from_numpy(real.event))).total.numpy(), truth
    )

    codes, _ = quantise(object.numpy())
    books = Codebooks(
        *(
            train_codebook(flat, codebook_size(len(flat)))
            for flat in (object.flatten(0, 2), torch.from_numpy(real.event).flatten(0, 1))
        )
    )
    clips, _ = code_clips(books, codes, real.event)
    stored = ClipPrototypes.of(codes, real.event)
    count = min(CANDIDATES, len(scenes))
    tables = QueryTables.of(text, books, weight)
    scanned = []
    liked = scan(tables, [clips], refined_count(count, clips.slots))
    for query, found in enumerate(refine(tables, [clips], liked)):
        one = text[query : query + 1]
        ranking = rerank(one, found[:count], lambda rows: stored[torch.from_numpy(rows)], weight, wanted=10)
        place = np.flatnonzero(ranking.rows == query)
        # A video that the rerank did not reach is ranked last.
        scanned.append(float(place[0] + 1) if len(place) else float(len(scenes)))
    result = paired_bootstrap(np.array(scanned), exact, "R@1")
    print(
        f"\nR@1 on {name}: all exactly {100 * (exact <= 1).mean():.1f}, scan and rerank "
        f"{100 * (np.array(scanned) <= 1).mean():.1f}; difference {result.difference:+.2f} "
        f"({result.low:+.2f} to {result.high:+.2f})"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="toybox")
    parser.add_argument("--clips", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--videos", type=int, default=4000)
    parser.add_argument("--rivals", default=",".join(RIVALS), help="with commas, or none")
    parser.add_argument("--gallery", default="toybox-1k", help="of real videos, for R@1")
    parser.add_argument("--work", type=Path, default=Path("bench"))
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    growth(given)
    same_recall(load_prost(given.model), given.gallery)


if __name__ == "__main__":
    main()
