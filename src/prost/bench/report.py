"""The outcome of a run as plain values, as tables and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prost.bench.measure import Times
from prost.bench.run import Outcome
from prost.data.writing import written_whole
from prost.errors import UsageError, install_extra
from prost.export.outputs import expect_figure_name
from prost.printable import format_bytes

OURS = "scan, rerank"
TextTable = tuple[str, list[str], list[list[str]]]


def to_dict(outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain values for JSON.

    `p50_ms` and `p95_ms` are times of single queries, including the encoding of the sentence, with the rows in the
    system's cache. `speedup_vs_exact` leaves out the encoding of the sentence, which both ways need.
    """
    measured, build = outcome.measured, outcome.library.build
    clips = outcome.plan.clips
    without_text = _percentiles(measured.warm.whole(with_text=False))
    return {
        "clips": clips,
        "dim": outcome.width,
        "like": outcome.plan.like,
        "p50_ms": _percentiles(measured.warm.whole())[0],
        "p95_ms": _percentiles(measured.warm.whole())[1],
        "recall_at_10": measured.recall,
        "exact_ms": outcome.exhaustive.ms,
        "speedup_vs_exact": outcome.exhaustive.ms / without_text[0],
        "bytes_per_clip": sum(build.bytes.values()) / clips,
        "rss_mb": measured.rss_mb,
        "build_s": sum(build.seconds.values()),
        "queries": outcome.plan.queries,
        "without_text_ms": without_text,
        "cold_rows_ms": _percentiles(measured.cold.whole()),
        "cold_rows_without_text_ms": _percentiles(measured.cold.whole(with_text=False)),
        "parts_p50_ms": _parts(measured.warm),
        "cold_rows_parts_p50_ms": _parts(measured.cold),
        "reranked_median": float(np.median(measured.reranked)),
        "reranked_most": max(measured.reranked),
        "mapped_mb": measured.mapped_mb,
        "exact": asdict(outcome.exhaustive),
        "curve": [asdict(point) for point in measured.curve],
        "rivals": [asdict(rival) for rival in outcome.rivals],
        "bytes_per_clip_by_part": {part: size / clips for part, size in build.bytes.items()},
        "build_s_by_part": build.seconds,
        "coding": {
            **asdict(build.coding),
            "centroids": build.centroids,
            "different_codes_a_slot": build.codes_a_slot,
        },
        "truth_s": outcome.truth_s,
        "truth_largest_difference": outcome.truth_difference,
        "recombination": asdict(outcome.recombination),
        "real_videos": outcome.plan.videos,
        "realism": asdict(outcome.realism),
        "machine": outcome.machine,
    }


def tables(report: dict[str, Any]) -> list[TextTable]:
    """Title, columns and rows of each table; a heading that starts with `>` belongs to a column of numbers."""
    exact, machine = report["exact"], report["machine"]
    scaled = f" (timed on {exact['resident']:,} clips, scaled up linearly)" if exact["scaled"] > 1 else ""
    summary = [
        ["a query, p50 / p95", f"{report['p50_ms']:.1f} / {report['p95_ms']:.1f} ms"],
        ["  without its sentence", "{:.1f} / {:.1f} ms".format(*report["without_text_ms"])],
        ["  rows not in the cache", "{:.1f} / {:.1f} ms".format(*report["cold_rows_ms"])],
        [
            "  sentence, scan, rerank",
            " + ".join(f"{ms:.1f}" for ms in report["parts_p50_ms"].values()) + " ms",
        ],
        ["recall of the exact top-10", f"{report['recall_at_10']:.4f} ({report['queries']} queries)"],
        ["clips scored exactly", f"{report['reranked_median']:.0f}, at most {report['reranked_most']}"],
        [f"all clips exactly, {exact['dtype']}", f"{exact['ms']:,.0f} ms{scaled}"],
        ["  several queries together", f"{exact['ms_together']:,.0f} ms each"],
        ["faster than that", f"{report['speedup_vs_exact']:,.0f} x"],
        [
            "memory of the process",
            f"{report['rss_mb']:,.0f} MB, and {report['mapped_mb']:,.0f} MB of mapped files",
        ],
        ["bytes a clip", f"{report['bytes_per_clip']:,.0f}"],
        ["time to build", f"{report['build_s']:,.0f} s"],
    ]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['instructions']}"
    return [
        (f"{report['clips']:,} clips of width {report['dim']}; {where}", ["", ""], summary),
        (
            "recall of the exact top-10 and median time, by the number of clips (or event vectors) reranked",
            ["way", *(f">{point['depth']}" for point in report["curve"]), ">build", ">index"],
            [
                [OURS, *_cells(report["curve"]), "", ""],
                *(
                    [
                        rival["name"],
                        *_cells(rival["curve"]),
                        f"{rival['build_s']:,.0f} s",
                        format_bytes(rival["bytes"]),
                    ]
                    for rival in report["rivals"]
                ),
            ],
        ),
        (
            f"generated clips against real ones ({report['realism']['clips']} each): Kolmogorov-Smirnov, 0 is alike",
            ["what", ">generated / real", ">real / real"],
            [
                [title, f"{report['realism'][name]['ks']:.3f}", f"{report['realism'][name]['ks_real']:.3f}"]
                for name, title in REALISM_TITLES.items()
            ],
        ),
        (
            "bytes a clip",
            ["part", ">bytes"],
            [[part, f"{size:,.1f}"] for part, size in report["bytes_per_clip_by_part"].items()],
        ),
    ]


