"""Timelines, read back by OpenTimelineIO and its adapters."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import opentimelineio as otio
import pytest
from tests.video.conftest import MakeVideo
from tests.video.zoo import with_sound

from prost.errors import UsageError
from prost.export.timelines import expect_timeline, known_rate, write_timeline

NTSC = 30_000 / 1001


def ranges(timeline: otio.schema.Timeline) -> list[tuple[int, int]]:
    """First frame and number of frames of each clip in its source."""
    found = []
    for clip in timeline.find_clips():
        span = clip.source_range or clip.media_reference.available_range
        found.append((round(span.start_time.value), round(span.duration.value)))
    return found


def test_otio_keeps_each_sources_own_rate(tmp_path: Path, make_hit, make_moment) -> None:
    hits = [
        make_hit("/v/a b.mp4", make_moment(1.0, 2.0), make_moment(4.0, 4.5), fps=25.0, duration=10.0),
        make_hit("/v/b.mp4", make_moment(10.0, 12.0), fps=29.97, duration=60.0),
    ]
    output = tmp_path / "a.otio"
    assert write_timeline(output, hits, title="a dog") == 3
    timeline = otio.adapters.read_from_file(str(output))
    assert timeline.name == "a dog"
    assert ranges(timeline) == [(25, 25), (100, 13), (299, 61)]
    clips = list(timeline.find_clips())
    assert [clip.name for clip in clips] == ["a b.mp4", "a b.mp4", "b.mp4"]
    assert clips[0].media_reference.target_url == "file:///v/a%20b.mp4"
    assert round(clips[0].media_reference.available_range.duration.value) == 250
    assert clips[2].source_range.start_time.rate == pytest.approx(NTSC)
    assert clips[2].metadata["prost"]["rank"] == 2


def test_edl_of_2997_counts_drop_frame(tmp_path: Path, make_hit, make_moment) -> None:
    # Ten minutes are 17,982 frames: drop-frame timecode says 00:10:00;00 there, and skips ;00 and ;01 at minute 1.
    hits = [
        make_hit("/v/a.mp4", make_moment(600.0 * 1.0, 605.0), fps=NTSC, duration=700.0),
        make_hit("/v/b.mp4", make_moment(1800 / NTSC, 1860 / NTSC), fps=NTSC, duration=700.0),
    ]
    output = tmp_path / "a.edl"
    write_timeline(output, hits, title="a dog")
    text = output.read_text()
    assert text.startswith("TITLE: a dog\nFCM: DROP FRAME\n")
    assert "00:10:00;00" in text and "00:01:00;02" in text
    timeline = otio.adapters.read_from_file(str(output), rate=NTSC)
    assert ranges(timeline) == [(17982, 150), (1800, 60)]
    assert [clip.name for clip in timeline.find_clips()] == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize(
    ("fps", "mode"), [(25.0, "NON-DROP FRAME"), (23.976, "NON-DROP FRAME"), (59.94, "DROP FRAME")]
)
def test_edl_of_other_rates(tmp_path: Path, make_hit, make_moment, fps: float, mode: str) -> None:
    rate = known_rate(fps)
    assert rate is not None
    hits = [
        make_hit("/v/a.mp4", make_moment(float(1000 / rate), float(1100 / rate)), fps=fps, duration=600.0)
    ]
    output = tmp_path / "a.edl"
    write_timeline(output, hits, title="x")
    assert f"FCM: {mode}\n" in output.read_text()
    assert ranges(otio.adapters.read_from_file(str(output), rate=float(rate))) == [(1000, 100)]


def test_edl_of_mixed_rates_counts_in_one(tmp_path: Path, make_hit, make_moment) -> None:
    hits = [
        make_hit("/v/a.mp4", make_moment(2.0, 3.0), fps=25.0),
        make_hit("/v/b.mp4", make_moment(2.0, 3.0), fps=50.0),
    ]
    output = tmp_path / "a.edl"
    write_timeline(output, hits, title="x")
    assert ranges(otio.adapters.read_from_file(str(output), rate=25.0)) == [(50, 25), (50, 25)]
    write_timeline(output, hits, title="x", rate=50.0, force=True)
    assert ranges(otio.adapters.read_from_file(str(output), rate=50.0)) == [(100, 50), (100, 50)]


@pytest.mark.parametrize("fps", [24.0, 25.0, NTSC, 24_000 / 1001, 60_000 / 1001])
def test_fcpxml_is_exact_and_can_be_read_back(tmp_path: Path, make_hit, make_moment, fps: float) -> None:
    rate = known_rate(fps)
    assert rate is not None
    hits = [
        make_hit("/v/a.mp4", make_moment(float(100 / rate), float(160 / rate)), fps=fps, duration=600.0),
        make_hit("/v/b & c.mp4", make_moment(0.0, float(10 / rate)), fps=fps, duration=600.0),
    ]
    output = tmp_path / "a.fcpxml"
    assert write_timeline(output, hits, title="a <dog>") == 2
    root = ElementTree.parse(output).getroot()
    first, second = root.iter("asset-clip")
    frame = 1 / rate
    assert (
        Fraction(first.attrib["start"][:-1]) == 100 * frame
        and Fraction(first.attrib["duration"][:-1]) == 60 * frame
    )
    assert Fraction(second.attrib["offset"][:-1]) == 60 * frame
    (sequence,) = root.iter("sequence")
    assert sequence.attrib["tcFormat"] == ("DF" if fps in (NTSC, 60_000 / 1001) else "NDF")
    assert Fraction(sequence.attrib["duration"][:-1]) == 70 * frame
    assert [asset.attrib["src"] for asset in root.iter("asset")] == [
        "file:///v/a.mp4",
        "file:///v/b%20%26%20c.mp4",
    ]
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    read = otio.adapters.read_from_file(str(output))
    clips = list(read.find_clips())
    assert [clip.name for clip in clips] == ["a.mp4", "b & c.mp4"]
    if rate.denominator == 1:  # the adapter reads the rates of NTSC as whole numbers
        assert [round(clip.source_range.duration.value) for clip in clips] == [60, 10]


def test_fcpxml_says_that_a_video_has_sound_only_if_it_has(
    tmp_path: Path, make_video: MakeVideo, make_hit
) -> None:
    with_sound(tmp_path / "loud.mp4")
    silent = make_video("silent.mp4", frames=20).path
    paths = [tmp_path / "loud.mp4", silent, "/v/not-here-now.mp4"]
    write_timeline(tmp_path / "a.fcpxml", [make_hit(path) for path in paths], title="x")
    assets = list(ElementTree.parse(tmp_path / "a.fcpxml").getroot().iter("asset"))
    assert [asset.get("hasAudio") for asset in assets] == ["1", None, "1"]
    assert [asset.get("hasVideo") for asset in assets] == ["1", "1", "1"]


@pytest.mark.parametrize("suffix", ["otio", "edl", "fcpxml"])
@pytest.mark.parametrize(
    "name", ["a\nb.mp4", "caf\udce9.mp4", "a\x1b[2J.mp4", "* FROM CLIP NAME: x.mp4", "<&>'\".mp4"]
)
def test_hostile_names(tmp_path: Path, make_hit, make_moment, suffix: str, name: str) -> None:
    output = tmp_path / f"a.{suffix}"
    write_timeline(output, [make_hit(f"/v/{name}", make_moment(1.0, 2.0))], title="x\ny")
    timeline = otio.adapters.read_from_file(str(output), **({"rate": 25.0} if suffix == "edl" else {}))
    assert ranges(timeline)[0][1] == 25
    assert len(list(timeline.find_clips())) == 1
    assert "\x1b" not in output.read_text()


def test_a_moment_never_goes_beyond_its_video(tmp_path: Path, make_hit, make_moment) -> None:
    output = tmp_path / "a.otio"
    write_timeline(
        output, [make_hit("/v/a.mp4", make_moment(0.5, 9.9), duration=10.0)], title="x", margin=1.0
    )
    assert ranges(otio.adapters.read_from_file(str(output))) == [(0, 250)]


def test_wrong_use(tmp_path: Path, make_hit) -> None:
    hits = [make_hit("/v/a.mp4")]
    with pytest.raises(UsageError, match=r"\.otio, \.edl or \.fcpxml"):
        write_timeline(tmp_path / "a.txt", hits, title="x")
    with pytest.raises(UsageError, match=r"rate 12\.5"):
        write_timeline(tmp_path / "a.otio", hits, title="x", rate=12.5)
    with pytest.raises(UsageError, match=r"rate 0; expected: 23\.976"):
        expect_timeline(tmp_path / "a.otio", 0.0)
    with pytest.raises(UsageError, match="without moments"):
        write_timeline(tmp_path / "a.otio", [], title="x")
    (tmp_path / "a.otio").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        write_timeline(tmp_path / "a.otio", hits, title="x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.otio"]


def test_without_opentimelineio_the_extra_is_named(
    tmp_path: Path, make_hit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentimelineio", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[timeline\]'"):
        write_timeline(tmp_path / "a.edl", [make_hit("/v/a.mp4")], title="x")
    write_timeline(tmp_path / "a.fcpxml", [make_hit("/v/a.mp4")], title="x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.fcpxml"]
