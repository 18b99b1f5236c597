import math
import sys

import numpy as np
import pytest
import torch

import prost.model.tiles as tiles
import prost.search.scan_kernels  # noqa: F401
from prost.model.matching import TextPrototypes, VideoPrototypes, match
from prost.search import exact
from prost.search.exact import ClipPrototypes, score
from prost.search.quantise import dequantise, quantise


def scored_by_loops(phrase, sentence, object, event, weight):  # type: ignore[no-untyped-def]
    """Algorithm 1 for one sentence and one clip, as it is written."""

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        lengths = np.linalg.norm(one) * np.linalg.norm(other)
        return float(one @ other / lengths) if lengths > 0 else 0.0

    frames, slots, _ = object.shape
    best = [max(cosine(p, object[f, slot]) for f in range(frames) for p in phrase) for slot in range(slots)]
    object_phrase = sum(best) / slots
    event_sentence = max(cosine(sentence, each) for each in event)
    return event_sentence + weight * object_phrase, object_phrase, event_sentence


@pytest.fixture
def clips() -> tuple[np.ndarray, np.ndarray]:
    """Object prototypes [9, 5, 4, 16], some of them dead, and event prototypes [9, 3, 16]."""
    random = np.random.default_rng(1)
    objects = random.normal(size=(9, 5, 4, 16)).astype(np.float32) * random.uniform(0.01, 50, (9, 5, 4, 1))
    objects[0, :, 2] = 0
    objects[3, 1] = 0
    return objects.astype(np.float32), random.normal(size=(9, 3, 16)).astype(np.float32)


@pytest.fixture
def text() -> TextPrototypes:
    random = np.random.default_rng(2)
    phrases = random.normal(size=(1, 6, 16)).astype(np.float32)
    phrases[0, 4] = 0
    return TextPrototypes(
        torch.from_numpy(phrases), torch.randn(1, 16, generator=torch.Generator().manual_seed(3))
    )


@pytest.mark.parametrize("tile_size", [1, 700, 2**20])
def test_scores_are_those_of_algorithm_1(clips, text, tile_size, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(tiles, "CPU_TILE", tile_size)
    codes, scales = quantise(clips[0])

    scores = score(text, ClipPrototypes.of(codes, clips[1]), 1.5)

    stored = dequantise(codes, scales).astype(np.float64)
    for place in range(len(stored)):
        expected = scored_by_loops(
            text.phrase[0].double().numpy(),
            text.sentence[0].double().numpy(),
            stored[place],
            clips[1][place].astype(np.float64),
            1.5,
        )
        found = scores.total[place], scores.object_phrase[place], scores.event_sentence[place]
        assert found == pytest.approx(expected, abs=1e-5)


def test_8_bits_move_a_score_by_less_than_a_hundredth(clips, text) -> None:  # type: ignore[no-untyped-def]
    scores = score(text, ClipPrototypes.of(quantise(clips[0])[0], clips[1]), 1.5)

    exactly = match(text, VideoPrototypes(torch.from_numpy(clips[0]), torch.from_numpy(clips[1])), 1.5)
    assert scores.total == pytest.approx(exactly.total[0].numpy(), abs=0.01)


def test_a_clip_of_dead_slots_scores_by_its_events_alone(text) -> None:  # type: ignore[no-untyped-def]
    dead = np.zeros((1, 5, 4, 16), dtype=np.int8)
    event = text.sentence.numpy()[None] * 7

    scores = score(text, ClipPrototypes.of(dead, event), 1.5)

    assert scores.object_phrase[0] == 0
    assert scores.total[0] == pytest.approx(1.0)


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 513, 1500])
@pytest.mark.parametrize("compiled", [True, False])
def test_lengths_with_and_without_the_compiled_kernel(
    rows: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exact.KERNELS in sys.modules
    if not compiled:
        monkeypatch.setattr(exact, "KERNELS", "no.such.module")
    codes = np.random.default_rng(rows).integers(-127, 128, (rows, 1, 1, 24), dtype=np.int8)
    codes[rows // 2 :][:1] = 0
    vectors = codes.reshape(rows, 24)
    expected = [1 / math.sqrt(sum(int(code) ** 2 for code in row)) if row.any() else 0.0 for row in vectors]
    found = ClipPrototypes.of(codes, np.zeros((rows, 1, 24), np.float32)).inverse_lengths
    np.testing.assert_allclose(found.numpy().ravel(), expected, rtol=1e-6)
