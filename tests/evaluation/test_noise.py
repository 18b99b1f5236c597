"""The noise test: every model passes it, in every row; a scorer that reads the answer does not."""

from typing import Any

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from prost.config import ModelConfig
from prost.errors import BadScores
from prost.evaluation.noise import noise_test
from prost.evaluation.post_processing import Assignment
from prost.evaluation.rows import DIRECTIONS, METHODS, RankingPlan
from prost.model.clip4clip import CLIP4Clip, CLIP4ClipConfig
from prost.model.matching import Similarity
from prost.model.prost import ProST
from prost.model.retrieval_model import FrameFeatures, SentenceFeatures
from prost.model.ts2net import TS2Net, TS2NetConfig
from prost.model.vectors import unit

CLIP = {
    "image_size": 32, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64, "text_layers": 1,
    "vocabulary": 5, "text_positions": 8,
}  # fmt: skip
SHARED: dict[str, Any] = {"clip": CLIP, "width": 64, "frames": 3, "max_words": 8}


def made(name: str) -> Any:
    if name == "prost":
        sizes = {"object_prototypes": 4, "phrase_prototypes": 5, "token_shift_blocks": []}
        return ProST(ModelConfig.parse({**SHARED, **sizes})).eval()
    if name == "ts2net":
        return TS2Net(TS2NetConfig.parse({**SHARED, "token_shift_blocks": []})).eval()
    return CLIP4Clip(CLIP4ClipConfig.parse({**SHARED, "temporal": name, "temporal_layers": 1})).eval()


class Leaky(CLIP4Clip):
    """Pools each video with its own caption when it scores."""

    def match(self, text: SentenceFeatures, video: FrameFeatures) -> Similarity:
        pooled = unit(video.frame).mean(dim=1)
        if len(text) == len(video):
            pooled = pooled + 0.3 * unit(text.sentence)
        return Similarity(unit(text.sentence) @ unit(pooled).T)


@pytest.mark.parametrize("name", ["prost", "ts2net", "meanP", "seqTransf", "seqLSTM"])
def test_noise_stays_at_chance_in_every_row(name: str) -> None:
    result = noise_test(made(name))
    scores = ("sum", "event_sentence", "object_phrase") if name == "prost" else ("sum",)
    assert set(result.hits) == {
        f"{score}/{direction}/{method}"
        for score in scores
        for direction in DIRECTIONS
        for method in ("none", *METHODS)
    }
    assert result.failed == []
    assert result.to_dict()["passed"]
    result.check()


def test_noise_stays_at_chance_with_several_captions_a_video() -> None:
    result = noise_test(made("meanP"), captions_a_video=3)
    assert result.queries["sum/text_to_video/none"] == 5 * 300
    assert result.queries["sum/video_to_text_strict/none"] == 5 * 100
    assert result.failed == []


def test_a_scorer_that_reads_the_answer_is_caught_in_every_row() -> None:
    torch.manual_seed(0)
    result = noise_test(Leaky(CLIP4ClipConfig.parse(SHARED)).eval())
    assert set(result.failed) == set(result.hits)
    assert not result.to_dict()["passed"]
    with pytest.raises(BadScores, match=r"on random features R@1 of sum/.* is \d+\.\d, where chance is 1\.0"):
        result.check()


def test_a_tie_that_is_broken_towards_the_diagonal_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """An assignment without the permutation of its columns: the solver prefers the diagonal."""

    def by_the_order_of_columns(scores: Any, places: Any = None) -> Assignment:
        return Assignment(linear_sum_assignment(scores, maximize=True)[1])

    monkeypatch.setattr("prost.evaluation.rows.hungarian", by_the_order_of_columns)
    plan = RankingPlan(methods=("hungarian",), directions=("text_to_video",))
    result = noise_test(made("meanP"), plan=plan)
    assert result.failed == ["sum/text_to_video/hungarian"]
    (key,) = result.failed
    assert result.tied_hits[key] > result.interval(key)[1] >= result.hits[key]


def test_the_interval_is_that_of_chance() -> None:
    result = noise_test(made("meanP"), plan=RankingPlan(methods=(), directions=("text_to_video",)))
    (key,) = result.hits
    low, high = result.interval(key)
    assert low <= 5 <= high < 20  # 500 queries, one in a hundred
