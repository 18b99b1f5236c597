"""Lines of one clip become one record."""

from pathlib import Path

from prost.data.benchmarks.clips import CaptionedClip, gather


def test_captions_are_gathered_by_clip_in_order() -> None:
    lines = [
        CaptionedClip("b", "first", 1.0, 2.0),
        CaptionedClip("a", "whole"),
        CaptionedClip("b", "second", 1.0, 2.0),
        CaptionedClip("b", "later", 2.0),
    ]
    records = gather(lines, {"a": None, "b": Path("b.mp4")})
    assert [(record.video, record.captions, record.path) for record in records] == [
        ("b@1-2", ("first", "second"), Path("b.mp4")),
        ("a", ("whole",), None),
        ("b@2-", ("later",), Path("b.mp4")),
    ]
