"""The joint scorer: its fits against loops, and what belongs to a model that has one."""

from __future__ import annotations

import pytest
import torch
from tests.model.plain import cosine

from prost.config import JointScorerConfig, ModelConfig
from prost.errors import BadConfig, UsageError
from prost.model.checkpoint import load_prost, save
from prost.model.joint_scorer import Fits, JointScorer, fits_of
from prost.model.matching import TextPrototypes, VideoPrototypes, match
from prost.model.prost import ProST

SENTENCES, VIDEOS, FRAMES, SLOTS, PHRASES, EVENTS, WIDTH = 3, 60, 2, 4, 5, 3, 8
CONFIG = ModelConfig.parse(
    {
        "clip": {
            "image_size": 32,
            "patch_size": 16,
            "vision_width": 64,
            "vision_layers": 2,
            "text_width": 64,
            "text_layers": 1,
            "vocabulary": 10,
        },
        "width": WIDTH,
        "frames": FRAMES,
        "max_words": 4,
        "object_prototypes": SLOTS,
        "phrase_prototypes": PHRASES,
        "event_prototypes": EVENTS,
        "token_shift_blocks": [],
        "joint_scorer": {"width": 24, "layers": 1},
    }
)


def prototypes(seed: int = 0) -> tuple[TextPrototypes, VideoPrototypes]:
    torch.manual_seed(seed)
    text = TextPrototypes(torch.randn(SENTENCES, PHRASES, WIDTH), torch.randn(SENTENCES, WIDTH))
    return text, VideoPrototypes(
        torch.randn(VIDEOS, FRAMES, SLOTS, WIDTH), torch.randn(VIDEOS, EVENTS, WIDTH)
    )


def trained(config: ModelConfig = CONFIG, seed: int = 0) -> JointScorer:
    """A scorer whose last layer is not zero."""
    torch.manual_seed(seed)
    scorer = JointScorer(config).eval()
    for weight in scorer.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return scorer


def test_fits_are_the_largest_cosines_of_each_phrase_in_each_frame() -> None:
    text, video = prototypes()
    score = match(text, video, 1.5).total
    fits = fits_of(text, video, score)
    for query, clip in ((0, 0), (2, 59), (1, 51)):
        for phrase in range(PHRASES):
            for frame in range(FRAMES):
                cosines = [
                    cosine(text.phrase[query, phrase].numpy(), video.object[clip, frame, slot].numpy())
                    for slot in range(SLOTS)
                ]
                assert float(fits.phrase[query, clip, phrase, frame]) == pytest.approx(max(cosines), abs=1e-5)
        for event in range(EVENTS):
            expected = cosine(text.sentence[query].numpy(), video.event[clip, event].numpy())
            assert float(fits.event[query, clip, event]) == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(fits.score, score)


def test_fits_of_several_lots_are_those_of_each() -> None:
    text, video = prototypes()
    score = match(text, video, 1.5).total
    every = fits_of(text, video, score)
    joined = Fits.joined(
        [fits_of(text[row : row + 1], video, score[row : row + 1]) for row in range(SENTENCES)]
    )
    for one, other in zip(every.tensors(), joined.tensors(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_new_scorer_keeps_the_order_of_the_score() -> None:
    text, video = prototypes()
    model = ProST(CONFIG).eval()
    torch.testing.assert_close(model.joint_logits(text, video), model.match(text, video).total)


def test_a_candidate_is_judged_by_itself() -> None:
    text, video = prototypes()
    model = ProST(CONFIG).eval()
    model.joint_scorer = trained()
    every = model.joint_logits(text, video)
    one = model.joint_logits(text[1:2], video[torch.tensor([17])])
    torch.testing.assert_close(every[1:2, 17:18], one)
    assert not torch.allclose(every, model.match(text, video).total, atol=0.1)


def test_lengths_of_prototypes_do_not_matter() -> None:
    text, video = prototypes()
    scorer = trained()
    longer = TextPrototypes(3 * text.phrase, 5 * text.sentence)
    scaled = VideoPrototypes(2 * video.object, 0.1 * video.event)
    torch.testing.assert_close(
        scorer(fits_of(text, video, match(text, video, 1.5).total), text),
        scorer(fits_of(longer, scaled, match(longer, scaled, 1.5).total), longer),
    )


def test_a_model_keeps_its_scorer_on_disk_and_its_fingerprint(tmp_path) -> None:
    torch.manual_seed(1)
    without = ProST(CONFIG.model_copy(update={"joint_scorer": None})).eval()
    model = ProST(CONFIG).eval()
    model.load_state_dict(without.state_dict(), strict=False)
    model.joint_scorer = trained()
    save(model, tmp_path / "model")
    loaded = load_prost(tmp_path / "model", "cpu")
    text, video = prototypes()
    torch.testing.assert_close(loaded.joint_logits(text, video), model.joint_logits(text, video))
    assert (
        loaded.joint_scorer is not None and loaded.joint_scorer.fingerprint == model.joint_scorer.fingerprint
    )
    # Its prototypes are those of the model without: a library of the one is searched with the other.
    assert loaded.fingerprint == without.fingerprint
    assert trained(seed=2).fingerprint != model.joint_scorer.fingerprint


def test_with_another_weight_of_the_score_the_scorer_is_left_out(tmp_path) -> None:
    model = ProST(CONFIG).eval()
    save(model, tmp_path / "model")
    assert load_prost(tmp_path / "model", "cpu", object_phrase_weight=1.5).joint_scorer is not None
    other = load_prost(tmp_path / "model", "cpu", object_phrase_weight=1.0)
    assert other.joint_scorer is None and other.config.joint_scorer is None
    assert other.fingerprint == model.fingerprint


def test_a_model_without_a_scorer_says_so() -> None:
    text, video = prototypes()
    with pytest.raises(UsageError, match="'prost' has no joint scorer"):
        ProST(CONFIG.model_copy(update={"joint_scorer": None})).joint_logits(text, video)


@pytest.mark.parametrize("width", [0, 25, 10**9])
def test_a_width_that_its_heads_do_not_divide_is_refused(width: int) -> None:
    with pytest.raises(BadConfig, match="width"):
        JointScorerConfig.parse({"width": width})
