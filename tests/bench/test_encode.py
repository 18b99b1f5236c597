from __future__ import annotations

from pathlib import Path

import pytest

from prost.bench.encode import measure_encode
from prost.evaluation import form_gate
from prost.evaluation.known_forms import recall_forms
from prost.model.checkpoint import load
from prost.model.forms import form_named


def test_the_figures_are_written_and_remembered(
    untrained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROST_HOME", str(tmp_path))
    monkeypatch.setattr(form_gate, "FORMS", (form_named("fp32"), form_named("int8")))
    model = load(untrained_folder, "cpu")
    assert recall_forms(model) is None
    report = measure_encode(model, 12, 2, lambda *at: None)
    assert recall_forms(model) == report.forms
    written = report.to_dict()
    assert written["machine"]["processor"]
    assert set(written["forms"][0]) >= {
        "name",
        "clips_per_s",
        "ratio_to_float32",
        "equal_top10",
        "largest_change",
        "passed",
    }
