"""`prost models`: a new user's way from no model to a search."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.model.hub_server import SHA, HubServer

import prost as package

Prost = Callable[..., Any]
CLIP = "openai/clip-vit-base-patch32"


@pytest.fixture
def published(hub: HubServer, untrained_folder: Path) -> HubServer:
    """A host with a tiny model in the place of clip-b32."""
    hub.add(CLIP, untrained_folder)
    return hub


def test_the_list_names_what_is_here(prost: Prost, published: HubServer) -> None:
    lines = prost("models", "list").out.splitlines()
    (clip,) = [line for line in lines if line.strip().startswith("clip-b32")]
    assert "605 MB" in clip and "yes" not in clip
    published.cuts = 100
    assert prost("models", "pull", "clip-b32").code == 1
    (clip,) = [
        line for line in prost("models", "list").out.splitlines() if line.strip().startswith("clip-b32")
    ]
    assert "in part" in clip
    published.cuts = 0
    assert prost("models", "pull", "clip-b32").code == 0
    here = {entry["name"]: entry["here"] for entry in prost("models", "list", "--json").json}
    assert [name for name, is_here in here.items() if is_here] == ["clip-b32", "toybox"]
    assert published.requests  # the list itself asks nobody
    asked = len(published.requests)
    prost("models", "list")
    assert len(published.requests) == asked


def test_from_no_model_to_a_search(prost: Prost, published: HubServer, videos: Path, library: Path) -> None:
    index = ("index", videos, "--library", library, "--model", "clip-b32")
    said = prost(*index)
    assert (said.code, said.err) == (
        2, "error: the model clip-b32 is not on this machine; try: prost models pull clip-b32\n"
    )  # fmt: skip
    pulled = prost("models", "pull", "clip-b32")
    assert pulled.code == 0
    first, following = pulled.out.splitlines()
    assert first.startswith("clip-b32: ") and first.endswith(f"revision {SHA}")
    assert following == "next: prost index ~/Videos --model clip-b32"
    assert prost(*index).out.startswith("3 added")
    assert prost("search", "a red ball", "--library", library, "--json").code == 0
    assert "already" in prost("models", "pull", "clip-b32").out


def test_what_was_pulled_is_described(prost: Prost, published: HubServer, untrained_folder: Path) -> None:
    before = prost("models", "show", "clip-b32", "--json").json
    assert before["here"] == "no; prost models pull clip-b32" and before["source"] == f"hub:{CLIP}"
    prost("models", "pull", "clip-b32")
    after = prost("models", "show", "clip-b32", "--json").json
    assert (after["revision"], after["model"]) == (SHA, "ProST")
    assert after["fingerprint"] == package.load(untrained_folder).fingerprint
    assert after["configuration"]["frames"] == 4
    folder = prost("models", "show", untrained_folder)
    assert folder.code == 0 and after["fingerprint"] in folder.out and "configuration: frames" in folder.out
    assert prost("models", "show", "/no/such/model").code == 2


def test_a_model_outside_the_catalogue(prost: Prost, published: HubServer) -> None:
    published.repositories["someone/tiny"] = published.repositories[CLIP]
    assert prost("models", "pull", "someone/tiny").code == 0
    assert "hub:someone/tiny" in prost("models", "list").out
    assert prost("models", "list", "--json").json[-1]["name"] == "someone/tiny"
    assert prost("models", "rm", "someone/tiny").err.startswith("removed someone/tiny: ")
    assert prost("models", "rm", "someone/tiny").code == 2


def test_converting(prost: Prost, untrained_folder: Path, tmp_path: Path) -> None:
    said = prost("models", "convert", untrained_folder, tmp_path / "half", "--half")
    assert said.code == 0 and "ProST untrained" in said.out
    sizes = [(place / "model.safetensors").stat().st_size for place in (untrained_folder, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    assert package.load(tmp_path / "half").config == package.load(untrained_folder).config


def test_converting_replaces_a_model_only_if_asked(
    prost: Prost, untrained_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    out.mkdir()
    assert prost("models", "convert", untrained_folder, out).code == 0
    before = (out / "model.safetensors").read_bytes()
    said = prost("models", "convert", untrained_folder, out, "--half")
    assert said.code == 2 and f"{out} holds a model" in said.err and "--force" in said.err
    assert said.err.count("\n") == 1 and (out / "model.safetensors").read_bytes() == before
    assert prost("models", "convert", untrained_folder, out, "--half", "--force").code == 0
    assert (out / "model.safetensors").stat().st_size < 0.6 * len(before)


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_converting_writes_no_model_among_other_files(
    prost: Prost, untrained_folder: Path, tmp_path: Path, options: list[str]
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "a.mp4").write_text("a video")
    for place, message in ((videos, "files that are no model"), (videos / "a.mp4", "is a file")):
        said = prost("models", "convert", untrained_folder, place, *options)
        assert said.code == 2 and message in said.err and said.err.count("\n") == 1
    assert [path.name for path in videos.iterdir()] == ["a.mp4"]


def test_refusals_are_one_line(prost: Prost, hub: HubServer) -> None:
    for words, code in (
        (("pull", "someone/absent"), 1),
        (("pull", "siglip2-b16", "--offline"), 1),
        (("pull", "../x"), 2),
        (("rm", "toybox"), 2),
        (("convert", "siglip2-b16", "out"), 2),
    ):
        said = prost("models", *words)
        assert said.code == code and said.err.startswith("error: ") and said.err.count("\n") == 1


def test_push_states_the_figures_beside_the_weights(
    prost: Prost,
    hub: HubServer,
    untrained_folder: Path,
    toybox_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    model = tmp_path / "m"
    shutil.copytree(untrained_folder, model)
    assert prost("eval", model, toybox_folder, "--plain", "--output", model).code == 0
    measured = json.loads((model / "report.json").read_text())["sum"]["R@1"]
    said = prost("models", "push", model, "someone/mine", "--licence", "mit", "--private")
    assert said.code == 0, said.err
    assert said.out.splitlines() == [
        f"someone/mine: {hub.url}/someone/mine/commit/{SHA}",
        "next, on any machine: prost models pull someone/mine",
    ]
    card = hub.repositories["someone/mine"]["README.md"].decode()
    assert f"| sum | {measured:.1f} (" in card and "license: mit" in card
    assert hub.private == {"someone/mine": True}
    assert prost("models", "pull", "someone/mine").code == 0
    pulled = prost("models", "show", "someone/mine", "--json").json
    assert pulled["fingerprint"] == package.load(untrained_folder).fingerprint
    (model / "README.md").write_text("# by hand\n")
    assert prost("models", "push", model, "someone/mine").code == 0
    assert hub.repositories["someone/mine"]["README.md"] == b"# by hand\n"
    hub.status["someone/else"] = 403
    refused = prost("models", "push", model, "someone/else")
    assert refused.code == 1 and refused.err.startswith("error: someone/else was not uploaded")


def test_the_measured_forms_are_shown(
    prost: Prost, untrained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prost.evaluation import form_gate
    from prost.model.forms import form_named

    monkeypatch.setenv("PROST_HOME", str(tmp_path))
    before = prost("models", "show", untrained_folder)
    assert f"prost bench encode --model {untrained_folder}" in " ".join(before.out.split())
    monkeypatch.setattr(form_gate, "FORMS", (form_named("fp32"), form_named("int8")))
    assert prost("bench", "encode", "--model", untrained_folder, "--clips", "12", "--rounds", "1").code == 0
    after = prost("models", "show", untrained_folder)
    assert "Forms on this processor" in after.out and "int8" in after.out
    forms = prost("models", "show", untrained_folder, "--json").json["forms"]
    assert [form["name"] for form in forms] == ["fp32", "int8"]
