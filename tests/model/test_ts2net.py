"""TS2-Net against its formula in float64."""

from typing import Any

import numpy as np
import pytest
import torch

from prost.errors import BadConfig, UsageError
from prost.model import ts2net
from prost.model.retrieval_model import FrameFeatures, SentenceFeatures
from prost.model.ts2net import TS2Net, TS2NetConfig


@pytest.fixture
def model(tiny: dict[str, Any]) -> TS2Net:
    torch.manual_seed(0)
    quirks = {
        "token_shift_blocks": [1],
        "token_shift_divisions": 5,
        "selected_tokens": 2,
        "selection_samples": 20,
    }
    return TS2Net(TS2NetConfig.parse({**tiny, **quirks, "temporal_layers": 1})).eval()


def match_by_loops(sentence: np.ndarray, frame: np.ndarray) -> np.ndarray:
    scores = np.zeros((len(sentence), len(frame)))
    for a, b in np.ndindex(scores.shape):
        cosines = np.array(
            [sentence[a] @ one / np.linalg.norm(sentence[a]) / np.linalg.norm(one) for one in frame[b]]
        )
        weights = np.exp(4 * cosines / np.linalg.norm(cosines))
        scores[a, b] = (weights / weights.sum()) @ cosines
    return scores


def test_match_as_loops_do(model: TS2Net, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    sentence, frame = rng.standard_normal((7, 64)), rng.standard_normal((5, 3, 64))
    text, video = SentenceFeatures(torch.from_numpy(sentence)), FrameFeatures(torch.from_numpy(frame))
    similarity = model.match(text, video)
    np.testing.assert_allclose(similarity.total.numpy(), match_by_loops(sentence, frame), atol=1e-12)
    assert similarity.object_phrase is None
    assert similarity.event_sentence is None
    monkeypatch.setattr(ts2net, "COSINES_AT_ONCE", 2 * 5 * 3)  # two texts at a time
    torch.testing.assert_close(model.match(text, video).total, similarity.total)


def test_frames_that_are_all_orthogonal_score_zero(model: TS2Net) -> None:
    text = SentenceFeatures(torch.eye(64)[:1])
    total = model.match(text, FrameFeatures(torch.eye(64)[None, 1:4])).total
    assert total.tolist() == [[0.0]]


@torch.no_grad()
def test_a_video_is_its_class_tokens_after_the_transformer_saw_the_selected_ones(model: TS2Net) -> None:
    pixels = torch.randn(2, 3, 3, 32, 32)
    selected = model.selector(model.clip.frame_tokens(pixels))
    seen = model.transformer(selected.reshape(2, 9, 64))
    torch.testing.assert_close(model.video_prototypes(pixels).frame, seen[:, [0, 3, 6]])


@torch.no_grad()
def test_eval_is_deterministic_and_training_is_not(model: TS2Net) -> None:
    pixels = torch.randn(1, 3, 3, 32, 32)
    assert torch.equal(model.video_prototypes(pixels).frame, model.video_prototypes(pixels).frame)
    model.train()
    torch.manual_seed(0)
    one = model.video_prototypes(pixels).frame
    assert not torch.equal(one, model.video_prototypes(pixels).frame)
    torch.manual_seed(0)
    assert torch.equal(one, model.video_prototypes(pixels).frame)


def test_every_weight_learns(model: TS2Net) -> None:
    model.train()
    ids, mask = torch.randint(1, 12, (2, 8)), torch.ones(2, 8, dtype=torch.long)
    similarity = model.match(*model(ids, mask, torch.randn(2, 3, 3, 32, 32)))
    (model.logit_scale * similarity.total).softmax(dim=1)[0, 0].backward()
    still = [
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert [name for name in still if not name.endswith("k_proj.bias")] == []  # a key's bias moves no softmax


def test_wrong_shapes_are_refused(model: TS2Net) -> None:
    with pytest.raises(UsageError, match=r"\[B, 3, 3, 32, 32\]"):
        model.video_prototypes(torch.zeros(1, 2, 3, 32, 32))
    with pytest.raises(UsageError, match="one model"):
        model.match(SentenceFeatures(torch.zeros(1, 8)), FrameFeatures(torch.zeros(1, 3, 64)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"positions": 8}, "12 tokens of 3 frames exceed the 8 positions"),
        ({"selected_tokens": 5}, "5 of 4 patches"),
        ({"token_shift_blocks": [2]}, "exceed the 2 vision layers"),
        ({"token_shift_divisions": 6}, "6 exceed the 5 tokens"),
        ({"width": 40}, "multiple of 64"),
        ({"selection_sample": 9}, "selection_samples"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(
    tiny: dict[str, Any], wrong: dict[str, Any], said: str
) -> None:
    fits = {"token_shift_blocks": [1], "token_shift_divisions": 5}
    TS2NetConfig.parse({**tiny, **fits})
    with pytest.raises(BadConfig, match=said):
        TS2NetConfig.parse({**tiny, **fits, **wrong})
