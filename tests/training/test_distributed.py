"""Two real processes: what they tell each other, and that together they have the gradient of one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from prost.errors import BadConfig
from prost.training.distributed import Processes, join_processes

PROCESS = '''
import os, sys
import numpy as np, torch
from prost.config import ModelConfig
from prost.data.batches import twins_within
from prost.model.matching import TextPrototypes, VideoPrototypes, match
from prost.training.distributed import join_processes
from prost.training.grad_cache import ContrastiveStep, Encoded
from prost.training.loss import retrieval_loss
from prost.training.order import twin_pairs

class Encoder(torch.nn.Module):
    """Prototypes of given features: small, but with both kinds of records and a temperature."""
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.frames = torch.nn.Linear(6, 8), torch.nn.Linear(6, 8)
        self.scale = torch.nn.Parameter(torch.tensor(1.3))
    def forward(self, texts, videos):
        phrase, frame = self.words(texts), torch.relu(self.frames(videos))
        return Encoded(
            TextPrototypes(phrase[:, 1:], phrase[:, 0]),
            VideoPrototypes(frame, frame[:, :, 0], frame.sum(-1)),
        )

torch.manual_seed(1)
texts, videos = torch.randn(8, 4, 6), torch.randn(8, 3, 2, 6)
with join_processes() as processes:
    model = Encoder()
    rows = processes.rows(8)
    def loss_of(text, video):
        scores = match(text, video.mapped(processes.gather)).mapped(processes.gather)
        apart = twin_pairs(len(text), twins_within(np.array([0, 1, 4, 5]), rows.start, rows.stop), processes)
        return retrieval_loss(scores, model.scale.exp(), apart) / processes.world, {}
    mine = range(8)[rows]
    half = len(mine) // 2
    found = {}
    for name, parts in {"whole": [mine], "parts": [mine[:half], mine[half:]]}.items():
        model.zero_grad()
        step = ContrastiveStep(
            lambda part: model(texts[part.start : part.stop], videos[part.start : part.stop]),
            loss_of, torch.device("cpu"),
        )
        loss, *_ = step.backward(parts)
        processes.sum_gradients(model.parameters())
        found[name] = {n: p.grad for n, p in model.named_parameters()}, (loss * processes.world).item()
    told = {
        "any": [processes.any(processes.rank == 1), processes.any(False)],
        "mean": processes.mean({"a": float(processes.rank), "b": 3.0}),
        "everyones": processes.everyones([f"v{processes.rank}"]),
        "leads": processes.leads,
    }
    processes.wait()
    torch.save({"found": found, "told": told}, f"{sys.argv[1]}/{processes.rank}.pt")
'''


def run(folder: Path, world: int, port: int) -> list[dict[str, Any]]:
    """What each of some processes wrote."""
    folder.mkdir()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(folder)],
            env={
                **os.environ,
                "WORLD_SIZE": str(world),
                "RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "CUDA_VISIBLE_DEVICES": "",
            },
        )
        for rank in range(world)
    ]
    assert [process.wait(timeout=300) for process in started] == [0] * world
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.fixture(scope="module")
def alone_and_together(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("processes")
    port = 20000 + os.getpid() % 20000
    return run(folder / "one", 1, port)[0], run(folder / "two", 2, port)


@pytest.mark.parametrize("how", ["whole", "parts"])
def test_two_processes_have_the_gradient_of_one(
    alone_and_together: tuple[dict[str, Any], list[dict[str, Any]]], how: str
) -> None:
    alone, together = alone_and_together
    expected, expected_loss = alone["found"]["whole"]
    assert expected["scale"].abs() > 1e-3
    for process in together:
        gradients, loss = process["found"][how]
        assert loss == pytest.approx(expected_loss, rel=1e-6)
        for name, gradient in expected.items():
            torch.testing.assert_close(gradients[name], gradient, msg=name)


def test_what_one_knows_all_know(alone_and_together: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    _, together = alone_and_together
    for rank, process in enumerate(together):
        assert process["told"] == {
            "any": [True, False],
            "mean": {"a": 0.5, "b": 3.0},
            "everyones": ["v0", "v1"],
            "leads": rank == 0,
        }


def test_alone_nothing_is_changed(alone_and_together: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    alone, _ = alone_and_together
    assert alone["told"]["any"] == [False, False] and alone["told"]["mean"] == {"a": 0.0, "b": 3.0}
    rows = torch.rand(2, 3)
    with join_processes() as processes:
        assert processes.gather(rows) is rows and processes.leads


def test_a_batch_that_does_not_divide() -> None:
    with pytest.raises(BadConfig, match=r"batch_size 10 does not divide among 4 processes; try: 12"):
        Processes(0, 4, torch.device("cpu")).rows(10)


def test_the_rows_of_all_processes_are_the_batch() -> None:
    rows = [Processes(rank, 3, torch.device("cpu")).rows(9) for rank in range(3)]
    assert [place for part in rows for place in range(9)[part]] == list(range(9))
