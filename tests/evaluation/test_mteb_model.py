"""Models run by `mteb.evaluate` itself, on real files: the same figures as our own evaluation of the same pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
import torch
from datasets import Dataset, Video

import prost
from prost.data.records import VideoRecord
from prost.data.toybox import read_captions
from prost.errors import MissingPath, UsageError, VideoError
from prost.evaluation.benchmark import evaluate_set
from prost.evaluation.metrics import text_to_video_ranks
from prost.evaluation.mteb_model import MtebModel
from prost.evaluation.mteb_tasks import open_task, run_task
from prost.evaluation.rows import RankingPlan
from prost.evaluation.sets import records_set
from prost.model.clip4clip import CLIP4Clip, CLIP4ClipConfig
from prost.model.dual_encoder import DualEncoder, DualEncoderConfig
from prost.model.ts2net import TS2Net, TS2NetConfig


def write_task(folder: Path, toybox: Path, *, backwards: bool = False, captions: int = 1) -> Path:
    """A folder for `open_task`: Toybox's videos searched by their captions, or the other way round."""
    folder.mkdir()
    rows = read_captions(toybox)
    for row in rows:
        (folder / row["video"]).symlink_to(toybox / row["video"])
    films = [{"id": f"d{place}", "video": row["video"]} for place, row in enumerate(rows)]
    texts, pairs = [], []
    for place, row in enumerate(rows):
        for number, caption in enumerate(row["captions"][:captions]):
            texts.append({"id": f"q{place}-{number}", "text": caption})
            pairs.append((f"q{place}-{number}", f"d{place}"))
    parts = (films, texts) if not backwards else (texts, films)
    judged = [
        {"query-id": text, "corpus-id": film, "score": 1}
        if not backwards
        else {"query-id": film, "corpus-id": text, "score": 1}
        for text, film in pairs
    ]
    for name, lines in zip(("corpus", "queries", "qrels"), (*parts, judged), strict=True):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def silent(line: str) -> None:
    raise AssertionError(f"nothing is to be fetched, but: {line}")


def made(architecture: str, untrained: Path) -> Any:
    """A tiny model of random weights."""
    opened = prost.load(untrained, "cpu")
    if architecture == "prost":
        return opened
    kind, config = {
        "clip4clip": (CLIP4Clip, CLIP4ClipConfig),
        "ts2net": (TS2Net, TS2NetConfig),
        "dual_encoder": (DualEncoder, DualEncoderConfig),
    }[architecture]
    sizes = {"clip": opened.config.clip.model_dump(), "width": 64, "frames": 4}
    if architecture == "ts2net":
        sizes |= {"token_shift_blocks": [1], "token_shift_divisions": 5}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(config.parse(sizes), opened.tokenizer).eval()


def own_ranks(model: Any, toybox: Path, captions: int = 1) -> tuple[Any, np.ndarray]:
    """Our own report of the same pairs, and the ranks of the right videos."""
    records = [
        VideoRecord(row["video"], toybox / row["video"], tuple(row["captions"][:captions]))
        for row in read_captions(toybox)
    ]
    data = records_set(records, name="same pairs", split="test")
    report = evaluate_set(model, data, RankingPlan(methods=(), samples=20))
    scores = report.score_matrices()["sum"]
    return report, text_to_video_ranks(scores, data.video_of_caption)


@pytest.mark.parametrize("architecture", ["prost", "clip4clip", "ts2net", "dual_encoder"])
def test_mteb_finds_the_figures_of_our_own_evaluation(
    architecture: str, untrained_folder: Path, toybox_folder: Path, tmp_path: Path
) -> None:
    model = made(architecture, untrained_folder)
    task = open_task(str(write_task(tmp_path / "task", toybox_folder, captions=2)), silent)
    result = mteb.evaluate(MtebModel(model), task, cache=None, co2_tracker=False, show_progress_bar=False)
    scores = result.task_results[0].scores["test"][0]
    report, ranks = own_ranks(model, toybox_folder, captions=2)
    own = report.parts["sum"].metrics
    assert len(ranks) == 16 and len(set(ranks)) > 1
    # mteb rounds its scores to five decimals.
    assert 100 * scores["recall_at_1"] == pytest.approx(own.r1, abs=1e-3)
    assert 100 * scores["recall_at_5"] == pytest.approx(own.r5, abs=1e-3)
    # With one right video per query, the gain of rank r is 1 / log2(1 + r), and the reciprocal rank 1 / r.
    assert scores["ndcg_at_10"] == pytest.approx(np.mean(1 / np.log2(1 + ranks)), abs=1e-5)
    assert scores["mrr_at_10"] == pytest.approx(np.mean(1 / ranks), abs=1e-5)


