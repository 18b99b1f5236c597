"""The hub's way of saving, publishing and opening models, against a server on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants

import prost
from prost.config import ModelConfig
from prost.errors import CheckpointError, DownloadFailed, MissingPath, UploadFailed, UsageError
from prost.model.card import Figures, model_card
from prost.model.checkpoint import load
from prost.model.clip4clip import CLIP4Clip
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel
from prost.model.tokenizer import whole_words

from .hub_server import SHA, HubServer

NAME = "someone/finds-videos"


@pytest.fixture
def model(tiny: dict[str, Any]) -> ProST:
    torch.manual_seed(0)
    shift = {"token_shift_blocks": [1], "token_shift_divisions": 5}
    words = whole_words([f"w{n}" for n in range(9)])
    return ProST(ModelConfig.parse({**tiny, "name": "tiny", **shift}), words).eval()


def columns(r1: float) -> dict[str, Any]:
    return {"R@1": r1, "R@5": 60.0, "R@10": 80.0, "MdR": 3.0, "MnR": 12.5, "R@1_interval": [r1 - 2, r1 + 2]}


@pytest.fixture(autouse=True)
def large_files_by_lfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub takes large files in two ways; the server of the tests knows the one that is HTTP alone."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def report(model: ProST, tmp_path: Path) -> Path:
    """What `prost eval --output` writes, as far as a card reads it."""
    setting = {
        "fingerprint": model.fingerprint, "benchmark": "msrvtt-9k", "split": "test", "videos": 990,
        "published_videos": 1000, "captions": 990, "sampling": "the authors'", "machine": "a machine, 2 CPU threads",
        "precision": "fp32", "notes": ["10 videos are missing"],
    }  # fmt: skip
    folder = tmp_path / "report"
    folder.mkdir()
    values = {"setting": setting, "sum": columns(41.25), "event_sentence": columns(38.0)}
    (folder / "report.json").write_text(json.dumps(values))
    return folder


def same_weights(one: RetrievalModel[Any, Any], other: RetrievalModel[Any, Any]) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


def test_a_saved_folder_opens_and_has_a_card(model: ProST, report: Path, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "m", figures=[report], licence="apache-2.0")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    for opened in (load(tmp_path / "m"), ProST.from_pretrained(tmp_path / "m")):
        assert same_weights(opened, model) and opened.config == model.config
        assert opened.fingerprint == model.fingerprint
        assert torch.equal(opened.encode_text(["w1 w2"]).sentence, model.encode_text(["w1 w2"]).sentence)
    assert ProST.from_pretrained(tmp_path / "m", max_words=6).config.max_words == 6
    (tmp_path / "m" / "README.md").write_text("by hand")
    model.save_pretrained(tmp_path / "m")
    assert (tmp_path / "m" / "README.md").read_text() == "by hand"
    with pytest.raises(
        CheckpointError, match=r"m is a ProST; expected: a CLIP4Clip; try: ProST\.from_pretrained"
    ):
        CLIP4Clip.from_pretrained(tmp_path / "m")


def test_what_is_pushed_can_be_pulled_and_is_the_same_model(
    model: ProST, report: Path, hub: HubServer
) -> None:
    address = model.push_to_hub(NAME, figures=[report], licence="mit", token="hf_secret", private=True)
    assert address == f"{hub.url}/{NAME}/commit/{SHA}"
    files = hub.repositories[NAME]
    # The hub's library adds .gitattributes only on the hub itself.
    assert sorted(files) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert hub.private == {NAME: True} and len(hub.uploaded) == 1  # the weights, as a large file
    assert hub.tokens["/api/repos/create"] == "Bearer hf_secret"
    assert [path for method, path, _ in hub.requests if "/commit/" in path] == [
        f"/api/models/{NAME}/commit/main"
    ]
    pulled = prost.load(NAME, download=True)
    assert same_weights(pulled, model) and pulled.fingerprint == model.fingerprint
    assert pulled.tokenizer is not None and pulled.unknown_words("w1 w9") == ["w9"]
    assert same_weights(ProST.from_pretrained(NAME, local_files_only=True), model)
    assert f'prost.load("{NAME}"' in files["README.md"].decode()


def test_half_the_size(model: ProST, hub: HubServer) -> None:
    model.push_to_hub(NAME, half=True)
    opened = prost.load(NAME, download=True)
    for key, tensor in model.state_dict().items():
        assert torch.equal(opened.state_dict()[key], tensor.half().float()), key
    assert "stored as float16" in hub.repositories[NAME]["README.md"].decode()


def test_a_revision_comes_from_the_hubs_own_cache(model: ProST, hub: HubServer, tmp_path: Path) -> None:
    model.push_to_hub(NAME)
    hub.repositories[NAME]["pytorch_model.bin"] = b"another form"
    opened = ProST.from_pretrained(NAME, revision="main", cache_dir=tmp_path / "cache")
    assert same_weights(opened, model)
    assert not list((tmp_path / "cache").rglob("pytorch_model.bin"))
    hub.requests.clear()
    again = ProST.from_pretrained(NAME, revision="main", cache_dir=tmp_path / "cache", local_files_only=True)
    assert same_weights(again, model) and not hub.requests
    with pytest.raises(DownloadFailed, match="someone/other cannot be fetched"):
        ProST.from_pretrained("someone/other", revision="main", cache_dir=tmp_path / "cache")
    with pytest.raises(UsageError, match=r"revision, token or cache_dir for .*; expected: OWNER/NAME"):
        ProST.from_pretrained(tmp_path, revision="main")


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_one_clear_line(model: ProST, hub: HubServer, status: int) -> None:
    hub.status[NAME] = status
    with pytest.raises(UploadFailed, match=rf"{NAME} was not uploaded \(.*; try: hf auth login") as caught:
        model.push_to_hub(NAME)
    assert "\n" not in str(caught.value) and not hub.repositories


def test_no_network(model: ProST, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UploadFailed, match="was not uploaded"):
        model.push_to_hub(NAME)


def test_wrong_use(model: ProST, report: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'no-owner' as the name of a repository; expected: OWNER/NAME"):
        model.push_to_hub("no-owner")
    with pytest.raises(
        MissingPath, match=r"nothing holds no figures; expected: report\.json or training\.json"
    ):
        model.save_pretrained(tmp_path / "m", figures=[tmp_path / "nothing"])
    with torch.no_grad():
        model.event_decoder.queries.add_(1)
    del model.fingerprint
    with pytest.raises(UsageError, match="is an evaluation of another model"):
        model.save_pretrained(tmp_path / "m", figures=[report])
    assert not (tmp_path / "m").exists()


def test_a_card_states_the_figures_and_the_hub_can_read_it(model: ProST, report: Path) -> None:
    values = json.loads((report / "report.json").read_text())
    training = {
        "recipe": {
            "start": "openai/clip-vit-base-patch32", "seed": 3,
            "prost": {
                "steps": None, "epochs": 5, "batch_size": 128, "learning_rate": 1e-4, "clip_learning_rate": 1e-7,
                "weight_decay": 0.2,
            },
        },
        "data": {"name": "msrvtt-9k", "selected_on": "5% of train, held out", "counts": {"train": 8550}},
        "step": 6690,
        "validation": {"sum": {"R@1": 47.5}},
    }  # fmt: skip
    text = model_card(model, NAME, Figures(reports=(values,), training=training), licence="mit")
    card = ModelCard(text)
    assert card.data.license == "mit" and card.data.library_name == "prost"
    assert card.data.base_model == "openai/clip-vit-base-patch32"
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == {"R@1": 41.25, "R@5": 60.0, "R@10": 80.0, "MdR": 3.0, "MnR": 12.5}
    for stated in (
        "| sum | 41.2 (39.2 to 43.2) | 60.0 | 80.0 | 3.0 | 12.5 |",
        "gallery of 990 videos of 1,000, 990 captions; sampling: the authors'",
        "- 10 videos are missing",
        "| length | 5 epochs in batches of 128 |",
        "R@1 47.5 on the videos that chose the best step, so that it is no result on unseen videos.",
        f"| fingerprint | `{model.fingerprint}` |",
    ):
        assert stated in text


def test_a_card_of_a_joint_scorer_states_its_own_training(model: ProST) -> None:
    rates = {"learning_rate": 1e-4, "clip_learning_rate": 1e-7, "weight_decay": 0.2}
    training = {
        "recipe": {
            "seed": 3,
            "prost": {"steps": 0, "batch_size": 128, **rates},
            "joint": {"steps": 900, "batch_size": 40, "learning_rate": 2e-3, "weight_decay": 0.02},
        },
        "validation": {"sum": {"R@1": 47.5}, "joint": {"R@1": 53.5}},
    }
    text = model_card(model, NAME, Figures(reports=(), training=training), licence="mit")
    for stated in (
        "| length | 900 steps in batches of 40 |",
        "| trained | the joint scorer alone; all else is that of the start |",
        "| learning rates | 0.002 |",
        "R@1 53.5 on the videos that chose the best step",
    ):
        assert stated in text
    assert "in batches of 128" not in text


def test_a_card_without_figures_claims_nothing(model: ProST) -> None:
    text = model_card(model, NAME)
    metadata = yaml.safe_load(text.split("---")[1])
    assert "license" not in metadata and "model-index" not in metadata
    assert "No evaluation of this model was given." in text and "## Training" not in text


def test_the_hubs_library_is_not_imported_with_a_model() -> None:
    code = "import prost, sys; prost.load('toybox'); print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
