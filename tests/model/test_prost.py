"""The whole model: parity with the authors' code, and every choice of the configuration read."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.golden_reference import Golden, load_golden
from torch import Tensor

from prost.config import ModelConfig
from prost.errors import EmptyQuery, NeedsTokenizer, UsageError
from prost.model import authors
from prost.model.prost import ProST
from prost.model.tokenizer import whole_words

NAMES = ["prost_github_b32", "prost_github_window", "prost_modelscope_b16"]
TOLERANCE = 1e-4


def build(golden: Golden) -> ProST:
    state = golden.draw_weights()
    model = ProST(ModelConfig.parse(authors.read_configuration(state)))
    model.load_state_dict(authors.translate(state)[0])
    return model.eval()


@pytest.fixture(scope="module", params=NAMES)
def outputs(request: pytest.FixtureRequest) -> tuple[Golden, dict[str, Tensor]]:
    golden = load_golden(request.param)
    model = build(golden)
    with torch.inference_mode():
        text = model.text_prototypes(golden.ids, golden.mask)
        video = model.video_prototypes(golden.draw_video())
        similarity = model.match(text, video)
    assert similarity.event_sentence is not None and similarity.object_phrase is not None
    return golden, {
        "phrase": text.phrase,
        "sentence": text.sentence,
        "object": video.object,
        "event": video.event,
        "es": similarity.event_sentence,
        "op": similarity.object_phrase,
    }


@pytest.mark.parametrize("output", ["phrase", "sentence", "object", "event", "es", "op"])
def test_parity_with_the_authors_code(outputs: tuple[Golden, dict[str, Tensor]], output: str) -> None:
    golden, ours = outputs
    difference = np.abs(ours[output].numpy() - golden[output]).max()
    assert difference < TOLERANCE, f"{golden.name}: {output} differs by {difference:.2e}"


def test_dead_prototypes_are_exactly_zero(outputs: tuple[Golden, dict[str, Tensor]]) -> None:
    golden, ours = outputs
    dead = 0
    for kind in ("phrase", "object"):
        zero = (golden[kind] == 0).all(axis=-1)
        assert (ours[kind].numpy()[zero] == 0).all()
        dead += int(zero.sum())
    assert dead > 0


def tiny_model(tiny: dict[str, Any], **changes: Any) -> ProST:
    torch.manual_seed(0)
    return ProST(
        ModelConfig.parse({**tiny, "token_shift_blocks": [], "token_shift_divisions": 5, **changes})
    ).eval()


def video_of(model: ProST) -> Tensor:
    size = model.config.image_size
    return torch.randn(2, model.config.frames, 3, size, size, generator=torch.Generator().manual_seed(1))


IDS = torch.tensor([[1, 5, 4, 7, 2, 0, 0, 0], [1, 3, 2, 0, 0, 0, 0, 0]])
MASK = (IDS != 0).long()


@pytest.mark.parametrize(
    ("changes", "object", "event"),
    [
        ({}, (2, 3, 12, 64), (2, 3, 64)),
        ({"object_prototypes": 5}, (2, 3, 5, 64), (2, 3, 64)),
        ({"event_prototypes": 2}, (2, 3, 12, 64), (2, 2, 64)),
        ({"frames": 4}, (2, 4, 12, 64), (2, 3, 64)),
        ({"width": 32}, (2, 3, 12, 32), (2, 3, 32)),
    ],
)
def test_shapes_follow_the_configuration(
    tiny: dict[str, Any], changes: dict[str, Any], object: tuple[int, ...], event: tuple[int, ...]
) -> None:
    model = tiny_model(tiny, **changes)
    video = model.video_prototypes(video_of(model))
    assert (tuple(video.object.shape), tuple(video.event.shape)) == (object, event)
    assert video.event_attention is not None
    torch.testing.assert_close(video.event_attention.sum(-1), torch.ones(video.event.shape[:2]))


@pytest.mark.parametrize(
    "changes",
    [
        {"window": 0.9},
        {"frame_layers": 1},
        {"event_layers": 1},
        {"token_shift_blocks": [1]},
        {"token_shift_blocks": [0, 1]},
        {"sparse_weights": "relu"},
    ],
)
def test_every_video_choice_changes_the_events(tiny: dict[str, Any], changes: dict[str, Any]) -> None:
    # The same random weights wherever both have them, so that only the choice differs.
    plain, changed = tiny_model(tiny), tiny_model(tiny, **changes)
    changed.load_state_dict(plain.state_dict(), strict=False)
    pixels = video_of(plain)
    assert not torch.allclose(
        plain.video_prototypes(pixels).event, changed.video_prototypes(pixels).event, atol=1e-4
    )


def test_divisions_of_the_token_shift_are_read(tiny: dict[str, Any]) -> None:
    few, many = (tiny_model(tiny, token_shift_blocks=[1], token_shift_divisions=d) for d in (1, 5))
    pixels = video_of(few)
    assert not torch.allclose(
        few.video_prototypes(pixels).event, many.video_prototypes(pixels).event, atol=1e-4
    )


def test_padding_of_the_text_matters_only_where_it_is_not_masked(tiny: dict[str, Any]) -> None:
    for masked in (True, False):
        model = tiny_model(tiny, mask_padding=masked)
        longer = torch.cat([IDS, torch.zeros(2, 4, dtype=torch.long)], dim=1)
        short, long = model.text_prototypes(IDS, MASK), model.text_prototypes(longer, (longer != 0).long())
        torch.testing.assert_close(short.sentence, long.sentence)
        assert torch.allclose(short.phrase, long.phrase, atol=1e-5) is masked


def test_the_weight_of_the_scores_is_read(tiny: dict[str, Any]) -> None:
    model = tiny_model(tiny, object_phrase_weight=0.25)
    similarity = model.match(model.text_prototypes(IDS, MASK), model.video_prototypes(video_of(model)))
    assert similarity.object_phrase is not None and similarity.event_sentence is not None
    torch.testing.assert_close(similarity.total, similarity.event_sentence + 0.25 * similarity.object_phrase)


def test_dropout_is_read_in_training(tiny: dict[str, Any]) -> None:
    for dropout, same in ((0.0, True), (0.5, False)):
        model = tiny_model(tiny, dropout=dropout).train()
        pixels = video_of(model)
        first, second = model.video_prototypes(pixels).event, model.video_prototypes(pixels).event
        assert torch.equal(first, second) is same


def test_activation_checkpointing_gives_the_same_gradients(tiny: dict[str, Any]) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model(tiny, dropout=0.0).train()
        model.clip.activation_checkpointing = checkpointing
        model.video_prototypes(video_of(model)).event.square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_pixels_are_normalised_channel_by_channel(tiny: dict[str, Any]) -> None:
    model = tiny_model(tiny, image_mean=[0.5, 0.0, 0.25], image_std=[0.5, 1.0, 2.0])
    frame = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    frame[..., 0] = 255
    pixels = model.normalise_pixels(frame)
    assert pixels.shape == (1, 3, 2, 2)
    torch.testing.assert_close(pixels[0, :, 0, 0], torch.tensor([1.0, 0.0, -0.125]))


def test_a_fingerprint_is_what_makes_the_prototypes(tiny: dict[str, Any]) -> None:
    model = tiny_model(tiny)
    for changed in ({"name": "renamed"}, {"object_phrase_weight": 1.0}, {"dropout": 0.0}):
        assert tiny_model(tiny, **changed).fingerprint == model.fingerprint
    others = [
        tiny_model(tiny, **changed)
        for changed in (
            {"max_words": 7},
            {"window": 0.5},
            {"mask_padding": False},
            {"token_shift_divisions": 4},
            {"image_mean": [0.5, 0.5, 0.5]},
            {"image_std": [0.5, 0.5, 0.5]},
        )
    ]
    others.append(tiny_model(tiny))
    with torch.no_grad():
        others[-1].event_decoder.queries[0, 0] += 1e-3
    others.append(tiny_model(tiny))
    others[-1].tokenizer = whole_words(["a", "ball"])
    others.append(tiny_model(tiny))
    others[-1].tokenizer = whole_words(["a", "boat"])
    assert len({each.fingerprint for each in (model, *others)}) == len(others) + 1


def fixed_model(tiny: dict[str, Any], **changed: Any) -> ProST:
    """A model whose weights do not depend on torch's random numbers."""
    model = tiny_model(tiny, **changed)
    with torch.no_grad():
        for number, (_, tensor) in enumerate(sorted(model.state_dict().items()), start=1):
            tensor.copy_((torch.arange(tensor.numel()) % (number + 7) / 8).view(tensor.shape))
    return model


