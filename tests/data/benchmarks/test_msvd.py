"""MSVD: captions from its pickle or from JSON."""

import pytest
from tests.data.benchmarks.conftest import Miniature

from prost.data.benchmarks import load_benchmark
from prost.errors import BadAnnotations, MissingPath

SPLITS = {"train": "-4wsuPCjDBc_5_15", "val": "mv89psg6zh4_33_46", "test": "klteYv1Uv9A_27_33"}


@pytest.fixture
def msvd(mini: Miniature) -> Miniature:
    for split, video in SPLITS.items():
        mini.lines(f"{split}_list.txt", video)
        mini.videos(f"YouTubeClips/{video}.avi")
    return mini


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_the_pickle_holds_words(msvd: Miniature, protocol: int) -> None:
    words = {video: [["a", "squirrel", "eats"], ["it", "eats"]] for video in SPLITS.values()}
    msvd.pickle("raw-captions.pkl", words, protocol)
    benchmark = load_benchmark("msvd", msvd.folder)
    (record,) = benchmark.splits["train"]
    assert record.captions == ("a squirrel eats", "it eats")
    assert record.path is not None and record.path.suffix == ".avi"
    assert benchmark.expected == {"train": 1200, "val": 100, "test": 670}


def test_json_holds_sentences(msvd: Miniature) -> None:
    msvd.json("captions_msvd.json", {video: ["a squirrel eats"] for video in SPLITS.values()})
    assert load_benchmark("msvd", msvd.folder).splits["test"][0].captions == ("a squirrel eats",)


def test_neither(msvd: Miniature) -> None:
    with pytest.raises(MissingPath, match=r"raw-captions.pkl or captions_msvd.json"):
        load_benchmark("msvd", msvd.folder)
    msvd.pickle("raw-captions.pkl", [1, 2])
    with pytest.raises(BadAnnotations, match="holds a list"):
        load_benchmark("msvd", msvd.folder)
