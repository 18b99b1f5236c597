"""Reports: what was measured is what is written, read back and compared."""

import csv
import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from prost.data.clip_sets import ToyboxClipSet
from prost.errors import BadConfig, MissingPath, StorageError, UsageError
from prost.evaluation.bootstrap import paired_bootstrap
from prost.evaluation.comparison import compare, not_compared
from prost.evaluation.metrics import text_to_video_ranks
from prost.evaluation.report import EvaluationReport
from prost.evaluation.report_files import read_report, write_report, write_scores
from prost.evaluation.report_tables import report_tables
from prost.evaluation.rows import RankingPlan, make_rows
from prost.evaluation.sets import EvaluationSet
from prost.evaluation.setting import Setting


@cache
def made(
    seed: int = 0, quality: float = 0.5, benchmark: str = "youcook2", digest: str = "d"
) -> EvaluationReport:
    """A report of sixty queries of thirty videos; the greater the quality, the more is found."""
    owner = np.repeat(np.arange(30), 2)
    noise = np.random.default_rng(7).normal(size=(60, 30)) * 0.4
    scores = noise + np.random.default_rng(seed).normal(size=(60, 30)) * 0.02
    scores[np.arange(60), owner] += quality
    plan = RankingPlan(samples=50)
    setting = Setting(
        model=f"model-{seed}", architecture="prost", fingerprint="f00d", benchmark=benchmark, split="test",
        queries=digest, videos=30, published_videos=40, captions=60, frames=12, image_size=224, max_words=32,
        sampling="the middles of L equal parts", object_phrase_weight=1.5, temperature=0.05,
        temperature_source="the model's own", bank_captions=0, bank_videos=0, bootstrap_samples=50, bootstrap_seed=0,
        machine="a machine", training_seed=seed, notes=("a note",), versions={"prost": "0"},
    )  # fmt: skip
    noise_ranks = text_to_video_ranks(noise, owner)
    rows = make_rows({"sum": scores, "object_phrase": noise}, owner, 0.05, plan=plan)
    return EvaluationReport(
        setting=setting,
        rows=tuple(rows),
        twin_accuracy={"sum": None, "object_phrase": None},
        twins=0,
        order_blind_ceiling=None,
        comparisons={"sum - object_phrase": paired_bootstrap(rows[0].ranks, noise_ranks, "R@1", samples=50)},
        seconds={"match": 0.5},
        scores={"sum": scores, "object_phrase": noise},
    )


@pytest.mark.parametrize("kept", [0, 100, -30])
def test_damaged_ranks_are_named(tmp_path: Path, kept: int) -> None:
    write_report(made(), tmp_path / "r")
    ranks = tmp_path / "r" / "ranks.npz"
    ranks.write_bytes(ranks.read_bytes()[:kept])
    with pytest.raises(BadConfig, match=r"ranks\.npz is damaged .*; expected: a file of `prost eval"):
        read_report(tmp_path / "r")


def test_a_report_reads_back_as_it_was(tmp_path: Path) -> None:
    report = made()
    write_report(report, tmp_path / "r")
    again = read_report(tmp_path / "r")
    assert again.setting == report.setting
    # With the comparisons, none of which is computed again.
    assert json.dumps(again.to_dict()) == json.dumps(report.to_dict())
    for row, other in zip(report.rows, again.rows, strict=True):
        assert (row.key, row.values, row.gallery) == (other.key, other.values, other.gallery)
        np.testing.assert_array_equal(row.ranks, other.ranks)
        np.testing.assert_array_equal(row.videos, other.videos)


def test_all_four_forms_hold_the_same_numbers(tmp_path: Path) -> None:
    report = made()
    write_report(report, tmp_path)
    values = json.loads((tmp_path / "report.json").read_text())
    r1 = values["sum"]["R@1"]
    lines = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))
    assert len(lines) == len(report.rows)
    assert float(lines[0]["R@1"]) == r1
    low, high = report.rows[0].intervals["R@1"]
    assert (float(lines[0]["R@1 low"]), float(lines[0]["R@1 high"])) == (low, high)
    assert {line["transductive"] for line in lines if line["post_processing"] == "sinkhorn"} == {"yes"}
    assert all(line["R@5"] == "" for line in lines if line["post_processing"] == "hungarian")
    for name in ("report.md", "report.tex"):
        text = (tmp_path / name).read_text()
        assert f"{r1:.1f} [{low:.1f}, {high:.1f}]" in text
        assert "Published for youcook2, text to video (not measured here)" in text and "TACo" in text


