"""Token shift against loops over frames and positions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prost.model.token_shift import token_shift


def shift_by_loops(hidden: torch.Tensor, divisions: int) -> torch.Tensor:
    batch, frames, tokens, _ = hidden.shape
    fold = tokens // divisions
    shifted = hidden.clone()
    for b in range(batch):
        for t in range(frames):
            for m in range(1, tokens, fold):
                shifted[b, t, m] = hidden[b, max(t - 1, 0), m]
            for m in range(4, tokens, fold):
                shifted[b, t, m] = hidden[b, min(t + 1, frames - 1), m]
    return shifted


@given(frames=st.integers(1, 5), tokens=st.integers(5, 60), divisions=st.sampled_from([2, 5]))
def test_as_loops_do(frames: int, tokens: int, divisions: int) -> None:
    hidden = torch.randn(2, frames, tokens, 3)
    assert torch.equal(token_shift(hidden, divisions), shift_by_loops(hidden, divisions))


@pytest.mark.parametrize(("tokens", "divisions"), [(50, 7), (197, 14)])
def test_sizes_of_the_paper(tokens: int, divisions: int) -> None:
    hidden = torch.randn(1, 12, tokens, 2)
    shifted = token_shift(hidden, divisions)
    assert torch.equal(shifted, shift_by_loops(hidden, divisions))
    assert torch.equal(shifted[:, :, 0], hidden[:, :, 0])  # the class token stays


def test_the_input_is_left_alone() -> None:
    hidden = torch.randn(1, 3, 10, 2)
    before = hidden.clone()
    token_shift(hidden, 5)
    assert torch.equal(hidden, before)
