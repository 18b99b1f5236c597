"""Where the headers of joined FLV files are."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.video.conftest import MakeVideo

from prost.video.joined_flv import HEADER_BYTES, inner_headers


def test_headers_of_joined_files(make_video: MakeVideo, tmp_path: Path) -> None:
    one, two = (make_video(name, 30).path.read_bytes() for name in ("one.flv", "two.flv"))
    path = tmp_path / "joined.flv"
    path.write_bytes(one)
    assert inner_headers(str(path)) == []
    path.write_bytes(one + two + one)
    places = [len(one), len(one) + len(two)]
    assert inner_headers(str(path)) == [(place, place + HEADER_BYTES) for place in places]
    # Rubbish between the parts: nobody can say where the next tag begins.
    path.write_bytes(one + b"rubbish" + two)
    assert inner_headers(str(path)) == []


@pytest.mark.parametrize(
    "content", [b"", b"FLV\x01", b"FLV\x01" + bytes(9), b"FLV\x01" + bytes(40), b"x" * 99]
)
def test_what_is_no_film_has_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.flv").write_bytes(content)
    assert inner_headers(str(tmp_path / "a.flv")) == []
