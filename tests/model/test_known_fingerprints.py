"""A remembered fingerprint is that of the files and of the model as it was loaded, and of nothing else."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from prost.model import known_fingerprints
from prost.model.checkpoint import load
from prost.model.known_fingerprints import recall, remember, state_of_files
from prost.model.retrieval_model import RetrievalModel
from prost.model.tokenizer import whole_words


@pytest.fixture
def folder(untrained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose fingerprint is remembered, on a machine that remembers no other."""
    monkeypatch.setenv("PROST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(known_fingerprints, "SETTLED_NS", 0)
    shutil.copytree(untrained_folder, tmp_path / "model")
    assert load(tmp_path / "model", "cpu").fingerprint
    return tmp_path / "model"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models whose weights are hashed from now on."""
    found: list[str] = []
    digest = RetrievalModel._digest_weights

    def noted(self: RetrievalModel, *arguments: object) -> None:
        found.append(self.config.name)
        digest(self, *arguments)

    monkeypatch.setattr(RetrievalModel, "_digest_weights", noted)
    return found


def test_the_weights_of_known_files_are_not_hashed_again(folder: Path, hashed: list[str]) -> None:
    first = load(folder, "cpu").fingerprint
    assert hashed == []
    for kept in known_fingerprints._folder().iterdir():
        kept.unlink()
    assert load(folder, "cpu").fingerprint == first
    assert hashed == ["untrained"]


def test_a_model_that_was_changed_is_hashed(folder: Path, hashed: list[str]) -> None:
    known = load(folder, "cpu").fingerprint
    in_place, replaced, other_words = (load(folder, "cpu") for _ in range(3))
    with torch.no_grad():
        next(in_place.parameters()).add_(1)
    replaced.event_decoder.queries = torch.nn.Parameter(replaced.event_decoder.queries + 1)
    other_words.tokenizer = whole_words(["a", "b"])
    found = {model.fingerprint for model in (in_place, replaced, other_words)}
    assert len(found | {known}) == 4 and len(hashed) == 3
    assert load(folder, "cpu").fingerprint == known


def test_choices_that_change_prototypes_are_part_of_it(folder: Path) -> None:
    known = load(folder, "cpu").fingerprint
    assert load(folder, "cpu", object_phrase_weight=0.5).fingerprint == known
    assert load(folder, "cpu", max_words=20).fingerprint != known


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_files_that_were_written_again_are_hashed(folder: Path, hashed: list[str], name: str) -> None:
    content = (folder / name).read_bytes()
    times = (folder / name).stat()
    (folder / name).write_bytes(content)
    os.utime(folder / name, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a careful copy leaves it
    assert load(folder, "cpu").fingerprint
    assert hashed == ["untrained"]


def test_files_of_the_last_moments_are_not_trusted(
    untrained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_fingerprints, "SETTLED_NS", 10**15)
    assert state_of_files([untrained_folder / "config.json"]) is None
    monkeypatch.setattr(known_fingerprints, "SETTLED_NS", 0)
    assert state_of_files([untrained_folder / "config.json"]) is not None
    assert state_of_files([tmp_path / "none"]) is None


def test_a_cache_that_is_damaged_or_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROST_HOME", str(tmp_path / "home"))
    remember("key", "0" * 24)
    assert recall("key") == "0" * 24 and recall("other") is None
    (tmp_path / "home" / "cache" / "fingerprints" / "key").write_text("half")
    assert recall("key") is None
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROST_HOME", str(tmp_path / "file"))
    remember("key", "0" * 24)
    assert recall("key") is None
