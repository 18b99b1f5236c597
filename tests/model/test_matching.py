"""The two scores and their sum, and the records that hold prototypes and scores."""

import numpy as np
import pytest
import torch
from tests.model.plain import cosine

from prost.errors import UsageError
from prost.model.matching import TextPrototypes, VideoPrototypes, event_sentence_score, match
from prost.model.object_phrase import object_phrase_score


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


@pytest.mark.parametrize(("texts", "videos"), [(0, 4), (2, 0), (0, 0)])
def test_no_texts_or_videos_give_no_scores(texts: int, videos: int) -> None:
    text = TextPrototypes(torch.randn(texts, 3, 5, requires_grad=True), torch.randn(texts, 5))
    video = VideoPrototypes(torch.randn(videos, 2, 3, 5), torch.randn(videos, 2, 5))
    similarity = match(text, video)
    for scores in similarity.tensors():
        assert scores.shape == (texts, videos)
    similarity.total.sum().backward()
    assert text.phrase.grad is not None and not text.phrase.grad.any()


def test_an_unknown_rule_is_refused() -> None:
    text = TextPrototypes(torch.randn(2, 3, 5), torch.randn(2, 5))
    video = VideoPrototypes(torch.randn(4, 2, 3, 5), torch.randn(4, 2, 5))
    torch.testing.assert_close(match(text, video, rule="best_cosine").total, match(text, video).total)
    with pytest.raises(UsageError, match="matching rule 'sum'; expected: best_cosine"):
        match(text, video, rule="sum")  # type: ignore[arg-type]


def test_records_refuse_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"phrase prototypes of shape \[2, 5\]"):
        TextPrototypes(torch.randn(2, 5), torch.randn(2, 5))
    with pytest.raises(UsageError, match="same B and D"):
        VideoPrototypes(torch.randn(2, 1, 3, 5), torch.randn(3, 2, 5))
    text = TextPrototypes(torch.randn(2, 3, 5), torch.randn(2, 5))
    with pytest.raises(UsageError, match="width 5, video prototypes of width 4"):
        match(text, VideoPrototypes(torch.randn(1, 1, 1, 4), torch.randn(1, 1, 4)))


def test_masks_are_handed_on() -> None:
    text = TextPrototypes(torch.randn(2, 3, 5), torch.randn(2, 5))
    video = VideoPrototypes(torch.randn(4, 2, 3, 5), torch.randn(4, 2, 5))
    masks = {"phrase_mask": torch.rand(2, 3) > 0.5, "frame_mask": torch.rand(4, 2) > 0.5}
    expected = object_phrase_score(text.phrase, video.object, **masks)
    torch.testing.assert_close(match(text, video, **masks).object_phrase, expected)


def test_gradcheck_of_events() -> None:
    sentence = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    event = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(event_sentence_score, (sentence, event))


def test_an_event_score_refuses_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"event prototypes of shape \[4, 5\]"):
        event_sentence_score(torch.randn(2, 5), torch.randn(4, 5))


def test_records_show_shapes() -> None:
    assert (
        repr(TextPrototypes(torch.randn(2, 3, 5), torch.randn(2, 5)))
        == "TextPrototypes(phrase=[2, 3, 5], sentence=[2, 5])"
    )
