import numpy as np
import pytest
import torch

from prost.bench.exact_answers import ExactAnswers, RecipeScorer, find_exact_answers, largest_difference
from prost.bench.generator import CLIPS_A_BLOCK, Generator
from prost.model.matching import TextPrototypes, VideoPrototypes, match

from .conftest import nothing

CLIPS = CLIPS_A_BLOCK + 76


def plain_scores(generator: Generator, text: TextPrototypes, clips: int, weight: float) -> np.ndarray:
    """Scores of the materialised prototypes by the model's own matching, in float64."""
    made = [generator.materialise(block) for block in generator.blocks(clips)]
    object = torch.from_numpy(np.concatenate([part.object for part in made])).double().transpose(1, 2)
    event = torch.from_numpy(np.concatenate([part.event for part in made])).double()
    text = TextPrototypes(text.phrase.double(), text.sentence.double())
    return match(text, VideoPrototypes(object, event), weight).total.numpy()


def test_scores_of_recipes_are_scores_of_their_prototypes(generator: Generator, text: TextPrototypes) -> None:
    scorer = RecipeScorer(generator, text, 1.5)
    scores = [scorer.score(block.object, block.event) for block in generator.blocks(CLIPS)]
    plain = plain_scores(generator, text, CLIPS, 1.5)
    np.testing.assert_allclose(np.concatenate(scores, axis=1), plain, atol=1e-5)
    assert 0 < largest_difference(generator, 64, text, 1.5) < 1e-5


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_the_truth_is_the_best_of_all_clips(
    generator: Generator, text: TextPrototypes, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("prost.bench.exact_answers.QUERIES_AT_ONCE", at_once)
    truth = find_exact_answers(generator, CLIPS, text, 1.5, 10, nothing)
    plain = plain_scores(generator, text, CLIPS, 1.5)
    np.testing.assert_array_equal(truth.rows, np.argsort(-plain, axis=1)[:, :10])
    np.testing.assert_allclose(truth.scores, -np.sort(-plain, axis=1)[:, :10], atol=1e-5)


def test_recall_is_the_mean_share_that_was_found() -> None:
    truth = ExactAnswers(rows=np.array([[1, 2], [3, 4]]), scores=np.zeros((2, 2), np.float32))
    assert truth.recall([np.array([2, 1, 7]), np.array([4, 9])]) == 0.75
