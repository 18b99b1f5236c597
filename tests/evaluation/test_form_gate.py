from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from prost.errors import UsageError
from prost.evaluation import form_gate
from prost.evaluation.form_gate import (
    BEST,
    LARGEST_CHANGE,
    FormReport,
    equal_top10,
    form_table,
    judged,
    measure_forms,
)
from prost.model.checkpoint import load_prost
from prost.model.encoding import VideoEncoder
from prost.model.forms import FORMS, form_named

QUICK = tuple(form_named(name) for name in ("fp32", "bf16", "int8", "onnx-int8"))


def ignore(*at: object) -> None:
    pass


@pytest.mark.slow
def test_every_form_is_measured_and_those_of_the_class_fp32_keep_the_ranking() -> None:
    steps: list[tuple[int, int]] = []
    reports = measure_forms(
        load_prost("toybox", "cpu"),
        clips=12,
        rounds=1,
        progress=lambda done, total, _: steps.append((done, total)),
    )
    assert [report.failure for report in reports] == [""] * len(FORMS)
    assert [report.name for report in reports] == [form.name for form in FORMS]
    for report in reports:
        assert report.passed or report.precision != "fp32", report
        assert report.clips_per_s is not None and report.largest_change is not None
        assert report.precision == "fp32" or report.largest_change > 1e-5
    assert reports[0].largest_change == 0 and reports[0].ratio_to_float32 == 1
    assert steps == [(done, 3 * len(FORMS)) for done in range(1, 3 * len(FORMS) + 1)]
    columns, rows = form_table(reports)
    assert {len(row) for row in rows} == {len(columns)}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form_gate, "FORMS", QUICK)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_form_that_changes_the_ranking_does_not_pass() -> None:
    """Channels of very different size, which float32 takes and 8 bits cannot: the model computes the same as before."""
    model = load_prost("toybox", "cpu")
    with torch.no_grad():
        for block in model.clip.towers.vision_model.encoder.layers:
            attention = block.self_attn
            for norm, layers in (
                (block.layer_norm1, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (block.layer_norm2, (block.mlp.fc1,)),
            ):
                norm.weight[0] *= 1e4
                norm.bias[0] *= 1e4
                for layer in layers:
                    layer.weight[:, 0] /= 1e4
    reports = {report.name: report for report in measure_forms(model, clips=30, rounds=1, progress=ignore)}
    assert reports["fp32"].passed
    for name in ("int8", "onnx-int8"):
        # Where it is far off, the clip of noise tells it before the ranking is looked at.
        assert not reports[name].passed, reports[name]
        assert (reports[name].equal_top10 or 0) < 0.99 or "something else" in reports[name].failure


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_int8_keeps_the_ranking_of_the_bundled_model() -> None:
    reports = measure_forms(load_prost("toybox", "cpu"), clips=30, rounds=1, progress=ignore)
    by_name = {report.name: report for report in reports}
    assert by_name["int8"].passed, by_name["int8"]


@pytest.mark.usefixtures("quick")
def test_a_form_that_cannot_be_made_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    absent = replace(QUICK[-1], needs=("no_such_package",))
    monkeypatch.setattr(form_gate, "FORMS", (QUICK[0], absent))
    report = measure_forms(load_prost("toybox", "cpu"), clips=11, rounds=1, progress=ignore)[1]
    assert report.failure == "the form onnx-int8 needs no_such_package" and not report.passed
    assert form_table([report])[1][0][-1] == report.failure


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_only_faster_forms_are_judged_where_the_user_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form_gate, "FASTER", 1e9)
    reports = measure_forms(
        load_prost("toybox", "cpu"), clips=11, rounds=1, progress=ignore, only_faster=True
    )
    assert reports[0].passed
    for report in reports[1:]:
        assert not report.passed and report.equal_top10 is None and "not faster" in report.failure


