"""`auto` is bfloat16 only where the hardware multiplies it."""

import pytest
import torch

from prost.training.precision import autocast, has_fast_bf16, takes_bf16

CPU = torch.device("cpu")


def test_auto_asks_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for able, expected in (
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True}, True),
        ({"avx2": True}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able, raising=False)
        assert has_fast_bf16(CPU) is expected
        assert takes_bf16("auto", CPU) is expected


def test_an_older_torch_that_does_not_tell_is_taken_at_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_fast_bf16(CPU)


def test_what_is_asked_for_is_done() -> None:
    layer = torch.nn.Linear(2, 2)
    with autocast("bf16", CPU):
        assert layer(torch.zeros(1, 2)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert layer(torch.zeros(1, 2)).dtype == torch.float32
