"""What `where` lets through, and what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from prost.errors import BadFilter, LibraryDamaged
from prost.search.description import Description
from prost.search.records import ClipSettings, PrototypeSizes, VideoRow
from prost.search.store import Store


def video_row(path: str, content: str | None = "c1", **values) -> VideoRow:  # type: ignore[no-untyped-def]
    defaults = {"size": 7, "modified": 10**18 + 1, "added": "2026-01-31T12:00:00Z", "status": "indexed"}
    return VideoRow(path=path, content=content, **{**defaults, "clips": 2, **values})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    sizes = PrototypeSizes(frames=3, objects=2, events=2, width=4)
    description = Description(model="toy", fingerprint="f1", sizes=sizes, clips=ClipSettings())
    return Store.create(str(tmp_path / "holiday.prost"), description)


@pytest.fixture
def filled(store: Store) -> Store:
    store.put_videos(
        [
            video_row("/sea/a.mp4", duration=5.0, tags=("blue", "warm")),
            video_row("/hill/b.mkv", duration=90.0, added="2026-03-01T00:00:00Z"),
            video_row("/hill/c.mp4", content=None, status="failed", reason="empty file"),
        ]
    )
    return store


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("duration < 60", ["a.mp4"]),
        ("folder = '/hill'", ["b.mkv", "c.mp4"]),
        ("name LIKE '%.mkv' OR array_has(tags, 'warm')", ["b.mkv", "a.mp4"]),
        ("added >= '2026-02-01'", ["b.mkv"]),
        ("duration IS NULL", ["c.mp4"]),
        ("reason = 'empty file'", ["c.mp4"]),
        ("name = ';'", []),
        ("name = 'a--b' OR name = '#1' OR name = 'it''s (' OR name = 'a.mp4'", ["a.mp4"]),
        ("duration < 60 OR duration > 80", ["b.mkv", "a.mp4"]),
    ],
)
def test_what_it_lets_through(filled: Store, where: str, names: list[str]) -> None:
    assert [os.path.basename(row.path) for row in filled.read_videos(where)] == names


@pytest.mark.parametrize(
    "where",
    [
        "",
        "length < 60",
        "duration <",
        "duration",
        "duration < 'long'",
        "duration < 60; drop table videos",
        "duration < 60 --",
        "duration < 60 /* short */",
        "duration < 60 # short",
        "duration < 5 LIMIT 1",
        "duration < 5 ORDER BY name",
        "duration < 5 GROUP BY name",
        "duration < 5)",
        "(duration < 5",
        "1 = 1) OR (1 = 1",
        "name = 'caf\udce9'",
    ],
)
def test_one_that_cannot_be_read_names_the_columns(filled: Store, where: str) -> None:
    with pytest.raises(BadFilter) as caught:
        filled.read_videos(where)
    assert "duration (seconds)" in str(caught.value)
    assert ".rs" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (" ", "(it is empty)"),
        ("duration <", "(Expected: an expression, found: its end)"),
        ("name = 'a", "(Unterminated string literal)"),
        ("status = failed", "words stand in single quotes, as in status = 'failed')"),
    ],
)
def test_the_reason_is_about_the_filter_alone(filled: Store, where: str, said: str) -> None:
    with pytest.raises(BadFilter) as caught:
        filled.read_videos(where)
    assert said in str(caught.value)
    assert "SELECT" not in str(caught.value) and "Line" not in str(caught.value)


def test_a_damaged_table_is_not_a_bad_filter(filled: Store) -> None:
    shutil.rmtree(Path(filled.root, "videos.lance", "data"))
    with pytest.raises(LibraryDamaged):
        filled.read_videos("duration < 60")
