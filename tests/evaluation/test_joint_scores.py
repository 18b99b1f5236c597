"""The joint scorer as a score of an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.model.test_joint_scorer import CONFIG, trained

from prost.data.clip_sets import ToyboxClipSet
from prost.evaluation.benchmark import evaluate_features
from prost.evaluation.joint_scores import joint_scores
from prost.evaluation.report_files import read_report, write_report
from prost.evaluation.report_tables import report_tables
from prost.evaluation.rows import RankingPlan
from prost.evaluation.sets import EvaluationSet
from prost.model.joint_scorer import JUDGED
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST

COUNT = 70


@pytest.fixture(scope="module")
def judged() -> ProST:
    torch.manual_seed(0)
    model = ProST(CONFIG).eval()
    model.joint_scorer = trained()
    return model


@pytest.fixture(scope="module")
def records() -> tuple[TextPrototypes, VideoPrototypes]:
    torch.manual_seed(1)
    return (
        TextPrototypes(torch.randn(COUNT, 5, 8), torch.randn(COUNT, 8)),
        VideoPrototypes(torch.randn(COUNT, 2, 4, 8), torch.randn(COUNT, 3, 8)),
    )


def evaluation_set() -> EvaluationSet:
    names = tuple(f"video {place}" for place in range(COUNT))
    return EvaluationSet(
        name="drawn",
        split="test",
        videos=names,
        captions=names,
        video_of_caption=np.arange(COUNT),
        clips=ToyboxClipSet([], description="none"),
    )


def test_the_best_fifty_are_ordered_by_their_logits_and_the_others_follow(
    judged: ProST, records: tuple[TextPrototypes, VideoPrototypes]
) -> None:
    text, video = records
    with torch.inference_mode():
        scores = judged.match(text, video).total.numpy()
        logits = judged.joint_logits(text, video).numpy()
    joint = joint_scores(judged, text, video, scores)
    for row in range(COUNT):
        by_score = sorted(range(COUNT), key=lambda place: -scores[row, place])
        best = sorted(by_score[:JUDGED], key=lambda place: -logits[row, place])
        assert np.argsort(-joint[row]).tolist() == [*best, *by_score[JUDGED:]]
        assert joint[row, best] == pytest.approx(logits[row, best], abs=1e-4)


def test_a_report_has_a_row_for_it_and_compares_it_with_the_sum(
    judged: ProST, records: tuple[TextPrototypes, VideoPrototypes], tmp_path: Path
) -> None:
    report = evaluate_features(judged, *records, evaluation_set(), RankingPlan(samples=20))
    rows = [row for row in report.rows if row.score == "joint"]
    assert [(row.direction, row.post_processing) for row in rows] == [("text_to_video", "none")]
    joint, whole = report.parts["joint"].metrics.r1, report.parts["sum"].metrics.r1
    assert report.comparisons["joint - sum"].difference == pytest.approx(joint - whole)
    assert judged.joint_scorer is not None
    assert report.setting.joint_scorer == judged.joint_scorer.fingerprint
    (table, *_) = report_tables(report)
    assert sum(line.startswith("| joint scorer |") for line in table.markdown().splitlines()) == 1
    write_report(report, tmp_path / "report")
    again = read_report(tmp_path / "report")
    assert again.row("joint").values == report.row("joint").values
    assert again.setting == report.setting


def test_a_model_without_one_has_no_row(records: tuple[TextPrototypes, VideoPrototypes]) -> None:
    model = ProST(CONFIG.model_copy(update={"joint_scorer": None})).eval()
    report = evaluate_features(model, *records, evaluation_set(), RankingPlan(samples=20, methods=()))
    assert {row.score for row in report.rows} == {"sum", "event_sentence", "object_phrase"}
    assert report.setting.joint_scorer is None
