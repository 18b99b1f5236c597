"""The published figures, spot by spot against the paper's supplement."""

import pytest

from prost.evaluation.metrics import METRICS
from prost.evaluation.post_processing import TRANSDUCTIVE
from prost.evaluation.published import Published, backbone_notes, published


def one(**wanted: object) -> Published:
    (found,) = [
        row for row in published() if all(getattr(row, name) == value for name, value in wanted.items())
    ]
    return found


def test_figures_of_the_paper() -> None:
    youcook = {row.model: row.values for row in published("models", "youcook2")}
    assert list(youcook) == ["TACo", "COOT", "CLIP4Clip", "TS2-Net", "ProST"]
    assert youcook["ProST"] == {"R@1": 11.4, "R@5": 30.2, "R@10": 41.7, "MdR": 17.0, "MnR": 116.8}
    best = max(published("layers"), key=lambda row: row.values["R@1"])
    assert (best.layers, best.values["R@1"]) == ((2, 2), 48.2)
    assert len(published("layers")) == 9
    tvh = one(model="ProST", benchmark="vatex", post_processing="hungarian", table="post_processing")
    assert tvh.values["R@1"] == 69.1
    time = one(model="TS2-Net", benchmark="didemo", table="time")
    assert time.seconds == pytest.approx({"training": 5760, "extraction": 134.67, "search": 3.91})


def test_every_row_says_where_it_is_from_and_uses_our_words() -> None:
    for row in published():
        assert row.source and row.backbone and set(row.values) <= set(METRICS) and row.values
        assert row.post_processing in {"none", *TRANSDUCTIVE}
        assert all(0 < row.values[column] < 100 for column in row.values if column.startswith("R@"))


def test_a_variant_of_a_benchmark_has_the_benchmark_s_figures() -> None:
    assert published(benchmark="didemo-prost") == published(benchmark="didemo") != []
    assert published(benchmark="toybox-1k") == []


def test_both_sources_of_a_backbone_are_told_where_they_disagree() -> None:
    (note,) = backbone_notes(published("layers"))
    assert "ViT-B/16 by its model card" in note and "ViT-B/32 by the tables of DITS and TAME" in note
