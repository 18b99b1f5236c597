"""Our towers against `transformers.CLIPModel`, on random weights."""

import math
from itertools import product

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from prost.config import CLIPShape
from prost.model.clip import CLIPBackbone
from prost.model.towers import FUSED_FROM, CLIPTowers, Stem

WIDTH = 96


def shape_of(image_size: int, text_positions: int = 20) -> CLIPShape:
    return CLIPShape(
        image_size=image_size,
        patch_size=16,
        vision_width=192,
        vision_layers=3,
        text_width=128,
        text_layers=2,
        vocabulary=50,
        text_positions=text_positions,
    )


def reference(shape: CLIPShape) -> CLIPModel:
    """`transformers`' model of the same sizes, random weights in every tensor."""
    model = CLIPModel(
        CLIPConfig(
            projection_dim=WIDTH,
            logit_scale_init_value=math.log(1 / 0.07),
            vision_config={
                "hidden_size": shape.vision_width,
                "intermediate_size": 4 * shape.vision_width,
                "num_hidden_layers": shape.vision_layers,
                "num_attention_heads": shape.vision_width // 64,
                "image_size": shape.image_size,
                "patch_size": shape.patch_size,
                "hidden_act": "quick_gelu",
            },
            text_config={
                "hidden_size": shape.text_width,
                "intermediate_size": 4 * shape.text_width,
                "num_hidden_layers": shape.text_layers,
                "num_attention_heads": shape.text_width // 64,
                "vocab_size": shape.vocabulary,
                "max_position_embeddings": shape.text_positions,
                "hidden_act": "quick_gelu",
                "bos_token_id": 0,
                "eos_token_id": shape.vocabulary - 1,
                "pad_token_id": 0,
            },
        )
    )
    return model.eval()


def scatter(model: CLIPModel) -> None:
    """Move every weight, so that no bias is zero and no norm is the identity."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)


# 5, 17 and 65 tokens a frame; 9 and 70 words: both ways to compute attention.
@pytest.mark.parametrize(("image_size", "words"), [(32, 9), (64, 20), (128, 70)])
@torch.no_grad()
def test_all_tokens_equal_those_of_transformers(image_size: int, words: int) -> None:
    torch.manual_seed(0)
    shape = shape_of(image_size, text_positions=max(20, words))
    theirs = reference(shape)
    scatter(theirs)
    ours = CLIPBackbone(shape, WIDTH, (), 1).eval()
    ours.towers.load_state_dict(theirs.state_dict())
    pixels = torch.randn(2, 2, 3, image_size, image_size)
    hidden = theirs.vision_model(pixel_values=pixels.flatten(0, 1)).last_hidden_state
    expected = theirs.visual_projection(theirs.vision_model.post_layernorm(hidden))
    tokens = ours.frame_tokens(pixels)
    assert tokens.shape == (2, 2, shape.tokens, WIDTH)
    torch.testing.assert_close(tokens.flatten(0, 1), expected, rtol=1e-4, atol=1e-5)
    ids = torch.randint(0, shape.vocabulary, (3, words))
    expected = theirs.text_projection(theirs.text_model(input_ids=ids).last_hidden_state)
    torch.testing.assert_close(ours.word_tokens(ids, torch.ones_like(ids)), expected, rtol=1e-4, atol=1e-5)


def test_both_ways_to_compute_attention_are_compared() -> None:
    assert shape_of(64).tokens < FUSED_FROM <= shape_of(128).tokens


def test_names_and_order_are_those_of_transformers() -> None:
    shape = shape_of(32)
    theirs = [(name, value.shape) for name, value in reference(shape).named_parameters()]
    ours = CLIPTowers(shape, WIDTH)
    assert [(name, value.shape) for name, value in ours.named_parameters()] == theirs
    assert list(ours.state_dict()) == [name for name, _ in theirs]


def test_random_weights_spread_as_those_of_transformers() -> None:
    torch.manual_seed(0)
    shape = shape_of(32)
    theirs = dict(reference(shape).named_parameters())
    for name, ours in CLIPTowers(shape, WIDTH).named_parameters():
        if ours.numel() > 1 and (ours == ours.flatten()[0]).all():
            assert torch.equal(ours, theirs[name]), name
        elif ours.numel() > 1:
            assert 0.75 < ours.std() / theirs[name].std() < 1.33, name
            assert abs(ours.mean()) < 0.3 * ours.std(), name
        else:
            torch.testing.assert_close(ours, theirs[name])


def test_gradients_equal_those_of_transformers() -> None:
    torch.manual_seed(0)
    shape = shape_of(32)
    theirs = reference(shape)
    scatter(theirs)
    ours = CLIPBackbone(shape, WIDTH, (), 1).eval()
    ours.towers.load_state_dict(theirs.state_dict())
    ids = torch.randint(0, shape.vocabulary, (3, 9))
    ours.word_tokens(ids, torch.ones_like(ids)).square().sum().backward()
    theirs.text_projection(theirs.text_model(input_ids=ids).last_hidden_state).square().sum().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.towers.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-4)
    assert ours.towers.text_projection.weight.grad is not None


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_convolution_of_the_stem_sums_over_its_window(stride: int) -> None:
    torch.manual_seed(0)
    stem, side = Stem(((4, stride),)).double(), 6
    picture = torch.randn(3, side, side, dtype=torch.float64)
    margin = 0 if stride == 3 else 1
    layer = stem.layers[0]
    expected = torch.zeros(4, side // stride, side // stride, dtype=torch.float64)
    for channel, row, column in product(range(4), range(side // stride), range(side // stride)):
        total = layer.bias[channel].item()
        for colour, down, across in product(range(3), range(3), range(3)):
            y, x = stride * row + down - margin, stride * column + across - margin
            if 0 <= y < side and 0 <= x < side:
                total += (layer.weight[channel, colour, down, across] * picture[colour, y, x]).item()
        expected[channel, row, column] = max(0.0, total)
    torch.testing.assert_close(stem(picture[None])[0], expected)


def test_a_stem_keeps_the_number_of_tokens() -> None:
    shape = CLIPShape.parse(
        {
            **shape_of(48).model_dump(mode="json"),
            "patch_size": 12,
            "stem": [[8, 2], [16, 1], [24, 2], [32, 3]],
        }
    )
    tokens = CLIPBackbone(shape, WIDTH).frame_tokens(torch.randn(2, 1, 3, 48, 48))
    assert tokens.shape == (2, 1, 17, WIDTH)
    # Far from an edge between patches, a pixel reaches one patch only; the tower then mixes them.
    embeddings = CLIPTowers(shape, WIDTH).vision_model.embeddings
    one = torch.zeros(1, 3, 48, 48)
    other = one.clone()
    other[0, :, 18, 30] = 1.0  # in the middle of the patch in row 1 and column 2
    changed = (embeddings(one) != embeddings(other)).any(dim=2)[0]
    assert changed.nonzero().flatten().tolist() == [1 + 1 * 4 + 2]
