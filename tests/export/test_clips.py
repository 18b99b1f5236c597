"""Clips show exactly the frames of their stretch, with the sound that belongs to them."""

from __future__ import annotations

import errno
import os
import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tests.video.conftest import MakeVideo, number_of, write_video
from tests.video.zoo import joined, with_sound

from prost.errors import UsageError, VideoError
from prost.export.clips import CHANGED, clip_name, cut_clip, cut_moment
from prost.export.cutting import NO_KEYFRAME


def frames_of(path: Path) -> list[tuple[float, int]]:
    """Time and number of each frame of a clip."""
    with av.open(str(path)) as container:
        return [
            (round(float(frame.pts * frame.time_base), 3), number_of(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(video=0)
        ]


def numbers(path: Path) -> list[int]:
    return [number for _, number in frames_of(path)]


@pytest.mark.parametrize("b_frames", [0, 3])
def test_an_encoded_clip_shows_the_frames_of_its_stretch(
    make_video: MakeVideo, tmp_path: Path, b_frames: int
) -> None:
    video = make_video(frames=100, b_frames=b_frames, gop=100)
    clip = cut_clip(video.path, 2.5, 4.0, tmp_path / "clip.mp4", method="encode")
    assert frames_of(clip.output) == [(round(0.1 * n, 3), 25 + n) for n in range(15)]
    assert (clip.start, clip.end, clip.method, clip.sound) == (2.5, 4.0, "encode", False)


def test_a_clip_that_begins_inside_a_frame_shows_that_frame_first(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    clip = cut_clip(make_video(frames=50).path, 2.45, 2.75, tmp_path / "clip.mp4", method="encode")
    assert frames_of(clip.output) == [(0.0, 24), (0.05, 25), (0.15, 26), (0.25, 27)]


@pytest.mark.parametrize("b_frames", [0, 3])
def test_packets_are_copied_from_a_keyframe_on_within_the_tolerance(
    make_video: MakeVideo, tmp_path: Path, b_frames: int
) -> None:
    video = make_video(frames=100, b_frames=b_frames, gop=12)
    clip = cut_clip(video.path, 2.5, 4.0, tmp_path / "clip.mp4", tolerance=0.3)
    assert clip.method == "copy"
    assert 2.5 - 0.3 <= clip.start <= 2.5 and 4.0 <= clip.end <= 4.0 + 0.3
    first, last = round(10 * clip.start), round(10 * clip.end)
    assert frames_of(clip.output) == [(round(0.1 * n, 3), first + n) for n in range(last - first)]
    with av.open(str(video.path)) as source, av.open(str(clip.output)) as copied:
        whole = {bytes(packet) for packet in source.demux(video=0)}
        assert all(bytes(packet) in whole for packet in copied.demux(video=0))


def test_a_keyframe_that_is_too_far_away_is_not_copied(make_video: MakeVideo, tmp_path: Path) -> None:
    video = make_video(frames=100, gop=100, options={"sc_threshold": "0"})
    assert cut_clip(video.path, 5.0, 6.0, tmp_path / "auto.mp4").method == "encode"
    assert numbers(tmp_path / "auto.mp4") == list(range(50, 60))
    with pytest.raises(VideoError, match=NO_KEYFRAME):
        cut_clip(video.path, 5.0, 6.0, tmp_path / "copy.mp4", method="copy")
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == []


def test_variable_frame_rate_and_a_late_clock_are_kept(make_video: MakeVideo, tmp_path: Path) -> None:
    times = [0.0, 0.5, 0.6, 1.5, 1.6, 1.7, 3.0]
    video = make_video("vfr.mkv", frames=7, times=times, start=5.0)
    clip = cut_clip(video.path, 0.5, 1.65, tmp_path / "clip.mp4", method="encode")
    assert frames_of(clip.output) == [(0.0, 1), (0.1, 2), (1.0, 3), (1.1, 4)]


def test_a_clip_beyond_the_end_stops_with_the_video(make_video: MakeVideo, tmp_path: Path) -> None:
    clip = cut_clip(make_video(frames=20).path, 1.5, 9.0, tmp_path / "clip.mp4", method="encode")
    assert numbers(clip.output) == [15, 16, 17, 18, 19]
    assert clip.end == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("method", ["encode", "copy"])
def test_a_disk_that_refuses_is_no_fault_of_the_video(
    make_video: MakeVideo, tmp_path: Path, method: str
) -> None:
    video = make_video(frames=100, gop=5)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(OSError, match=r"clip\.mp4") as refused:
            cut_clip(video.path, 1.0, 8.0, tmp_path / "clip.mp4", method=method)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.errno == errno.EFBIG
    assert not [path for path in tmp_path.iterdir() if "clip" in path.name]


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("method", ["encode", "copy"])
def test_a_turned_film_stays_turned(tmp_path: Path, rotation: int, method: str) -> None:
    def half(number: int, width: int, height: int) -> np.ndarray:
        picture = np.full((height, width, 3), 20, dtype=np.uint8)
        picture[:, : width // 2] = 235
        return picture

    video = write_video(tmp_path / "turned.mp4", 20, rotation=rotation, size=(64, 48), paint=half, gop=5)
    clip = cut_clip(video.path, 0.5, 1.0, tmp_path / "clip.mp4", method=method)
    from prost.video.decode import decode_frames

    wanted = decode_frames(video.path, [0.7], 32).pixels[0]
    got = decode_frames(clip.output, [0.2], 32).pixels[0]
    assert np.abs(wanted.astype(int) - got).mean() < 6
    if method == "encode":
        with av.open(str(clip.output)) as container:
            size = container.streams.video[0].width, container.streams.video[0].height
        assert size == ((64, 48) if rotation == 180 else (48, 64))


def beep(path: Path, codec: str = "aac", at: float = 2.0) -> None:
    """Four seconds with a flash and a beep at the same time."""
    rate = 16_000
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=20)
        video.width, video.height, video.pix_fmt, video.gop_size = 64, 48, "yuv420p", 200
        sound = container.add_stream(codec, rate=rate, layout="mono")
        packets = []
        for index in range(80):
            value = 235 if at <= index / 20 < at + 0.2 else 16
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 20)
            packets += video.encode(frame)
        packets += video.encode(None)
        times = np.arange(4 * rate) / rate
        loud = (times >= at) & (times < at + 0.2)
        samples = np.where(loud, np.sin(times * 2000), 0).astype(np.float32)[None] * 0.5
        kind = "fltp" if codec in ("aac", "libmp3lame") else "s16"
        for start in range(0, samples.shape[1], 1024):
            part = samples[:, start : start + 1024]
            if kind == "s16":
                part = (part * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format=kind, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            packets += sound.encode(frame)
        packets += sound.encode(None)
        for packet in sorted(packets, key=lambda each: float(each.dts * each.time_base)):
            container.mux(packet)


def flash_and_beep(path: Path) -> tuple[float, float]:
    """When the first bright picture and the first loud sound are played."""
    with av.open(str(path)) as container:
        flash = next(
            float(frame.pts * frame.time_base)
            for frame in container.decode(video=0)
            if frame.to_ndarray(format="gray").mean() > 120
        )
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(np.float32).reshape(-1)
            scale = 32768 if np.abs(samples).max() > 2 else 1
            loud = np.flatnonzero(np.abs(samples / scale) > 0.1)
            if len(loud):
                return flash, float(frame.pts * frame.time_base) + loud[0] / frame.sample_rate
    raise AssertionError("no sound")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "pcm_s16le"), ("a.mkv", "libmp3lame")]
)
@pytest.mark.parametrize(("start", "method"), [(1.3, "encode"), (0.0, "copy")])
def test_sound_stays_with_the_picture(
    tmp_path: Path, name: str, codec: str, start: float, method: str
) -> None:
    beep(tmp_path / name, codec)
    clip = cut_clip(tmp_path / name, start, 3.0, tmp_path / "clip.mp4", method=method)
    assert clip.sound and clip.method == method
    flash, sound = flash_and_beep(clip.output)
    assert flash == pytest.approx(2.0 - start, abs=0.051)
    assert sound == pytest.approx(flash, abs=0.03)


