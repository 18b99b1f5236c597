"""The joint scorer in a search: the order of hits, what they say, and what unrelated sentences are judged to be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.search.conftest import ColourModel

from prost.model.joint_scorer import JUDGED
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.vectors import unit
from prost.search.background import JUDGED_IN_SMALL, BackgroundFile
from prost.search.library import Library
from prost.search.snapshot import ClipSnapshot
from prost.search.store import Store
from prost.search.unrelated import COUNT, unrelated_sentences


@dataclass
class Scorer:
    fingerprint: str = "0rde5"


class OrderModel(ColourModel):
    """Colours, with a joint scorer that knows their order: it compares the first phrase with the first event only."""

    def __init__(self, scorer: str = "0rde5") -> None:
        super().__init__()
        self.joint_scorer = Scorer(scorer)

    def joint_logits(self, text: TextPrototypes, video: VideoPrototypes) -> torch.Tensor:
        return 10 * unit(text.phrase[:, 0]) @ unit(video.event[:, 0]).T - 5


def names(hits: list[Any]) -> list[str]:
    return [Path(hit.path).name for hit in hits]


def background(library: Library) -> Any:
    file = BackgroundFile.of(Store.open(library.tables))
    assert file is not None
    return file.read()


@pytest.fixture
def model() -> OrderModel:
    return OrderModel()


@pytest.fixture
def orders(library: Library, tmp_path: Path, paint: Callable[..., Path]) -> Library:
    """Red before green, green before red, and blue."""
    for first, second in (("red", "green"), ("green", "red"), ("blue", "blue")):
        paint(tmp_path / "videos" / f"{first}-{second}.mp4", (first, 3), (second, 3))
    library.add(tmp_path / "videos")
    return library


@pytest.mark.parametrize("first, second", [("red", "green"), ("green", "red")])
def test_the_scorer_tells_what_the_score_does_not(orders: Library, first: str, second: str) -> None:
    hits = orders.search(f"{first} {second}")
    assert names(hits)[0] == f"{first}-{second}.mp4"
    plain = {hit.path: hit for hit in orders.search(f"{first} {second}", joint=False)}
    assert len({round(hit.score, 3) for hit in plain.values()}) == 2  # both orders score alike
    for hit in hits:
        # The score, its parts and the moments are what they were.
        assert hit.moments == plain[hit.path].moments
        assert plain[hit.path].joint_score is None and plain[hit.path].as_dict()["joint_score"] is None


def test_the_joint_score_is_the_probability_of_the_logit(orders: Library, model: OrderModel) -> None:
    hits = orders.search("red green")
    for hit in hits:
        (clip,) = orders.clips_of(hit.video)
        red = clip.event[0][0] / np.linalg.norm(clip.event[0])  # red is the first of the colours
        assert hit.joint_score == pytest.approx(1 / (1 + math.exp(5 - 10 * red)), abs=1e-4)
    assert hits.to_table()["joint_score"].to_pylist()[0] == hits[0].joint_score
    shown = [hit.joint_score for hit in hits]
    assert shown == sorted(shown, reverse=True) and shown[0] > 0.9 > 0.1 > shown[1]


def test_confidence_is_that_of_the_logit(orders: Library) -> None:
    hits = orders.search("red green")
    assert hits.notes == []
    assert hits.confidence is not None and hits.confidence.level == "good"
    rates = [hit.confidence.false_alarm_rate for hit in hits if hit.confidence is not None]
    assert rates == sorted(rates) and len(rates) == 3
    best = background(orders).joint.best
    # Few unrelated sentences begin with a colour of the videos; the others get about the logit of a zero phrase.
    as_high = np.mean(best > 4.9)
    assert np.median(best) == -5.0 and 0 < as_high < 0.05
    assert hits[0].confidence.false_alarm_rate == pytest.approx(as_high, abs=0.02)


def test_few_sentences_are_judged_in_a_small_library(orders: Library) -> None:
    stored = background(orders)
    assert len(stored.joint.best) == JUDGED_IN_SMALL < len(stored.best) == COUNT


def test_without_the_scorer_the_stored_scores_decide(orders: Library) -> None:
    assert orders.search("red green", joint=False).notes == []


@pytest.mark.parametrize("few", [True, False], ids=["18 clips", "240 clips"])
def test_unrelated_sentences_are_judged_as_a_search_judges(
    library: Library, filled: Library, fill_store: Callable[..., None], few: bool
) -> None:
    """By loops over all videos: the best logit among the fifty videos of the best scores."""
    if few:
        for first, clips in ((0, 1), (12, 2)):
            fill_store(Store.open(library.path), first, 6, clips=clips)
        filled = library

    class Named(OrderModel):
        """Every sentence names colours, so that no two sentences are alike."""

        def encode_text(self, sentences: list[str]) -> TextPrototypes:
            drawn = [
                np.random.default_rng(list(sentence.encode())).normal(size=(4, 8)) for sentence in sentences
            ]
            text = torch.from_numpy(np.stack(drawn)).float()
            return TextPrototypes(text, text.sum(dim=1))

    named = Named()
    library = Library(filled.path, named)
    library.optimize()
    stored = background(library)
    count = len(stored.joint.best)
    assert count == (JUDGED_IN_SMALL if few else COUNT) and len(stored.best) == COUNT
    text = named.encode_text(unrelated_sentences(named, count))
    snapshot = ClipSnapshot(Store.open(library.tables), memory=0)
    rows = np.arange(len(snapshot))
    every = snapshot.prototypes(rows, snapshot.reader({}))
    logits = named.joint_logits(text, VideoPrototypes(every.object_codes.float(), every.event))
    scores = snapshot.total_scores(text, rows, named.config.object_phrase_weight)
    for sentence in range(0, count, 20):
        best: dict[int, int] = {}
        for row in sorted(rows, key=lambda row: -scores[sentence, row]):
            best.setdefault(int(snapshot.content_of[row]), int(row))
        expected = max(float(logits[sentence, row]) for row in list(best.values())[:JUDGED])
        assert stored.joint.best[sentence] == pytest.approx(expected, abs=1e-4)


def test_only_the_best_fifty_change_places_whatever_the_limit(filled: Library) -> None:
    plain = filled.search("red green", limit=70, joint=False)
    hits = filled.search("red green", limit=70)
    assert {hit.path for hit in hits[:JUDGED]} == {hit.path for hit in plain[:JUDGED]}
    assert names(hits[JUDGED:]) == names(plain[JUDGED:])
    assert names(hits) != names(plain)
    shown = [hit.joint_score for hit in hits]
    assert None not in shown and shown[:JUDGED] == sorted(shown[:JUDGED], reverse=True)
    assert names(filled.search("red green", limit=10)) == names(hits)[:10]


def test_the_scan_finds_what_exact_search_finds(filled: Library) -> None:
    filled.optimize()
    exact, scanned = (filled.search("red green", coarse=coarse) for coarse in ("exact", "scan"))
    assert names(scanned) == names(exact)
    assert [hit.joint_score for hit in scanned] == pytest.approx([hit.joint_score for hit in exact])


def test_another_scorer_of_the_same_prototypes_is_not_compared_with_stored_logits(orders: Library) -> None:
    other = Library(orders.path, OrderModel("an0ther"))
    hits = other.search("red green")
    assert names(hits)[0] == "red-green.mp4" and "estimated" in hits.notes[0]
    assert other.optimize().background
    assert background(other).joint.scorer == "an0ther" and other.search("red green").notes == []


def test_a_model_without_a_scorer_searches_the_same_library(orders: Library) -> None:
    hits = Library(orders.path, ColourModel()).search("red green")
    assert hits.notes == [] and [hit.joint_score for hit in hits] == [None] * 3


def test_without_a_model_the_stored_logits_stay(orders: Library, tmp_path: Path) -> None:
    plain = Library(orders.path)
    assert plain.optimize().background
    plain.remove(tmp_path / "videos" / "blue-blue.mp4")
    assert not plain.optimize().background
    assert background(orders).joint is not None


def test_what_looks_alike_is_not_judged(orders: Library, tmp_path: Path) -> None:
    hits = orders.search_like(tmp_path / "videos" / "red-green.mp4")
    assert hits and all(hit.joint_score is None for hit in hits)
