"""The temporal transformer against its blocks written out in float64."""

import torch
from torch import Tensor, nn

from prost.config import CLIPShape
from prost.model.temporal_transformer import TemporalTransformer
from prost.model.towers import CLIPTowers


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (var + 1e-12).sqrt() * layer.weight + layer.bias


def block_by_hand(block: nn.Module, x: Tensor) -> Tensor:
    """A pre-norm block with heads of width 64 and without any mask."""
    attention, normed = block.self_attn, norm(block.layer_norm1, x)
    heads = []
    for start in range(0, x.shape[-1], 64):
        q, k, v = (
            (normed @ part.weight.T + part.bias)[..., start : start + 64]
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        heads.append((q @ k.transpose(-1, -2) / 8).softmax(-1) @ v)
    x = x + torch.cat(heads, -1) @ attention.out_proj.weight.T + attention.out_proj.bias
    inner = norm(block.layer_norm2, x) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
    return x + (inner * torch.sigmoid(1.702 * inner)) @ block.mlp.fc2.weight.T + block.mlp.fc2.bias


@torch.no_grad()
def test_as_blocks_by_hand_with_a_residual_around_them() -> None:
    torch.manual_seed(0)
    transformer = TemporalTransformer(width=128, layers=2, positions=9).double()
    tokens = torch.randn(2, 5, 128, dtype=torch.float64)
    hidden = tokens + transformer.positions.weight[:5]
    for block in transformer.layers:
        hidden = block_by_hand(block, hidden)
    torch.testing.assert_close(transformer(tokens), tokens + hidden)


def towers(text_width: int, text_layers: int) -> CLIPTowers:
    shape = CLIPShape(
        image_size=32,
        patch_size=16,
        vision_width=64,
        vision_layers=1,
        text_width=text_width,
        text_layers=text_layers,
        vocabulary=10,
        text_positions=12,
    )
    return CLIPTowers(shape, 64)


def test_starts_from_the_first_text_blocks_and_positions() -> None:
    torch.manual_seed(1)
    clip, transformer = towers(64, 3), TemporalTransformer(64, layers=2, positions=8)
    assert transformer.start_as_text(clip)
    text = clip.text_model
    assert torch.equal(transformer.positions.weight, text.embeddings.position_embedding.weight[:8])
    for ours, theirs in zip(transformer.layers, text.encoder.layers[:2], strict=True):
        assert torch.equal(ours.mlp.fc1.weight, theirs.mlp.fc1.weight)
        assert torch.equal(ours.self_attn.q_proj.bias, theirs.self_attn.q_proj.bias)


def test_a_text_tower_that_does_not_fit_changes_nothing() -> None:
    transformer = TemporalTransformer(64, layers=2, positions=8)
    before = {key: tensor.clone() for key, tensor in transformer.state_dict().items()}
    assert not transformer.start_as_text(towers(128, 3))  # width
    assert not transformer.start_as_text(towers(64, 1))  # blocks
    assert not TemporalTransformer(64, layers=2, positions=13).start_as_text(towers(64, 2))  # positions
    assert all(torch.equal(before[key], tensor) for key, tensor in transformer.state_dict().items())
