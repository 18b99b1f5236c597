import dataclasses
import json
from pathlib import Path

import pytest

from prost.bench.encoder import CodingQuality
from prost.bench.generator import Recombination
from prost.bench.library import Build, GeneratedLibrary
from prost.bench.measure import CurvePoint, Measurement, Times
from prost.bench.realism import Histogram, Realism
from prost.bench.report import draw, tables, to_dict
from prost.bench.rivals import Exhaustive, Rival
from prost.bench.run import BenchSettings, Outcome
from prost.errors import UsageError
from prost.evaluation.machine import describe_machine


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    """A run with figures that are easy to add up."""
    coding = CodingQuality(
        cosine=0.95, agreement=0.9, lost_cosine=0.001, library_agreement=0.99, library_lost_cosine=0.0001
    )
    build = Build(
        seconds={"codebooks": 1.0, "clips": 2.0, "packs": 0.5},
        bytes={"rows": 4000, "packs": 1000},
        coding=coding,
        codes_a_slot=2.5,
        centroids=(256, 64),
    )
    bars = Histogram(edges=[0.0, 0.5, 1.0], real=[0.25, 0.75], generated=[0.5, 0.5], ks=0.25, ks_real=0.1)
    curve = [CurvePoint(depth=50, ms=2.0, recall=0.9), CurvePoint(depth=100, ms=3.0, recall=1.0)]
    measured = Measurement(
        warm=Times(text=[1.0, 1.0, 1.0], find=[2.0, 4.0, 6.0], rerank=[1.0, 1.0, 1.0]),
        cold=Times(text=[1.0, 1.0, 1.0], find=[2.0, 4.0, 6.0], rerank=[10.0, 10.0, 10.0]),
        recall=0.99,
        reranked=[64, 64, 192],
        curve=curve,
        rss_mb=500.0,
        mapped_mb=70.0,
    )
    return Outcome(
        plan=BenchSettings(clips=100, work=tmp_path, queries=3, videos=40),
        width=256,
        recombination=Recombination(),
        realism=Realism(clips=10, object_distance=bars, event_distance=bars, score=bars, steps=bars),
        library=GeneratedLibrary(folder=tmp_path, build=build),
        truth_s=9.0,
        truth_difference=1e-7,
        measured=measured,
        exhaustive=Exhaustive(ms=1000.0, ms_together=400.0, resident=50, scaled=2.0, dtype="float32"),
        rivals=[Rival(name="event-hnsw", title="HNSW", build_s=12.0, bytes=5_000_000, curve=curve)],
        machine=describe_machine(),
    )


def test_the_figures_follow_from_what_was_measured(outcome: Outcome) -> None:
    report = to_dict(outcome)
    assert report["p50_ms"] == 6.0  # text 1, find 4, rerank 1
    assert report["without_text_ms"][0] == 5.0
    assert report["cold_rows_ms"][0] == 15.0
    assert report["p95_ms"] == pytest.approx(7.8)  # nine tenths of the way from 6 to 8
    assert report["speedup_vs_exact"] == 200.0  # 1,000 over 5: neither with its text
    assert report["bytes_per_clip"] == 50.0
    assert report["bytes_per_clip_by_part"] == {"rows": 40.0, "packs": 10.0}
    assert report["build_s"] == 3.5
    assert (report["reranked_median"], report["reranked_most"]) == (64.0, 192)
    assert json.loads(json.dumps(report, allow_nan=False))["recall_at_10"] == 0.99


def test_the_tables_say_what_was_scaled_up(outcome: Outcome) -> None:
    def said(one: Outcome) -> str:
        return "\n".join(" | ".join(row) for _, _, rows in tables(to_dict(one)) for row in rows)

    assert "1,000 ms (timed on 50 clips, scaled up linearly)" in said(outcome)
    whole = dataclasses.replace(
        outcome, exhaustive=Exhaustive(ms=500.0, ms_together=400.0, resident=100, scaled=1.0, dtype="float32")
    )
    assert "scaled up" not in said(whole)
    assert "event-hnsw | 0.900 2.0 ms | 1.000 3.0 ms | 12 s | 5.0 MB" in said(outcome)
    for _, columns, rows in tables(to_dict(outcome)):
        assert all(len(row) == len(columns) for row in rows)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_figure_is_a_picture(outcome: Outcome, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"curves.{kind}"
    draw(to_dict(outcome), path)
    starts = {"png": b"\x89PNG", "svg": b"<?xml"}
    assert path.read_bytes().startswith(starts[kind])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"clips": 9}, "a library of 9 clips"),
        ({"clips": 100, "videos": 2}, "2 real videos"),
        ({"clips": 100, "rivals": ["bm25"]}, "no rival is called 'bm25'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(tmp_path: Path, wrong: dict, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        BenchSettings(work=tmp_path, **wrong)
