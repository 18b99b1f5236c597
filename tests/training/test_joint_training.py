"""Training of a joint scorer: it learns what the score does not know, and changes nothing else of the model."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.training.conftest import NotedRun

from prost.config import JointScorerConfig
from prost.data.sentences import Sentences
from prost.errors import BadConfig, TrainingInterrupted, TrainingStopped
from prost.model.checkpoint import load, load_prost, save
from prost.model.joint_scorer import JointScorer
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel
from prost.training.joint_training import JudgedClips, joint_stage, train_scorer_alone
from prost.training.recipe import JointStage, Recipe
from prost.training.start import starting_model
from prost.training.steps import run_steps
from prost.training.trainer import run_recipe

MakeModel = Callable[..., RetrievalModel[Any, Any]]
SIZES = {"width": 24, "layers": 1}


class Owners(Sentences):
    """Sentence i is true of clip i alone."""

    def may_be_true(self, sentence: int, place: int) -> bool:
        return sentence == place


def joint(**values: Any) -> dict[str, Any]:
    return {"steps": 2, "scorer": SIZES, "sentences": 1, "batch_size": 4, "videos": 3, "pool": 6, **values}


def train(model: ProST, judged: JudgedClips, seed: int = 0, **values: Any) -> NotedRun:
    """Train the joint scorer on clips that are encoded already."""
    config, run = JointStage.parse(joint(**values)), NotedRun()
    steps = range(config.steps)
    train_scorer_alone(model)
    run_steps(joint_stage(model, judged, config, seed, steps), steps, config.steps, run)
    return run


def log_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def write_recipe(folder: Path, start: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "start": str(start),
        "toybox": {"clips": 12, "twins": 0.5, "moments": 0.0, "long": 0.0, "workers": 0},
        "prost": {"steps": 0},
        "joint": joint(),
        "validation": "toybox-10",
        "precision": "fp32",
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def start(make_model: MakeModel, tmp_path: Path) -> Path:
    save(make_model("prost"), tmp_path / "start")
    return tmp_path / "start"


@pytest.fixture
def hidden_phrase(make_model: MakeModel) -> tuple[ProST, JudgedClips]:
    """Clips that show a phrase of their sentence in all frames or in none, which the score cannot tell.

    Each object slot of a clip shows one thing. The score averages over slots the best cosine with any phrase, so that
    a clip that shows one phrase in all slots scores as high as one that shows all phrases.
    """
    model = make_model("prost", joint_scorer=SIZES)
    assert isinstance(model, ProST)
    random = torch.Generator().manual_seed(0)
    count, phrases = 64, model.config.phrase_prototypes
    axes = torch.linalg.qr(torch.randn(64, 64, generator=random)).Q
    picked = torch.stack([torch.randperm(64, generator=random)[:2] for _ in range(count)])
    text = TextPrototypes(axes[picked][:, [0, 1] * (phrases // 2)], torch.ones(count, 64) / 8)
    slots, frames = model.config.object_prototypes, model.config.frames
    whole = axes[picked][:, None, [0, 1] * (slots // 2)].repeat(1, frames, 1, 1)
    half = axes[picked][:, None, [0] * slots].repeat(1, frames, 1, 1)
    event = torch.ones(2 * count, model.config.event_prototypes, 64)
    judged = JudgedClips(
        sentences=Owners([str(place) for place in range(count)], range(count)),
        text=text.mapped(torch.Tensor.half),
        video=VideoPrototypes(torch.cat([whole, half]).half(), event.half()),
    )
    return model, judged


@pytest.mark.slow
def test_it_learns_that_every_phrase_must_be_found(hidden_phrase: tuple[ProST, JudgedClips]) -> None:
    model, judged = hidden_phrase
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run = train(model, judged, steps=120, batch_size=16, videos=8, pool=128)
    count = len(judged.text)
    with torch.inference_mode():
        text, video = judged.text.float(), judged.video.float()
        scores = model.match(text, video).total
        logits = model.joint_logits(text, video)
    own = torch.arange(count)
    # By the score, the clip that shows half of it is as good.
    torch.testing.assert_close(scores[own, own], scores[own, own + count], atol=1e-2, rtol=0)
    assert (logits.argmax(dim=1) == own).float().mean() > 0.9
    assert (logits[own, own] > 0).float().mean() > 0.8 and (logits[own, own + count] < 0).float().mean() > 0.8
    assert [line["step"] for line in run.lines] == [1, 21, 41, 61, 81, 101, 120]
    assert run.lines[-1]["first"] > 0.9 and run.lines[-1]["loss"] < run.lines[0]["loss"]
    assert run.validated == [120]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.startswith("joint_scorer."), name


class HalfTrue(Owners):
    """The first half of the sentences are true of one clip each; each of the others is almost true of the same clip."""

    def may_be_true(self, sentence: int, place: int) -> bool:
        return bool(self.true[sentence]) and sentence == place


@pytest.mark.slow
def test_it_learns_from_sentences_that_are_almost_true(make_model: MakeModel) -> None:
    model = make_model("prost", joint_scorer=SIZES)
    assert isinstance(model, ProST)
    random = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(64, 64, generator=random)).Q
    # No two clips share a thing, so that wrong clips never tell that one thing alone is not enough.
    picked = torch.randperm(64, generator=random).view(32, 2)
    phrases, slots = model.config.phrase_prototypes, model.config.object_prototypes
    told = axes[picked][:, [0, 1] * (phrases // 2)]
    # Almost true sentences have the second phrase of another sentence.
    almost = told.clone()
    almost[:, 1::2] = told.roll(1, dims=0)[:, 1::2]
    text = TextPrototypes(torch.cat([told, almost]), torch.ones(64, 64) / 8)
    shown = axes[picked][:, None, [0, 1] * (slots // 2)].repeat(1, model.config.frames, 1, 1)
    event = torch.ones(32, model.config.event_prototypes, 64)
    judged = JudgedClips(
        sentences=HalfTrue([str(place) for place in range(64)], [*range(32)] * 2, [True] * 32 + [False] * 32),
        text=text.mapped(torch.Tensor.half),
        video=VideoPrototypes(shown.half(), event.half()),
    )
    accepted = {}
    for fraction in (0.0, 0.5):
        torch.manual_seed(0)
        model.joint_scorer = JointScorer(model.config)
        train(model, judged, steps=60, batch_size=16, videos=6, pool=30, almost_true=fraction)
        with torch.inference_mode():
            logits = model.joint_logits(judged.text.float(), judged.video.float())
        own = logits[torch.arange(64), torch.arange(32).repeat(2)]
        assert (own[:32] > 0).float().mean() > 0.8
        accepted[fraction] = (own[32:] > 0).float().mean().item()
    assert accepted[0.5] < 0.2 < 0.5 < accepted[0.0]


def test_the_same_seed_trains_the_same_scorer(hidden_phrase: tuple[ProST, JudgedClips]) -> None:
    model, judged = hidden_phrase
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        model.joint_scorer = JointScorer(model.config)
        train(model, judged, seed, steps=3, batch_size=8, videos=4, pool=16)
        found.append(model.joint_scorer.fingerprint)
    assert found[0] == found[1] != found[2]


def test_a_recipe_trains_one_for_a_model_that_stays_as_it_is(start: Path, tmp_path: Path) -> None:
    made = run_recipe(write_recipe(tmp_path / "run", start), tmp_path / "run" / "out")
    model, was = load_prost(made, "cpu"), load_prost(start, "cpu")
    assert model.config.joint_scorer == JointScorerConfig(**SIZES)
    assert model.fingerprint == was.fingerprint
    for name, tensor in was.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    lines = log_of(tmp_path / "run" / "out")
    assert [line["stage"] for line in lines] == ["length", "encoding", "joint", "joint", "validation"]
    assert lines[0] == {"stage": "length", "of": "joint", "steps": 2, "batch_size": 4, "warmup_steps": 1}
    assert set(lines[-1]) >= {"sum", "joint"} and 0 <= lines[-1]["joint"]["R@1"] <= 100
    trained = json.loads((made / "training.json").read_text())["trained_parameters"]
    assert trained == sum(part.numel() for part in model.joint_scorer.parameters())  # type: ignore[union-attr]


def test_training_a_model_further_leaves_its_scorer_out(
    start: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = run_recipe(write_recipe(tmp_path / "run", start), tmp_path / "run" / "out")
    with caplog.at_level(logging.INFO, logger="prost"):
        model = starting_model(Recipe.parse({"start": str(made), "prost": {"steps": 1}}))
    assert isinstance(model, ProST) and model.joint_scorer is None and model.config.joint_scorer is None
    assert "is left out: it was trained for other prototypes" in caplog.text
    save(model, tmp_path / "without")
    assert load_prost(tmp_path / "without", "cpu").joint_scorer is None


def test_a_scorer_of_the_same_sizes_is_trained_further_and_one_of_others_anew(
    start: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = run_recipe(write_recipe(tmp_path / "one", start), tmp_path / "one" / "out")
    before = load_prost(made, "cpu").joint_scorer
    assert before is not None and not before.untrained
    scale = before.scale.item()
    # A rate of nearly nothing: what is trained further stays, and its first scale is not chosen again.
    slow = joint(steps=1, learning_rate=1e-12)
    with caplog.at_level(logging.INFO, logger="prost"):
        further = run_recipe(write_recipe(tmp_path / "two", made, joint=slow), tmp_path / "two" / "out")
    assert "is trained further" in caplog.text
    after = load_prost(further, "cpu").joint_scorer
    assert after is not None and after.scale.item() == pytest.approx(scale)
    for name, tensor in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], tensor, atol=1e-6, rtol=0, msg=name)
    wide = joint(scorer={"width": 48, "layers": 1})
    again = run_recipe(write_recipe(tmp_path / "three", made, joint=wide), tmp_path / "three" / "out")
    assert load(again).config.joint_scorer.width == 48


FOUR = {"joint": joint(steps=4), "evaluate_every": 2}


@pytest.fixture
def whole(start: Path, tmp_path: Path) -> Path:
    """The folder of a run of four steps that nobody interrupted."""
    run_recipe(write_recipe(tmp_path / "whole", start, **FOUR), tmp_path / "whole" / "out")
    return tmp_path / "whole" / "out"


def same_state(output: Path, expected: Path) -> bool:
    """Whether two runs ended with the same weights, and the same best step."""
    one, other = (torch.load(folder / "state.pt", weights_only=True) for folder in (output, expected))
    weights = all(torch.equal(one["model"][name], tensor) for name, tensor in other["model"].items())
    return weights and all(one[key] == other[key] for key in ("stage", "step", "best"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_where_the_other_ended(
    start: Path, tmp_path: Path, whole: Path, number: signal.Signals
) -> None:
    def interrupt(values: dict[str, Any]) -> None:
        if values["stage"] == "joint":
            os.kill(os.getpid(), number)

    recipe, output = write_recipe(tmp_path / "run", start, **FOUR), tmp_path / "run" / "out"
    with pytest.raises(
        TrainingInterrupted, match=r"stopped in stage 'joint' after step 1 of 4; .* which continues the run"
    ):
        run_recipe(recipe, output, interrupt)
    assert run_recipe(recipe, output) == output / "best"
    assert same_state(output, whole)
    # The step that was kept is not trained again.
    assert [line["step"] for line in log_of(output) if line["stage"] == "joint"] == [1, 4]
    for folder in ("best", "last"):
        one, other = (load_prost(run / folder, "cpu") for run in (output, whole))
        assert one.joint_scorer is not None and other.joint_scorer is not None
        assert one.joint_scorer.fingerprint == other.joint_scorer.fingerprint


def test_a_run_that_was_killed_continues_from_the_last_validation(
    start: Path, tmp_path: Path, whole: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(values: dict[str, Any]) -> None:
        if values["stage"] == "joint" and values["step"] == 4:
            raise Killed

    recipe, output = write_recipe(tmp_path / "run", start, **FOUR), tmp_path / "run" / "out"
    with pytest.raises(Killed):
        run_recipe(recipe, output, kill)
    assert torch.load(output / "state.pt", weights_only=True)["step"] == 2
    run_recipe(recipe, output)
    assert same_state(output, whole)
    assert [line["step"] for line in log_of(output) if line["stage"] == "validation"] == [2, 4]


def test_a_finished_run_is_not_run_again(whole: Path) -> None:
    lines, facts = log_of(whole), (whole / "last" / "training.json").read_text()
    assert run_recipe(whole.parent / "recipe.yaml", whole) == whole / "best"
    assert log_of(whole) == lines
    assert (whole / "last" / "training.json").read_text() == facts


def test_another_recipe_does_not_carry_on(start: Path, tmp_path: Path, whole: Path) -> None:
    with pytest.raises(TrainingStopped, match="contains a run of another recipe"):
        run_recipe(write_recipe(tmp_path / "other", start, **FOUR, seed=1), whole)


def test_a_loss_that_is_no_number_stops_the_run(start: Path, tmp_path: Path) -> None:
    wild = joint(steps=9, learning_rate=1e38, warmup=0.0)
    with pytest.raises(TrainingStopped, match=r"at step \d of stage 'joint'; try: a lower learning rate"):
        run_recipe(
            write_recipe(tmp_path / "run", start, joint=wild, evaluate_every=9), tmp_path / "run" / "out"
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prost": {"steps": 1}}, "set prost.steps to 0"),
        ({"toybox": {"workers": 0}}, "joint needs a fixed set of clips"),
        ({"joint": joint(videos=30, pool=50)}, "joint.videos 30 with 12 clips"),
        ({"joint": joint(scorer={"width": 30})}, "joint.scorer.width"),
        ({"joint": joint(almost_true=1.0)}, "joint.almost_true"),
        ({"joint": {"step": 3}}, "'steps'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(
    start: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadConfig, match=message):
        run_recipe(write_recipe(tmp_path / "run", start, **changes), tmp_path / "run" / "out")


def test_a_rival_has_none(make_model: MakeModel, tmp_path: Path) -> None:
    save(make_model("meanP"), tmp_path / "rival")
    with pytest.raises(BadConfig, match="a CLIP4Clip; expected: a ProST"):
        run_recipe(write_recipe(tmp_path / "run", tmp_path / "rival"), tmp_path / "run" / "out")


def test_clips_of_which_everything_is_true_cannot_be_compared(
    hidden_phrase: tuple[ProST, JudgedClips],
) -> None:
    model, judged = hidden_phrase

    class Always(Owners):
        def may_be_true(self, sentence: int, place: int) -> bool:
            return True

    always = JudgedClips(
        sentences=Always(judged.sentences.texts, judged.sentences.clip), text=judged.text, video=judged.video
    )
    with pytest.raises(BadConfig, match="may be true of all clips"):
        train(model, always)
    assert np.array_equal(judged.sentences.clip, np.arange(64))


def test_wrong_clips_that_score_as_high_do_not_make_the_first_scale_huge(
    hidden_phrase: tuple[ProST, JudgedClips],
) -> None:
    model, judged = hidden_phrase  # of every sentence, a wrong clip scores as high as its own
    train(model, judged, steps=1, videos=2, pool=128)
    assert model.joint_scorer is not None
    assert 0 < model.joint_scorer.scale.item() < 300