def test_a_trained_model_finds_texts_by_videos(
    toybox_model: Any, toybox_folder: Path, tmp_path: Path
) -> None:
    task = open_task(str(write_task(tmp_path / "task", toybox_folder, backwards=True)), silent)
    assert task.metadata.category == "v2t"
    scores = run_task(MtebModel(toybox_model), task).scores["test"][0]
    report, _ = own_ranks(toybox_model, toybox_folder)
    own = next(
        row for row in report.rows if (row.score, row.direction) == ("sum", "video_to_text_strict")
    ).values
    assert 100 * scores["recall_at_1"] == pytest.approx(own["R@1"], abs=1e-3)
    assert 100 * scores["recall_at_5"] == pytest.approx(own["R@5"], abs=1e-3)
    assert own["R@1"] > 50


class Named:
    """What the protocol reads of a task's metadata."""

    name = "a task"


def films(values: list[Any]) -> Dataset:
    rows = {"id": [f"d{place}" for place in range(len(values))], "video": values}
    return Dataset.from_dict(rows).cast_column("video", Video())


def asked(*texts: str) -> Dataset:
    return Dataset.from_dict({"id": [f"q{place}" for place in range(len(texts))], "text": list(texts)})


def test_bytes_and_files_give_the_same_scores_in_blocks_of_any_size(
    toybox_model: Any, toybox_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(toybox_folder.glob("*.mp4"))[:5]
    found = []
    for block, values in (
        (64, [str(path) for path in paths]),
        (2, [{"bytes": path.read_bytes(), "path": "elsewhere.mp4"} for path in paths]),
    ):
        monkeypatch.setattr("prost.evaluation.mteb_model.BLOCK_VIDEOS", block)
        model = MtebModel(toybox_model)
        model.index(films(values), task_metadata=Named)
        found.append(model.search(asked("a red ball falls"), task_metadata=Named, top_k=5)["q0"])
    assert list(found[0]) == list(found[1])
    np.testing.assert_allclose(list(found[0].values()), list(found[1].values()), atol=1e-5)


def test_a_query_gets_its_best_documents_or_those_it_may_have(toybox_model: Any, toybox_folder: Path) -> None:
    model = MtebModel(toybox_model)
    model.index(films([str(path) for path in sorted(toybox_folder.glob("*.mp4"))]), task_metadata=Named)
    everything = model.search(asked("a red ball falls"), task_metadata=Named, top_k=100)["q0"]
    assert len(everything) == 8 and list(everything.values()) == sorted(everything.values(), reverse=True)
    best = model.search(asked("a red ball falls"), task_metadata=Named, top_k=3)["q0"]
    assert list(best) == list(everything)[:3]
    worst = list(everything)[-2:]
    again = model.search(
        asked("a red ball falls"), task_metadata=Named, top_k=100, top_ranked={"q0": worst[::-1]}
    )["q0"]
    assert list(again) == worst


def test_titles_go_before_texts(toybox_model: Any, toybox_folder: Path) -> None:
    model = MtebModel(toybox_model)
    film = films([str(min(toybox_folder.glob("*.mp4")))])
    titled = Dataset.from_dict({"id": ["a", "b"], "title": ["a red", ""], "text": ["ball falls", "a boat"]})
    found = []
    for corpus in (titled, asked("a red ball falls", "a boat")):
        model.index(corpus, task_metadata=Named)
        found.append(sorted(model.search(film, task_metadata=Named, top_k=2)["d0"].values()))
    assert found[0] == found[1]


def test_what_mteb_writes_about_the_model_is_of_the_model(toybox_model: Any) -> None:
    meta = MtebModel(toybox_model, "runs/mine").mteb_model_meta
    assert (meta.name, meta.revision) == ("prost/mine", toybox_model.fingerprint)
    assert meta.n_parameters == sum(parameter.numel() for parameter in toybox_model.parameters())
    assert set(meta.modalities) == {"text", "video"}


def test_what_cannot_be_scored_is_refused(toybox_model: Any, toybox_folder: Path, tmp_path: Path) -> None:
    model = MtebModel(toybox_model)
    film = films([str(min(toybox_folder.glob("*.mp4")))])
    with pytest.raises(UsageError, match="a search before anything is indexed"):
        model.search(asked("a ball"), task_metadata=Named, top_k=1)
    with pytest.raises(UsageError, match="1 rows of audio, video"):
        model.index(film.add_column("audio", ["a.wav"]), task_metadata=Named)
    with pytest.raises(UsageError, match="type Video of datasets"):
        model.index(Dataset.from_dict({"id": ["d"], "video": [[1.0]]}), task_metadata=Named)
    with pytest.raises(MissingPath, match=r"video 'd0' of a task: /no/such\.mp4"):
        model.index(films(["/no/such.mp4"]), task_metadata=Named)
    with pytest.raises(VideoError, match=r"^video 'd0' of a task: "):
        model.index(films([{"bytes": b"no video", "path": None}]), task_metadata=Named)
    model.index(film, task_metadata=Named)
    with pytest.raises(UsageError, match="searches video by video"):
        model.search(film, task_metadata=Named, top_k=1)
