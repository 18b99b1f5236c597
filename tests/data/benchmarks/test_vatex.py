"""VATEX: missing videos are records without a path, and told."""

import pytest
from tests.data.benchmarks.conftest import Miniature

from prost.data.benchmarks import load_benchmark
from prost.data.records import complete_split, gallery_size
from prost.errors import BadAnnotations, MissingVideos

CAPTIONS = {
    "aaa_000001_000011": ["a man juggles", "someone juggles balls"],
    "bbb_000002_000012": ["a dog digs", "a hole is dug"],
    "ccc_000003_000013": ["a child laughs", " "],
}


@pytest.fixture
def vatex(mini: Miniature) -> Miniature:
    mini.json("ref_captions.json", CAPTIONS)
    mini.lines("train_list.txt", "aaa_000001_000011")
    mini.lines("test_list.txt", "bbb_000002_000012", "ccc_000003_000013", "")
    mini.videos("aaa_000001_000011.mp4", "ccc_000003_000013.mp4")
    return mini


def test_missing_videos_are_told_and_refused(vatex: Miniature) -> None:
    benchmark = load_benchmark("vatex", vatex.folder)
    missing, present = benchmark.splits["test"]
    assert missing.path is None and missing.captions == ("a dog digs", "a hole is dug")
    assert present.path is not None and present.captions == ("a child laughs",)
    assert "ref_captions.json holds empty captions: they are left out" in benchmark.notes
    assert gallery_size(benchmark, "test") == "1 of 1,500 videos"
    with pytest.raises(MissingVideos, match=r"vatex test has 1 of 1,500 videos \(missing: bbb_000002_000012"):
        complete_split(benchmark, "test")
    assert complete_split(benchmark, "test", allow_missing=True) == (present,)


def test_validation_on_test_is_not_offered_as_validation(vatex: Miniature) -> None:
    benchmark = load_benchmark("vatex", vatex.folder)
    assert list(benchmark.splits) == ["train", "test"]
    assert any("TS2-Net validates on test" in note for note in benchmark.notes)
    vatex.lines("val_list.txt", "aaa_000001_000011")
    benchmark = load_benchmark("vatex", vatex.folder)
    assert list(benchmark.splits) == ["train", "val", "test"]
    # The list of our making repeats a training video, which is told.
    assert "1 video is in train and in val (aaa_000001_000011, ...)" in benchmark.notes


def test_captions_of_another_form(vatex: Miniature) -> None:
    vatex.json("ref_captions.json", {"aaa_000001_000011": "one text"})
    with pytest.raises(BadAnnotations, match="'aaa_000001_000011' has a str; expected: a list of captions"):
        load_benchmark("vatex", vatex.folder)