def test_sound_before_the_first_picture_counts(tmp_path: Path) -> None:
    with_sound(tmp_path / "late.mp4", video_start=0.5)
    clip = cut_clip(tmp_path / "late.mp4", 1.0, 2.0, tmp_path / "clip.mp4", method="encode")
    assert numbers(clip.output) == list(range(5, 15)) and clip.sound


def test_parts_with_clocks_of_their_own_are_cut_by_the_players_clock(tmp_path: Path) -> None:
    joined()(tmp_path / "joined.ts")
    clip = cut_clip(tmp_path / "joined.ts", 1.6, 2.4, tmp_path / "clip.mp4")
    assert numbers(clip.output) == list(range(40, 60)) and clip.method == "encode"


def test_a_transparent_film_of_odd_size_in_another_codec(make_video: MakeVideo, tmp_path: Path) -> None:
    video = make_video("odd.webm", frames=20, codec="libvpx", size=(63, 47), options={"crf": "4", "b": "2M"})
    clip = cut_clip(video.path, 0.5, 1.0, tmp_path / "clip.mp4")
    assert numbers(clip.output) == [5, 6, 7, 8, 9] and clip.method == "encode"


def test_another_file_is_replaced_only_when_asked(make_video: MakeVideo, tmp_path: Path) -> None:
    video, output = make_video().path, tmp_path / "clip.mp4"
    output.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        cut_clip(video, 0, 1, output)
    assert output.read_text() == "mine"
    cut_clip(video, 0, 1, output, force=True)
    assert frames_of(output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "video.mp4"]


