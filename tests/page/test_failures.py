"""The page of failures: the right videos in the right frames, parts that add up, and files that have gone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.apps.server.browsing import PHONE, Visit, chromium
from tests.model.released_models import written
from tests.page.test_results import Page

import prost
from prost.data.records import VideoRecord
from prost.data.toybox import read_captions
from prost.evaluation.benchmark import evaluate_set
from prost.evaluation.failures import worst_failures
from prost.evaluation.report import EvaluationReport
from prost.evaluation.rows import RankingPlan
from prost.evaluation.sets import EvaluationSet, SetConfig, open_set, records_set
from prost.model.checkpoint import load
from prost.model.clip4clip import CLIP4Clip, CLIP4ClipConfig
from prost.model.retrieval_model import RetrievalModel
from prost.page.failures import write_failures
from prost.page.heat import CAVEAT

PLAIN = RankingPlan(methods=(), samples=20)


@pytest.fixture(scope="module")
def untrained(untrained_folder: Path) -> RetrievalModel[Any, Any]:
    return prost.load(untrained_folder)


@pytest.fixture(scope="module")
def ten() -> EvaluationSet:
    return open_set(SetConfig(name="toybox-10", bank=0))


@pytest.fixture(scope="module")
def report(untrained: RetrievalModel[Any, Any], ten: EvaluationSet) -> EvaluationReport:
    return evaluate_set(untrained, ten, PLAIN)


def sections(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("<article ")[1:]


def test_each_failure_shows_the_true_video_and_those_before_it(
    untrained: RetrievalModel[Any, Any], ten: EvaluationSet, report: EvaluationReport, tmp_path: Path
) -> None:
    shown = write_failures(tmp_path / "f.html", untrained, report, ten, most=3)
    page = Page(tmp_path / "f.html")
    worst = worst_failures(report.score_matrices(), ten.video_of_caption, 3)
    assert shown == len(worst) == len(sections(tmp_path / "f.html")) == 3
    assert len(page.all("li", "shown true")) == 3
    assert len(page.all("li", "shown won")) == sum(len(failure.winners) for failure in worst)
    for failure, section in zip(worst, sections(tmp_path / "f.html"), strict=True):
        assert f"at rank {failure.true.rank:g} of 10" in section
        names = re.findall(r'class="quiet name">([^<]*)<', section)
        assert names == [ten.videos[each.video] for each in (failure.true, *failure.winners)]
        for each in (failure.true, *failure.winners):
            assert f">{each.score:.3f}<" in section and f"event-sentence {each.event_sentence:.3f}" in section
    # Nothing is fetched from elsewhere: a scene that is drawn has no file to link to.
    assert {image["src"].partition(",")[0] for image in page.all("img")} == {"data:image/jpeg;base64"}
    assert page.all("a") == [] and page.all("link") == []


def test_parts_of_the_score_add_up(
    untrained: RetrievalModel[Any, Any], ten: EvaluationSet, report: EvaluationReport, tmp_path: Path
) -> None:
    write_failures(tmp_path / "f.html", untrained, report, ten, most=2)
    assert CAVEAT in (tmp_path / "f.html").read_text(encoding="utf-8")
    worst = worst_failures(report.score_matrices(), ten.video_of_caption, 2)
    for failure, section in zip(worst, sections(tmp_path / "f.html"), strict=True):
        body = section.split("<tbody>")[1]
        rows = [
            [float(value) for value in re.findall(r"<span>(-?[\d.]+)</span>", row)]
            for row in body.split("<tr")[1:]
        ]
        *parts, total = rows
        for column, video in enumerate((failure.winners[0], failure.true)):
            assert total[column] == pytest.approx(video.score, abs=6e-4)
            assert sum(part[column] for part in parts) == pytest.approx(total[column], abs=5e-4 * len(rows))


def test_a_set_without_failures_says_so(
    untrained: RetrievalModel[Any, Any], report: EvaluationReport, tmp_path: Path
) -> None:
    one = open_set(SetConfig(name="toybox-1", bank=0))
    assert (
        write_failures(tmp_path / "f.html", untrained, evaluate_set(untrained, one, PLAIN), one, most=5) == 0
    )
    assert "All sentences find their video first" in Page(tmp_path / "f.html").text


def test_a_model_without_prototypes_says_that_it_cannot_tell(
    untrained: RetrievalModel[Any, Any], ten: EvaluationSet, tmp_path: Path
) -> None:
    sizes = {"clip": untrained.config.clip.model_dump(), "width": 32, "frames": 4}
    rival = CLIP4Clip(CLIP4ClipConfig.parse(sizes), untrained.tokenizer).eval()
    write_failures(tmp_path / "f.html", rival, evaluate_set(rival, ten, PLAIN), ten, most=2)
    text = Page(tmp_path / "f.html").text
    assert "clip4clip has no prototypes" in text and "What the first video has that" not in text
    assert "event-sentence" not in text


def files_set(folder: Path) -> EvaluationSet:
    rows = read_captions(folder)[:4]
    records = [
        VideoRecord(row["video"], folder / row["video"], (row["captions"][0], "a <b>red</b> ball"))
        for row in rows
    ]
    return records_set(records, name="pairs", split="test")


def test_files_are_linked_and_those_that_have_gone_say_so_in_their_place(
    untrained: RetrievalModel[Any, Any], toybox_folder: Path, tmp_path: Path
) -> None:
    here = tmp_path / "videos"
    here.mkdir()
    for file in [*sorted(toybox_folder.glob("*.mp4")), toybox_folder / "captions.jsonl"]:
        (here / file.name).write_bytes(file.read_bytes())
    data = files_set(here)
    report = evaluate_set(untrained, data, PLAIN)
    worst = worst_failures(report.score_matrices(), data.video_of_caption, 9)
    gone = worst[0].true.video
    (here / data.videos[gone]).unlink()
    write_failures(tmp_path / "f.html", untrained, report, data, most=9)
    page = Page(tmp_path / "f.html")
    for link in page.all("a", "film"):
        assert (tmp_path / link["href"].partition("#")[0]).is_file()
    first = sections(tmp_path / "f.html")[0]
    assert "The frames cannot be shown: " in first and "because a video cannot be read" in first
    assert len(page.all("a", "film")) > 0 and "<b>red</b>" not in (tmp_path / "f.html").read_text()


def test_a_dual_encoder_shows_its_best_frame(tmp_path: Path, ten: EvaluationSet) -> None:
    model = load(written("clip", tmp_path / "clip"))
    report = evaluate_set(model, ten, PLAIN)
    write_failures(tmp_path / "f.html", model, report, ten, most=1)
    text = Page(tmp_path / "f.html").text
    assert "What the first video has that was asked for" in text and "× object-phrase" in text


@pytest.mark.slow
def test_the_page_is_readable_in_a_browser_and_plays_a_video(
    untrained: RetrievalModel[Any, Any], toybox_folder: Path, tmp_path: Path
) -> None:
    data = files_set(toybox_folder)
    place = tmp_path / "f.html"
    assert write_failures(place, untrained, evaluate_set(untrained, data, PLAIN), data, most=3)
    with chromium() as browser:
        for choices in ({}, {"color_scheme": "dark"}, {"viewport": PHONE}):
            visit = Visit(browser, "file://", **choices)
            visit.page.goto(place.as_uri())
            visit.check_accessibility()
            assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            visit.page.locator("a.film").first.click()
            visit.page.locator("video").wait_for()
            visit.check()
            visit.close()
