"""Own pairs: tables and lines of JSON, paths and ids, clips and splits."""

from pathlib import Path

import pytest
from tests.data.benchmarks.conftest import Miniature

from prost.data.benchmarks import load_benchmark
from prost.errors import BadAnnotations, MissingPath


def test_a_table(mini: Miniature, tmp_path: Path) -> None:
    mini.videos("a.mp4", "deep/b.mov")
    elsewhere = tmp_path / "c.mp4"
    elsewhere.write_bytes(mini.video.read_bytes())
    file = mini.lines(
        "mine.csv",
        "\ufeffvideo, caption ,start,end,split",
        'a.mp4,"a dog, brown",,,train',
        "a.mp4,an animal,,,train",
        "deep/b.mov,a cat,1.5,3,Validation",
        "b,the cat,2,,val",
        f"{elsewhere},a cow,,,test",
        "gone.mp4,nothing,,,test",
    )
    for place in (mini.folder, file):
        benchmark = load_benchmark("pairs", place)
        assert list(benchmark.splits) == ["train", "val", "test"]
        (train,) = benchmark.splits["train"]
        assert train.captions == ("a dog, brown", "an animal") and train.path == mini.folder / "a.mp4"
        clip, open_end = benchmark.splits["val"]
        assert (clip.video, clip.start, clip.end) == ("deep/b.mov@1.5-3", 1.5, 3.0)
        assert (open_end.video, open_end.start, open_end.end) == ("deep/b.mov@2-", 2.0, None)
        assert clip.path == open_end.path == mini.folder / "deep" / "b.mov"
        assert [record.path for record in benchmark.splits["test"]] == [elsewhere, None]
        assert benchmark.expected == {}


def test_lines_of_json_and_a_folder_of_videos(mini: Miniature, tmp_path: Path) -> None:
    mini.videos("a.mp4")
    file = tmp_path / "mine.jsonl"
    file.write_text(
        '{"video": "a.mp4", "caption": "a dog"}\n\n{"video": "a", "captions": ["x", "y"], "start": 0.5}\n'
    )
    benchmark = load_benchmark("pairs", file, mini.folder)
    whole, clip = benchmark.splits["train"]
    assert whole.path == clip.path == mini.folder / "a.mp4"
    assert (clip.video, clip.captions, clip.start) == ("a.mp4@0.5-", ("x", "y"), 0.5)
    assert any("all pairs are train" in note for note in benchmark.notes)


def test_columns_without_a_name_are_passed_over(mini: Miniature) -> None:
    (record,) = load_benchmark("pairs", mini.lines("pairs.csv", "video,caption,,", "a.mp4,a dog,,")).splits[
        "train"
    ]
    assert record.captions == ("a dog",)


def test_spellings_of_one_file_are_one_video(mini: Miniature) -> None:
    mini.videos("a.mp4")
    (mini.folder / "link.mp4").symlink_to(mini.folder / "a.mp4")
    file = mini.lines("pairs.csv", "video,caption", "a,one", "./a.mp4,two", "link.mp4,three", "b,four")
    first, other = load_benchmark("pairs", file).splits["train"]
    assert (first.video, first.captions) == ("a", ("one", "two", "three"))
    assert (other.video, other.path) == ("b", None)


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_other_delimiters(mini: Miniature, delimiter: str) -> None:
    file = mini.lines("pairs.csv", f"video{delimiter}caption", f"a.mp4{delimiter}a dog, brown")
    (record,) = load_benchmark("pairs", file).splits["train"]
    assert record.captions == ("a dog, brown",)


def test_a_folder_of_toybox_is_a_folder_of_pairs(toybox_folder: Path) -> None:
    records = load_benchmark("pairs", toybox_folder).splits["test"]
    assert len(records) == 8
    assert all(record.path is not None and len(record.captions) == 4 for record in records)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["video,text", "a,b"], "has the columns video, text; expected: also caption"),
        (["video,caption", "a,"], "line 2 has an empty caption or none"),
        (["video,caption", ",b"], "line 2 names no video"),
        (["video,caption", "a,b,c"], "line 2 has 3 columns; expected: 2.*quotes"),
        (["video,caption"], "is empty"),
        (["video,caption,split", "a,b,dev", "a,c,hold"], "line 3 has the split 'hold'; expected: train, val, test"),
        (["video,caption,split", "a,b,train", "a,c,test"], r"1 video is in train and in test \(a"),
        (["video,caption,start,end,split", "a.mp4,b,0,2,train", "a.mp4,c,2,4,test"], "1 video is in train and in"),
        (["video,caption,split", "a.mp4,b,train", "a,c,test"], "1 video is in train and in test"),
        (["video,caption,caption", "a,b,c"], "has two columns caption"),
        (["video,caption,start,end,split", "a.mp4,b,0,1,test", "a.mp4,c,1,2,test", "a,d,,,train"], "1 video is in tr"),
        (["video,caption,start,end", "a,b,3,3"], "line 2 goes from 3 to 3 s"),
        (["video,caption,start,end", "a,b,-1,3"], "line 2, start: '-1' is no time"),
        (["video,caption,start,end", "a,b,1,nan"], "line 2, end: 'nan' is no time"),
    ],
)  # fmt: skip
def test_bad_tables_are_one_clear_line(mini: Miniature, lines: list[str], message: str) -> None:
    mini.videos("a.mp4")
    with pytest.raises(BadAnnotations, match=message) as caught:
        load_benchmark("pairs", mini.lines("pairs.csv", *lines))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is no JSON"),
        ("[1]", "line 1 is a list"),
        ('{"video": "a"}', "line 1 has an empty caption or none"),
        ('{"video": 3, "caption": "b"}', "line 1 names no video"),
        ('{"video": "a", "captions": ["b", 3]}', "line 1 has an empty caption or none"),
        ("", "is empty"),
    ],
)
def test_bad_lines_are_one_clear_line(mini: Miniature, line: str, message: str) -> None:
    with pytest.raises(BadAnnotations, match=message):
        load_benchmark("pairs", mini.lines("pairs.jsonl", line))


def test_which_file_is_meant(mini: Miniature, tmp_path: Path) -> None:
    with pytest.raises(MissingPath, match="holds 0 tables of pairs"):
        load_benchmark("pairs", mini.folder)
    mini.lines("a.csv", "video,caption", "a,b")
    mini.lines("b.csv", "video,caption", "a,b")
    with pytest.raises(MissingPath, match=r"holds 2 tables of pairs.*name the file itself"):
        load_benchmark("pairs", mini.folder)
    with pytest.raises(MissingPath, match="is not there"):
        load_benchmark("pairs", tmp_path / "none.csv")


def test_a_text_that_is_no_utf_8(mini: Miniature) -> None:
    path = mini.folder / "pairs.csv"
    path.write_bytes("video,caption\na,grün\n".encode("latin-1"))
    with pytest.raises(BadAnnotations, match="is no UTF-8"):
        load_benchmark("pairs", path)
