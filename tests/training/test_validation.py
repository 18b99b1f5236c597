"""What the best step is chosen on: ranks of the true video, every caption a query, tokens kept while they may be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prost.data.clip_sets import ToyboxClipSet
from prost.data.records import VideoRecord
from prost.evaluation.metrics import ranks
from prost.evaluation.sets import records_set
from prost.model.retrieval_model import VISION_TOWER, RetrievalModel
from prost.model.temporal import event_diversity
from prost.training.freezing import freeze
from prost.training.validation import ValidationSet

MakeModel = Callable[..., RetrievalModel[Any, Any]]


@pytest.fixture
def records(toybox_folder: Path) -> list[VideoRecord]:
    paths = sorted(toybox_folder.glob("*.mp4"))[:3]
    captions = [("a red ball falls", "a ball"), ("a cat grows",), ("a boat", "a fish", "a house blinks")]
    return [VideoRecord(path.stem, path, told) for path, told in zip(paths, captions, strict=True)]


def test_every_caption_is_ranked_among_the_videos(make_model: MakeModel, records: list[VideoRecord]) -> None:
    model = make_model("prost").eval()
    found = ValidationSet(records_set(records, name="three", split="val")).measure(model)
    with torch.no_grad():
        text = model.encode_text([caption for record in records for caption in record.captions])
        video = model.encode_video([str(record.path) for record in records])
        scores = model.match(text, video)
    for name, part in (("sum", scores.total), ("object_phrase", scores.object_phrase)):
        assert np.array_equal(found.ranks[name], ranks(part.numpy(), [0, 0, 1, 2, 2, 2]))
    expected = (100 * (found.ranks["sum"] == 1).mean(), -found.ranks["sum"].mean())
    assert found.quality == pytest.approx(expected)
    assert found.to_dict()["videos"] == 3 and found.twin_accuracy == {}
    assert found.to_dict()["event_diversity"] == pytest.approx(event_diversity(video.event))


def test_a_joint_scorer_chooses_the_best_step(make_model: MakeModel, records: list[VideoRecord]) -> None:
    model = make_model("prost", joint_scorer={"width": 24, "layers": 1})
    found = ValidationSet(records_set(records, name="three", split="val")).measure(model)
    better = replace(found, ranks={**found.ranks, "joint": np.ones_like(found.ranks["joint"])})
    worse = replace(found, ranks={**found.ranks, "joint": np.full_like(found.ranks["joint"], 3)})
    assert better.quality == (100.0, -1.0) and worse.quality == (0.0, -3.0)


def test_a_gallery_has_twins_and_a_rival_has_one_score(make_model: MakeModel) -> None:
    found = ValidationSet.of_gallery("toybox-5").measure(make_model("meanP"))
    assert set(found.ranks) == {"sum"} and len(found.ranks["sum"]) == 5
    assert "event_diversity" not in found.to_dict()
    assert 0.0 <= found.to_dict()["sum"]["twin_accuracy"] <= 100.0


def test_tokens_are_read_once_while_the_tower_is_frozen(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[int] = []
    blocks = ToyboxClipSet.blocks
    monkeypatch.setattr(
        ToyboxClipSet, "blocks", lambda self, **sizes: readings.append(1) or blocks(self, **sizes)
    )
    model = make_model("meanP")
    validation = ValidationSet.of_gallery("toybox-5", keep_tokens=True)
    freeze(model, VISION_TOWER)
    first, again = (validation.measure(model).ranks["sum"] for _ in range(2))
    assert np.array_equal(first, again) and len(readings) == 1
    freeze(model, ())
    validation.measure(model)
    assert len(readings) == 2
