"""Files as FFmpeg should see them."""

from __future__ import annotations

import io
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from prost.video.patched_file import PatchedFile


@given(
    content=st.binary(max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=6, unique=True).map(sorted),
    replaced=st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=4)),
    reads=st.lists(st.tuples(st.integers(-5, 70), st.integers(-1, 20)), max_size=12),
)
@settings(max_examples=300, deadline=None)
def test_it_reads_like_a_file_with_the_changed_content(
    tmp_path_factory,
    content: bytes,
    cuts: list[int],
    replaced: tuple[int, bytes],
    reads: list[tuple[int, int]],
) -> None:
    path = tmp_path_factory.mktemp("patched") / "file"
    path.write_bytes(content)
    spans = [(start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=False) if end <= len(content)]
    offset, new = replaced
    touches = any(start < offset + len(new) and offset < end for start, end in spans)
    patches = {} if touches or offset + len(new) > len(content) else {offset: new}
    expected = bytearray(content)
    for place, letters in patches.items():
        expected[place : place + len(letters)] = letters
    for start, end in reversed(spans):
        del expected[start:end]
    plain = io.BytesIO(bytes(expected))
    with PatchedFile(str(path), replaced=patches, omitted=spans) as patched:
        assert patched.seek(0, io.SEEK_END) == len(expected)
        for place, size in reads:
            assert patched.seek(max(0, place)) == plain.seek(max(0, place))
            wanted, got = plain.read(size), b""
            while len(got) < len(wanted):  # one read may end where a span is left out
                part = patched.read(size if size < 0 else size - len(got))
                assert part
                got += part
            assert got == wanted and patched.tell() == plain.tell()


def test_the_file_itself_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abcdef")
    with PatchedFile(str(tmp_path / "a"), replaced={1: b"XY"}) as patched:
        assert patched.read() == b"aXYdef"
    assert (tmp_path / "a").read_bytes() == b"abcdef"
