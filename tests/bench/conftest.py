"""Real prototypes by shape, drawn by a random generator: tracks that hold still, clips in groups that look alike."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from prost.bench.generator import Generator, Recombination
from prost.bench.real import RealPrototypes
from prost.model.matching import TextPrototypes
from prost.model.vectors import unit

ROOT = Path(__file__).parents[2]
VIDEOS, SLOTS, FRAMES, EVENTS, WIDTH, PHRASES = 60, 4, 5, 3, 16, 6


def load_script(name: str) -> ModuleType:
    """A script of `benchmarks/` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def directions(vectors: np.ndarray) -> np.ndarray:
    return unit(torch.from_numpy(vectors.astype(np.float32))).numpy()


def draw_real(videos: int, seed: int = 0) -> RealPrototypes:
    rng = np.random.default_rng(seed)
    mean = 2 * np.random.default_rng(99).standard_normal((SLOTS, 1, WIDTH))
    track = rng.standard_normal((videos, SLOTS, 1, WIDTH))
    steps = 0.2 * rng.standard_normal((videos, SLOTS, FRAMES, WIDTH))
    event = track[:, :EVENTS, 0] + mean[:EVENTS, 0]
    return RealPrototypes(object=directions(mean + track + steps), event=directions(event))


@pytest.fixture(scope="session")
def real() -> RealPrototypes:
    """Sixty videos; the last slot of the first is dead in two frames."""
    drawn = draw_real(VIDEOS)
    drawn.object[0, -1, :2] = 0
    return drawn


@pytest.fixture(scope="session")
def held_out() -> RealPrototypes:
    return draw_real(40, seed=1)


@pytest.fixture(scope="session")
def generator(real: RealPrototypes) -> Generator:
    return Generator(real, Recombination(seed=3))


@pytest.fixture(scope="session")
def text() -> TextPrototypes:
    """Three queries."""
    draw = torch.Generator().manual_seed(5)
    return TextPrototypes(
        torch.randn(3, PHRASES, WIDTH, generator=draw), torch.randn(3, WIDTH, generator=draw)
    )


def nothing(done: int, total: int, what: str) -> None:
    """Progress that nobody looks at."""
