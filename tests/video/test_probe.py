"""What a file holds, whatever its header says; and one clear reason for each file that holds nothing."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorTrc
from tests.video.conftest import MakeVideo, numbers_of, write_video
from tests.video.zoo import link_to_itself, sound_only, sound_with_cover, two_streams

from prost.errors import VideoError
from prost.video.container import open_video
from prost.video.decode import decode_frames
from prost.video.probe import probe
from prost.video.reasons import Reason
from prost.video.sampling import sample_times


def box(data: bytes, name: bytes) -> int:
    """Where an MP4 box's name stands."""
    position = data.find(name)
    assert position > 0, f"no {name!r} box"
    return position


@pytest.mark.parametrize(
    ("name", "codec", "says"),
    [
        ("a.mp4", "libx264", "h264"),
        ("a.mkv", "libx265", "hevc"),
        ("a.webm", "libvpx-vp9", "vp9"),
        ("b.mp4", "libsvtav1", "av1"),
        ("a.mov", "prores_ks", "prores"),
        ("a.avi", "mpeg4", "mpeg4"),
        ("a.ts", "libx264", "h264"),
    ],
)
def test_a_sound_file_is_as_it_was_made(make_video: MakeVideo, name: str, codec: str, says: str) -> None:
    made = make_video(
        name,
        75,
        fps=25,
        codec=codec,
        size=(80, 64),
        pix_fmt="yuv422p10le" if says == "prores" else "yuv420p",
        options={"x265-params": "log-level=none"} if says == "hevc" else None,
    )
    info = probe(made.path)
    assert (info.path, info.codec, info.width, info.height, info.rotation) == (
        str(made.path),
        says,
        80,
        64,
        0,
    )
    assert info.duration == pytest.approx(3.0, abs=1.1e-3)
    assert info.fps == pytest.approx(25)


def test_a_late_start_is_told_and_does_not_lengthen_the_video(make_video: MakeVideo) -> None:
    info = probe(make_video("late.mkv", 20, fps=10, start=5.5).path)
    assert (info.start, info.duration) == (pytest.approx(5.5), pytest.approx(2.0))


def test_a_negative_start_is_told(make_video: MakeVideo) -> None:
    unshifted = {"avoid_negative_ts": "disabled"}
    made = make_video("early.wmv", 20, codec="wmv2", start=-0.5, container_options=unshifted)
    info = probe(made.path)
    assert (info.start, info.duration) == (pytest.approx(-0.5), pytest.approx(2.0))
    frames = decode_frames(made.path, [time + 0.05 for time in made.times], 32)
    assert numbers_of(frames.pixels) == list(range(20))
    np.testing.assert_allclose(frames.times, made.times, atol=1e-9)


def test_frames_before_the_clock_starts_are_no_part_of_the_video(make_video: MakeVideo) -> None:
    """Matroska has no place for negative times: FFmpeg reads such frames without a time."""
    made = make_video("early.mkv", 20, start=-0.5, container_options={"avoid_negative_ts": "disabled"})
    assert probe(made.path).duration == pytest.approx(1.5)
    assert numbers_of(decode_frames(made.path, [0.05, 0.75, 1.45], 32).pixels) == [5, 12, 19]


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_videos_have_a_duration(make_video: MakeVideo, frames: int) -> None:
    for name in ("a.mp4", "a.mkv", "a.webm"):
        made = make_video(name, frames, fps=25, codec="libvpx-vp9" if name.endswith("webm") else "libx264")
        assert probe(made.path).duration == pytest.approx(frames / 25, abs=2e-3)


def test_a_variable_frame_rate_is_measured_to_its_end(make_video: MakeVideo) -> None:
    info = probe(make_video("vfr.mkv", 5, times=[0, 0.1, 0.2, 4.0, 9.5], fps=10).path)
    assert info.duration == pytest.approx(9.6, abs=0.1)


def test_a_stream_without_timestamps_is_counted(make_video: MakeVideo) -> None:
    assert probe(make_video("raw.h264", 50, fps=25, format="h264").path).duration == pytest.approx(2.0)


