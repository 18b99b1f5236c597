"""`prost optimize`: what it did, for people and for programs, and searches by what it made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Prost = Callable[..., Any]


def test_codes_and_index_are_made_and_searched(prost: Prost, indexed: Path) -> None:
    query = ("search", "a red ball", "--library", indexed, "--json")
    refused = prost(*query, "--coarse", "scan")
    assert refused.code == 1
    assert "prost optimize" in refused.err

    said = prost("optimize", "--library", indexed, "--index", "hnsw", "--json")
    assert said.code == 0
    assert said.json["index"] == "hnsw"
    assert said.json["coding"]["clips"] == said.json["coding"]["coded"] == 3
    assert said.json["nbytes"]["tables"] > 0
    assert said.json["nbytes"]["words"] > 0

    exact = prost(*query, "--coarse", "exact").json
    for coarse in ("scan", "index"):
        found = prost(*query, "--coarse", coarse)
        assert found.code == 0
        assert [hit["path"] for hit in found.json] == [hit["path"] for hit in exact]


def test_the_table_tells_bytes_by_part(prost: Prost, indexed: Path) -> None:
    said = prost("optimize", "--library", indexed)
    assert said.code == 0
    assert "3 clips have codes, 3 of them new" in said.out
    for part in ("tables", "words", "event codes", "codebooks"):
        assert part in said.out
    assert "trained: there were none" in said.err


def test_no_library(prost: Prost, tmp_path: Path) -> None:
    said = prost("optimize", "--library", tmp_path / "none.prost")
    assert said.code == 2
    assert len(said.err.strip().splitlines()) == 1
