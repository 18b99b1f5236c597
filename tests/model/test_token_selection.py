"""Token selection: the plain choice by hand, and the perturbed one against exact expectations and their derivatives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from prost.model.token_selection import TokenScores, TokenSelector, perturbed_top_k, top_k

SIGMA = 0.5


def first_or_last(scores: NDArray[np.float64], sign: int) -> NDArray[np.float64]:
    """Exact probability that each token has the highest (sign 1) or the lowest (-1) score under noise."""

    def density(x: float, token: int) -> float:
        others = np.delete(scores, token)
        return norm.pdf(x, scores[token], SIGMA) * np.prod(norm.cdf(sign * (x - others) / SIGMA))

    return np.array([quad(density, -8, 8, args=(token,))[0] for token in range(len(scores))])


def exact_choice(scores: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Exact E[Y] for k = 1 and k = N - 1, where all but one token are chosen and stand in order of position."""
    tokens = len(scores)
    if k == 1:
        return first_or_last(scores, 1)[None]
    left_out = first_or_last(scores, -1)
    choice = np.zeros((k, tokens))
    for place in range(k):
        for out in range(tokens):
            choice[place, place if place < out else place + 1] += left_out[out]
    return choice


def exact_gradient(scores: NDArray[np.float64], k: int, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derivative of <weight, E[Y]> by central differences of the exact expectation."""
    step = 1e-3
    gradient = []
    for token in range(len(scores)):
        shift = step * np.eye(len(scores))[token]
        difference = exact_choice(scores + shift, k) - exact_choice(scores - shift, k)
        gradient.append((weight * difference).sum() / (2 * step))
    return np.array(gradient)


@pytest.mark.parametrize("k", [1, 3])
def test_choice_and_gradient_are_the_exact_expectation_s(k: int) -> None:
    rng = np.random.default_rng(k)
    scores, weight = np.array([0.3, -0.2, 0.5, 0.1]), rng.standard_normal((k, 4))
    leaf = torch.tensor(scores[None], requires_grad=True)
    noise = torch.from_numpy(rng.standard_normal((1, 200_000, 4)))
    choice = perturbed_top_k(leaf, noise, k, SIGMA)
    (choice[0] * torch.from_numpy(weight)).sum().backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(choice[0].detach().numpy(), exact_choice(scores, k), atol=0.005)
    np.testing.assert_allclose(leaf.grad[0].numpy(), exact_gradient(scores, k, weight), atol=0.02)


def test_few_samples_are_no_bias() -> None:
    """With three samples one gradient is nearly all noise; the mean of many is still the exact one."""
    rng = np.random.default_rng(5)
    scores, weight = np.array([0.3, -0.2, 0.5]), rng.standard_normal((1, 3))
    leaf = torch.tensor(scores).expand(100_000, 3).clone().requires_grad_()
    noise = torch.from_numpy(rng.standard_normal((100_000, 3, 3)))
    (perturbed_top_k(leaf, noise, 1, SIGMA) * torch.from_numpy(weight)).sum().backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(leaf.grad.mean(dim=0).numpy(), exact_gradient(scores, 1, weight), atol=0.03)


def test_a_constant_worth_has_no_gradient() -> None:
    """Whatever is chosen is worth the same: nothing is to be learned, exactly."""
    leaf = torch.randn(2, 5, requires_grad=True)
    perturbed_top_k(leaf, torch.randn(2, 50, 5), 2, SIGMA).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().max() < 1e-5


@settings(deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=8, unique=True), st.data())
def test_the_plain_choice_is_the_sorted_one(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    expected = sorted(sorted(range(len(values)), key=lambda token: -values[token])[:k])
    assert top_k(torch.tensor(values, dtype=torch.float32), k).tolist() == expected


def test_scores_as_the_predictor_s_formula_has_them() -> None:
    torch.manual_seed(0)
    predictor = TokenScores(8).double()
    tokens = torch.randn(5, 8, dtype=torch.float64)
    norm_, linear, _ = predictor.reduce
    inner, _, outer = predictor.score

    def gelu(x: torch.Tensor) -> torch.Tensor:
        return x * 0.5 * (1 + torch.erf(x / 2**0.5))

    halves = []
    for token in tokens:
        normed = (token - token.mean()) / (token.var(unbiased=False) + norm_.eps).sqrt()
        halves.append(gelu(linear.weight @ (normed * norm_.weight + norm_.bias)))
    expected = [
        torch.tanh(outer.weight @ gelu(inner.weight @ torch.cat([half, halves[0]]))) for half in halves
    ]
    torch.testing.assert_close(predictor(tokens), torch.cat(expected))


def test_the_class_token_comes_first_and_is_no_candidate() -> None:
    torch.manual_seed(1)
    selector = TokenSelector(8, selected=2, samples=10, sigma=0.05).eval()
    tokens = torch.randn(2, 3, 6, 8)
    selected = selector(tokens)
    assert selected.shape == (2, 3, 3, 8)
    scores = selector.scores(tokens)
    for b, t in np.ndindex(2, 3):
        best = sorted(sorted(range(1, 6), key=lambda m: -scores[b, t, m].item())[:2])
        assert torch.equal(selected[b, t], tokens[b, t, [0, *best]])


def test_training_without_noise_chooses_as_eval_does() -> None:
    torch.manual_seed(2)
    selector = TokenSelector(8, selected=2, samples=16, sigma=1e-9)
    tokens = torch.randn(2, 3, 6, 8)
    torch.testing.assert_close(selector.train()(tokens), selector.eval()(tokens))


def test_eval_is_deterministic_and_training_is_not() -> None:
    torch.manual_seed(3)
    selector = TokenSelector(8, selected=2, samples=5, sigma=0.5)
    tokens = torch.randn(1, 2, 6, 8)
    assert torch.equal(selector.eval()(tokens), selector(tokens))
    assert not torch.equal(selector.train()(tokens), selector(tokens))


def test_training_learns_to_choose_the_token_that_pays() -> None:
    torch.manual_seed(4)
    selector = TokenSelector(8, selected=1, samples=200, sigma=0.3).train()
    optimizer = torch.optim.Adam(selector.parameters(), lr=0.02)
    for _ in range(80):
        tokens = torch.randn(16, 1, 5, 8)
        loss = -selector(tokens)[:, :, 1, 3].mean()  # a token pays what its fourth number is
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tokens = torch.randn(200, 1, 5, 8)
    chosen = selector.eval()(tokens)[:, 0, 1, 3]
    assert (chosen == tokens[:, 0, 1:, 3].amax(dim=1)).float().mean() > 0.6  # by chance 0.25
