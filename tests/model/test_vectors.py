"""Directions and lengths of vectors."""

import pytest
import torch

from prost.model.vectors import inverse_lengths_of, unit


class TestUnit:
    def test_a_zero_vector_stays_zero_with_a_zero_gradient(self) -> None:
        vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
        scaled = unit(vectors)
        assert scaled[0].tolist() == [0.0, 0.0]
        (scaled * torch.tensor([1.0, 2.0])).sum().backward()
        assert vectors.grad is not None
        assert vectors.grad[0].tolist() == [0.0, 0.0]
        assert torch.isfinite(vectors.grad).all()

    def test_gradcheck(self) -> None:
        assert torch.autograd.gradcheck(unit, torch.randn(3, 5, dtype=torch.float64, requires_grad=True))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @pytest.mark.parametrize("length", [1e-3, 1.0, 300.0, 60000.0])
    def test_any_length_in_any_precision(self, dtype: torch.dtype, length: float) -> None:
        direction = torch.nn.functional.normalize(torch.randn(4, 512), dim=-1)
        scaled = unit((length * direction).to(dtype))
        assert scaled.dtype == dtype
        torch.testing.assert_close(scaled.float().norm(dim=-1), torch.ones(4), atol=0.01, rtol=0)
        torch.testing.assert_close(scaled.float(), direction, atol=0.01, rtol=0)

    @pytest.mark.parametrize("length", [1e-38, 1e-25, 1e25, 1e38])
    def test_squares_beyond_the_range_of_float32(self, length: float) -> None:
        assert unit(length * torch.tensor([0.6, 0.8])).tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("length", [1e-37, 1e-20, 1e-3, 1.0, 1e20, 1e37])
def test_one_over_a_length(length: float) -> None:
    vectors = length * torch.tensor([[[0.6, 0.8], [0.0, 0.0]], [[-1.0, 0.0], [0.0, 2.0]]])
    expected = torch.tensor([[1.0, 0.0], [1.0, 0.5]]) / length
    torch.testing.assert_close(inverse_lengths_of(vectors), expected)
    assert inverse_lengths_of(torch.tensor([float("nan"), 1.0])).isnan()
