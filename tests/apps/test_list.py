"""`prost list`: every file that the library knows, with its status."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Prost = Callable[..., Any]


def test_the_table_shows_good_and_failed_files(prost: Prost, indexed: Path, videos: Path) -> None:
    said = prost("list", "--library", indexed)
    assert said.code == 0
    (red,) = [line for line in said.out.splitlines() if "red.mp4" in line]
    assert red.split() == [str(videos / "red.mp4"), "0:02", "64×48", "1", "indexed"]
    (broken,) = [line for line in said.out.splitlines() if "broken.mp4" in line]
    assert "failed: not a video (Invalid data" in broken


def test_a_filter_and_json(prost: Prost, indexed: Path, videos: Path) -> None:
    (row,) = prost("list", "--library", indexed, "--where", "status = 'failed'", "--json").json
    assert (row["path"], row["reason"]) == (str(videos / "broken.mp4"), "not a video")
    said = prost("list", "--library", indexed, "--where", "duration > 60")
    assert (said.code, said.out, said.err) == (0, "", "no videos\n")
    assert prost("list", "--library", indexed, "--where", "colour = = 3").code == 2