def test_an_mp4_that_claims_too_little_is_not_believed(make_video: MakeVideo) -> None:
    """(FFmpeg itself corrects one that claims too much.)"""
    made = make_video("claims.mp4", 20, fps=10)
    data = bytearray(made.path.read_bytes())
    for name in (b"mvhd", b"mdhd"):
        place = box(data, name) + 16  # after version, flags and two dates: ticks a second, then the duration
        ticks = int.from_bytes(data[place : place + 4], "big")
        data[place + 4 : place + 8] = int(0.3 * ticks).to_bytes(4, "big")
    made.path.write_bytes(data)
    with av.open(str(made.path)) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == pytest.approx(0.3), "the header does claim it"
    assert probe(made.path).duration == pytest.approx(2.0)


def test_a_last_frame_that_claims_to_stand_for_minutes_counts_ten_seconds(make_video: MakeVideo) -> None:
    made = make_video("still.gif", 5, codec="gif", pix_fmt="rgb8", fps=10)
    data = bytearray(made.path.read_bytes())
    delay = data.rfind(b"\x21\xf9\x04") + 4  # of the last frame, in hundredths of a second
    data[delay : delay + 2] = (60_000).to_bytes(2, "little")
    made.path.write_bytes(data)
    assert probe(made.path).duration == pytest.approx(0.4 + 10.0)


@pytest.mark.parametrize("claim", [36_000.0, 0.3])
def test_an_absurd_duration_in_a_matroska_is_not_believed(make_video: MakeVideo, claim: float) -> None:
    made = make_video("claims.mkv", 20, fps=10)
    data = bytearray(made.path.read_bytes())
    start = data.find(b"\x44\x89\x88") + 3  # the Duration element: a float64 of milliseconds
    assert start > 3
    data[start : start + 8] = np.array([claim * 1000], dtype=">f8").tobytes()
    made.path.write_bytes(data)
    with av.open(str(made.path)) as container:
        assert container.duration == pytest.approx(claim * 1e6), "the header does claim it"
    assert probe(made.path).duration == pytest.approx(2.0)


def test_a_file_without_a_duration_is_measured(make_video: MakeVideo) -> None:
    """As browsers record: no duration, no index."""
    made = make_video("live.webm", 20, fps=10, codec="libvpx", container_options={"live": "1"})
    with av.open(str(made.path)) as container:
        assert container.duration is None
    assert probe(made.path).duration == pytest.approx(2.0, abs=0.01)
    assert numbers_of(decode_frames(made.path, [1.55, 0.25], 32).pixels) == [15, 2]


def test_a_wrong_timestamp_does_not_make_two_seconds_ten_hours(make_video: MakeVideo) -> None:
    made = make_video("jump.mkv", 21, times=[*(i / 10 for i in range(20)), 36_000.0], fps=10)
    with av.open(str(made.path)) as container:
        assert container.duration is not None and container.duration > 35_999e6
    assert probe(made.path).duration == pytest.approx(2.0)


