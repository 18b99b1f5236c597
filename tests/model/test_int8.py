from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from prost.model.checkpoint import load
from prost.model.int8 import Int8Linear, with_int8_vision


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(48,), (1, 48), (3, 5, 48)])
def test_a_layer_in_8_bits_is_close_to_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(48, 32, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        expected, found = layer(inputs), Int8Linear(layer)(inputs)
    assert found.shape == expected.shape
    assert 0 < (found - expected).norm() < 0.02 * expected.norm()


def test_a_large_token_takes_no_resolution_from_the_others() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(48, 32), torch.randn(4, 48)
    quantised = Int8Linear(layer)
    with torch.inference_mode():
        alone = quantised(inputs[1:])
        inputs[0] *= 1e4
        assert torch.equal(quantised(inputs)[1:], alone)


def test_tokens_of_zeros_give_the_bias() -> None:
    layer = nn.Linear(48, 32)
    with torch.inference_mode():
        assert torch.equal(Int8Linear(layer)(torch.zeros(2, 48)), layer.bias.expand(2, 32))


def test_everything_but_the_vision_blocks_is_shared(untrained_folder: Path) -> None:
    model = load(untrained_folder, "cpu")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    quantised = with_int8_vision(model)
    ours = {id(weight) for weight in model.parameters()}
    assert all(id(weight) in ours for weight in quantised.parameters())
    layers = [module for module in quantised.modules() if isinstance(module, Int8Linear)]
    assert len(layers) == 2 * 6  # two blocks of queries, keys, values, output and two layers of the MLP
    assert not any(isinstance(module, Int8Linear) for module in model.modules())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
