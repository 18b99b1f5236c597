"""The benchmark of a training step: its figures add up, and it says what it leaves out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.training.conftest import make_model as make_model  # a fixture

from prost.bench.matching_ways import MatchingSizes
from prost.model.checkpoint import save
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel

from .conftest import ROOT, load_script

RECIPE = ROOT / "recipes" / "toybox" / "3-decoders.yaml"

training_step = load_script("training_step")


class Hands:
    """The hands of a clock that only the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(training_step, "time", SimpleNamespace(perf_counter=lambda: self.seconds))

    def slow(self, do: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """The same function, which takes so long."""

        def run(*args: Any, **named: Any) -> Any:
            self.seconds += seconds
            return do(*args, **named)

        return run


@pytest.fixture
def changes(make_model: Callable[..., RetrievalModel[Any, Any]], tmp_path: Path) -> dict[str, Any]:
    """What makes a recipe of the bundled model tiny."""
    save(make_model("prost"), tmp_path / "start")
    return {
        "start": str(tmp_path / "start"),
        "overrides": {},
        "toybox.clips": 12,
        "toybox.workers": 0,
        "prost.batch_size": 6,
        "validation": "toybox-5",
    }


def test_a_part_is_timed_without_those_inside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hands, clock = Hands(monkeypatch), training_step.Clock()
    inner = clock.timed("inner", hands.slow(lambda: "told", 2.0))

    def outer() -> str:
        hands.seconds += 1.0
        return str(inner() + inner())

    def failing() -> None:
        hands.seconds += 4.0
        raise KeyError

    assert clock.timed("outer", outer)() == "toldtold"
    with pytest.raises(KeyError):
        clock.timed("failing", failing)()
    clock.timed("outer", outer)()
    assert clock.seconds == {"outer": 2.0, "inner": 8.0, "failing": 4.0}


def test_the_parts_of_a_step_add_up_to_it(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(monkeypatch)
    tokenize, match = RetrievalModel.tokenize, ProST.match
    reads = {0: 0, 5: 0}  # by the number of those that are added

    def reading(model: Any, sentences: list[str]) -> Any:
        for _ in range(added):
            torch.ones(1).item()
        return tokenize(model, sentences)

    # A step tokenises its sentences once, and matches once, inside its loss; nothing else takes any time here.
    monkeypatch.setattr(RetrievalModel, "tokenize", hands.slow(reading, 7.0))
    monkeypatch.setattr(ProST, "match", hands.slow(match, 3.0))
    for added in reads:
        spent, reads[added] = training_step.measure_step(RECIPE, changes, 5)
        assert {part: seconds for part, seconds in spent.items() if seconds} == {
            "tokenising": 7.0,
            "matching": 3.0,
        }
        assert set(spent) >= {
            "text tower",
            "video head",
            "losses",
            "backward, apart from matching",
            "clipping of the gradient",
            "optimiser",
            training_step.WAITING,
            training_step.REST,
        }
        assert "vision tower" not in spent  # the tokens are cached
    assert reads[5] == reads[0] + 5


@pytest.mark.slow
def test_all_tables_are_printed(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = MatchingSizes(name="tiny", frames=2, phrases=3, slots=2, events=2, width=16)
    monkeypatch.setattr(training_step, "CACHED", "tiny")
    monkeypatch.setattr(training_step, "STAGES", {"tiny": (RECIPE, changes)})
    monkeypatch.setattr(training_step, "TOYBOX", tiny)
    told = ["--steps", "4", "--batches", "4", "9", "--seconds", "0.01", "--memory", "1e-5"]
    monkeypatch.setattr(sys, "argv", ["training_step.py", *told])
    training_step.main()
    said = capsys.readouterr().out
    first, second, third = said.split("| batch | ")
    parts = re.findall(r"^\| ([^|]+) \| ([\d.-]+) \| ([\d.-]+) \|$", first, re.MULTILINE)
    assert len(parts) > 8
    assert sum(float(share) for _, share, _ in parts) == pytest.approx(100, abs=0.05 * len(parts) + 1e-6)
    (step,) = re.findall(r"tiny: ([\d.]+) s a step", first)
    assert sum(float(ms) for *_, ms in parts) / 1000 == pytest.approx(
        float(step), abs=0.005 + 1e-4 * len(parts)
    )
    rows = [line.split(" | ") for line in second.splitlines() if line.startswith(("| 4", "| 9"))]
    assert [row[:2] for row in rows] == [
        ["| 4", "ProST, einsum and its gradient"],
        ["| 4", "ProST, prost.match and its gradient"],
        ["| 9", "ProST, prost.match and its gradient"],
        [
            "| 9",
            "not measured: tiny, training on 9: ProST, einsum and its gradient (would take 0 GiB; 0 are free)",
        ],
    ]
    rows = [line.split(" | ") for line in third.splitlines() if line.startswith(("| 4", "| 9"))]
    assert [row[:2] for row in rows] == [
        [f"| {batch}", f"ProST, {way}"]
        for batch in (4, 9)
        for way in ("einsum and its gradient", "prost.match and its gradient")
    ]


@pytest.mark.parametrize("with_einsum", [False, True])
def test_a_whole_step_is_taken_alone_with_either_matching(
    with_einsum: bool,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    matched: list[int] = []
    plainly = training_step.plain_match

    def counting(text: Any, video: Any, weight: float) -> Any:
        matched.append(len(video.event))
        return plainly(text, video, weight)

    monkeypatch.setattr(training_step, "plain_match", counting)
    training_step.run_alone({"recipe": str(RECIPE), "changes": changes, "einsum": with_einsum})
    seconds, peak = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert seconds > 0
    assert peak > 2**26  # no process with torch is smaller
    assert (6 in matched) == with_einsum  # the batch


@pytest.mark.slow
def test_a_whole_step_says_what_it_took(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_step, "STAGES", {training_step.CACHED: (RECIPE, changes)})
    seconds, peak = training_step.whole_step(8, with_einsum=True)
    assert seconds > 0
    assert peak > 2**26


def test_too_few_steps_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["training_step.py", "--steps", "3"])
    with pytest.raises(SystemExit) as stopped:
        training_step.main()
    assert stopped.value.code == 2
    assert "--steps 3; expected: 4 or more" in capsys.readouterr().err
