"""Lists, JSON and tables: what is expected, and one clear line on the rest."""

from pathlib import Path

import pytest
from tests.data.benchmarks.conftest import Miniature

from prost.data.benchmarks import load_benchmark
from prost.data.benchmarks.annotations import caption_lists, read_json, read_list, read_table, seconds
from prost.errors import BadAnnotations


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_a_list_keeps_its_order_and_drops_empty_lines(file: Path) -> None:
    file.write_text("b \n\n a\r\n", encoding="utf-8-sig")
    assert read_list(file) == ["b", "a"]
    file.write_text(" \n")
    with pytest.raises(BadAnnotations, match="is empty"):
        read_list(file)
    with pytest.raises(BadAnnotations, match="cannot be read"):
        read_list(file.with_name("none"))


def test_a_table_knows_its_columns_by_name(file: Path) -> None:
    file.write_text('b,a\n2,"1, one"\n\n"two\nlines",3\n')
    assert read_table(file, ("a",)) == [
        {"b": "2", "a": "1, one", "line": "2"},
        {"b": "two\nlines", "a": "3", "line": "5"},
    ]


@pytest.mark.parametrize(
    ("text", "message"), [("", "has no columns; expected: video"), ("x,y\n1,2", "columns x, y")]
)
def test_a_table_without_the_column(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(BadAnnotations, match=message):
        read_table(file, ("video",))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is no JSON"), ("[1]", "holds a list; expected: a dict"), ("{}", "is empty")],
)
def test_json_that_is_not_what_it_should_be(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(BadAnnotations, match=message):
        read_json(file, dict)


def test_times(file: Path) -> None:
    assert [seconds(value, "here") for value in (None, "", 0, "2.5", 3.5)] == [None, None, 0.0, 2.5, 3.5]
    for value in ("x", -1, "inf", "nan", [1]):
        with pytest.raises(BadAnnotations, match=r"here: .* is no time"):
            seconds(value, "here")


def test_captions_are_texts_or_words(file: Path) -> None:
    assert caption_lists(file, {"a": ["one two", ["three", "four"]]}) == {"a": ["one two", "three four"]}
    for wrong in ("text", 3):
        with pytest.raises(BadAnnotations, match="a list of captions"):
            caption_lists(file, {"a": wrong})


class TestCaptionsThatAreNoTexts:
    """A null would be the query "None"."""

    def test_msrvtt(self, mini: Miniature) -> None:
        rows = [{"video_id": "video7010", "caption": None}]
        mini.json("MSRVTT_data.json", {"sentences": rows, "videos": []})
        with pytest.raises(BadAnnotations, match=r"MSRVTT_data\.json: video7010 has the caption None"):
            load_benchmark("msrvtt-full", mini.folder)

    def test_didemo(self, mini: Miniature) -> None:
        for split in ("train", "test"):
            mini.lines(f"{split}_list.txt", "a.mp4")
            mini.json(f"{split}_data.json", [{"video": "a.mp4", "description": None, "times": []}])
        with pytest.raises(BadAnnotations, match=r"train_data\.json: a has the caption None"):
            load_benchmark("didemo", mini.folder)

    @pytest.mark.parametrize("captions", [[None], [3], [["a", None]], [["a", 3.5]]])
    def test_lists_of_captions(self, captions: list[object]) -> None:
        with pytest.raises(BadAnnotations, match=r"x\.json: 'v' has the caption"):
            caption_lists(Path("x.json"), {"v": captions})
