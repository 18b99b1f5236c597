"""YouCook2: clips of long files, from either source."""

import numpy as np
import pytest
from tests.data.benchmarks.conftest import Miniature

from prost.data.benchmarks import load_benchmark
from prost.errors import BadAnnotations, MissingPath


def mil_nce(mini: Miniature) -> None:
    mini.lines(
        "csv/validation_youcook.csv",
        "end,start,task,text,video_id",
        "102.0,90.0,226,spread butter on bread,xHr8X2Wpmno",
        "110.5,102.0,226,fry it,xHr8X2Wpmno",
        '20,10,113,"peel, then chop",V53XmPeyjIU',
        "110.5,102.0,226,turn it over,xHr8X2Wpmno",
    )
    mini.videos("validation/226/xHr8X2Wpmno.mkv", "validation/113/other.webm")


def univl(mini: Miniature) -> None:
    mini.lines("youcookii_train.csv", "video_id,feature_file", "aaaaaaaaaaa,aaaaaaaaaaa.npy")
    mini.lines("youcookii_val.csv", "video_id,feature_file", "xHr8X2Wpmno,xHr8X2Wpmno.npy")
    steps = {
        "xHr8X2Wpmno": {
            "start": np.array([90, 102]),
            "end": np.array([102, 110]),
            "text": np.array(["a", "b"], object),
        },
        "aaaaaaaaaaa": {"start": [1.5], "end": [2.5], "text": ["c"], "transcript": ["none"]},
    }
    mini.pickle("youcookii_data.no_transcript.pickle", steps)
    mini.pickle("youcookii_videos_features.pickle", {})
    mini.videos("xHr8X2Wpmno.webm")


def test_mil_nces_clips(mini: Miniature) -> None:
    mil_nce(mini)
    benchmark = load_benchmark("youcook2", mini.folder)
    assert list(benchmark.splits) == ["test"]
    records = benchmark.splits["test"]
    assert [record.video for record in records] == [
        "xHr8X2Wpmno@90-102",
        "xHr8X2Wpmno@102-110.5",
        "V53XmPeyjIU@10-20",
        # Two lines of one clip are two entries of the gallery, as in the papers.
        "xHr8X2Wpmno@102-110.5#2",
    ]
    assert records[0].captions == ("spread butter on bread",)
    assert (records[1].start, records[1].end) == (102.0, 110.5)
    assert [record.path and record.path.name for record in records] == [
        "xHr8X2Wpmno.mkv",
        "xHr8X2Wpmno.mkv",
        None,
        "xHr8X2Wpmno.mkv",
    ]
    assert benchmark.expected == {"test": 3350}
    assert any("MIL-NCE's" in note for note in benchmark.notes)


def test_univls_clips(mini: Miniature) -> None:
    univl(mini)
    benchmark = load_benchmark("youcook2", mini.folder)
    assert [record.video for record in benchmark.splits["train"]] == ["aaaaaaaaaaa@1.5-2.5"]
    assert [record.captions for record in benchmark.splits["test"]] == [("a",), ("b",)]
    assert benchmark.expected == {"train": 9776, "test": 3369}
    assert any("UniVL's" in note for note in benchmark.notes)


def test_both_sources_are_not_mixed(mini: Miniature) -> None:
    univl(mini)
    mil_nce(mini)
    mini.lines("LSMDC16_annos_val.csv", "0001_Film\tno table of this benchmark")
    benchmark = load_benchmark("youcook2", mini.folder)
    assert list(benchmark.splits) == ["test"] and benchmark.expected == {"test": 3350}


def test_what_does_not_fit(mini: Miniature) -> None:
    with pytest.raises(MissingPath, match=r"lacks validation_youcook.csv \(it contains no annotation file"):
        load_benchmark("youcook2", mini.folder)
    univl(mini)
    mini.pickle("youcookii_data.no_transcript.pickle", {"xHr8X2Wpmno": {"start": [1], "end": [], "text": []}})
    with pytest.raises(BadAnnotations, match="no start, end and text of equal length"):
        load_benchmark("youcook2", mini.folder)
    mini.lines("youcookii_val.csv", "video_id,url", "a,b")
    with pytest.raises(BadAnnotations, match="from no known source"):
        load_benchmark("youcook2", mini.folder)
    mini.lines("youcookii_val.csv", "video_id,task,start,end,text", "a,1,soon,5,stir")
    with pytest.raises(BadAnnotations, match="line 2, start: 'soon' is no time"):
        load_benchmark("youcook2", mini.folder)
