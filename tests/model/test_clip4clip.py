"""CLIP4Clip against its formula in float64."""

from typing import Any

import numpy as np
import pytest
import torch

from prost.errors import BadConfig, UsageError
from prost.model.clip4clip import CLIP4Clip, CLIP4ClipConfig
from prost.model.retrieval_model import FrameFeatures, SentenceFeatures


def build(values: dict[str, Any]) -> CLIP4Clip:
    torch.manual_seed(0)
    return CLIP4Clip(CLIP4ClipConfig.parse(values)).eval()


def test_match_as_loops_do(tiny: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    sentence, frame = rng.standard_normal((4, 64)), rng.standard_normal((5, 3, 64))
    expected = np.zeros((4, 5))
    for a, b in np.ndindex(4, 5):
        mean = sum(one / np.linalg.norm(one) for one in frame[b]) / 3
        expected[a, b] = sentence[a] @ mean / np.linalg.norm(sentence[a]) / np.linalg.norm(mean)
    text, video = SentenceFeatures(torch.from_numpy(sentence)), FrameFeatures(torch.from_numpy(frame))
    similarity = build(tiny).match(text, video)
    np.testing.assert_allclose(similarity.total.numpy(), expected, atol=1e-12)
    assert similarity.object_phrase is None
    assert similarity.event_sentence is None


@torch.no_grad()
def test_mean_pooling_keeps_the_class_tokens(tiny: dict[str, Any]) -> None:
    model, pixels = build(tiny), torch.randn(2, 3, 3, 32, 32)
    torch.testing.assert_close(model.video_prototypes(pixels).frame, model.clip.frame_tokens(pixels)[:, :, 0])


@torch.no_grad()
def test_the_lstm_as_its_gates_do(tiny: dict[str, Any]) -> None:
    model, pixels = build({**tiny, "temporal": "seqLSTM"}).double(), torch.randn(2, 3, 3, 32, 32).double()
    tokens, lstm = model.clip.frame_tokens(pixels)[:, :, 0], model.lstm
    hidden = cell = torch.zeros(2, 64, dtype=torch.float64)
    expected = []
    for frame in range(3):
        gates = (
            tokens[:, frame] @ lstm.weight_ih_l0.T
            + lstm.bias_ih_l0
            + hidden @ lstm.weight_hh_l0.T
            + lstm.bias_hh_l0
        )
        enter, forget, new, leave = gates.chunk(4, dim=1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        expected.append(tokens[:, frame] + hidden)
    torch.testing.assert_close(model.video_prototypes(pixels).frame, torch.stack(expected, dim=1))


@torch.no_grad()
@pytest.mark.parametrize(("temporal", "blind"), [("meanP", True), ("seqTransf", False), ("seqLSTM", False)])
def test_only_a_sequence_sees_order(tiny: dict[str, Any], temporal: str, blind: bool) -> None:
    model, pixels = build({**tiny, "temporal": temporal}), torch.randn(1, 3, 3, 32, 32)
    text = SentenceFeatures(torch.randn(6, 64))
    forward, backward = (
        model.match(text, model.video_prototypes(clip)).total for clip in (pixels, pixels.flip(1))
    )
    assert torch.allclose(forward, backward, atol=1e-6) == blind


@pytest.mark.parametrize("temporal", ["meanP", "seqTransf", "seqLSTM"])
def test_every_weight_learns(tiny: dict[str, Any], temporal: str) -> None:
    model = build({**tiny, "temporal": temporal}).train()
    ids, mask = torch.randint(1, 12, (2, 8)), torch.ones(2, 8, dtype=torch.long)
    similarity = model.match(*model(ids, mask, torch.randn(2, 3, 3, 32, 32)))
    (model.logit_scale * similarity.total).softmax(dim=1)[0, 0].backward()
    still = [
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert [name for name in still if not name.endswith("k_proj.bias")] == []  # a key's bias moves no softmax


def test_wrong_shapes_are_refused(tiny: dict[str, Any]) -> None:
    model = build(tiny)
    with pytest.raises(UsageError, match=r"\[B, 3, 3, 32, 32\]"):
        model.video_prototypes(torch.zeros(1, 4, 3, 32, 32))
    with pytest.raises(UsageError, match="at most 16"):
        model.text_prototypes(torch.zeros(1, 17).long(), torch.ones(1, 17).long())
    with pytest.raises(UsageError, match="one shape"):
        model.text_prototypes(torch.zeros(1, 8).long(), torch.ones(1, 7).long())
    with pytest.raises(UsageError, match="one model"):
        model.match(SentenceFeatures(torch.zeros(1, 8)), FrameFeatures(torch.zeros(1, 3, 64)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temporal": "seqTransf", "positions": 2}, "frames 3 exceed the 2 positions"),
        ({"temporal": "seqTransf", "width": 40}, "multiple of 64"),
        ({"temporal": "tightTransf"}, "seqLSTM"),
        ({"temporal_layer": 2}, "temporal_layers"),
        ({"max_words": 17}, "16 text positions"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(
    tiny: dict[str, Any], wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadConfig, match=said):
        CLIP4ClipConfig.parse({**tiny, **wrong})
