"""Spatial prototypes against weighted sums written out."""

import pytest
import torch

from prost.model.spatial import ObjectPrototypes, PhrasePrototypes, PrototypeWeights, dead_share


@pytest.mark.parametrize("sparse_weights", ["relu", "softmax"])
def test_object_prototypes_are_weighted_sums(sparse_weights: str) -> None:
    torch.manual_seed(0)
    generate = ObjectPrototypes(8, 4, sparse_weights)
    tokens = torch.randn(2, 3, 5, 8)  # [B, L, M, D]
    prototypes = generate(tokens)
    weights = generate.weights(tokens)
    for b in range(2):
        for frame in range(3):
            assert torch.equal(prototypes[b, frame, 0], tokens[b, frame, 0])
            for slot in range(3):
                expected = sum(weights[b, frame, m, slot] * tokens[b, frame, m] for m in range(5))
                torch.testing.assert_close(prototypes[b, frame, slot + 1], expected)


def test_relu_can_kill_a_slot_and_then_it_is_exactly_zero() -> None:
    generate = ObjectPrototypes(4, 3, "relu")
    with torch.no_grad():
        generate.weights.mlp[2].weight.zero_()
        generate.weights.mlp[2].bias.copy_(torch.tensor([-1.0, 1.0]))
    prototypes = generate(torch.randn(1, 2, 5, 4))
    assert torch.equal(prototypes[:, :, 1], torch.zeros(1, 2, 4))
    assert dead_share(prototypes) == pytest.approx(1 / 3)


def test_softmax_weights_sum_to_one_over_the_tokens() -> None:
    weights = PrototypeWeights(8, 3, "softmax")(torch.randn(2, 6, 8))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 3))


@pytest.mark.parametrize("sparse_weights", ["relu", "softmax"])
def test_masked_padding_does_not_reach_the_phrases(sparse_weights: str) -> None:
    generate = PhrasePrototypes(8, 5, sparse_weights, mask_padding=True)
    words, mask = torch.randn(1, 6, 8), torch.tensor([[1, 1, 1, 1, 0, 0]])
    other = words.clone()
    other[0, 4:] = torch.randn(2, 8)
    torch.testing.assert_close(generate(words, mask), generate(other, mask))
    torch.testing.assert_close(generate(words, mask), generate(words[:, :4], mask[:, :4]))


def test_the_authors_padding_takes_part() -> None:
    generate = PhrasePrototypes(8, 5, "softmax", mask_padding=False)
    words, mask = torch.randn(1, 6, 8), torch.tensor([[1, 1, 1, 1, 0, 0]])
    other = words.clone()
    other[0, 5] = torch.randn(8)
    assert not torch.allclose(generate(words, mask), generate(other, mask))
