"""`prost search`: hits for programs and for people, and a clear word where there are none."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import prost as package
from prost.search.library import Library

Prost = Callable[..., Any]


def test_json_is_a_list_of_moments_best_first(prost: Prost, indexed: Path, untrained_folder: Path) -> None:
    said = prost("search", "a red ball falls", "--library", indexed, "--json")
    assert said.code == 0
    assert len(said.json) == 3
    for hit in said.json:
        assert {"path", "start", "end", "score"} <= hit.keys()
        assert 0.0 <= hit["start"] < hit["end"] <= 2.001
        assert hit["score"] == pytest.approx(hit["event_sentence"] + 1.5 * hit["object_phrase"], abs=1e-5)
    scores = [hit["score"] for hit in said.json]
    assert scores == sorted(scores, reverse=True)
    model = package.load(untrained_folder)
    found = Library(indexed, model).search("a red ball falls")
    assert [hit["path"] for hit in said.json] == [hit.path for hit in found]


def test_the_weight_of_the_object_phrase_score_can_be_chosen(prost: Prost, indexed: Path) -> None:
    said = prost("search", "a ball", "--library", indexed, "--object-phrase-weight", "0", "--json")
    assert said.code == 0, said.err
    assert [hit["score"] for hit in said.json] == pytest.approx(
        [hit["event_sentence"] for hit in said.json], abs=1e-5
    )
    refused = prost("search", "a ball", "--library", indexed, "--object-phrase-weight", "2000")
    assert refused.code == 2 and "--object-phrase-weight" in refused.err and refused.err.count("\n") == 1


def test_the_table_names_files_moments_and_parts(prost: Prost, indexed: Path, videos: Path) -> None:
    said = prost("search", "a red ball falls", "--library", indexed, "--limit", "2")
    rows = [line for line in said.out.splitlines() if ".mp4" in line]
    assert len(rows) == 2
    assert all(str(videos) in row and " s " in row for row in rows)
    for heading in ("moment", "score", "event-sentence", "object-phrase"):
        assert heading in said.out


def test_a_hit_whose_file_is_gone_is_marked(prost: Prost, indexed: Path, videos: Path) -> None:
    (videos / "red.mp4").unlink()
    said = prost("search", "a ball", "--library", indexed, "--json")
    assert {Path(hit["path"]).name for hit in said.json if hit["missing"]} == {"red.mp4"}
    said = prost("search", "a ball", "--library", indexed)
    assert [line for line in said.out.splitlines() if "the file is gone" in line and "red.mp4" in line]


def test_where_filters(prost: Prost, indexed: Path) -> None:
    said = prost("search", "a ball", "--library", indexed, "--where", "name = 'red.mp4'", "--json")
    assert [Path(hit["path"]).name for hit in said.json] == ["red.mp4"]


def test_a_filter_that_lets_nothing_through_says_so(prost: Prost, indexed: Path) -> None:
    said = prost("search", "a ball", "--library", indexed, "--where", "duration > 60")
    assert (said.code, said.out, said.err) == (0, "", "nothing was found\n")
    assert prost("search", "a ball", "--library", indexed, "--where", "duration > 60", "--json").json == []


def test_a_filter_that_cannot_be_read_is_wrong_use(prost: Prost, indexed: Path) -> None:
    said = prost("search", "a ball", "--library", indexed, "--where", "colour = = 3")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: filter 'colour = = 3'") and said.err.count("\n") == 1


@pytest.mark.parametrize("query", ["", "   ", "\n"])
def test_an_empty_query_is_wrong_use(prost: Prost, indexed: Path, query: str) -> None:
    said = prost("search", query, "--library", indexed)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: an empty query") and said.err.count("\n") == 1


def test_a_query_that_is_too_long_is_cut_and_said(prost: Prost, indexed: Path) -> None:
    said = prost("search", "a red ball falls and " * 20, "--library", indexed, "--json")
    assert said.code == 0 and len(said.json) == 3
    assert said.err.startswith("note: the query has 102 tokens") and "32" in said.err


def test_no_library_is_wrong_use_and_none_is_made(prost: Prost, library: Path) -> None:
    said = prost("search", "a ball", "--library", library)
    assert (said.code, said.out) == (2, "")
    assert str(library) in said.err and "prost index" in said.err and said.err.count("\n") == 1
    assert not library.exists()


def test_a_model_that_has_gone_is_named(
    prost: Prost, videos: Path, untrained_folder: Path, tmp_path: Path
) -> None:
    model, library = tmp_path / "model", tmp_path / "own.prost"
    shutil.copytree(untrained_folder, model)
    assert prost("index", videos / "red.mp4", "--library", library, "--model", model).code == 0
    model.rename(tmp_path / "elsewhere")
    said = prost("search", "a ball", "--library", library)
    assert said.code == 2 and said.err.count("\n") == 1
    assert (
        f"of {library} is not at {model}; expected: the model that made the library; try: --model" in said.err
    )
    assert prost("search", "a ball", "--library", library, "--model", tmp_path / "elsewhere").code == 0


@pytest.mark.parametrize("note", [b"to\x86ybox", b"/no/such/model", b""])
def test_a_damaged_note_of_the_model_does_no_harm(
    prost: Prost, videos: Path, tmp_path: Path, note: bytes
) -> None:
    """The library's description tells the name, and its fingerprint is compared."""
    library = tmp_path / "own.prost"
    assert prost("index", videos / "red.mp4", "--library", library, "--model", "toybox").code == 0
    (library / "model.txt").write_bytes(note)
    assert prost("search", "a ball", "--library", library).code == 0
    assert prost("doctor", "--verify", "--library", library).code == 0


def test_the_library_comes_from_the_environment(
    prost: Prost, indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROST_LIBRARY", str(indexed))
    assert len(prost("search", "a ball", "--json").json) == 3


def test_without_a_name_the_library_is_the_persons_own(
    prost: Prost, videos: Path, tmp_path: Path, untrained_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROST_LIBRARY", raising=False)
    monkeypatch.delenv("PROST_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert prost("index", videos, "--model", untrained_folder).code == 0
    assert (tmp_path / "data" / "prost" / "library.prost" / "library.json").is_file()
    assert len(prost("search", "a ball", "--json").json) == 3


@pytest.mark.parametrize("words", [["a ball \udcff"], ["a ball", "--where", "name = '\udcff'"]])
def test_bytes_that_are_not_utf8_are_wrong_use(prost: Prost, indexed: Path, words: list[str]) -> None:
    said = prost("search", *words, "--library", indexed)
    assert (said.code, said.out) == (2, "")
    assert "not UTF-8" in said.err and "fault in prost" not in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("library", ["a\udcff.prost", "s3://a\udcff/b", "ftp://host/b"])
def test_a_place_where_no_library_can_be(prost: Prost, library: str) -> None:
    said = prost("search", "a ball", "--library", library)
    assert (said.code, said.out) == (2, "")
    assert "fault in prost" not in said.err and said.err.count("\n") == 1