@pytest.mark.parametrize("content", [b"", b"no video at all\n" * 40])
def test_what_is_no_video_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(VideoError):
        cut_clip(tmp_path / "a.mp4", 0, 1, tmp_path / "clip.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_times_and_outputs_that_make_no_sense(make_video: MakeVideo, tmp_path: Path) -> None:
    video = make_video().path
    for start, end in ((1, 1), (2, 1), (-1, 1), (0, float("nan")), (0, float("inf"))):
        with pytest.raises(UsageError, match="expected: 0 <= start < end"):
            cut_clip(video, start, end, tmp_path / "clip.mp4")
    with pytest.raises(UsageError, match=r"\.mp4"):
        cut_clip(video, 0, 1, tmp_path / "clip.avi")
    with pytest.raises(UsageError, match="does not exist"):
        cut_clip(video, 0, 1, tmp_path / "none" / "clip.mp4")


def test_a_moment_with_a_margin(make_video: MakeVideo, tmp_path: Path, make_hit, make_moment) -> None:
    video = make_video(frames=60).path
    hit = make_hit(video, make_moment(0.3, 1.0), duration=6.0)
    clip = cut_moment(hit, hit.moments[0], tmp_path / "clip.mp4", margin=0.5, method="encode")
    assert numbers(clip.output) == list(range(15))


def test_a_file_that_is_gone_or_has_changed(
    make_video: MakeVideo, tmp_path: Path, make_hit, make_moment
) -> None:
    video = make_video(frames=20).path
    hit = make_hit(video, make_moment(0.0, 1.0))
    os.utime(video, ns=(0, 0))
    with pytest.raises(VideoError, match=CHANGED):
        cut_moment(hit, hit.moments[0], tmp_path / "clip.mp4")
    video.unlink()
    with pytest.raises(VideoError, match="file is gone"):
        cut_moment(hit, hit.moments[0], tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "-i.mp4", "a\nb.mp4", "caf\udce9.mp4", "100%.mp4"])
def test_hostile_names(tmp_path: Path, name: str, make_hit, make_moment) -> None:
    video = write_video(tmp_path / "plain.mp4", 20).path.rename(tmp_path / name)
    hit = make_hit(video, make_moment(0.5, 1.0))
    output = tmp_path / clip_name(1, hit, hit.moments[0])
    assert output.name.isascii() and output.name.isprintable() and not output.name.startswith("-")
    assert numbers(cut_moment(hit, hit.moments[0], output, method="encode").output) == [5, 6, 7, 8, 9]
