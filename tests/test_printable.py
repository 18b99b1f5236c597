"""Names that would move the cursor, forge a line or turn its direction are shown as what they are."""

import os

import pytest

from prost.printable import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name  with two spaces .mp4", "plain name  with two spaces .mp4"),
        ("a\x1b[31m.mp4", r"a\x1b[31m.mp4"),
        ("a\nerror: b\r\tc", r"a\nerror: b\r\tc"),
        ("\x07\x7f\x9b2J", r"\x07\x7f\u009b2J"),
        ("\u202e4pm.exe", r"\u202e4pm.exe"),
        ("\u2066a\u2069\u200e\u061c", r"\u2066a\u2069\u200e\u061c"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\U000e0041", r"\U000e0041"),
        (os.fsdecode(b"caf\xe9.mp4"), r"caf\xe9.mp4"),
        ("\ud800", r"\ud800"),
        (":smile: [red]x[/red] \\n", ":smile: [red]x[/red] \\n"),
        (
            "été 🎈 東京\u3000駅 می\u200cروم 👩\u200d🚀 5\u202fPM",
            "été 🎈 東京\u3000駅 می\u200cروم 👩\u200d🚀 5\u202fPM",
        ),
    ],
)
def test_what_is_shown(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable(shown) == shown
    shown.encode("utf-8")
