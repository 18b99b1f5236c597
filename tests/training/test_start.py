"""What a training begins with: the very model, or its CLIP in another architecture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prost.errors import BadConfig, MissingPath
from prost.model.checkpoint import save
from prost.model.retrieval_model import RetrievalModel
from prost.training.recipe import Recipe
from prost.training.start import start_temporal_transformer, starting_model

MakeModel = Callable[..., RetrievalModel[Any, Any]]


def recipe(**values: Any) -> Recipe:
    return Recipe.parse({"prost": {"steps": 1}, **values})


@pytest.fixture
def start(make_model: MakeModel, tmp_path: Path) -> Path:
    save(make_model("prost"), tmp_path / "start")
    return tmp_path / "start"


def test_alone_a_start_is_trained_further_as_it_is(make_model: MakeModel, start: Path) -> None:
    model = starting_model(recipe(start=str(start)))
    assert model.config == make_model("prost").config
    for name, tensor in make_model("prost").state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_overrides_change_the_configuration_of_a_start(start: Path) -> None:
    model = starting_model(recipe(start=str(start), overrides={"max_words": 20, "object_phrase_weight": 0.5}))
    assert (model.config.max_words, model.config.object_phrase_weight) == (20, 0.5)
    with pytest.raises(BadConfig, match="unknown key 'max_word'; try: 'max_words'"):
        starting_model(recipe(start=str(start), overrides={"max_word": 20}))


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({"architecture": "clip4clip", "temporal": "seqTransf", "temporal_layers": 1}, {"frames": 3, "max_words": 40}),
        ({"architecture": "ts2net", "selected_tokens": 2}, {"token_shift_blocks": (1,), "token_shift_divisions": 2}),
        ({"frame_layers": 1, "frames": 5}, {"frames": 5, "token_shift_blocks": (1,), "object_prototypes": 12}),
    ],
)  # fmt: skip
def test_with_a_model_its_clip_and_its_words_are_taken_over(
    make_model: MakeModel, start: Path, wanted: dict[str, Any], taken: dict[str, Any]
) -> None:
    model = starting_model(recipe(start=str(start), model=wanted))
    assert {name: getattr(model.config, name) for name in taken} == taken
    assert model.config.clip == make_model("prost").config.clip
    for name, tensor in make_model("prost").clip.state_dict().items():
        assert torch.equal(model.clip.state_dict()[name], tensor), name
    assert model.unknown_words("a red ball") == []


def test_heads_are_trained_on_squares_from_the_middle(make_model: MakeModel, tmp_path: Path) -> None:
    """Whatever the vision tower was trained with: training reads videos with `crop`."""
    stretched = make_model("prost")
    stretched.config = stretched.config.model_copy(update={"image_fit": "stretch"})
    save(stretched, tmp_path / "start")
    model = starting_model(recipe(start=str(tmp_path / "start"), model={"frame_layers": 1}))
    assert model.config.image_fit == "crop"


def test_heads_depend_on_the_seed_and_clip_does_not(start: Path) -> None:
    one, same, other = (
        starting_model(recipe(start=str(start), model={}, seed=seed)).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["event_decoder.queries"], other["event_decoder.queries"])
    assert torch.equal(one["clip.towers.logit_scale"], other["clip.towers.logit_scale"])


@pytest.mark.parametrize("values", [{"width": 32}, {"clip": {"vision_layers": 12}}])
def test_a_clip_of_other_sizes_is_refused(start: Path, values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(BadConfig, match=rf"model.{name} differs from that of .*leave {name} out"):
        starting_model(recipe(start=str(start), model=values))


def test_a_start_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingPath, match="does not exist"):
        starting_model(recipe(start=str(tmp_path / "none")))


def test_a_temporal_transformer_begins_as_clips_text_blocks(make_model: MakeModel) -> None:
    model = make_model("seqTransf", positions=20)
    assert start_temporal_transformer(model)
    assert torch.equal(
        model.transformer.layers[0].mlp.fc1.weight,
        model.clip.towers.text_model.encoder.layers[0].mlp.fc1.weight,
    )
    assert not start_temporal_transformer(make_model("meanP"))
    assert not start_temporal_transformer(make_model("prost"))
