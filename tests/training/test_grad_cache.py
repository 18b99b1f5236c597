"""Cached contrastive batches: the gradient is the plain one, draws of dropout and of token selection included."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from prost.model.encoding import join
from prost.model.retrieval_model import RetrievalModel
from prost.training.grad_cache import ContrastiveStep, Encoded, RandomState
from prost.training.loss import retrieval_loss

MakeModel = Callable[..., RetrievalModel[Any, Any]]
CPU = torch.device("cpu")
WORDS = ["a red ball falls", "a cat grows", "a blue fish spins", "a house blinks", "a boat moves left"]


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(5, 3, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def step_of(model: RetrievalModel[Any, Any], pixels: Tensor, own: bool = False) -> ContrastiveStep[range]:
    ids, mask = model.tokenize(WORDS)

    def encode(part: range) -> Encoded:
        rows = slice(part.start, part.stop)
        tokens = model.frame_tokens(pixels[rows])
        text, video = model.text_prototypes(ids[rows], mask[rows]), model.video_head(tokens)
        if not own:
            return Encoded(text, video)
        return Encoded(text, video, tokens.square().mean(), {"size": tokens.square().mean().detach()})

    def loss_of(text: Any, video: Any) -> tuple[Tensor, dict[str, float]]:
        return retrieval_loss(model.match(text, video), model.logit_scale), {"texts": float(len(text))}

    return ContrastiveStep(encode, loss_of, CPU)


def gradients(model: RetrievalModel[Any, Any]) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("kind", ["prost", "seqTransf", "seqLSTM"])
def test_parts_have_the_gradient_of_the_whole(make_model: MakeModel, pixels: Tensor, kind: str) -> None:
    model = make_model(kind, **({"dropout": 0.0} if kind == "prost" else {})).train()
    step = step_of(model, pixels)
    whole_loss, whole_measured, *_ = step.backward([range(5)])
    whole = gradients(model)
    model.zero_grad()
    loss, measured, text, video = step.backward([range(0, 2), range(2, 4), range(4, 5)])
    assert loss.item() == pytest.approx(whole_loss.item(), rel=1e-5)
    assert measured == whole_measured == {"texts": 5.0}
    assert "clip.towers.logit_scale" in whole and whole["clip.towers.logit_scale"].abs() > 0
    assert_same(gradients(model), whole)
    assert len(text) == len(video) == 5 and not any(
        t.requires_grad for t in (*text.tensors(), *video.tensors())
    )


@pytest.mark.parametrize("kind", ["prost", "ts2net"])
def test_dropout_and_perturbations_are_drawn_again(make_model: MakeModel, pixels: Tensor, kind: str) -> None:
    """Against encoding the same parts with their graphs, which needs the memory of the whole."""
    model = make_model(kind, **({"dropout": 0.4} if kind == "prost" else {})).train()
    step = step_of(model, pixels)
    parts = [range(0, 3), range(3, 5)]
    torch.manual_seed(5)
    encoded = [step.encode(part) for part in parts]
    loss, _ = step.loss_of(*(join([each[kind] for each in encoded]) for kind in (0, 1)))
    loss.backward()
    expected = gradients(model)
    after = torch.rand(3)
    model.zero_grad()
    torch.manual_seed(5)
    cached, *_ = step.backward(parts)
    assert cached.item() == pytest.approx(loss.item(), rel=1e-6)
    assert_same(gradients(model), expected)
    assert torch.equal(torch.rand(3), after)  # what is drawn next is what would have been drawn


def test_what_a_part_knows_by_itself_counts_by_its_size(make_model: MakeModel, pixels: Tensor) -> None:
    """A mean over rows is the same whether the batch is cut or not."""
    model = make_model("prost", dropout=0.0).train()
    step = step_of(model, pixels, own=True)
    whole_loss, whole_measured, *_ = step.backward([range(5)])
    whole = gradients(model)
    model.zero_grad()
    loss, measured, *_ = step.backward([range(0, 4), range(4, 5)])
    assert loss.item() == pytest.approx(whole_loss.item(), rel=1e-5)
    assert measured.keys() == whole_measured.keys() == {"size", "texts"}
    for name, value in whole_measured.items():
        assert float(measured[name]) == pytest.approx(float(value), rel=1e-5)
    assert_same(gradients(model), whole)


def test_another_dropout_is_another_gradient(make_model: MakeModel, pixels: Tensor) -> None:
    model = make_model("prost", dropout=0.4).train()
    step = step_of(model, pixels)
    drawn = []
    for seed in (5, 6):
        model.zero_grad()
        torch.manual_seed(seed)
        step.backward([range(0, 3), range(3, 5)])
        drawn.append(gradients(model)["event_decoder.queries"])
    assert not torch.allclose(drawn[0], drawn[1], rtol=1e-2)


def test_a_random_state_is_restored() -> None:
    state = RandomState.now(CPU)
    drawn = torch.rand(4)
    torch.rand(2)
    state.restore(CPU)
    assert torch.equal(torch.rand(4), drawn)
