import numpy as np
import pytest
import torch

from prost.bench import matching_ways
from prost.bench.matching import measure_matching, table
from prost.bench.matching_ways import CPU, MSRVTT, MatchingSizes, groups_of
from prost.errors import UsageError

TINY = MatchingSizes(name="tiny", frames=3, texts=35, videos=20, phrases=4, slots=2, events=2, width=64)


@torch.inference_mode()
@pytest.mark.parametrize("faster", [True, False])
def test_all_ways_of_a_model_give_the_same_scores(faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching_ways, "bfloat16_is_faster", lambda: faster)
    for group in groups_of(TINY, [9]):
        scores = {(way.name, way.dtype): way.run(way.units) for way in group.ways}
        first = next(iter(scores.values()))
        assert first.shape == (group.sizes.texts, group.sizes.videos)
        for (name, dtype), others in scores.items():
            tolerance = 1e-5 if dtype == torch.float32 else 0.05
            np.testing.assert_allclose(others, first, atol=tolerance, err_msg=name)
        if group.sizes == TINY and group.ways[0].name == "ProST, einsum":
            assert (("ProST, prost.match", torch.bfloat16) in scores) == faster


@torch.inference_mode()
def test_rounded_prototypes_are_a_way_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching_ways.eight_bits, "pay", lambda *_: True)
    rounded = [way for way in next(groups_of(TINY, [])).ways if way.dtype == torch.int8]
    assert [way.name for way in rounded] == ["ProST, prost.match, rounded"]


@torch.inference_mode()
def test_a_step_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching_ways, "free_memory", lambda device: 1000.0)
    *_, step = groups_of(TINY, [9])
    assert [way.name for way in step.ways] == ["ProST, prost.match and its gradient"]
    assert step.not_measured == (
        "tiny, training on 9: ProST, einsum and its gradient (would take 0 GiB; 0 are free)",
    )


def test_free_memory_is_that_of_this_machine() -> None:
    free = matching_ways.free_memory(CPU)
    assert free is None or 2**20 < free < 2**50


@torch.inference_mode()
def test_a_part_of_the_work_gives_the_scores_of_the_first_pairs() -> None:
    scoring, rival, _ = groups_of(TINY, [9])
    for way in (*scoring.ways, *rival.ways):
        whole, part = way.run(way.units), way.run(3)
        known = ~np.isnan(part)
        assert known.sum() >= 3, way.name
        np.testing.assert_allclose(
            part[known], whole[: part.shape[0], : part.shape[1]][known], atol=1e-5, err_msg=way.name
        )


def test_operations_are_those_of_the_products() -> None:
    assert MSRVTT.prost_flops == 2 * 1000 * 1000 * (28 * 12 * 12 + 3) * 512
    assert TINY.ts2net_flops > 2 * 35 * 20 * 3 * 64
    assert TINY.training_flops == TINY.prost_flops + 4 * 35 * 20 * (2 + 1) * 64


FIRST = {"ProST, einsum", "TS2-Net, pairs of batches (authors)", "ProST, einsum and its gradient"}


def test_a_report() -> None:
    calls: list[tuple[int, int, str]] = []
    report = measure_matching([TINY], 0.01, lambda *call: calls.append(call), batches=[9, 4])
    assert calls[0] == (0, 4, "tiny: ProST")
    assert calls[-1] == (4, 4, "done")
    names = [row.name for row in report.rows if row.dtype == "float32"]
    steps = ["ProST, einsum and its gradient", "ProST, prost.match and its gradient"]
    assert names == [
        "ProST, einsum",
        "ProST, pairs of batches (authors)",
        "ProST, prost.match",
        "TS2-Net, pairs of batches (authors)",
        "TS2-Net, one product",
        *steps,
        *steps,
    ]
    told = report.to_dict()
    assert told.keys() == {"machine", "gemm_gflops", "rows", "not_measured"}
    assert told["gemm_gflops"].keys() >= {"float32", "bfloat16"}
    for row in report.rows:
        assert 0 < row.measured_fraction <= 1
        assert row.seconds > 0 and row.share_of_gemm > 0
        assert report.gemm_gflops[row.dtype] >= row.gemm_gflops
        assert row.speedup == 1 if row.name in FIRST else row.speedup > 0
        needed = row.sizes.prost_flops if row.name.startswith("ProST") else row.sizes.ts2net_flops
        if "gradient" in row.name:
            needed = row.sizes.training_flops
        assert row.gflops * row.seconds == pytest.approx(needed / 1e9)
        assert row.peak_mb is None or row.peak_mb >= 0
    columns, rows = table(report)
    assert len(rows) == len(report.rows) and {len(row) for row in rows} == {len(columns)}


def test_no_time_is_refused() -> None:
    with pytest.raises(UsageError, match="0 seconds for each way; expected: more than 0"):
        measure_matching([TINY], 0, lambda *call: None)