def test_what_earlier_versions_called_a_model(tiny: dict[str, Any]) -> None:
    # Written by the earlier rule for the model "holiday", whose folder is called "renamed" by now.
    earlier = "54cb4bcf19db6c77396b89f0"
    assert earlier in fixed_model(tiny, name="holiday").former_fingerprints("holiday")
    assert earlier in fixed_model(tiny, name="renamed").former_fingerprints("holiday")
    assert earlier in fixed_model(
        tiny, name="renamed", dropout=0.3, object_phrase_weight=1.0
    ).former_fingerprints("holiday")
    assert earlier not in fixed_model(tiny, name="renamed").former_fingerprints("another")
    assert earlier not in fixed_model(tiny, name="holiday", window=0.3).former_fingerprints("holiday")
    assert earlier not in tiny_model(tiny, name="holiday").former_fingerprints("holiday")


def test_what_does_not_fit_is_said(tiny: dict[str, Any]) -> None:
    model = tiny_model(tiny)
    with pytest.raises(
        UsageError, match=r"pixels of shape \[1, 2, 3, 32, 32\]; expected: \[B, 3, 3, 32, 32\]"
    ):
        model.video_prototypes(torch.zeros(1, 2, 3, 32, 32))
    with pytest.raises(UsageError, match=r"\[1, 3, 3, 16, 16\]; expected: \[B, 3, 3, 32, 32\]"):
        model.video_prototypes(torch.zeros(1, 3, 3, 16, 16))
    with pytest.raises(UsageError, match="both of one shape"):
        model.text_prototypes(IDS, MASK[:, :3])
    with pytest.raises(UsageError, match="17 words; expected: at most 16"):
        model.text_prototypes(torch.ones(1, 17, dtype=torch.long), torch.ones(1, 17, dtype=torch.long))
    with pytest.raises(NeedsTokenizer, match=r"came without a vocabulary; expected: tokenizer\.json"):
        model.encode_text(["a ball"])
    with pytest.raises(UsageError, match="no video"):
        model.encode_video([])


def test_sentences_go_through_the_tokenizer(tiny: dict[str, Any]) -> None:
    model = tiny_model(tiny)
    model.tokenizer = whole_words(["a", "red", "ball"])
    text = model.encode_text(["a red ball", "a ball"])
    ids, mask = model.tokenize(["a red ball", "a ball"])
    torch.testing.assert_close(text.phrase, model.text_prototypes(ids, mask).phrase)
    assert model.count_words("a red ball") == 5
    with pytest.raises(EmptyQuery):
        model.encode_text(["a", " "])
