"""Where a model lies: names, paths and the hub's cache."""

from pathlib import Path
from typing import Any

import pytest
import torch

from prost.config import ModelConfig
from prost.errors import CheckpointError, MissingPath
from prost.model.checkpoint import load, save
from prost.model.prost import ProST


@pytest.fixture
def model(tiny: dict[str, Any]) -> ProST:
    torch.manual_seed(0)
    return ProST(ModelConfig.parse({**tiny, "name": "tiny", "token_shift_blocks": []}), None)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(
        MissingPath, match="does not exist; expected: a folder, a weights file, a bundled model"
    ):
        load(tmp_path / "nowhere")


def test_a_hub_name_in_the_local_cache_is_opened_without_the_network(
    model: ProST, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The layout of the hub's own cache.
    snapshot = tmp_path / "models--someone--tiny" / "snapshots" / "abc"
    save(model, snapshot)
    (tmp_path / "models--someone--tiny" / "refs").mkdir()
    (tmp_path / "models--someone--tiny" / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load("someone/tiny").fingerprint == model.fingerprint


def test_a_hub_name_that_cannot_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match="someone/absent is not a local path and cannot be fetched from the hub"
    ):
        load("someone/absent")
    assert "downloading" in caplog.text  # never silently
