"""Tiny models of every architecture, with Toybox's vocabulary; and a run that only notes what a stage reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from prost.data.toybox import vocabulary
from prost.model.checkpoint import build, config_class
from prost.model.retrieval_model import RetrievalModel
from prost.model.tokenizer import whole_words
from prost.training.distributed import Processes
from prost.training.steps import Stage

CLIP = {
    "image_size": 32, "patch_size": 16, "vision_width": 64, "vision_layers": 2, "text_width": 64, "text_layers": 1,
    "text_positions": 40,
}  # fmt: skip
SHIFT = {"token_shift_blocks": [1], "token_shift_divisions": 2}
MODELS: dict[str, dict[str, Any]] = {
    "prost": {"object_prototypes": 4, "phrase_prototypes": 6, **SHIFT},
    "meanP": {"architecture": "clip4clip", "temporal": "meanP"},
    "seqTransf": {"architecture": "clip4clip", "temporal": "seqTransf", "temporal_layers": 1},
    "seqLSTM": {"architecture": "clip4clip", "temporal": "seqLSTM"},
    "ts2net": {"architecture": "ts2net", "selected_tokens": 2, "selection_samples": 8, "temporal_layers": 1, **SHIFT},
}  # fmt: skip


class NotedRun:
    """Notes what a stage reports.

    Args:
        asks: is called with every line of the log.
    """

    def __init__(self, asks: Callable[[dict[str, Any]], None] = lambda line: None) -> None:
        self.processes = Processes(0, 1, torch.device("cpu"))
        self.lines: list[dict[str, Any]] = []
        self.validated: list[int] = []
        self.kept: list[tuple[str, int]] = []
        self._asks = asks

    def write(self, **values: Any) -> None:
        self.lines.append(values)
        self._asks(values)

    def validate(self, step: int) -> None:
        self.validated.append(step)

    def keep(self, stage: Stage, step: int) -> None:
        self.kept.append((stage.name, step))

    def lower_rate(self) -> str:
        return "patience"


def model_values(kind: str, **changes: Any) -> dict[str, Any]:
    """What a recipe says of a model."""
    return {"clip": CLIP, "width": 64, "frames": 3, "max_words": 40, **MODELS[kind], **changes}


@pytest.fixture
def make_model() -> Callable[..., RetrievalModel[Any, Any]]:
    """Build a tiny model of one of `MODELS`, the same one each time."""

    def make(kind: str, **changes: Any) -> RetrievalModel[Any, Any]:
        tokenizer = whole_words(vocabulary())
        values = model_values(kind, **changes)
        values["clip"] = {**values["clip"], "vocabulary": tokenizer.vocabulary}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return build(config_class(values, "test").parse(values), tokenizer)

    return make


@pytest.fixture
def reached() -> Callable[[torch.nn.Module], set[str]]:
    """The names of the weights that a backward pass has reached."""
    return lambda model: {
        name for name, weights in model.named_parameters() if weights.grad is not None and weights.grad.any()
    }
