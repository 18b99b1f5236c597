"""Matching against Algorithm 1 in loops and float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import prost.model.matching as matching
from prost.errors import UsageError
from prost.model.matching import (
    TextPrototypes,
    VideoPrototypes,
    event_sentence_score,
    match,
    object_phrase_score,
    unit,
)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths > 0 else 0.0


def object_phrase_by_loops(phrase: np.ndarray, object: np.ndarray) -> np.ndarray:
    scores = np.zeros((len(phrase), len(object)))
    for a in range(len(phrase)):
        for b in range(len(object)):
            slots = [
                max(cosine(p, frame[slot]) for frame in object[b] for p in phrase[a])
                for slot in range(object.shape[2])
            ]
            scores[a, b] = sum(slots) / len(slots)
    return scores


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
)
def test_object_phrase_as_loops(a: int, b: int, phrases: int, frames: int, slots: int, dead: bool) -> None:
    phrase, object = torch.randn(a, phrases, 5), torch.randn(b, frames, slots, 5)
    if dead:
        phrase[0, 0], object[0, 0, 0] = 0.0, 0.0
    expected = object_phrase_by_loops(phrase.double().numpy(), object.double().numpy())
    np.testing.assert_allclose(object_phrase_score(phrase, object).numpy(), expected, atol=1e-6)


def test_blocks_of_texts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    phrase, object = torch.randn(7, 3, 5), torch.randn(4, 2, 3, 5)
    whole = object_phrase_score(phrase, object)
    monkeypatch.setattr(matching, "COSINES_AT_ONCE", 100)
    torch.testing.assert_close(object_phrase_score(phrase, object), whole)


def test_event_sentence_takes_the_best_event() -> None:
    sentence, event = torch.randn(3, 5), torch.randn(4, 2, 5)
    expected = [[max(cosine(s, e) for e in events) for events in event.numpy()] for s in sentence.numpy()]
    np.testing.assert_allclose(event_sentence_score(sentence, event).numpy(), expected, atol=1e-6)


def test_the_total_is_the_weighted_sum() -> None:
    text = TextPrototypes(torch.randn(2, 3, 5), torch.randn(2, 5))
    video = VideoPrototypes(torch.randn(4, 2, 3, 5), torch.randn(4, 2, 5))
    similarity = match(text, video, object_phrase_weight=0.7)
    assert similarity.object_phrase is not None and similarity.event_sentence is not None
    torch.testing.assert_close(similarity.total, similarity.event_sentence + 0.7 * similarity.object_phrase)


def test_scaling_a_prototype_changes_nothing() -> None:
    text = TextPrototypes(torch.randn(2, 3, 5), torch.randn(2, 5))
    video = VideoPrototypes(torch.randn(4, 2, 3, 5), torch.randn(4, 2, 5))
    scaled = VideoPrototypes(7 * video.object, 0.01 * video.event)
    torch.testing.assert_close(match(text, scaled).total, match(text, video).total, atol=1e-5, rtol=1e-5)


def test_a_zero_vector_stays_zero_with_a_zero_gradient() -> None:
    vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    scaled = unit(vectors)
    assert scaled[0].tolist() == [0.0, 0.0]
    (scaled * torch.tensor([1.0, 2.0])).sum().backward()
    assert vectors.grad is not None
    assert vectors.grad[0].tolist() == [0.0, 0.0]
    assert torch.isfinite(vectors.grad).all()


def test_records_refuse_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"phrase prototypes of shape \[2, 5\]"):
        TextPrototypes(torch.randn(2, 5), torch.randn(2, 5))
    with pytest.raises(UsageError, match="same B and D"):
        VideoPrototypes(torch.randn(2, 1, 3, 5), torch.randn(3, 2, 5))
    text = TextPrototypes(torch.randn(2, 3, 5), torch.randn(2, 5))
    with pytest.raises(UsageError, match="width 5, video prototypes of width 4"):
        match(text, VideoPrototypes(torch.randn(1, 1, 1, 4), torch.randn(1, 1, 4)))


def test_records_show_shapes() -> None:
    assert (
        repr(TextPrototypes(torch.randn(2, 3, 5), torch.randn(2, 5)))
        == "TextPrototypes(phrase=[2, 3, 5], sentence=[2, 5])"
    )
