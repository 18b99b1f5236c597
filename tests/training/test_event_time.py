"""The event that a sentence finds attends to its time: the loss on worked numbers, and its way through a batch."""

import math

import numpy as np
import pytest
import torch

from prost.data.toybox_clips import ClipMix, DrawnClips
from prost.model.temporal import EventDecoder
from prost.training.distributed import Processes
from prost.training.event_time import event_time_loss
from prost.training.objectives import Objective

ALONE = Processes(0, 1, torch.device("cpu"))
SCALE = torch.tensor(10.0)
MIX = ClipMix(moments=0.0, twins=0.5, long=0.25)


def plain_event_time_loss(curves: np.ndarray, cosines: np.ndarray, within: np.ndarray, scale: float) -> float:
    """Written with loops, in float64."""
    terms = []
    for curve, cosine, frames in zip(curves.astype(np.float64), cosines, within, strict=True):
        weights = [math.exp(scale * float(each)) for each in cosine]
        in_time = sum(
            weight / sum(weights) * attention
            for weight, row in zip(weights, curve, strict=True)
            for attention, inside in zip(row, frames, strict=True)
            if inside
        )
        terms.append(-math.log(in_time))
    return sum(terms) / len(terms)


def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Five sentences, three events, eight frames."""
    generator = torch.Generator().manual_seed(0)
    curves = torch.rand(5, 3, 8, generator=generator)
    within = torch.rand(5, 8, generator=generator) < 0.4
    within[:, 2] = True
    return curves / curves.sum(dim=2, keepdim=True), torch.rand(5, 3, generator=generator), within


def test_agrees_with_loops() -> None:
    curves, cosines, within = drawn()
    loss, measured = event_time_loss(curves, cosines, within, SCALE)
    assert loss.item() == pytest.approx(
        plain_event_time_loss(curves.numpy(), cosines.numpy(), within.numpy(), 10.0), abs=1e-6
    )
    told = [
        bool(frames[curve[int(best)].argmax()])
        for curve, best, frames in zip(curves, cosines.argmax(dim=1), within, strict=True)
    ]
    assert measured["event_time"].item() == pytest.approx(np.mean(told))


def test_is_nothing_where_all_attention_is_in_time() -> None:
    curves, within = torch.zeros(1, 2, 4), torch.tensor([[False, True, True, False]])
    curves[0, :, 1] = 1.0
    loss, measured = event_time_loss(curves, torch.ones(1, 2), within, SCALE)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert measured == {"event_time": 1.0}


def test_stays_finite_where_no_attention_is_in_time() -> None:
    curves = torch.tensor([[[1.0, 0.0]]], requires_grad=True)
    loss, measured = event_time_loss(curves, torch.ones(1, 1), torch.tensor([[False, True]]), SCALE)
    loss.backward()
    assert loss.isfinite() and curves.grad is not None and curves.grad.isfinite().all()
    assert measured == {"event_time": 0.0}


def test_chooses_the_event_and_leaves_the_temperature() -> None:
    """One of two events attends in time: descending raises its cosine, and the temperature has no gradient."""
    curves = torch.tensor([[[0.9, 0.1], [0.1, 0.9]]])
    cosines, scale = torch.zeros(1, 2, requires_grad=True), torch.tensor(10.0, requires_grad=True)
    event_time_loss(curves, cosines, torch.tensor([[False, True]]), scale)[0].backward()
    assert cosines.grad is not None and cosines.grad[0, 1] < 0 < cosines.grad[0, 0]
    assert scale.grad is None


def test_counts_beside_the_loss_of_the_batch_and_reaches_both_decoders(make_model, reached) -> None:
    model = make_model("prost").eval()
    batch = next(iter(DrawnClips(range(1), batch_size=8, size=32, frames=3, mix=MIX, seed=0)))
    assert batch.regions is not None and 0 < batch.regions.event.sum() < len(batch.regions.event)
    once, twice = (
        Objective(model, "fp32", ALONE, grounding=0.0, event_time=weight, order=0.0).encode(batch)
        for weight in (1.0, 2.0)
    )
    assert once.own_loss is not None and twice.own_loss is not None
    assert twice.own_loss.item() == pytest.approx(2 * once.own_loss.item(), rel=1e-5)
    assert 0 <= once.measured["event_time"] <= 1
    once.own_loss.backward()
    names = reached(model)
    for part in ("event_decoder", "frame_decoder", "vision", "text"):
        assert any(part in name for name in names), part
    assert not any("logit_scale" in name for name in names)


def test_events_are_within_their_frames() -> None:
    """Regions of events lie in several frames or one, those of things in exactly one."""
    batch = next(iter(DrawnClips(range(1), batch_size=8, size=32, frames=12, mix=MIX, seed=1)))
    regions = batch.regions
    assert regions is not None
    frames = regions.boxes.any(axis=2).sum(axis=1)
    assert (frames >= 1).all() and (frames[~regions.event] == 1).all() and frames[regions.event].max() > 2
    part = batch[2:5].regions
    assert part is not None
    np.testing.assert_array_equal(part.event, regions.event[(regions.video >= 2) & (regions.video < 5)])


def test_a_model_without_events_has_no_such_loss(make_model) -> None:
    batch = next(iter(DrawnClips(range(1), batch_size=8, size=32, frames=3, mix=MIX, seed=0)))
    encoded = Objective(make_model("ts2net"), "fp32", ALONE, grounding=0.5, event_time=1.0, order=0.0).encode(
        batch
    )
    assert "event_time" not in encoded.measured and "grounded" in encoded.measured


def test_time_can_be_learned() -> None:
    """The frame that differs is where it happens: the events learn to attend to it."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    decoder = EventDecoder(2, 16, 1, 0.0)
    kind = torch.randn(16, generator=generator)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    measured = {}
    for _ in range(80):
        frames = 0.3 * torch.randn(16, 6, 16, generator=generator)
        at = torch.randint(6, (16,), generator=generator)
        frames[torch.arange(16), at] += kind
        events, curves = decoder(frames, frames)
        within = torch.nn.functional.one_hot(at, 6).bool()
        loss, measured = event_time_loss(curves, events @ kind, within, SCALE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert measured["event_time"] == 1.0
