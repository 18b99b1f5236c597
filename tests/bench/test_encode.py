from __future__ import annotations

import numpy as np
import pytest

from prost.bench.encode import BEST, LARGEST_CHANGE, equal_top10, measure_encode, table
from prost.errors import UsageError
from prost.model.checkpoint import load_prost


@pytest.mark.slow
def test_every_form_is_measured_and_those_in_float32_keep_the_ranking():
    steps: list[tuple[int, int]] = []
    report = measure_encode(
        load_prost("toybox", "cpu"), 12, 1, lambda done, total, name: steps.append((done, total))
    )
    assert [form.failure for form in report.forms] == [""] * 6
    by_name = {form.name: form for form in report.forms}
    assert by_name["fp32"].largest_change == 0 and by_name["fp32"].ratio_to_float32 == 1
    for name in ("fp32", "onnx-fp32", "openvino-fp32"):
        assert by_name[name].passed, by_name[name]
    assert all(form.largest_change > 1e-5 for form in report.forms if form.name.endswith(("bf16", "int8")))
    assert steps == [(done, 6) for done in range(1, 7)]
    columns, rows = table(report)
    assert {len(row) for row in rows} == {len(columns)}
    assert set(report.to_dict()["forms"][0]) >= {
        "name",
        "clips_per_s",
        "ratio_to_float32",
        "equal_top10",
        "largest_change",
        "passed",
    }


def test_a_form_that_is_not_installed_says_what_it_needs(monkeypatch):
    from prost.bench import encode
    from prost.model.forms import Form

    absent = Form(name="absent", keeps_fp32=True, needs=("no_such_package",), encoder=lambda model: None)
    monkeypatch.setattr(encode, "FORMS", (encode.FORMS[0], absent))
    report = measure_encode(load_prost("toybox", "cpu"), 11, 1, lambda *at: None)
    assert report.forms[1].failure == "needs no_such_package" and not report.forms[1].passed
    assert "needs no_such_package" in table(report)[1][1][-1]


def test_few_clips_are_refused():
    with pytest.raises(UsageError, match="more than 10"):
        measure_encode(load_prost("toybox", "cpu"), BEST, 1, lambda *at: None)


def test_clips_tied_with_the_tenth_count_as_equal():
    expected = np.linspace(0, 1, 40)[None].repeat(3, axis=0)
    found = expected.copy()
    found[:, [29, 30]] = found[:, [30, 29]]  # the tenth and the eleventh change places
    assert equal_top10(expected, found) == pytest.approx(0.9)
    expected[:, 29] = expected[:, 30] - 1e-6
    assert equal_top10(expected, found) == 1


def test_a_change_of_the_order_among_the_best_is_no_loss():
    expected = np.random.default_rng(0).normal(size=(4, 50))
    found = np.where(expected >= np.sort(expected)[:, -BEST, None], 9 - expected, expected)
    assert equal_top10(expected, found) == 1


def test_scores_that_are_no_numbers_do_not_pass():
    from prost.bench.encode import FORMS, _report

    expected = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    broken = expected.copy()
    broken[0, 0] = np.nan
    assert not _report(FORMS[1], 50, [1.0], [1.0], expected, broken).passed
    assert not _report(FORMS[1], 50, [1.0], [1.0], expected, expected + 2 * LARGEST_CHANGE).passed
    assert not _report(FORMS[0], 50, [1.0], [1.0], expected, expected + 1e-3).passed
    assert _report(FORMS[1], 50, [2.0], [1.0], expected, expected + 1e-3).passed
