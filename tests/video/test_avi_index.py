"""Which indexes of AVI files are believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.video.conftest import MakeVideo
from tests.video.zoo import avi_with_wild_index, avi_without_index

from prost.video.avi_index import misleading_index


def test_an_index_that_fits_is_believed(make_video: MakeVideo) -> None:
    film = make_video("film.avi", 200, codec="mpeg4")
    assert misleading_index(str(film.path)) is None
    # A damaged frame here and there leaves it right.
    data = bytearray(film.path.read_bytes())
    for place in (9000, 15000):
        data[place : place + 50] = np.random.default_rng(place).bytes(50)
    film.path.write_bytes(data)
    assert misleading_index(str(film.path)) is None


def test_offsets_from_the_start_of_the_file_fit_too(make_video: MakeVideo) -> None:
    film = make_video("film.avi", 40, codec="mpeg4")
    data = bytearray(film.path.read_bytes())
    index, movi = data.rfind(b"idx1"), data.find(b"movi")
    for place in range(index + 16, len(data) - 7, 16):
        offset = int.from_bytes(data[place : place + 4], "little") + movi
        data[place : place + 4] = offset.to_bytes(4, "little")
    film.path.write_bytes(data)
    assert misleading_index(str(film.path)) is None


def test_a_wild_index_is_found(tmp_path: Path) -> None:
    film = tmp_path / "film.avi"
    avi_with_wild_index(film)
    assert misleading_index(str(film)) == film.read_bytes().rfind(b"idx1")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00AVI ", b"not a film at all" * 9])
def test_what_is_no_avi_has_no_index(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.avi").write_bytes(content)
    assert misleading_index(str(tmp_path / "a.avi")) is None


def test_no_index(tmp_path: Path) -> None:
    avi_without_index(tmp_path / "a.avi")
    assert misleading_index(str(tmp_path / "a.avi")) is None
