"""The reference outputs of tests/golden, with the weights and pixels that they were made from drawn again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Golden:
    """One reference of a model: what went in, and what the authors' code answered.

    Attributes:
        name: of the file, without its ending.
        spec: sizes and the seed, see tests/golden/README.md.
        keys: shape of every tensor of the authors' state dict.
        arrays: everything else in the file: `input_ids`, `attention_mask` and the expected outputs.
    """

    name: str
    spec: dict[str, Any]
    keys: dict[str, list[int]]
    arrays: dict[str, NDArray[Any]]

    def __getitem__(self, output: str) -> NDArray[Any]:
        return self.arrays[output]

    @property
    def ids(self) -> Tensor:
        """Token ids, int64 `[B_t, T]`."""
        return _tensor(self.arrays["input_ids"])

    @property
    def mask(self) -> Tensor:
        """1 where a word stands, int64 `[B_t, T]`."""
        return _tensor(self.arrays["attention_mask"])

    def draw_weights(self) -> dict[str, Tensor]:
        """The authors' state dict, float32."""
        return {key: _tensor(array) for key, array in self._drawn[0].items()}

    def draw_video(self) -> Tensor:
        """Normalised pixels, float32 `[B_v, L, 3, R, R]`."""
        return _tensor(self._drawn[1])

    @cached_property
    def _drawn(self) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        # One generator makes both: the pixels come after the last weight.
        rng = np.random.default_rng(self.spec["seed"])
        weights = {key: _scaled(key, rng, tuple(self.keys[key])) for key in sorted(self.keys)}
        side = self.spec["patch"] * self.spec["grid"]
        shape = (self.spec["B_v"], self.spec["frames"], 3, side, side)
        pixels = rng.standard_normal(shape).astype(np.float32)
        checksum = float(self.arrays["pixel_checksum"])
        assert abs(float(pixels.sum(dtype=np.float64)) - checksum) < 1e-6, "the generator draws other numbers"
        return weights, pixels


def load_golden(name: str) -> Golden:
    """Open one reference of a model, `prost_github_b32` for example."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        arrays = dict(file)
    spec, keys = json.loads(str(arrays.pop("spec"))), json.loads(str(arrays.pop("keys")))
    return Golden(name, spec, keys, arrays)


def _scaled(key: str, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    x = np.asarray(rng.standard_normal(shape), dtype=np.float32)
    if key.endswith("weight") and len(shape) == 1:
        return (1 + 0.1 * x).astype(np.float32)
    if len(shape) <= 1:
        return (0.02 * x).astype(np.float32)
    return (x * 0.7 / np.sqrt(shape[-1])).astype(np.float32)


def _tensor(array: NDArray[Any]) -> Tensor:
    import torch

    return torch.from_numpy(np.array(array))
