"""What tests of several packages share: models, and a folder of small videos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.model.hub_server import HubServer

    from prost.model.prost import ProST

# A busy machine is no failure; and what CI tries must not depend on luck: by hand, new examples are drawn each time.
settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("untimed")

UNTRAINED = {
    "name": "untrained",
    "clip": {
        "image_size": 32,
        "patch_size": 16,
        "vision_width": 64,
        "vision_layers": 2,
        "text_width": 64,
        "text_layers": 1,
        "text_positions": 32,
    },
    "width": 32,
    "frames": 4,
    "object_prototypes": 4,
    "phrase_prototypes": 6,
    "token_shift_blocks": [1],
    "token_shift_divisions": 5,
}


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What this machine remembers, such as measured forms, must not decide a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROST_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def toybox_model() -> ProST:
    """The bundled model."""
    import prost

    return prost.load("toybox")


@pytest.fixture(scope="session")
def untrained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model of random weights and Toybox's vocabulary: for tests where any answer will do."""
    import torch

    from prost.config import ModelConfig
    from prost.data.toybox import vocabulary
    from prost.model.checkpoint import save
    from prost.model.prost import ProST
    from prost.model.tokenizer import whole_words

    tokenizer = whole_words(vocabulary())
    sized = {**UNTRAINED, "clip": {**UNTRAINED["clip"], "vocabulary": tokenizer.vocabulary}}  # type: ignore[dict-item]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ProST(ModelConfig.parse(sized), tokenizer)
    folder = tmp_path_factory.mktemp("models") / "untrained"
    save(model.eval(), folder)
    return folder


@pytest.fixture(scope="session")
def toybox_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `prost toybox` would write: eight videos and captions.jsonl. Not to be changed."""
    from prost.data.toybox import write

    folder = tmp_path_factory.mktemp("toybox")
    write(folder, videos=8, seed=5)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Both hosts on the loopback interface, and a machine without models."""
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
    monkeypatch.setattr("prost.model.hosts.WAIT_SECONDS", 0.01)
    from tests.model.hub_server import serve

    with serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url)
        yield server
