"""ActivityNet: paragraphs, and files without the prefix of their ids."""

import pytest
from tests.data.benchmarks.conftest import Miniature

from prost.data.benchmarks import load_benchmark
from prost.errors import BadAnnotations


def row(*sentences: str) -> dict[str, object]:
    return {"duration": 82.7, "timestamps": [[0.8, 19.9]] * len(sentences), "sentences": list(sentences)}


@pytest.fixture
def activitynet(mini: Miniature) -> Miniature:
    mini.json("train_ids.json", ["v_QOlSCBRmfWY", "v_QOlSCBRmfWY"])
    mini.json("train.json", {"v_QOlSCBRmfWY": row("A woman dances.", " She bows. ")})
    mini.json("val_ids.json", ["v_uqiMw7tQ1Cc", "v_bXdq2zI1Ms0"])
    mini.json("val_1.json", {"v_uqiMw7tQ1Cc": row("A dog runs."), "v_bXdq2zI1Ms0": row("A man rows.")})
    mini.videos("QOlSCBRmfWY.mp4", "v_uqiMw7tQ1Cc.mkv")
    return mini


def test_sentences_are_one_query_and_val_1_is_test(activitynet: Miniature) -> None:
    benchmark = load_benchmark("activitynet", activitynet.folder)
    assert list(benchmark.splits) == ["train", "test"]
    (train,) = benchmark.splits["train"]
    assert train.captions == ("A woman dances. She bows.",)
    assert train.path is not None and train.path.name == "QOlSCBRmfWY.mp4"
    with_prefix, missing = benchmark.splits["test"]
    assert with_prefix.path is not None and with_prefix.path.name == "v_uqiMw7tQ1Cc.mkv"
    assert missing.path is None and missing.video == "v_bXdq2zI1Ms0"
    assert (benchmark.frames, benchmark.max_words) == (64, 64)
    assert "train_ids.json repeats 1 ids: each is used once" in benchmark.notes


def test_ids_without_sentences(activitynet: Miniature) -> None:
    activitynet.json("val_1.json", {"v_uqiMw7tQ1Cc": row("A dog runs.")})
    with pytest.raises(BadAnnotations, match=r"1 of 2 videos .*\(v_bXdq2zI1Ms0"):
        load_benchmark("activitynet", activitynet.folder)
    activitynet.json("val_1.json", {"v_uqiMw7tQ1Cc": {"duration": 1.0}})
    with pytest.raises(BadAnnotations, match="a video without sentences"):
        load_benchmark("activitynet", activitynet.folder)
