"""`prost tag` and `prost untag`: only the tags of the named files change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Prost = Callable[..., Any]


def tagged(prost: Prost, library: Path, tag: str) -> list[str]:
    rows = prost("list", "--library", library, "--where", f"array_has(tags, '{tag}')", "--json").json
    return [Path(row["path"]).name for row in rows]


def test_tags_come_and_go(prost: Prost, indexed: Path, videos: Path) -> None:
    said = prost("tag", videos, "--tag", "sea", "--tag", "warm", "--library", indexed)
    assert (said.code, said.out) == (0, "4 changed\n")
    said = prost("untag", videos / "red.mp4", "--tag", "sea", "--library", indexed, "--json")
    assert said.json == {"changed": [str(videos / "red.mp4")]}
    assert tagged(prost, indexed, "sea") == ["blue.mp4", "broken.mp4", "green.mp4"]
    assert "red.mp4" in tagged(prost, indexed, "warm")
    assert prost("tag", videos, "--tag", "warm", "--library", indexed).out == "0 changed\n"


def test_mistakes_are_one_line(prost: Prost, indexed: Path, videos: Path) -> None:
    for arguments in (
        ("tag", videos, "--library", indexed),
        ("tag", videos, "--tag", " ", "--library", indexed),
        ("tag", videos, "--tag", "\udcff", "--library", indexed),
        ("untag", videos / "pink.mp4", "--tag", "sea", "--library", indexed),
    ):
        said = prost(*arguments)
        assert said.code == 2 and said.err.startswith("error: ") and said.err.count("\n") == 1
