"""Each of two twins keeps its sentence from the other: the loss on worked numbers, and its way through a batch."""

import math

import numpy as np
import pytest
import torch

from prost.data.toybox_clips import ClipMix, DrawnClips
from prost.model.temporal import EventDecoder, FrameDecoder
from prost.training.distributed import Processes
from prost.training.loss import contrastive_loss
from prost.training.objectives import Objective
from prost.training.order import order_loss, paired_scores, twin_pairs

ALONE = Processes(0, 1, torch.device("cpu"))
SCALE = torch.tensor(10.0)


def plain_order_loss(scores: np.ndarray, scale: float) -> float:
    """Written with loops, in float64."""
    terms = []
    for pair in scores.astype(np.float64):
        for own in (0, 1):
            for wrong in (pair[own, 1 - own], pair[1 - own, own]):
                terms.append(math.log1p(math.exp(-scale * (pair[own, own] - wrong))))
    return sum(terms) / len(terms)


def test_is_the_mean_over_both_wrong_answers() -> None:
    scores = torch.tensor([[[0.9, 0.2], [0.1, 0.6]], [[0.3, 0.5], [0.4, 0.3]]])
    loss, measured = order_loss(scores, SCALE)
    assert loss.item() == pytest.approx(plain_order_loss(scores.numpy(), 10.0), abs=1e-6)
    assert measured == {"order": 0.5}


def test_grows_where_twins_are_mistaken() -> None:
    right = torch.tensor([[[0.8, 0.2], [0.2, 0.8]]])
    assert (
        order_loss(right, SCALE)[0]
        < order_loss(torch.zeros(1, 2, 2), SCALE)[0]
        < order_loss(-right, SCALE)[0]
    )


def test_pairs_are_taken_from_the_diagonal() -> None:
    scores = torch.randn(6, 6)
    expected = torch.stack([scores[:2, :2], scores[2:4, 2:4], scores[4:, 4:]])
    torch.testing.assert_close(paired_scores(scores), expected)


def test_twin_pairs_are_the_two_wrong_answers_of_each_pair() -> None:
    found = twin_pairs(6, np.array([1, 2, 4, 5]), ALONE)
    expected = {(1, 2), (2, 1), (4, 5), (5, 4)}
    assert {(text, video) for text, video in found.nonzero().tolist()} == expected
    assert not twin_pairs(6, np.empty(0, np.int64), ALONE).any()


@pytest.mark.parametrize("kind", ["prost", "ts2net"])
def test_counts_beside_the_loss_of_the_batch_and_reaches_the_heads(make_model, reached, kind: str) -> None:
    model = make_model(kind)
    mix = ClipMix(moments=0.25, twins=0.5, long=0.0)
    batch = next(iter(DrawnClips(range(1), batch_size=8, size=32, frames=3, mix=mix, seed=0)))
    assert batch.twins.tolist() == [2, 3, 4, 5]
    without = Objective(model, "fp32", ALONE, grounding=0.0, event_time=0.0, order=0.0).encode(batch)
    assert without.own_loss is None
    once, twice = (
        Objective(model.eval(), "fp32", ALONE, grounding=0.0, event_time=0.0, order=weight).encode(batch)
        for weight in (1.0, 2.0)
    )
    assert once.own_loss is not None and twice.own_loss is not None
    assert twice.own_loss.item() == pytest.approx(2 * once.own_loss.item(), rel=1e-5)
    assert 0 <= once.measured["order"] <= 1
    once.own_loss.backward()
    names = reached(model)
    assert any("text" in name for name in names) and any("vision" in name for name in names)


@pytest.mark.slow
def test_order_can_be_learned_where_objects_are_the_same() -> None:
    """Two videos of the same frames in another order, two sentences: the decoders learn which is whose."""
    torch.manual_seed(0)
    frames = torch.nn.functional.normalize(torch.randn(1, 4, 3, 16), dim=-1)
    videos = torch.cat([frames, frames.flip(1)])  # [2, L, N_o, D]
    frame_decoder, event_decoder = FrameDecoder(4, 3, 16, 1, 0.25, 0.0), EventDecoder(2, 16, 2, 0.0)
    sentences = torch.nn.Parameter(torch.randn(2, 16))
    parameters = [sentences, *frame_decoder.parameters(), *event_decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    measured = {}
    for _ in range(150):
        events, _ = event_decoder(frame_decoder(videos), videos[:, :, 0])
        cosines = torch.einsum(
            "td,ved->tve",
            torch.nn.functional.normalize(sentences, dim=-1),
            torch.nn.functional.normalize(events, dim=-1),
        ).amax(dim=2)
        loss, measured = order_loss(paired_scores(cosines), SCALE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert measured == {"order": 1.0}
    assert loss.item() < 0.3


def test_objects_of_twins_are_not_driven_apart(make_model) -> None:
    """The loss of the batch does not change with the object-phrase scores of twins; other pairs count."""
    model = make_model("prost").eval()
    mix = ClipMix(moments=0.25, twins=0.5, long=0.0)
    batch = next(iter(DrawnClips(range(1), batch_size=8, size=32, frames=3, mix=mix, seed=0)))
    objective = Objective(model, "fp32", ALONE, grounding=0.0, event_time=0.0, order=0.0)
    with torch.no_grad():
        encoded = objective.encode(batch)
        loss, _ = objective.loss_of(encoded.text, encoded.video, batch.twins)
        scores = model.match(encoded.text, encoded.video)
    ignored = torch.zeros(8, 8, dtype=torch.bool)
    for first, second in batch.twins.reshape(-1, 2):
        ignored[first, second] = ignored[second, first] = True
    assert ignored.sum() == 4
    assert scores.object_phrase is not None and scores.event_sentence is not None
    expected = 0.5 * (
        contrastive_loss(scores.event_sentence, model.logit_scale)
        + contrastive_loss(scores.object_phrase, model.logit_scale, ignored)
    )
    torch.testing.assert_close(loss, expected.detach())
