import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KEYS = {
    "clips",
    "dim",
    "p50_ms",
    "p95_ms",
    "recall_at_10",
    "exact_ms",
    "speedup_vs_exact",
    "bytes_per_clip",
    "rss_mb",
    "build_s",
}


@pytest.mark.slow
def test_a_small_library_is_made_searched_and_reported(prost: Callable[..., Any], tmp_path: Path) -> None:
    """Real videos, a real library, and a process of its own that searches it."""
    pytest.importorskip("faiss")
    pytest.importorskip("matplotlib")
    arguments = ["bench", "search", "--clips", "150", "--videos", "24", "--queries", "3"]
    places = ["--work", tmp_path / "work", "--json", tmp_path / "r.json", "--figure", tmp_path / "r.png"]
    said = prost(*arguments, *places)
    assert said.code == 0, said.err
    assert "on disk" in said.err
    assert "recall of the exact top-10" in said.out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report.keys() >= KEYS
    assert report["clips"] == 150
    assert report["recall_at_10"] > 0.9
    assert report["p95_ms"] >= report["p50_ms"] > report["without_text_ms"][0] > 0
    assert report["exact"]["scaled"] == 1
    assert report["rss_mb"] > 100
    assert report["truth_largest_difference"] < 1e-4
    assert [rival["name"] for rival in report["rivals"]] == ["event-hnsw", "event-ivfpq", "mean-hnsw"]
    assert (tmp_path / "r.png").stat().st_size > 10_000

    again = prost(*arguments, *places, "--rivals", "none")
    assert again.code == 0, again.err
    assert "on disk" not in again.err  # it is there already
    assert json.loads((tmp_path / "r.json").read_text())["build_s"] == report["build_s"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--clips", "9"], "greater than or equal to 10"),
        (["--videos", "3"], "greater than or equal to 12"),
        (["--rivals", "event-hnsw,lucky-guess"], "no rival is called 'lucky-guess'; expected: event-hnsw"),
        (["--model", "/no/such/model"], "/no/such/model"),
        (
            ["--figure", "curves.bmp"],
            "curves.bmp is no figure; expected: a name that ends in .png, .svg or .pdf",
        ),
    ],
)
def test_wrong_use_is_one_line(
    prost: Callable[..., Any], tmp_path: Path, arguments: list[str], told: str
) -> None:
    said = prost("bench", "search", "--work", tmp_path / "work", *arguments)
    assert said.code == 2
    assert told in said.err
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "--model", "/no/such"),
        ("matching", "--test-set", "none such"),
        ("evidence", "--model", "/no/such"),
        ("encode", "--model", "/no/such"),
        ("nomatch", "--model", "/no/such"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_file_that_cannot_be_written_is_told_first(
    prost: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Not after minutes of measuring, nor after anything else that is wrong."""
    (tmp_path / "file").write_text("")
    said = prost("bench", *arguments, "--json", tmp_path / "file" / "figures.json")
    assert (said.code, said.out) == (1, "")
    assert "figures.json cannot be written: Not a directory" in said.err and said.err.count("\n") == 1


def test_no_room_is_one_line(prost: Callable[..., Any], tmp_path: Path) -> None:
    said = prost("bench", "search", "--clips", 10**12, "--work", tmp_path / "work")
    assert said.code == 1
    assert "GB are free" in said.err
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "work").exists()


def test_matching_is_timed_and_reported(prost: Callable[..., Any], tmp_path: Path) -> None:
    arguments = ["--texts", 20, "--videos", 17, "--seconds", 0.01, "--json", tmp_path / "r.json"]
    said = prost("bench", "matching", *arguments, "--batch", 3, "--width", 64)
    assert said.code == 0, said.err
    assert "20 texts x 17 videos" in said.out
    report = json.loads((tmp_path / "r.json").read_text())
    assert {(row["sizes"]["name"], row["sizes"]["frames"]) for row in report["rows"]} == {
        ("MSR-VTT", 12),
        ("MSR-VTT, training on 3", 12),
        ("DiDeMo", 64),
        ("DiDeMo, training on 3", 64),
    }
    assert {row["sizes"]["width"] for row in report["rows"]} == {64}
    assert {row["sizes"]["texts"] for row in report["rows"]} == {20, 3}
    assert all(row["seconds"] > 0 and row["share_of_gemm"] > 0 for row in report["rows"])
