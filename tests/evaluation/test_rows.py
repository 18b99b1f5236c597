"""Rows from matrices: every direction and method against the plain functions, several captions a video."""

import numpy as np
import pytest
from numpy.typing import NDArray

from prost.errors import UsageError
from prost.evaluation import rows as rows_file
from prost.evaluation.metrics import RetrievalMetrics, text_to_video_ranks, video_to_text_ranks
from prost.evaluation.post_processing import hungarian, inverted_softmax, nnn, qb_norm, sinkhorn
from prost.evaluation.rows import DIRECTIONS, METHODS, Bank, RankingPlan, Row, left_out, make_rows

Array = NDArray[np.float64]
QUICK = RankingPlan(samples=20)


def several_captions(seed: int = 0) -> tuple[Array, NDArray[np.int64], Bank]:
    """Twelve videos with one to four captions each, and a bank for both directions."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(12), rng.integers(1, 5, 12))
    scores = rng.normal(size=(len(owner), 12)) * 0.2
    scores[np.arange(len(owner)), owner] += 0.25
    bank = Bank(
        captions={"sum": rng.normal(size=(150, 12)) * 0.2},
        videos={"sum": rng.normal(size=(140, len(owner))) * 0.2},
    )
    return scores, owner, bank


def by_key(rows: list[Row]) -> dict[str, Row]:
    return {row.key: row for row in rows}


def test_every_method_in_every_direction_is_the_plain_function_on_its_queries_in_rows() -> None:
    scores, owner, bank = several_captions()
    rows = by_key(make_rows({"sum": scores}, owner, 0.1, bank, QUICK))
    assert list(rows) == [f"sum/{way}/{method}" for way in DIRECTIONS for method in ("none", *METHODS)]
    text, video = bank.captions["sum"], bank.videos["sum"]
    to_video = {
        "none": scores,
        "inverted_softmax": inverted_softmax(scores, 0.1).scores,
        "qb_norm": qb_norm(scores, text).scores,
        "sinkhorn": sinkhorn(scores).scores,
        "nnn": nnn(scores, text, k=128).scores,
    }
    to_text = {
        "none": scores.T,
        "inverted_softmax": inverted_softmax(scores.T, 0.1).scores,
        "qb_norm": qb_norm(scores.T, video).scores,
        "sinkhorn": sinkhorn(scores.T).scores,
        "nnn": nnn(scores.T, video, k=128).scores,
    }
    for method, matrix in to_video.items():
        expected = text_to_video_ranks(matrix, owner)
        np.testing.assert_array_equal(rows[f"sum/text_to_video/{method}"].ranks, expected)
    for method, matrix in to_text.items():
        sets = video_to_text_ranks(matrix.T, owner, "clip4clip")
        single = video_to_text_ranks(matrix.T, owner, "strict")
        np.testing.assert_array_equal(rows[f"sum/video_to_text_clip4clip/{method}"].ranks, sets)
        np.testing.assert_array_equal(rows[f"sum/video_to_text_strict/{method}"].ranks, single)
    assert rows["sum/text_to_video/none"].gallery == rows["sum/video_to_text_clip4clip/none"].gallery == 12
    assert rows["sum/video_to_text_strict/none"].gallery == len(owner)


def test_an_assignment_gives_a_video_as_many_queries_as_it_has_captions() -> None:
    scores, owner, bank = several_captions(1)
    rows = by_key(make_rows({"sum": scores}, owner, 0.1, bank, QUICK))
    row = rows["sum/text_to_video/hungarian"]
    assert row.values == {"R@1": pytest.approx(hungarian(scores, np.bincount(owner)).r1(owner))}
    assert list(row.intervals) == ["R@1"] and row.transductive
    chosen = hungarian(scores.T).videos  # a caption for each video
    right = np.mean([owner[caption] == video for video, caption in enumerate(chosen)])
    assert rows["sum/video_to_text_strict/hungarian"].values["R@1"] == pytest.approx(100 * right)


def test_the_columns_are_those_of_the_ranks_and_intervals_draw_videos() -> None:
    scores, owner, _ = several_captions(2)
    (row, *_) = make_rows({"sum": scores}, owner, 0.1, plan=RankingPlan(methods=()))
    assert row.values == RetrievalMetrics.from_ranks(row.ranks, 12).to_dict()
    np.testing.assert_array_equal(row.videos, owner)
    from prost.evaluation.bootstrap import confidence_interval

    assert row.intervals["R@5"] == confidence_interval(row.ranks, "R@5", videos=owner)


def test_clips_of_long_videos_are_drawn_with_their_video() -> None:
    """Against a loop that draws long videos and recounts what is found, in every direction."""
    rng = np.random.default_rng(5)
    source = np.repeat(np.arange(9), rng.integers(1, 6, 9))  # of each clip; each clip has one query
    count = len(source)
    # What is found depends on the long video: all of its clips, or none.
    scores = np.where(np.arange(9)[source] % 2 == 0, 1.0, -1.0)[:, None] * np.eye(count)
    plan = RankingPlan(methods=(), samples=400, seed=3)
    rows = by_key(make_rows({"sum": scores}, np.arange(count), 0.1, plan=plan, source_of_video=source))
    alone = by_key(make_rows({"sum": scores}, np.arange(count), 0.1, plan=plan))
    for key, row in rows.items():
        np.testing.assert_array_equal(row.videos, source)
        np.testing.assert_array_equal(row.ranks, alone[key].ranks)
        draws = np.random.default_rng(3)
        found = []
        for _ in range(400):
            hits = total = 0
            for video in draws.integers(9, size=9):
                for clip in range(count):
                    if source[clip] == video:
                        hits, total = hits + int(row.ranks[clip] <= 1), total + 1
            found.append(100.0 * hits / total)
        expected = sorted(found)[9], sorted(found)[389]  # 0.025 of 399 steps, from either end
        assert row.intervals["R@1"] == pytest.approx(expected)
        width, other = np.diff(row.intervals["R@1"]), np.diff(alone[key].intervals["R@1"])
        assert width > 1.3 * other


def test_what_needs_a_bank_is_left_out_without_one_and_said_so() -> None:
    scores, owner, bank = several_captions(3)
    without = {row.post_processing for row in make_rows({"sum": scores}, owner, 0.1, plan=QUICK)}
    assert without == {"none", "inverted_softmax", "hungarian", "sinkhorn"}
    notes = left_out(len(owner), Bank(), QUICK)
    assert [note.split(":")[0] for note in notes] == [
        "qb_norm and nnn left out for text to video", "qb_norm and nnn left out for video to text"
    ]  # fmt: skip
    assert left_out(len(owner), bank, QUICK) == []


def test_an_assignment_that_does_not_fit_into_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, owner, bank = several_captions(4)
    monkeypatch.setattr(rows_file, "LARGEST_ASSIGNMENT", 100)
    made = {row.post_processing for row in make_rows({"sum": scores}, owner, 0.1, bank, QUICK)}
    assert "hungarian" not in made
    assert left_out(len(owner), bank, QUICK) == [
        f"hungarian left out: an assignment of {len(owner)} captions does not fit into memory"
    ]


def test_a_method_that_nobody_knows() -> None:
    with pytest.raises(UsageError, match="'qb_norm'"):
        RankingPlan(methods=("qbnorm",))
