"""Temporal prototypes: the window by worked numbers, the decoders against the layer written out in float64."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from prost.model.temporal import EventDecoder, FrameDecoder, event_diversity, frame_windows, window_mask


def test_windows_of_the_paper() -> None:
    # L 12, N_o 12, 0.2: a reach of 28 columns beyond the frame's own 12.
    windows = frame_windows(12, 12, 0.2)
    assert windows[0] == (0, 40)
    assert windows[8] == (96, 136)
    assert windows[9] == (103, 144)  # 108 + 40 = 148, five beyond 143
    assert windows[11] == (103, 144)


def test_a_window_that_ends_exactly_at_the_end_is_drawn_back_by_one() -> None:
    # L 10, N_o 4, 0.2: a reach of 8; frame 7 would see [28, 40).
    assert frame_windows(10, 4, 0.2)[7] == (27, 40)


@given(st.integers(1, 16), st.integers(1, 16), st.floats(0, 1))
def test_every_query_sees_something_and_its_own_frame_begins_in_view(
    frames: int, objects: int, window: float
) -> None:
    mask = window_mask(frames, objects, window)
    assert mask.shape == (frames, frames * objects)
    for frame, row in enumerate(mask):
        seen = (~row).nonzero().flatten()
        assert len(seen) >= min(objects, frames * objects)
        assert torch.equal(seen, torch.arange(seen[0], seen[-1] + 1))
        assert seen[0] <= frame * objects


def attend(
    attention: nn.MultiheadAttention, queries: Tensor, memory: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One head, from its weights."""
    wq, wk, wv = attention.in_proj_weight.double().chunk(3)
    bq, bk, bv = attention.in_proj_bias.double().chunk(3)
    logits = (queries @ wq.T + bq) @ (memory @ wk.T + bk).transpose(-1, -2) / queries.shape[-1] ** 0.5
    if mask is not None:
        logits = logits.masked_fill(mask, float("-inf"))
    weights = logits.softmax(-1)
    out = weights @ (memory @ wv.T + bv)
    return out @ attention.out_proj.weight.double().T + attention.out_proj.bias.double(), weights


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (var + layer.eps).sqrt() * layer.weight.double() + layer.bias.double()


def feed(layer: nn.Module, x: Tensor) -> Tensor:
    inner = (x @ layer.inner.weight.double().T + layer.inner.bias.double()).clamp(min=0)
    return inner @ layer.outer.weight.double().T + layer.outer.bias.double()


def shake(module: nn.Module) -> None:
    """Make norms and biases matter."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)


def test_frame_decoder_as_written_out() -> None:
    torch.manual_seed(0)
    decoder = FrameDecoder(5, 3, 8, layers=2, window=0.2, dropout=0.1).eval()
    shake(decoder)
    objects = torch.randn(2, 5, 3, 8)
    memory0 = objects.double().flatten(1, 2)
    q = decoder.queries.double().expand(2, -1, -1)
    for layer in decoder.layers:
        q, memory = norm(layer.norm_queries, q), norm(layer.norm_memory, memory0)
        q = norm(layer.norm_attended, q + attend(layer.cross_attention, q, memory, decoder.mask)[0])
        q = norm(layer.norm_out, q + feed(layer.feed_forward, q))
    expected = 0.5 * norm(decoder.norm, q) + 0.5 * objects[:, :, 0].double()
    torch.testing.assert_close(decoder(objects).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_event_decoder_as_written_out(residual: bool) -> None:
    torch.manual_seed(1)
    decoder = EventDecoder(3, 8, layers=2, dropout=0.1, residual=residual).eval()
    shake(decoder)
    frames, classes = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    q = decoder.queries.double().expand(2, -1, -1)
    for layer in decoder.layers:
        q, memory = norm(layer.norm_queries, q), norm(layer.norm_memory, frames.double())
        q = norm(layer.norm_self, residual * q + attend(layer.self_attention, q, q)[0])
        attended, weights = attend(layer.cross_attention, q, memory)
        q = norm(layer.norm_attended, q + attended)
        q = norm(layer.norm_out, q + feed(layer.feed_forward, q))
    events, attention = decoder(frames, classes)
    torch.testing.assert_close(
        events.double(),
        0.5 * norm(decoder.norm, q) + 0.5 * classes.double().mean(1, keepdim=True),
        atol=1e-5,
        rtol=1e-5,
    )
    torch.testing.assert_close(attention.double(), weights, atol=1e-5, rtol=1e-5)


def test_a_residual_keeps_fresh_events_apart() -> None:
    torch.manual_seed(2)
    frames = 0.3 * torch.randn(4, 12, 64) + torch.randn(4, 1, 64)
    authors, ours = (
        EventDecoder(3, 64, layers=2, dropout=0.0, residual=each).eval() for each in (False, True)
    )
    with torch.no_grad():
        assert event_diversity(authors(frames, frames)[0]) < 0.01
        assert event_diversity(ours(frames, frames)[0]) > 0.2


@given(st.integers(1, 3), st.integers(2, 4), st.integers(0, 2**31))
def test_event_diversity_as_written_out(batch: int, count: int, seed: int) -> None:
    events = torch.randn(batch, count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    cosines = [
        float(one @ other / (one.norm() * other.norm()))
        for clip in events
        for one, other in combinations(clip, 2)
    ]
    assert event_diversity(events) == pytest.approx(1.0 - sum(cosines) / len(cosines))
    assert event_diversity(events[:, :1].expand(-1, 3, -1)) == pytest.approx(0.0, abs=1e-9)


def test_dropout_is_on_in_training_only() -> None:
    decoder = EventDecoder(3, 8, layers=1, dropout=0.5)
    frames = torch.randn(1, 5, 8)
    assert not torch.equal(decoder(frames, frames)[0], decoder(frames, frames)[0])
    decoder.eval()
    assert torch.equal(decoder(frames, frames)[0], decoder(frames, frames)[0])
