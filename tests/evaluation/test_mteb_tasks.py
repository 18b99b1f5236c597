"""Which tasks are opened, what a folder may hold, and that nothing is fetched unasked."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants
from mteb.results import TaskResult
from tests.evaluation.test_mteb_model import silent, write_task

from prost.errors import BadAnnotations, DownloadFailed, MissingPath, UsageError
from prost.evaluation.mteb_model import MtebModel
from prost.evaluation.mteb_tasks import open_task, run_task, shown_scores, write_result
from prost.model.prost import ProST


@pytest.fixture
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return cache


@pytest.mark.parametrize("name", ["MSRVTTT2V", "MSVDV2TRetrieval", "OmniWikiV2TRetrieval"])
def test_a_named_task_says_what_it_would_fetch_and_fetches_nothing(name: str, nothing_cached: Path) -> None:
    with pytest.raises(MissingPath) as caught:
        open_task(name, silent)
    said = str(caught.value)
    assert said.startswith(f"{name} needs the data set ") and "revision" in said
    assert str(nothing_cached) in said and "--download" in said
    assert not nothing_cached.exists() or not any(path.is_file() for path in nothing_cached.rglob("*.arrow"))
    assert constants.HF_HUB_OFFLINE == datasets.config.HF_HUB_OFFLINE == False  # noqa: E712


def test_a_download_is_announced_before_it_fails_offline(
    nothing_cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the network, as HF_HUB_OFFLINE=1 says it: no retries of many seconds.
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    lines: list[str] = []
    with pytest.raises(DownloadFailed, match=r"the data set mteb/MSVD, .* cannot be fetched into"):
        open_task("MSVDT2VRetrieval", lines.append, download=True)
    assert len(lines) == 1 and "mteb/MSVD" in lines[0] and str(nothing_cached) in lines[0]


def test_tasks_of_other_kinds_and_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="MSRVTTT2VA is Any2AnyRetrieval of the category t2va"):
        open_task("MSRVTTT2VA", silent)
    with pytest.raises(UsageError, match="Banking77Classification is Classification"):
        open_task("Banking77Classification", silent)
    with pytest.raises(MissingPath, match="Did you mean: 'MSRVTTT2V'"):
        open_task("MSRVTT2V", silent)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("corpus", "not json", "corpus.jsonl, line 1 is no JSON"),
        ("corpus", '{"id": "d0"}', "line 1 lacks an id or a text"),
        ("corpus", '{"id": "d0", "text": "a"}', "both hold text"),
        ("corpus", '{"id": "d0", "video": "no.mp4"}', "no.mp4, named in"),
        ("queries", '{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}', "line 2 repeats the id 'a'"),
        ("qrels", '{"query-id": "q", "corpus-id": "d0", "score": 1}', "names the query 'q'"),
        ("qrels", '{"query-id": "q0-0", "corpus-id": "d0", "score": 0.5}', "has the score 0.5"),
        ("qrels", None, "holds no qrels.jsonl"),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_line(
    name: str, content: str | None, said: str, toybox_folder: Path, tmp_path: Path
) -> None:
    folder = write_task(tmp_path / "task", toybox_folder)
    if content is None:
        (folder / f"{name}.jsonl").unlink()
    else:
        (folder / f"{name}.jsonl").write_text(content)
    with pytest.raises((BadAnnotations, MissingPath), match=said) as caught:
        open_task(str(folder), silent)
    assert "\n" not in str(caught.value)


def test_a_result_is_written_as_mteb_reads_it(
    toybox_model: ProST, toybox_folder: Path, tmp_path: Path
) -> None:
    task = open_task(str(write_task(tmp_path / "mine", toybox_folder)), silent)
    result = run_task(MtebModel(toybox_model), task)
    path = write_result(result, tmp_path / "results")
    assert path.name == "mine.json"
    again = TaskResult.from_disk(path, load_historic_data=False)
    again_scores, scores = again.scores["test"][0], result.scores["test"][0]
    assert again_scores["ndcg_at_10"] == pytest.approx(scores["ndcg_at_10"], abs=1e-6)
    assert json.loads(path.read_text())["task_name"] == "mine"
    values = {name: value for _, _, name, value in shown_scores(result)}
    assert values["recall_at_1"] == pytest.approx(100 * result.scores["test"][0]["recall_at_1"])