@pytest.mark.parametrize(("hopeless", "times"), [(-1.0, 2), (1e9, 3)])
def test_a_hopeless_form_is_timed_twice(monkeypatch: pytest.MonkeyPatch, hopeless: float, times: int) -> None:
    """With a limit below any time every form is hopeless, with one above any none is."""
    timed: list[str] = []

    class Watched(VideoEncoder[Any]):
        def __init__(self, name: str, model: Any) -> None:
            super().__init__(model)
            self._name = name

        def encode(self, clips: Any) -> Any:
            timed.append(self._name)
            return super().encode(clips)

    monkeypatch.setattr(form_gate, "FORMS", FORMS[:2])
    monkeypatch.setattr(form_gate, "HOPELESS", hopeless)
    monkeypatch.setattr(form_gate, "TIMED_SECONDS", 0.0)
    monkeypatch.setattr(form_gate, "make_encoder", lambda form, model: Watched(form.name, model))
    reports = measure_forms(load_prost("toybox", "cpu"), clips=11, rounds=3, progress=ignore)
    assert timed.count(FORMS[1].name) == times
    assert all(report.passed and report.ratio_to_float32 for report in reports)


def test_a_form_that_compiles_the_first_time_is_no_hopeless_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which each batch takes a second, but the first one of that form a minute."""
    now, calls = 0.0, 0

    class Compiling(VideoEncoder[Any]):
        def encode(self, clips: Any) -> Any:
            nonlocal now, calls
            calls += 1
            now += 60.0 if calls == 1 else 1.0
            return super().encode(clips)

    class Float32(VideoEncoder[Any]):
        def encode(self, clips: Any) -> Any:
            nonlocal now
            now += 1.0
            return super().encode(clips)

    def read_clock() -> float:
        nonlocal now
        now += 1e-6
        return now

    monkeypatch.setattr(form_gate, "FORMS", FORMS[:2])
    monkeypatch.setattr(form_gate, "MOST_TIMED_CLIPS", 1)
    monkeypatch.setattr(
        form_gate, "make_encoder", lambda form, model: (Compiling if form is FORMS[1] else Float32)(model)
    )
    monkeypatch.setattr(form_gate, "time", SimpleNamespace(perf_counter=read_clock))
    report = measure_forms(load_prost("toybox", "cpu"), clips=11, rounds=3, progress=ignore)[1]
    assert calls == 3
    assert report.clips_per_s == pytest.approx(1.0, rel=1e-3)


def test_few_clips_are_refused() -> None:
    with pytest.raises(UsageError, match="more than 10"):
        measure_forms(load_prost("toybox", "cpu"), clips=BEST, rounds=1, progress=ignore)


def test_clips_tied_with_the_tenth_count_as_equal() -> None:
    expected = np.linspace(0, 1, 40)[None].repeat(3, axis=0)
    found = expected.copy()
    found[:, [29, 30]] = found[:, [30, 29]]  # the tenth and the eleventh change places
    assert equal_top10(expected, found) == pytest.approx(0.9)
    expected[:, 29] = expected[:, 30] - 1e-6
    assert equal_top10(expected, found) == 1


def test_a_change_of_the_order_among_the_best_is_no_loss() -> None:
    expected = np.random.default_rng(0).normal(size=(4, 50))
    found = np.where(expected >= np.sort(expected)[:, -BEST, None], 9 - expected, expected)
    assert equal_top10(expected, found) == 1


def test_scores_that_change_too_much_or_are_no_numbers_do_not_pass() -> None:
    expected = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    int8, fp32 = FormReport(name="int8", precision="int8"), FormReport(name="onnx-fp32", precision="fp32")
    broken = expected.copy()
    broken[0, 0] = np.nan
    assert not judged(int8, expected, broken).passed and judged(int8, expected, broken).largest_change is None
    assert not judged(int8, expected, expected + 2 * LARGEST_CHANGE["int8"]).passed
    assert not judged(fp32, expected, expected + 1e-3).passed
    assert judged(int8, expected, expected + 1e-3).passed
