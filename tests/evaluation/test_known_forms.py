from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from prost.evaluation import known_forms
from prost.evaluation.form_gate import FormReport
from prost.evaluation.known_forms import recall_forms, remember_forms
from prost.model.checkpoint import load_prost
from prost.model.prost import ProST

REPORTS = [
    FormReport(name="fp32", precision="fp32", clips_per_s=2.0, ratio_to_float32=1.0, passed=True),
    FormReport(name="onnx-int8", precision="int8", failure="needs onnx"),
]


@pytest.fixture
def model(untrained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProST:
    monkeypatch.setenv("PROST_HOME", str(tmp_path))
    return load_prost(untrained_folder, "cpu")


def test_what_was_measured_is_remembered(model: ProST) -> None:
    assert recall_forms(model) is None
    remember_forms(model, REPORTS)
    assert recall_forms(model) == REPORTS


def test_another_vision_tower_is_not_known_but_another_name_or_text_tower_is(model: ProST) -> None:
    remember_forms(model, REPORTS)
    with torch.no_grad():
        model.clip.towers.text_projection.weight.add_(1.0)
    assert recall_forms(model) == REPORTS
    with torch.no_grad():
        model.clip.towers.vision_model.embeddings.patch_embedding.weight[0, 0, 0, 0] += 1.0
    assert recall_forms(model) is None


def test_another_processor_or_version_is_not_known(model: ProST, monkeypatch: pytest.MonkeyPatch) -> None:
    remember_forms(model, REPORTS)
    with monkeypatch.context() as other:
        other.setattr(known_forms, "processor_name", lambda: "another one")
        assert recall_forms(model) is None
    with monkeypatch.context() as other:
        other.setattr(known_forms, "version", lambda package: "99")
        assert recall_forms(model) is None
    assert recall_forms(model) == REPORTS


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"facts": 1}', b"\xff\xfe", b'{"forms": [{"speed": 1}]}']
)
def test_a_file_that_cannot_be_read_is_one_line_and_removed(
    model: ProST, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    remember_forms(model, REPORTS)
    (file,) = known_forms._folder().iterdir()
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING, "prost"):
        assert recall_forms(model) is None
    (line,) = caplog.messages
    assert str(file) in line and "measured again" in line and "\n" not in line
    assert not file.exists()
    remember_forms(model, REPORTS)
    assert recall_forms(model) == REPORTS


def test_a_folder_that_cannot_be_written_is_a_warning(
    model: ProST, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "forms").write_text("a file")
    with caplog.at_level(logging.WARNING, "prost"):
        remember_forms(model, REPORTS)
    assert "cannot be written" in caplog.text
    assert recall_forms(model) is None
