"""Where a model lies: names of the catalogue, paths, pulled folders and the hub's own cache."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import prost
from prost.config import ModelConfig
from prost.errors import MissingPath, ModelNotHere
from prost.model.catalogue import ENTRIES, FIRST_CHOICE
from prost.model.checkpoint import load, save
from prost.model.locating import RECORD, find_named, is_name, locate, pulled_folder, read_record
from prost.model.prost import ProST
from prost.model.tokenizer import whole_words


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No model was pulled, the hub's cache is empty, and the working directory too."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PROST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def model(tiny: dict[str, Any]) -> ProST:
    torch.manual_seed(0)
    words = whole_words([f"w{n}" for n in range(9)])
    return ProST(ModelConfig.parse({**tiny, "name": "tiny", "token_shift_blocks": []}), words)


def write_pulled(name: str, **files: str) -> Path:
    """A folder as `prost models pull` leaves it, with files that need not make a model."""
    folder = pulled_folder(name)
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_text(content)
    record = {
        "name": name, "source": "hub:x/y", "revision": "0" * 40,
        "files": {file: len(content) for file, content in files.items()}, "digests": {},
    }  # fmt: skip
    (folder / RECORD).write_text(json.dumps(record))
    return folder


def write_cached(hub: Path, repository: str) -> Path:
    """The snapshot folder of a repository in the hub's own cache."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    return folder / "snapshots" / "abc"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MissingPath, match="does not exist; expected: a folder, a weights file, owner/name"):
        load(tmp_path / "nowhere")


def test_a_name_that_is_not_here_says_how_to_get_it() -> None:
    with pytest.raises(ModelNotHere) as caught:
        load(FIRST_CHOICE)
    assert str(caught.value) == (
        f"the model {FIRST_CHOICE} is not on this machine; try: prost models pull {FIRST_CHOICE}"
    )
    assert caught.value.exit_code == 2
    with pytest.raises(ModelNotHere, match="try: prost models pull someone/absent, if it is on"):
        load("someone/absent")


def test_a_name_wins_over_a_folder_of_that_name(model: ProST) -> None:
    save(model, "toybox")
    assert load("toybox").config.name == "toybox"
    assert load("./toybox").fingerprint == model.fingerprint
    save(model, FIRST_CHOICE)
    with pytest.raises(ModelNotHere, match=rf"or \./{FIRST_CHOICE} for the folder of that name that is here"):
        locate(FIRST_CHOICE)
    assert load(f"./{FIRST_CHOICE}").fingerprint == model.fingerprint


def test_a_path_wins_over_a_name_on_the_hub(model: ProST, empty_machine: Path) -> None:
    save(model, write_cached(empty_machine / "hub", "someone/tiny"))
    assert is_name("someone/tiny") and locate("someone/tiny").name == "abc"
    Path("someone").mkdir()  # a folder with the name of the owner changes nothing
    assert is_name("someone/tiny") and locate("someone/tiny").name == "abc"
    save(model, "someone/tiny")
    assert not is_name("someone/tiny") and locate("someone/tiny") == Path("someone/tiny")


def test_a_pulled_model_is_found_until_a_file_is_lost() -> None:
    folder = write_pulled("clip-b32", **{"config.json": "{}", "model.safetensors": "weights"})
    assert locate("clip-b32") == folder
    (folder / "model.safetensors").write_text("w")
    assert read_record(folder) is None
    with pytest.raises(ModelNotHere):
        locate("clip-b32")
    (folder / "model.safetensors").unlink()
    assert find_named("clip-b32") is None


def test_files_that_were_put_there_by_hand_are_a_model() -> None:
    folder = pulled_folder("clip-b32")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert find_named("clip-b32") is None
    (folder / "model.safetensors").write_text("weights")
    assert locate("clip-b32") == folder


@pytest.mark.parametrize("record", ["", "[]", '{"files": {}}', "{"])
def test_a_damaged_record_counts_as_none(record: str) -> None:
    folder = write_pulled("clip-b32", **{"config.json": "{}", "model.safetensors": "weights"})
    (folder / RECORD).write_text(record)
    assert find_named("clip-b32") is None


def test_a_model_in_the_hubs_cache_is_opened_without_the_network(model: ProST, empty_machine: Path) -> None:
    save(model, write_cached(empty_machine / "hub", "someone/tiny"))
    assert load("someone/tiny").fingerprint == model.fingerprint
    # A model of the catalogue that another program has fetched already.
    snapshot = write_cached(empty_machine / "hub", ENTRIES[FIRST_CHOICE].repository)
    save(model, snapshot)
    assert locate(FIRST_CHOICE) == snapshot


@pytest.mark.parametrize("lacking", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_snapshot_that_lacks_a_file_is_no_model(model: ProST, empty_machine: Path, lacking: str) -> None:
    snapshot = write_cached(empty_machine / "hub", "someone/tiny")
    save(model, snapshot)
    (snapshot / lacking).unlink()
    with pytest.raises(ModelNotHere, match="prost models pull someone/tiny"):
        load("someone/tiny")


@pytest.mark.parametrize("name", ["../secret", "a/..", "a/b/c", "-/.git", "a b/c", "someone/x..y", "a/b.git"])
def test_what_cannot_be_a_name_on_the_hub_is_a_path(name: str) -> None:
    with pytest.raises((MissingPath, ModelNotHere)):
        locate(name)
    assert find_named("clip-b32") is None


def test_the_catalogue_says_what_is_here() -> None:
    write_pulled("clip-b32", **{"model.safetensors": "w"})
    assert [entry.name for entry in prost.catalogue() if entry.here] == ["clip-b32", "toybox"]


def test_the_entries_of_the_catalogue_are_complete() -> None:
    for entry in prost.catalogue():
        assert entry.host in ("bundled", "hub", "modelscope")
        assert (entry.host == "bundled") == (entry.repository == "")
        assert entry.kind and entry.trained_on and entry.note and "/" not in entry.name
    bundled = sum(file.stat().st_size for file in locate("toybox").glob("model.safetensors"))
    assert ENTRIES["toybox"].bytes == pytest.approx(bundled, rel=0.05)
