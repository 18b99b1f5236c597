"""Hits as tables and files."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prost.errors import UsageError
from prost.export.tables import write_hits
from prost.search.confidence import Confidence
from prost.search.hits import SearchResult


@pytest.fixture
def hits(make_hit, make_moment) -> SearchResult:
    first = make_hit(
        "/v/a,b\n.mp4", make_moment(1.0, 2.0, 0.9), make_moment(5.0, 6.5, 0.7), tags=("sea", "sun")
    )
    second = make_hit("/v/caf\udce9.mp4", make_moment(0.0, 3.0, 0.5), fps=None, width=None)
    return SearchResult([first, second], ["a note"])


def test_the_table_has_a_row_for_each_moment(hits: SearchResult) -> None:
    rows = hits.to_table().to_pylist()
    assert [(row["rank"], row["moment"], row["start"], row["end"], row["score"]) for row in rows] == [
        (1, 1, 1.0, 2.0, 0.9),
        (1, 2, 5.0, 6.5, 0.7),
        (2, 1, 0.0, 3.0, 0.5),
    ]
    assert rows[0]["path"] == "/v/a,b\n.mp4" and rows[2]["path"] == r"/v/caf\udce9.mp4"
    assert rows[0]["tags"] == ["sea", "sun"] and rows[0]["fps"] == 25.0 and rows[2]["fps"] is None
    assert rows[0].keys() == {field.name for field in SearchResult().to_table().schema}
    assert SearchResult().to_table().num_rows == 0


def test_json_holds_hits_with_their_moments(hits: SearchResult, tmp_path: Path) -> None:
    write_hits(tmp_path / "a.json", hits, query="a dog")
    read = json.loads((tmp_path / "a.json").read_text())
    assert read["query"] == "a dog" and read["notes"] == ["a note"]
    assert [hit["path"] for hit in read["hits"]] == ["/v/a,b\n.mp4", "/v/caf\udce9.mp4"]
    assert [moment["start"] for moment in read["hits"][0]["moments"]] == [1.0, 5.0]
    assert read["confidence"] is None
    hits.confidence = Confidence(false_alarm_rate=0.4, interval=(0.35, 0.45), of_best=True)
    write_hits(tmp_path / "b.json", hits, query="a dog")
    assert json.loads((tmp_path / "b.json").read_text())["confidence"] == hits.confidence.as_dict()


def test_csv_and_parquet_hold_the_table(hits: SearchResult, tmp_path: Path) -> None:
    write_hits(tmp_path / "a.csv", hits, query="a dog")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["/v/a,b\n.mp4", "/v/a,b\n.mp4", r"/v/caf\udce9.mp4"]
    assert [float(row["score"]) for row in rows] == [0.9, 0.7, 0.5]
    assert rows[0]["tags"] == "sea\nsun" and rows[2]["fps"] == ""
    write_hits(tmp_path / "a.parquet", hits, query="a dog")
    assert pq.read_table(tmp_path / "a.parquet").equals(hits.to_table())


def test_outputs_are_checked_and_kept(hits: SearchResult, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.json, \.csv or \.parquet"):
        write_hits(tmp_path / "a.xlsx", hits, query="a dog")
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"exists.*--force"):
        write_hits(tmp_path / "a.csv", hits, query="a dog")
    assert (tmp_path / "a.csv").read_text() == "mine"
    write_hits(tmp_path / "a.csv", hits, query="a dog", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists"):
        write_hits(tmp_path / "link.csv", hits, query="a dog")


def test_a_write_that_fails_leaves_what_was_there(
    hits: SearchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("mine")
    hits.append(None)  # type: ignore[arg-type]  # something that no table can hold
    with pytest.raises(AttributeError):
        write_hits(tmp_path / "a.csv", hits, query="a dog", force=True)
    assert (tmp_path / "a.csv").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_without_pandas_the_error_says_so(hits: SearchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pandas is not installed"):
        hits.to_pandas()
