"""Reversed accuracy: worked numbers, its interval, and the whole path from a gallery to a report."""

from pathlib import Path

import numpy as np
import pytest

import prost
from prost.data.clip_sets import ToyboxClipSet
from prost.data.toybox import backwards, gallery, holds
from prost.errors import BadScores
from prost.evaluation.benchmark import encode_clips, evaluate_set
from prost.evaluation.report_files import read_report, write_report
from prost.evaluation.report_tables import report_tables
from prost.evaluation.reversal import reversed_accuracy
from prost.evaluation.rows import RankingPlan
from prost.evaluation.sets import SetConfig, open_set
from prost.model.encoding import encode_text


def test_wins_ties_and_losses() -> None:
    forwards = np.array([0.9, 0.8, 0.7, 0.3, 0.5])
    found = reversed_accuracy(forwards, np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert (found.accuracy, found.videos) == (70.0, 5)  # three wins and half a tie of five


def test_the_interval_is_that_of_a_share() -> None:
    won = np.arange(400) % 4 != 0  # 75%; binomial: 75 +- 1.96 x sqrt(0.75 x 0.25 / 400) = 4.2
    found = reversed_accuracy(won.astype(float), np.full(400, 0.5))
    assert found.accuracy == 75.0
    assert found.interval == (pytest.approx(70.8, abs=0.8), pytest.approx(79.2, abs=0.8))


def test_all_and_none_have_the_exact_binomial_interval() -> None:
    ones, zeros = np.ones(20), np.zeros(20)
    margin = 100 * (1 - 0.025 ** (1 / 20))
    assert reversed_accuracy(ones, zeros).interval == (pytest.approx(100 - margin), 100.0)
    assert reversed_accuracy(zeros, ones).interval == (0.0, pytest.approx(margin))


def test_scores_that_are_equal_up_to_rounding_are_at_chance() -> None:
    forwards = np.linspace(-1, 2, 50, dtype=np.float32)
    found = reversed_accuracy(forwards, forwards + np.float32(2e-6))
    assert (found.accuracy, found.interval) == (50.0, (50.0, 50.0))


def test_sentences_about_one_long_video_are_drawn_together() -> None:
    won = np.repeat([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], 8)
    alone = reversed_accuracy(won, np.full(48, 0.5))
    found = reversed_accuracy(won, np.full(48, 0.5), videos=np.repeat(np.arange(6), 8))
    assert found.accuracy == alone.accuracy
    assert found.interval == reversed_accuracy(won[::8], np.full(6, 0.5)).interval
    assert np.diff(found.interval) > 2 * np.diff(alone.interval)


def test_scores_that_are_no_numbers() -> None:
    with pytest.raises(BadScores):
        reversed_accuracy(np.array([np.nan]), np.array([0.0]))


@pytest.mark.parametrize("name", ["toybox-12", "toybox-long-12"])
def test_a_gallery_shows_videos_backwards_whose_query_is_then_false(name: str) -> None:
    data = open_set(SetConfig(name=name, bank=0), reversed_videos=5)
    clips, turned = data.clips, data.reversed.clips
    assert isinstance(clips, ToyboxClipSet) and isinstance(turned, ToyboxClipSet)
    assert len(turned) == len(data.reversed.captions) == 5
    frames = list(turned.read(range(5), frames=4, size=32))
    for place, frame in zip(data.reversed.captions, frames, strict=True):
        (forwards,) = clips.read([place], frames=4, size=32)
        assert forwards.pixels is not None and frame.pixels is not None
        np.testing.assert_array_equal(frame.pixels, forwards.pixels[::-1])
    assert turned.description != clips.description
    assert len(open_set(SetConfig(name=name, bank=0)).reversed.clips) == 0


def test_only_sentences_that_reversal_makes_false_are_asked() -> None:
    made = gallery("toybox-60")
    asked = open_set(SetConfig(name="toybox-60", bank=0), reversed_videos=60).reversed.captions
    false = [
        place
        for place, (query, scene) in enumerate(zip(made.queries, made.scenes, strict=True))
        if not holds(query.claims, backwards(scene))
    ]
    assert list(asked) == false


def test_the_report_has_the_accuracy_of_the_plain_path(untrained_folder: Path, tmp_path: Path) -> None:
    model = prost.load(untrained_folder)
    plan = RankingPlan(methods=(), directions=("text_to_video",), samples=20)
    data = open_set(SetConfig(name="toybox-10", bank=0), reversed_videos=4)
    report = evaluate_set(model, data, plan)
    text = encode_text(model, [data.captions[place] for place in data.reversed.captions])
    turned = model.match(text, encode_clips(model, data.reversed.clips)).total.diagonal()
    own = [report.score_matrices()["sum"][place, place] for place in data.reversed.captions]
    expected = 100 * np.mean(np.array(own) > turned.detach().numpy())
    found = report.reversed_accuracy["sum"]
    assert (found.accuracy, found.videos) == (expected, 4)

    values = report.to_dict()["sum"]["reversed"]
    assert values == {"accuracy": expected, "interval": [round(b, 2) for b in found.interval], "videos": 4}
    write_report(report, tmp_path)
    again = read_report(tmp_path)
    assert again.reversed_accuracy["sum"].accuracy == expected
    (table,) = report_tables(again)
    assert table.columns[-1] == "reversed" and table.rows[0][-1].startswith(f"{expected:.1f} [")
    assert any("4 videos, each with a query that is false of it backwards" in note for note in table.notes)


def test_a_report_without_reversed_videos_has_no_such_column(untrained_folder: Path) -> None:
    plan = RankingPlan(methods=(), directions=("text_to_video",), samples=20)
    report = evaluate_set(prost.load(untrained_folder), open_set(SetConfig(name="toybox-8", bank=0)), plan)
    assert report.to_dict()["sum"]["reversed"] is None
    assert "reversed" not in report_tables(report)[0].columns