def test_every_table_says_what_its_numbers_were_made_with() -> None:
    *ours, figures = report_tables(made())
    assert len(ours) == 3  # the two kinds of video to text differ where videos have two captions
    for table in ours:
        told = " ".join(table.notes)
        for words in (
            "30 videos of 40",
            "training seed 0",
            "middles",
            "seed 0",
            "test split",
            "a note",
            "12 frames",
        ):
            assert words in told
    assert figures.rows[-1][:3] == ("ProST", "none", "11.4")
    assert len(report_tables(made(benchmark="toybox-30"))) == 3


def test_score_matrices_are_written_with_what_they_are_about(tmp_path: Path) -> None:
    report = made()
    data = EvaluationSet(
        name="x",
        split="test",
        videos=tuple(f"video {place}" for place in range(30)),
        captions=tuple(f"caption {place}" for place in range(60)),
        video_of_caption=np.repeat(np.arange(30), 2),
        clips=ToyboxClipSet([], description="none"),
    )
    write_scores(report, data, tmp_path / "deep" / "scores.npz")
    with np.load(tmp_path / "deep" / "scores.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert set(arrays) == {"sum", "object_phrase", "videos", "captions", "video_of_caption"}
    assert arrays["sum"].dtype == np.float32 and arrays["sum"].shape == (60, 30)
    ranks = text_to_video_ranks(arrays["sum"], arrays["video_of_caption"])
    np.testing.assert_array_equal(ranks, report.row().ranks)
    assert arrays["captions"][3] == "caption 3" and arrays["videos"].tolist() == list(data.videos)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["scores.npz"]
    write_report(report, tmp_path / "r")
    with pytest.raises(UsageError, match="a report without its scores"):
        write_scores(read_report(tmp_path / "r"), data, tmp_path / "again.npz")


def test_files_that_are_no_report(tmp_path: Path) -> None:
    with pytest.raises(MissingPath, match=r"report\.json does not exist"):
        read_report(tmp_path)
    write_report(made(), tmp_path)
    (tmp_path / "report.json").write_text('{"setting": {}}')
    with pytest.raises(BadConfig, match="holds no report"):
        read_report(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(made(), tmp_path / "file")


def test_an_order_is_claimed_only_where_it_holds() -> None:
    better, worse = made(0, 1.2), made(1, 0.3)
    assert compare([better], [worse]).verdict == "model-0 is better"
    assert compare([worse], [better], "MnR").verdict == "model-0 is better"  # small ranks are good ones
    alike = compare([made(2, 0.5)], [made(3, 0.5)])
    assert alike.verdict == "no order"
    assert alike.result.low <= 0 <= alike.result.high
    assert "no order" in str(alike)


def test_several_trainings_of_each() -> None:
    result = compare(
        [made(0, 1.0), made(1, 1.1)], [made(2, 0.2), made(3, 0.3), made(4, 0.2)], names=("a", "b")
    )
    means = [np.mean([made(seed, quality).row().values["R@1"] for seed, quality in runs])
             for runs in (((0, 1.0), (1, 1.1)), ((2, 0.2), (3, 0.3), (4, 0.2)))]  # fmt: skip
    assert result.result.difference == pytest.approx(means[0] - means[1])
    assert (result.runs, result.verdict) == ((2, 3), "a is better")


def test_a_report_that_drew_clips_is_compared_by_their_long_videos() -> None:
    better, worse = made(0, 1.2), made(1, 0.3)
    rows = [replace(row, videos=row.videos // 5) for row in worse.rows]
    whole = replace(worse, rows=tuple(rows))
    found = compare([better], [whole])
    ranks = better.row().ranks, worse.row().ranks
    assert found.result == paired_bootstrap(*ranks, "R@1", videos=whole.row().videos)
    assert compare([whole], [better]).result == paired_bootstrap(
        *ranks[::-1], "R@1", videos=whole.row().videos
    )


def test_what_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="different videos or captions"):
        compare([made()], [made(digest="other")])
    with pytest.raises(UsageError, match="has no R@5"):
        compare([made()], [made()], "R@5", post_processing="hungarian")
    with pytest.raises(UsageError, match="no row sum/text_to_video/nnn"):
        compare([made()], [made()], post_processing="nnn")


def test_what_two_reports_do_not_share_is_said() -> None:
    a, b = made(), made()
    assert not_compared(a, b, ("a", "b")) == []
    fewer = replace(
        b, rows=b.rows[1:], setting=replace(b.setting, sampling="authors' segments", temperature=0.5)
    )
    assert not_compared(a, fewer, ("a", "b")) == [
        f"only in a: {a.rows[0].key}",
        f"sampling: {a.setting.sampling} in a, authors' segments in b",
        f"temperature of the inverted softmax: {a.setting.temperature:g} in a, 0.5 in b",
    ]