def test_hours_are_measured_without_decoding_them(make_video: MakeVideo) -> None:
    made = make_video("hours.mp4", 720, fps=Fraction(1, 10), gop=60)
    assert probe(made.path).duration == pytest.approx(7200.0)
    numbers = [number % 216 for number in (3, 400, 719)]
    assert numbers_of(decode_frames(made.path, [35.0, 4005.0, 7195.0], 32).pixels) == numbers


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.ts"])
def test_a_truncated_file_is_as_long_as_what_is_left(make_video: MakeVideo, name: str) -> None:
    """The header (in front, as in files made for streaming) still speaks of ten seconds."""
    made = make_video(
        name,
        100,
        fps=10,
        gop=10,
        container_options={"movflags": "faststart"} if name.endswith("mp4") else None,
    )
    data = made.path.read_bytes()
    made.path.write_bytes(data[: len(data) * 6 // 10])
    info = probe(made.path)
    assert 2.0 < info.duration < 8.0
    frames = decode_frames(made.path, sample_times(0, info.duration, 12), 32)
    expected = [int(time * 10 + 1e-6) for time in sample_times(0, info.duration, 12)]
    assert numbers_of(frames.pixels) == expected


def test_half_a_packet_at_the_end_does_not_count(make_video: MakeVideo) -> None:
    made = make_video("cut.mp4", 100, fps=10, gop=10, container_options={"movflags": "faststart"})
    with av.open(str(made.path)) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = places[57]
    made.path.write_bytes(made.path.read_bytes()[: position + size // 2])
    assert probe(made.path).duration == pytest.approx(5.7)
    assert numbers_of(decode_frames(made.path, [5.65], 32).pixels) == [56]


# Files that cannot be shown ------------------------------------------------------------------------


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(VideoError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value.reason


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("This is a shopping list.\n" * 50)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(100_000))


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(50_000))


def playlist(path: Path) -> None:
    """A text that FFmpeg would follow to the network."""
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")


def photo(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), (200, 30, 30)).save(path, format="JPEG")


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def nothing(path: Path) -> None:
    pass


def broken_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (empty, Reason.EMPTY),
        (text, Reason.NOT_A_VIDEO),
        (zeros, Reason.NOT_A_VIDEO),
        (noise, Reason.NOT_A_VIDEO),
        (playlist, Reason.NOT_A_VIDEO),
        (photo, Reason.NOT_A_VIDEO),
        (folder, Reason.NOT_REGULAR),
        (pipe, Reason.NOT_REGULAR),
        (nothing, Reason.GONE),
        (broken_link, Reason.GONE),
        (link_to_itself, Reason.GONE),
        (sound_only, Reason.NO_VIDEO_STREAM),
        (sound_with_cover, Reason.NO_VIDEO_STREAM),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.timeout(20)
def test_each_file_that_is_no_video_has_its_reason(
    tmp_path: Path, make: Callable[[Path], None], reason: Reason
) -> None:
    path = tmp_path / "file.mp4"
    make(path)
    assert reason_of(lambda: probe(path)) == reason
    assert reason_of(lambda: decode_frames(path, [0.0], 32)) == reason


def test_cover_art_is_there_and_still_no_video(tmp_path: Path) -> None:
    sound_with_cover(tmp_path / "song.mp4")
    with av.open(str(tmp_path / "song.mp4")) as container:
        assert len(container.streams.video) == 1


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_an_mp4_still_being_copied_is_incomplete(make_video: MakeVideo, kept: float) -> None:
    """Its index is written last, so without the end there is nothing to go by."""
    made = make_video("copy.mp4", 100)
    data = made.path.read_bytes()
    made.path.write_bytes(data[: max(40, int(box(data, b"moov") * kept))])
    assert reason_of(lambda: probe(made.path)) == Reason.INCOMPLETE


@pytest.mark.parametrize("name", ["head.mkv", "head.webm", "head.avi", "head.flv", "head.ts"])
def test_the_mere_beginning_of_a_file_is_no_video(make_video: MakeVideo, name: str) -> None:
    codec = {"webm": "libvpx", "avi": "mpeg4", "flv": "flv"}.get(name.split(".")[1], "libx264")
    made = make_video(name, 10, codec=codec)
    made.path.write_bytes(made.path.read_bytes()[:30])
    assert reason_of(lambda: probe(made.path)) in (Reason.INCOMPLETE, Reason.NOTHING_DECODED)


def test_a_codec_that_nobody_knows(make_video: MakeVideo) -> None:
    made = make_video("strange.mp4")
    made.path.write_bytes(made.path.read_bytes().replace(b"avc1", b"zq9x").replace(b"avcC", b"zq9C"))
    assert reason_of(lambda: probe(made.path)) == Reason.UNKNOWN_CODEC


def test_an_encrypted_film_is_said_to_be_encrypted(make_video: MakeVideo) -> None:
    made = make_video("rented.mp4", 30, container_options=ENCRYPTION)
    assert reason_of(lambda: probe(made.path)) == Reason.ENCRYPTED
    assert reason_of(lambda: decode_frames(made.path, [1.0], 32)) == Reason.ENCRYPTED


ENCRYPTION = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "00112233445566778899aabbccddeeff",
    "encryption_kid": "0123456789abcdef0123456789abcdef",
}


def test_a_still_gif_is_no_video(make_video: MakeVideo) -> None:
    still = make_video("still.gif", 1, codec="gif", pix_fmt="rgb8")
    assert reason_of(lambda: probe(still.path)) == Reason.NOT_A_VIDEO
    moving = make_video("moving.gif", 2, codec="gif", pix_fmt="rgb8")
    assert probe(moving.path).duration == pytest.approx(0.2)


@pytest.mark.parametrize("listed", ["gone.mp4", "film.mp4"])
def test_a_list_of_files_is_no_video(make_video: MakeVideo, listed: str) -> None:
    path = make_video("film.mp4").path.with_name("list.mp4")
    path.write_text(f"ffconcat version 1.0\nfile {listed}\n")
    assert reason_of(lambda: probe(path)) == Reason.NOT_A_VIDEO


def test_other_video_streams_are_told(tmp_path: Path, make_video: MakeVideo) -> None:
    two_streams(tmp_path / "dashcam.mkv")
    assert probe(tmp_path / "dashcam.mkv").note == "1 other video stream is left out"
    assert probe(make_video("one.mkv").path).note == ""


def test_an_index_without_its_data(make_video: MakeVideo) -> None:
    made = make_video("hollow.mp4", 50, container_options={"movflags": "faststart"})
    data = made.path.read_bytes()
    made.path.write_bytes(data[: box(data, b"mdat") + 4])
    assert reason_of(lambda: probe(made.path)) == Reason.NOTHING_DECODED


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_no_permission(make_video: MakeVideo) -> None:
    made = make_video("private.mp4")
    made.path.chmod(0)
    assert reason_of(lambda: probe(made.path)) == Reason.NO_PERMISSION


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), Reason.NO_PERMISSION),
        (av.error.PermissionError(1, "Operation not permitted"), Reason.NOTHING_DECODED),
        (FileNotFoundError(2, "No such file"), Reason.GONE),
        (MemoryError(), Reason.TOO_MUCH_MEMORY),
        (av.error.BlockingIOError(11, "Resource temporarily unavailable"), Reason.NOTHING_DECODED),
        (av.error.InvalidDataError(1094995529, "Invalid data"), Reason.NOTHING_DECODED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_goes_wrong_while_a_video_is_open_becomes_a_reason(
    make_video: MakeVideo, error: Exception, reason: Reason
) -> None:
    """Refusals that a test (as root, with memory to spare) cannot bring about."""
    path = make_video().path

    def fail() -> None:
        with open_video(path):
            raise error

    assert reason_of(fail) == reason


def test_tags_that_are_not_utf8_do_not_matter(make_video: MakeVideo) -> None:
    made = make_video("tagged.mkv", 5, title="XXXXXXXX")
    data = made.path.read_bytes()
    assert b"XXXXXXXX" in data
    made.path.write_bytes(data.replace(b"XXXXXXXX", b"caf\xe9 \xff\xfe!"))
    assert probe(made.path).duration == pytest.approx(0.5)


@pytest.mark.parametrize(
    "name", ["concat:a.mp4|b.mp4", "http:x.mp4", "-i.mp4", "%03d.mp4", " spaced .mp4", "ünï.mp4"]
)
def test_names_that_look_like_something_else(
    make_video: MakeVideo, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_video("plain.mp4", 5)
    shutil.move(made.path, made.path.with_name(name))
    monkeypatch.chdir(made.path.parent)
    assert probe(name).duration == pytest.approx(0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_a_name_that_is_not_utf8(make_video: MakeVideo) -> None:
    made = make_video("plain.mp4", 5)
    raw = os.fsencode(made.path.parent) + b"/caf\xe9.mp4"
    os.rename(made.path, raw)
    path = Path(os.fsdecode(raw))
    assert os.fsencode(probe(path).path) == raw
    assert numbers_of(decode_frames(path, [0.25], 32).pixels) == [2]


@pytest.mark.parametrize(
    ("curve", "told"),
    [(ColorTrc.SMPTE2084, "PQ"), (ColorTrc.ARIB_STD_B67, "HLG"), (ColorTrc.BT709, "")],
)
def test_high_dynamic_range_is_told(tmp_path: Path, curve: ColorTrc, told: str) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=10, options={"log-level": "none"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        stream.codec_context.color_trc = curve
        for shade in range(5):
            picture = np.full((48, 64, 3), 40 * shade, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p10le")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    note = probe(path).note
    assert (f"high dynamic range ({told})" in note) if told else note == ""


def test_a_file_that_was_cut_short_is_told(tmp_path: Path) -> None:
    """Its index stands in front, so that what is left can be shown."""
    write_video(tmp_path / "whole.mp4", 50)
    with (
        av.open(str(tmp_path / "whole.mp4")) as source,
        av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = (tmp_path / "fast.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: 2 * len(content) // 3])
    assert probe(tmp_path / "whole.mp4").note == probe(tmp_path / "fast.mp4").note == ""
    cut = probe(tmp_path / "cut.mp4")
    assert cut.duration < probe(tmp_path / "fast.mp4").duration
    assert re.fullmatch(r"the file ends early: \d+ pictures? (is|are) missing of 50", cut.note)