REALISM_TITLES = {
    "score": "similarity of queries",
    "object_distance": "object prototype to the nearest of another clip",
    "event_distance": "event prototype to the nearest of another clip",
    "steps": "object prototype to the next frame's",
}


FORMS = (".png", ".svg", ".pdf")


def expect_figure(path: Path) -> None:
    """Check that `draw` can write a figure; for use before the hours that it is about.

    Raises:
        UsageError: another ending, or matplotlib is not installed.
    """
    expect_figure_name(path, FORMS)
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise UsageError(
            "a figure needs matplotlib, which is not installed",
            "the same without --figure",
            install_extra("bench"),
        ) from None


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw curves and histograms; the extension of the file gives its format.

    Raises:
        UsageError: see `expect_figure`.
        StorageError: the file cannot be written.
    """
    expect_figure(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    curves, scores, distances = figure.subplots(1, 3)
    for title, points in _curves(report):
        curves.plot(
            [point["ms"] for point in points], [point["recall"] for point in points], marker="o", label=title
        )
    curves.axvline(report["exact"]["ms"], color="grey", linestyle=":", label="all clips exactly")
    curves.set(
        xscale="log",
        xlabel="milliseconds a query, without its sentence",
        ylabel="recall of the exact top-10",
        title=f"{report['clips']:,} clips",
    )
    curves.legend(fontsize="small")
    realism = report["realism"]
    _draw_histogram(scores, realism["score"], "similarity of a query and a clip")
    _draw_histogram(distances, realism["object_distance"], "1 - cosine to the nearest of another clip")
    with written_whole(path) as place:
        figure.savefig(place, dpi=120, format=path.suffix.lower().removeprefix("."))


def _draw_histogram(place: Any, histogram: dict[str, Any], label: str) -> None:
    for name in ("real", "generated"):
        place.stairs(histogram[name], histogram["edges"], label=name, linewidth=1.5)
    place.set(
        xlabel=label,
        ylabel="fraction",
        title=f"KS {histogram['ks']:.3f}; real against real {histogram['ks_real']:.3f}",
    )
    place.legend(fontsize="small")


def _curves(report: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [(OURS, report["curve"]), *((rival["title"], rival["curve"]) for rival in report["rivals"])]


def _cells(points: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{point['recall']:.3f} {point['ms']:.1f} ms" for point in points]


def _parts(times: Times) -> dict[str, float]:
    return {
        name: float(np.median(values))
        for name, values in (("text", times.text), ("find", times.find), ("rerank", times.rerank))
    }


def _percentiles(values: NDArray[np.float64]) -> list[float]:
    """The 50th and the 95th percentile."""
    return np.percentile(values, [50, 95]).tolist()
