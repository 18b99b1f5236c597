"""Cues of subtitle files and text tracks: their text without markup, their times on the player's clock."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from tests.video.conftest import write_video

from prost.video import subtitles
from prost.video.isolation import IsolatedDecoder
from prost.video.subtitles import Cue, find_sidecars, read_words

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>A red ball</i> falls &amp; rolls

2
00:00:02,000 --> 00:00:04,000
{\\an8}caf\u00e9
<font color="#fff">two</font> lines, 1 < 2
"""
EXPECTED = [(1.0, 2.5, "A red ball falls & rolls"), (2.0, 4.0, "caf\u00e9 two lines, 1 < 2")]
PLAIN = "1\n00:00:01,000 --> 00:00:02,000\n1 < 2 <b>\ncaf\u00e9\n"
VTT = "WEBVTT\n\nNOTE x\n\n00:01.000 --> 00:02.000 align:start\n<v Bob>Hello <b>you</b> &lt;3<00:01.500>!\n"
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname
Style: Default,Arial

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\i1}Hi, there{\\i0}\\Nsecond
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,{\\p1}m 0 0 l 1 1{\\p0}
"""


def read(path: Path, *sidecars: Path) -> list[tuple[float, float, str]]:
    cues, notes = read_words(str(path), [str(each) for each in sidecars])
    assert notes == []
    return [(cue.start, cue.end, cue.text) for cue in cues]


def mux_subtitles(path: Path, text: str, kind: str, start: float = 0.0, language: str = "") -> None:
    """A film of five seconds with a text track of one of the kinds srt, webvtt, ass and mov_text."""
    film = path.with_name("only_" + path.stem + ".mp4")
    source = path.with_name("only_" + path.stem + {"webvtt": ".vtt", "ass": ".ass"}.get(kind, ".srt"))
    write_video(film, 50, start=start)
    source.write_text(text, encoding="utf-8")
    with av.open(str(film)) as pictures, av.open(str(source)) as words, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(pictures.streams.video[0])
        if kind == "mov_text":
            track = target.add_stream("mov_text")
            track.time_base = track.codec_context.time_base = Fraction(1, 1000)
            track.codec_context.subtitle_header = ASS.partition("Dialogue")[0].encode()
        else:
            track = target.add_stream_from_template(words.streams.subtitles[0])
        if language:
            track.metadata["language"] = language
        packets = [(packet, video, 0.0) for packet in pictures.demux(video=0) if packet.dts is not None]
        for packet in words.demux(words.streams.subtitles[0]):
            if packet.size:
                data = bytes(packet)
                if kind == "mov_text":
                    data = len(data).to_bytes(2, "big") + data
                copy = av.Packet(data)
                copy.pts = copy.dts = packet.pts + round(start / packet.time_base)
                copy.duration, copy.time_base = packet.duration, packet.time_base
                packets.append((copy, track, 0.0))
        for packet, stream, _ in sorted(packets, key=lambda each: float(each[0].dts * each[0].time_base)):
            packet.stream = stream
            target.mux(packet)
    film.unlink()
    source.unlink()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_srt_in_many_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.srt").write_text(SRT, encoding=encoding)
    assert read(tmp_path / "none.mp4", tmp_path / "a.srt") == EXPECTED


def test_vtt_and_ass(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text(VTT)
    (tmp_path / "a.ass").write_text(ASS)
    assert read(tmp_path / "none.mp4", tmp_path / "a.vtt") == [(1.0, 2.0, "Hello you <3!")]
    assert read(tmp_path / "none.mp4", tmp_path / "a.ass") == [(1.0, 3.0, "Hi, there second")]


@pytest.mark.parametrize(
    ("name", "text", "kind", "expected"),
    [
        ("a.mkv", SRT, "srt", EXPECTED),
        ("a.mkv", VTT, "webvtt", [(1.0, 2.0, "Hello you <3!")]),
        ("a.mkv", ASS, "ass", [(1.0, 3.0, "Hi, there second")]),
        ("a.mp4", PLAIN, "mov_text", [(1.0, 2.0, "1 < 2 <b> caf\u00e9")]),
    ],
)
def test_text_tracks(tmp_path: Path, name: str, text: str, kind: str, expected: list) -> None:
    mux_subtitles(tmp_path / name, text, kind)
    assert read(tmp_path / name) == expected


def test_tracks_name_their_language(tmp_path: Path) -> None:
    mux_subtitles(tmp_path / "a.mkv", SRT, "srt", language="ger")
    cues, _ = read_words(str(tmp_path / "a.mkv"), [])
    assert {cue.source for cue in cues} == {"track 1 (ger)"}


def test_times_of_tracks_count_from_where_the_players_clock_starts(tmp_path: Path) -> None:
    mux_subtitles(tmp_path / "a.mkv", SRT, "srt", start=7.0)
    assert read(tmp_path / "a.mkv") == [
        (pytest.approx(a, abs=0.01), pytest.approx(b, abs=0.01), c) for a, b, c in EXPECTED
    ]


def test_text_tracks_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mux_subtitles(tmp_path / "a.mkv", SRT, "srt")
    good = subtitles._cues

    def broken_off(*given: Any) -> Iterator[subtitles.Cue]:
        yield next(good(*given))
        raise av.error.InvalidDataError(errno.EINVAL, "no words")

    monkeypatch.setattr(subtitles, "_cues", broken_off)
    cues, notes = read_words(str(tmp_path / "a.mkv"), [])
    assert (len(cues), notes) == (1, ["text tracks: cannot be read as subtitles"])


def test_a_film_without_words_has_none(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 10)
    assert read(tmp_path / "a.mp4") == []


def test_sidecars_belong_to_the_film_of_their_name(tmp_path: Path) -> None:
    films = [str(tmp_path / name) for name in ("film.mp4", "film.mkv", "film.two.mp4", "other.mp4")]
    for name in (
        "film.srt",
        "film.en.vtt",
        "film.en.forced.SRT",
        "film.two.srt",
        "film2.srt",
        "film.txt",
        "x.srt",
    ):
        (tmp_path / name).touch()
    (tmp_path / "other.srt").mkdir()
    (tmp_path / "other.en.srt").symlink_to(tmp_path / "other.en.srt")  # leads to itself
    (tmp_path / "other.de.srt").symlink_to(tmp_path / "nowhere.srt")
    found = {
        Path(film).name: [Path(each.path).name for each in files]
        for film, files in find_sidecars(films).items()
    }
    assert found == {
        "film.mp4": ["film.en.forced.SRT", "film.en.vtt", "film.srt"],
        "film.mkv": ["film.en.forced.SRT", "film.en.vtt", "film.srt"],
        "film.two.mp4": ["film.two.srt"],
        "other.mp4": [],
    }


def test_too_much_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "big.srt").open("wb") as file:
        file.truncate(subtitles.LARGEST_SIDECAR + 1)
    cues, notes = read_words(str(tmp_path / "none.mp4"), [str(tmp_path / "big.srt")])
    assert (cues, notes) == ([], ["big.srt: larger than 32 MiB"])
    monkeypatch.setattr(subtitles, "MOST_CUES", 1)
    (tmp_path / "a.srt").write_text(SRT)
    cues, notes = read_words(str(tmp_path / "none.mp4"), [str(tmp_path / "a.srt")])
    assert len(cues) == 1 and notes == [subtitles.TOO_MANY]


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 1000, b"no subtitles\n" * 50, b"\xff\xfe\x00", SRT.encode()[:40]]
)
@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".ass"])
def test_files_that_are_no_subtitles(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    with IsolatedDecoder() as decoder:
        cues, _ = decoder.read_words(tmp_path / "none.mp4", [str(tmp_path / f"a{suffix}")])
    assert all(isinstance(cue, Cue) and cue.text for cue in cues)


def test_a_child_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.srt"
    path.write_text(SRT, encoding="utf-8")
    mux_subtitles(tmp_path / "a.mkv", SRT, "srt")
    with IsolatedDecoder() as decoder:
        assert decoder.read_words(tmp_path / "a.mkv", [str(path)]) == read_words(
            str(tmp_path / "a.mkv"), [str(path)]
        )
        assert decoder.probe(tmp_path / "a.mkv").codec == "h264"
