"""Tiles of matching: their maximum, and what happens when memory runs out."""

import logging

import pytest
import torch

from prost.model import tiles
from prost.model.object_phrase import object_phrase_score
from prost.model.tiles import largest

ACCELERATOR = torch.device("cuda", 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 2.0], ids=["mostly negative", "both", "mostly positive"])
def test_the_maximum_is_that_of_torch(dtype: torch.dtype, shift: float) -> None:
    values = (torch.randn(3, 50, 70) + shift).to(dtype)
    values[:, 0, 0] = torch.tensor([-0.0, 0.0, -1.0])
    values[:, 0, 1] = torch.tensor([-float("inf"), -3.0, -2.0])
    values[:, 0, 2] = torch.tensor([float("inf"), -3.0, 2.0])
    values[:, 0, 3] = torch.nan
    values[:, 0, 4] = -torch.tensor(torch.nan)
    found = largest(values, torch.empty(50, 70, dtype=dtype))
    assert torch.equal(found.nan_to_num(-100.0), values.amax(dim=0).nan_to_num(-100.0))
    assert found[0, 3].isnan() and found[0, 4].isnan()
    strided = largest(values.transpose(0, 1), torch.empty(3, 70, dtype=dtype))
    assert torch.equal(strided[:, 5:], values.amax(dim=1)[:, 5:])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_in_bfloat16_a_bad_number_spoils_its_own_scores_alone(
    bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "bfloat16_is_faster", lambda: True)
    phrase, object = torch.randn(3, 2, 8).bfloat16(), torch.randn(4, 2, 3, 8).bfloat16()
    expected = object_phrase_score(phrase, object)
    phrase[1, 0, 2], object[2, 1, 1, 0] = bad, bad
    expected[1], expected[:, 2] = float("nan"), float("nan")
    torch.testing.assert_close(object_phrase_score(phrase, object), expected, equal_nan=True)


def test_in_bfloat16_tiles_are_as_wide_as_its_product_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    phrase, object = torch.empty(1000, 28, 64), torch.empty(1000, 12, 12, 64)
    texts, videos = tiles._tile_shape(phrase, object, torch.bfloat16)
    assert videos * 144 % 32 == 0 and texts * 28 > 4 * videos * 144
    assert texts * 28 * videos * 144 <= 4 * tiles.CPU_TILE


class TestMemory:
    @pytest.fixture(autouse=True)
    def fresh(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tiles, "_shrunk", {})

    def test_smaller_blocks_are_tried_and_remembered_and_told_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        tried = []

        def work() -> str:
            tried.append(tiles.tile_size(ACCELERATOR))
            if tried[-1] > 2**22:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4 GiB")
            return "done"

        with caplog.at_level(logging.WARNING, "prost"):
            assert tiles.in_blocks_that_fit(work, ACCELERATOR) == "done"
            assert tiles.in_blocks_that_fit(work, ACCELERATOR) == "done"
        assert tried == [2**26, 2**24, 2**22, 2**22]
        assert [record.getMessage() for record in caplog.records] == [
            "matching on cuda:0: its memory does not suffice; it goes on in smaller blocks"
        ]
        assert tiles.tile_size(torch.device("cpu")) == tiles.CPU_TILE

    def test_in_the_end_it_is_an_error(self) -> None:
        def work() -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        with pytest.raises(torch.OutOfMemoryError):
            tiles.in_blocks_that_fit(work, ACCELERATOR)

    def test_scores_and_gradients_come_out_right_after_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first product and the first gradient of a block fail, as on a device that is full."""
        phrase = torch.randn(5, 3, 8, requires_grad=True)
        object = torch.randn(4, 2, 3, 8, requires_grad=True)
        expected = object_phrase_score(phrase, object)
        of_phrase, of_object = torch.autograd.grad(expected.square().sum(), (phrase, object))
        failures = {"mm": 1, "embedding_bag": 1}

        def failing(name, function):  # type: ignore[no-untyped-def]
            def call(*arguments, **options):  # type: ignore[no-untyped-def]
                if failures[name]:
                    failures[name] -= 1
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return function(*arguments, **options)

            return call

        monkeypatch.setattr(torch, "mm", failing("mm", torch.mm))
        monkeypatch.setattr(
            "prost.model.object_phrase.embedding_bag",
            failing("embedding_bag", torch.nn.functional.embedding_bag),
        )
        scores = object_phrase_score(phrase, object)
        torch.testing.assert_close(scores, expected)
        found = torch.autograd.grad(scores.square().sum(), (phrase, object))
        assert not any(failures.values())
        torch.testing.assert_close(found[0], of_phrase)
        torch.testing.assert_close(found[1], of_object)
