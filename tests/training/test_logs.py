"""Lines of a log, curves of TensorBoard, and a remaining time that keeps its word."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from prost.errors import UsageError
from prost.training.logs import Pace, RunLog, run_facts


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rest_is_steps_and_validations() -> None:
    """Ten steps of 2 s, validations of 30 s after steps 4, 8 and 10; the first step takes a minute to warm up."""
    clock = Clock()
    pace = Pace(10, 4, clock=clock)
    assert pace.remaining(0) is None
    clock.now += 60.0
    pace.step()
    assert pace.remaining(1) is None
    for _ in range(3):
        clock.now += 2.0
        pace.step()
    clock.now += 30.0
    pace.validated()
    assert pace.remaining(4) == 6 * 2 + 2 * 30
    for _ in range(4):
        clock.now += 2.0
        pace.step()
    assert pace.remaining(8) == 2 * 2 + 2 * 30  # the validation of step 8 is still to come
    clock.now += 30.0
    pace.validated()
    assert pace.remaining(8) == 2 * 2 + 30
    assert pace.seconds == 60 + 6 + 30 + 8 + 30


def test_one_slow_step_is_not_the_pace() -> None:
    clock = Clock()
    pace = Pace(100, None, clock=clock)
    for seconds in (1.0, 1.0, 50.0, 1.0, 1.0):
        clock.now += seconds
        pace.step()
    assert pace.remaining(5) == 95


def test_lines_go_to_the_file_and_to_the_caller(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    log = RunLog(tmp_path, told.append, tensorboard=False)
    log.write(stage="prost", step=1, loss=0.5)
    log.write(stage="validation", step=2, sum={"R@1": 12.0})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == told and [line["step"] for line in lines] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, None, tensorboard=True)
    log.write(stage="prost", step=3, steps=9, loss=0.25, remaining=None)
    log.write(stage="validation", step=3, sum={"R@1": 12.0}, videos=8)
    log.close()
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(curves.Tags()["scalars"]) == {"prost/loss", "validation/sum/R@1", "validation/videos"}
    (point,) = curves.Scalars("validation/sum/R@1")
    assert (point.step, point.value) == (3, 12.0)


def test_tensorboard_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"not installed; try: pip install '\.\[tensorboard\]'"):
        RunLog(tmp_path, None, tensorboard=True)


def test_facts_of_a_run() -> None:
    facts = run_facts(2, torch.device("cpu"))
    assert facts["versions"]["torch"].startswith("2.")
    assert facts["machine"]["processes"] == 2
    json.dumps(facts)
