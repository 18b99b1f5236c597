"""Which frame comes back, and how it looks: real files whose pictures carry their frame's number."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests.video.conftest import Made, MakeVideo, number_colour, number_of, numbers_of
from tests.video.zoo import with_sound

from prost.errors import UsageError, VideoError
from prost.video.container import open_video
from prost.video.decode import Frames, decode_frames
from prost.video.fit import LEFT_OUT, LONGEST_SHAPE, Fit, square_places
from prost.video.probe import probe
from prost.video.reasons import Reason
from prost.video.sampling import clip_windows, sample_times

SIZE = 32

# What each wheel of PyAV brings; should one go missing, the test fails and says which.
CODECS = [
    ("h264.mp4", "libx264", "yuv420p"),
    ("h264.mkv", "libx264", "yuv420p"),
    ("h264.ts", "libx264", "yuv420p"),
    ("h264.mov", "libx264", "yuv444p"),
    ("h264.flv", "libx264", "yuv420p"),
    ("ten_bit.mp4", "libx265", "yuv420p10le"),
    ("hevc.mkv", "libx265", "yuv420p"),
    ("vp8.webm", "libvpx", "yuv420p"),
    ("vp9.webm", "libvpx-vp9", "yuv420p"),
    ("vp9_alpha.webm", "libvpx-vp9", "yuva420p"),
    ("av1.mp4", "libsvtav1", "yuv420p"),
    ("av1_ten_bit.mkv", "libsvtav1", "yuv420p10le"),
    ("prores.mov", "prores_ks", "yuv422p10le"),
    ("prores_alpha.mov", "prores_ks", "yuva444p10le"),
    ("mpeg4.mp4", "mpeg4", "yuv420p"),
    ("mpeg4.avi", "mpeg4", "yuv420p"),
    ("mpeg2.ts", "mpeg2video", "yuv420p"),
    ("mjpeg.avi", "mjpeg", "yuvj420p"),
    ("mjpeg.mov", "mjpeg", "yuvj422p"),
    ("wmv.wmv", "wmv2", "yuv420p"),
    ("flash.flv", "flv", "yuv420p"),
    ("lossless.mkv", "ffv1", "yuv444p"),
    ("animation.mov", "qtrle", "argb"),
    ("grey.mkv", "ffv1", "gray"),
    ("animated.gif", "gif", "rgb8"),
]


def shown_at(times: list[float], time: float) -> int:
    """The rule, in the plainest words: the last frame that began, or the first."""
    return max([index for index, began in enumerate(times) if began <= time + 1e-9], default=0)


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), CODECS, ids=[row[0] for row in CODECS])
def test_every_codec_gives_exactly_the_frames_asked_for(
    make_video: MakeVideo, name: str, codec: str, pix_fmt: str
) -> None:
    made = make_video(name, 12, codec=codec, pix_fmt=pix_fmt, fps=25, options=sharp(codec))
    middles = [time + 0.02 for time in made.times]
    frames = decode_frames(made.path, middles, SIZE)
    assert frames.pixels.shape == (12, SIZE, SIZE, 3)
    assert frames.pixels.dtype == np.uint8
    np.testing.assert_allclose(
        frames.times, made.times, atol=1.1e-3 if name.endswith((".mkv", ".flv")) else 1e-6
    )
    if pix_fmt == "gray":
        assert np.ptp(frames.pixels, axis=3).max() == 0
    else:
        assert numbers_of(frames.pixels) == list(range(12))


def sharp(codec: str) -> dict[str, str]:
    """Options under which an encoder keeps the frames' colours apart."""
    if codec in ("mpeg4", "mpeg2video", "wmv2", "flv"):
        return {"qmin": "1", "qmax": "2"}
    return {"x265-params": "log-level=none"} if codec == "libx265" else {}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("gop", [1, 7, 1000])
def test_near_and_far_times_in_any_order(make_video: MakeVideo, name: str, b_frames: int, gop: int) -> None:
    made = make_video(name, 200, fps=10, gop=gop, b_frames=b_frames)
    for asked in (
        [19.05],
        [0.05, 0.15, 19.95],
        [12.05, 3.05, 18.05, 3.05, 3.15, 0.0],
        list(np.arange(0.05, 20, 1)),
    ):
        frames = decode_frames(made.path, asked, SIZE)
        expected = [shown_at(made.times, time) for time in asked]
        assert numbers_of(frames.pixels) == expected
        np.testing.assert_allclose(frames.times, [made.times[index] for index in expected], atol=1.1e-3)


VARIABLE = [0.0, 0.04, 0.5, 0.52, 0.9, 3.0, 3.04, 7.5, 7.6, 12.0]


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv", "vfr.webm"])
@pytest.mark.parametrize("start", [0.0, 4.25])
def test_variable_frame_rate_shows_what_a_player_shows(
    make_video: MakeVideo, name: str, start: float
) -> None:
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    made = make_video(name, len(VARIABLE), times=VARIABLE, start=start, codec=codec, gop=3)
    asked = [-1.0, 0.0, 0.039, 0.041, 0.49, 0.51, 2.99, 3.0, 3.05, 7.49, 7.55, 11.9, 12.0, 99.0]
    frames = decode_frames(made.path, asked, SIZE)
    expected = [shown_at(VARIABLE, time) for time in asked]
    assert expected == [0, 0, 0, 1, 1, 2, 4, 5, 6, 6, 7, 8, 9, 9]
    assert numbers_of(frames.pixels) == expected
    np.testing.assert_allclose(frames.times, [VARIABLE[index] for index in expected], atol=1.1e-3)


def test_a_frame_is_met_by_its_own_timestamp(make_video: MakeVideo) -> None:
    """29.97 frames a second: no float equals its timestamps, and yet each meets its own frame."""
    made = make_video("ntsc.mp4", 60, fps=Fraction(30_000, 1001))
    frames = decode_frames(made.path, made.times, SIZE)
    assert numbers_of(frames.pixels) == list(range(60))
    assert numbers_of(decode_frames(made.path, frames.times, SIZE).pixels) == list(range(60))


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_videos_shorter_than_the_sampling_repeat_their_frames(make_video: MakeVideo, frames: int) -> None:
    made = make_video("short.mp4", frames, fps=10)
    sampled = decode_frames(made.path, sample_times(0, frames / 10, 12), SIZE)
    assert numbers_of(sampled.pixels) == sorted([*range(frames)] * (12 // frames))


def test_a_stream_without_timestamps_is_counted(make_video: MakeVideo) -> None:
    """Raw H.264 carries no times; FFmpeg's guess of 25 frames a second is what is left."""
    made = make_video("raw.h264", 100, fps=25, format="h264")
    assert numbers_of(decode_frames(made.path, [0.02, 3.02, 3.5, 1.0], SIZE).pixels) == [0, 75, 87, 25]


MPEG_2 = {"codec": "mpeg2video", "options": {"qmin": "1", "qmax": "2"}, "fps": 25}
JOINED = [
    ("a.ts", {}),
    ("b_frames.ts", {"b_frames": 3}),
    ("late.ts", {"start": 40_000.0}),
    ("mpeg_2.ts", MPEG_2),
    ("a.mpg", {**MPEG_2, "format": "mpeg"}),
    ("a.vob", {**MPEG_2, "format": "vob"}),
]


@pytest.mark.parametrize(("name", "options"), JOINED, ids=[name for name, _ in JOINED])
def test_parts_whose_clocks_start_anew_are_shown_one_after_the_other(
    make_video: MakeVideo, name: str, options: dict[str, Any]
) -> None:
    """Three recordings appended to one another, as players show them.

    The frames of a program stream carry times only now and then, so they may be a little late.
    """
    late = 0 if name.endswith(".ts") else 2
    lengths = (60, 40, 50)
    parts = [make_video(f"{length}_{name}", length, **options) for length in lengths]
    path = parts[0].path.with_name(name)
    path.write_bytes(b"".join(part.path.read_bytes() for part in parts))
    info = probe(path)
    fps = options.get("fps", 10)
    assert info.duration == pytest.approx(150 / fps, abs=0.01 + late / fps)
    expected = [number for length in lengths for number in range(length)]
    in_one_pass = numbers_of(decode_frames(path, (np.arange(150) + 0.5) / fps, SIZE).pixels)
    by_seeking = {
        index: numbers_of(decode_frames(path, [(index + 0.5) / fps], SIZE).pixels)[0]
        for index in (149, 3, 75, 140)
    }
    for index, number in [*enumerate(in_one_pass), *by_seeking.items()]:
        assert number in expected[max(0, index - late) : index + late + 1]


def test_frames_of_an_older_clock_before_a_recording_cost_nothing(make_video: MakeVideo) -> None:
    old, recording = make_video("old.ts", 3, start=50_000.0), make_video("new.ts", 100)
    recording.path.write_bytes(old.path.read_bytes() + recording.path.read_bytes())
    assert probe(recording.path).duration == pytest.approx(10.3, abs=0.01)
    assert numbers_of(decode_frames(recording.path, [0.05, 0.35, 8.35], SIZE).pixels) == [0, 0, 80]


@pytest.mark.parametrize("pause", [1_800.0, 4_000.0])
def test_a_pause_of_a_recorders_clock_is_left_out(make_video: MakeVideo, pause: float) -> None:
    times = [index / 10 + (pause if index >= 40 else 0.0) for index in range(80)]
    made = make_video("paused.ts", 80, times=times)
    assert probe(made.path).duration == pytest.approx(8.0, abs=0.01)
    assert numbers_of(decode_frames(made.path, [3.95, 4.05, 7.55], SIZE).pixels) == [39, 40, 75]


def test_what_lies_after_a_long_pause_is_told_where_the_clock_is_not_spliced(make_video: MakeVideo) -> None:
    times = [index / 10 + (4_000.0 if index >= 40 else 0.0) for index in range(80)]
    made = make_video("paused.mkv", 80, times=times)
    info = probe(made.path)
    assert info.duration == pytest.approx(4.0, abs=0.2)
    assert info.note == "40 frames after a pause of 1.1 h are left out"


def test_times_that_run_back_and_forth_are_replaced_by_those_of_decoding(make_video: MakeVideo) -> None:
    """H.264 with B-frames in AVI, which stores no times at all."""
    film = make_video("film.mp4", 200, fps=25, b_frames=3)
    path = film.path.with_suffix(".avi")
    with av.open(str(film.path)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        as_avi = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in source.demux(stream):
            for filtered in as_avi.filter(packet) if packet.size else ():
                filtered.stream = copy
                target.mux(filtered)
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert stamps != sorted(stamps), "the file is as disorderly as intended"
    frames = decode_frames(path, np.arange(0, 8.2, 0.01), SIZE)
    assert len(set(numbers_of(frames.pixels))) >= 197
    assert (np.diff(np.unique(frames.times))[3:] < 0.05).all()
    # By seeking as in one pass, but for the time that the decoder takes to notice.
    for index in (500, 80, 300):
        (number,) = numbers_of(decode_frames(path, [index / 100], SIZE).pixels)
        assert abs(number - number_of(frames.pixels[index])) <= 3


def test_interlaced_frames_are_shown_whole(make_video: MakeVideo) -> None:
    made = make_video("interlaced.ts", 10, fps=25, options={"x264-params": "interlaced=1:tff=1"})
    with open_video(made.path) as video:
        assert video.first.frame.interlaced_frame
    frames = decode_frames(made.path, [time + 0.02 for time in made.times], SIZE)
    assert numbers_of(frames.pixels) == list(range(10))


def test_several_video_streams_the_default_one_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream, width in zip(streams, (160, 64), strict=True):
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
        streams[0].disposition = av.stream.Disposition(0)
        streams[1].disposition = av.stream.Disposition.default
        for index in range(10):
            for stream, grey in zip(streams, (40, 200), strict=True):
                picture = np.full((48, stream.width, 3), grey, dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 10)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    assert abs(decode_frames(path, [0.5], SIZE).pixels.mean() - 200) < 5


# How a frame looks ---------------------------------------------------------------------------------


def quadrants(number: int, width: int, height: int) -> np.ndarray:
    """Red, green over blue, white: tells which way is up."""
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[: height // 2, : width // 2] = (230, 20, 20)
    picture[: height // 2, width // 2 :] = (20, 230, 20)
    picture[height // 2 :, : width // 2] = (20, 20, 230)
    picture[height // 2 :, width // 2 :] = (230, 230, 230)
    return picture


def corner_names(picture: np.ndarray) -> str:
    """The four corners, row by row, as letters."""
    quarter = len(picture) // 4
    names = {
        (True, False, False): "r",
        (False, True, False): "g",
        (False, False, True): "b",
        (True,) * 3: "w",
    }
    return "".join(
        names[tuple(bool(channel > 128) for channel in picture[y, x])]
        for y in (quarter, -quarter)
        for x in (quarter, -quarter)
    )


@pytest.mark.parametrize(
    ("counterclockwise", "flip", "corners", "rotation"),
    [
        (0, False, "rgbw", 0),
        (90, False, "gwrb", 270),
        (180, False, "wbgr", 180),
        (270, False, "brwg", 90),
        (0, True, "grwb", 180),
    ],
)
def test_pictures_stand_as_the_display_matrix_says(
    make_video: MakeVideo, counterclockwise: int, flip: bool, corners: str, rotation: int
) -> None:
    made = make_video("turned.mp4", 3, paint=quadrants, rotation=counterclockwise, flip=flip, size=(96, 64))
    (picture,) = decode_frames(made.path, [0.1], SIZE).pixels
    assert corner_names(picture) == corners
    info = probe(made.path)
    assert (info.width, info.height) == ((64, 96) if counterclockwise % 180 else (96, 64))
    assert info.rotation == rotation


def test_pixels_that_are_not_square_are_stretched(make_video: MakeVideo) -> None:
    """A circle stored half as wide as it is must come out round."""

    def squeezed_circle(number: int, width: int, height: int) -> np.ndarray:
        y, x = np.mgrid[:height, :width]
        inside = ((x - width / 2) * 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2
        return np.where(inside[..., None], 230, 20).astype(np.uint8).repeat(3, axis=2)

    made = make_video("wide.mp4", 3, paint=squeezed_circle, size=(128, 128), pixel_aspect=Fraction(2, 1))
    info = probe(made.path)
    assert (info.width, info.height) == (256, 128)
    (picture,) = decode_frames(made.path, [0.1], 64).pixels
    inside = picture[..., 0] > 128
    assert abs(np.ptp(np.flatnonzero(inside.any(axis=0))) - np.ptp(np.flatnonzero(inside.any(axis=1)))) <= 2


@pytest.mark.parametrize("size", [(63, 47), (47, 63), (51, 51), (500, 33)])
def test_odd_sizes_are_scaled_and_cropped_to_the_middle(make_video: MakeVideo, size: tuple[int, int]) -> None:
    made = make_video("odd.mkv", 2, paint=quadrants, codec="ffv1", pix_fmt="yuv444p", size=size)
    assert corner_names(decode_frames(made.path, [0.0], SIZE).pixels[0]) == "rgbw"


def waves(number: int, width: int, height: int) -> np.ndarray:
    """A smooth picture, so that two ways of scaling agree."""
    y, x = np.mgrid[:height, :width]
    channels = [np.sin(x / 17 + y / 29 + phase) for phase in (0, 2, 4)]
    return (127 + 100 * np.stack(channels, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(320, 180), (180, 320), (200, 200)])
def test_scaling_and_cropping_agree_with_clip_preprocessing(
    make_video: MakeVideo, shape: tuple[int, int]
) -> None:
    """Against Pillow's bicubic resize of the short side and a centre crop, as CLIP's image processor does."""
    made = make_video("waves.mkv", 1, paint=waves, codec="ffv1", pix_fmt="yuv444p", size=shape)
    (picture,) = decode_frames(made.path, [0.0], 64).pixels
    width, height = shape
    scale = 64 / min(shape)
    image = Image.fromarray(waves(0, width, height)).resize(
        (int(width * scale), int(height * scale)), Image.Resampling.BICUBIC
    )
    left, top = (image.width - 64) // 2, (image.height - 64) // 2
    expected = np.asarray(image.crop((left, top, left + 64, top + 64)), dtype=float)
    assert np.abs(picture - expected).max() <= 6
    assert np.abs(picture - expected).mean() <= 1.5


@pytest.mark.parametrize("counterclockwise", [0, 90, 180])
@pytest.mark.parametrize(
    ("shape", "inside"), [((320, 180), (64, 36)), ((180, 320), (36, 64)), ((200, 200), (64, 64))]
)
def test_padding_keeps_the_whole_picture_between_grey_bars(
    make_video: MakeVideo, shape: tuple[int, int], inside: tuple[int, int], counterclockwise: int
) -> None:
    made = make_video(
        "waves.mov",
        1,
        paint=waves,
        codec="libx264",
        pix_fmt="yuv444p",
        options={"crf": "1"},
        size=shape,
        rotation=counterclockwise,
    )
    (picture,) = decode_frames(made.path, [0.0], 64, fit="pad").pixels
    square = Image.new("RGB", (64, 64), (127, 127, 127))
    image = Image.fromarray(waves(0, *shape)).resize(inside, Image.Resampling.BICUBIC)
    square.paste(image, ((64 - inside[0]) // 2, (64 - inside[1]) // 2))
    expected = np.asarray(square.rotate(counterclockwise), dtype=float)
    assert np.abs(picture - expected).max() <= 8
    assert np.abs(picture - expected).mean() <= 2
    upright = np.rot90(picture, -counterclockwise // 90)
    bars = upright[:14] if shape == (320, 180) else upright[:, :14] if shape == (180, 320) else upright[:0]
    assert (bars == 127).all()


@pytest.mark.parametrize("counterclockwise", [0, 90, 180])
@pytest.mark.parametrize("shape", [(320, 180), (180, 320), (200, 200)])
def test_stretching_keeps_the_whole_picture_without_its_shape(
    make_video: MakeVideo, shape: tuple[int, int], counterclockwise: int
) -> None:
    made = make_video(
        "waves.mov",
        1,
        paint=waves,
        codec="libx264",
        pix_fmt="yuv444p",
        options={"crf": "1"},
        size=shape,
        rotation=counterclockwise,
    )
    (picture,) = decode_frames(made.path, [0.0], 64, fit="stretch").pixels
    image = Image.fromarray(waves(0, *shape)).resize((64, 64), Image.Resampling.BICUBIC)
    expected = np.asarray(image.rotate(counterclockwise), dtype=float)
    assert np.abs(picture - expected).max() <= 8
    assert np.abs(picture - expected).mean() <= 2


@pytest.mark.parametrize("size", [(63, 47), (47, 63), (51, 51), (500, 33)])
def test_odd_sizes_are_padded_in_the_middle(make_video: MakeVideo, size: tuple[int, int]) -> None:
    made = make_video("odd.mkv", 2, paint=quadrants, codec="ffv1", pix_fmt="yuv444p", size=size)
    (picture,) = decode_frames(made.path, [0.0], SIZE, fit="pad").pixels
    coloured = np.ptp(picture.astype(int), axis=-1).max(axis=0 if size[0] < size[1] else 1) > 20
    (inside,) = np.nonzero(coloured)
    expected = round(SIZE * min(size) / max(size))
    assert abs(len(inside) - expected) <= 1
    assert abs(inside[0] - (SIZE - 1 - inside[-1])) <= 1


def test_an_unknown_fit_is_refused(make_video: MakeVideo) -> None:
    with pytest.raises(UsageError, match=r"fit 'squash'.*crop, pad, stretch or tiles"):
        decode_frames(make_video().path, [0.0], SIZE, fit="squash")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"place 1\.5.*0 to 1"):
        decode_frames(make_video().path, [0.0], SIZE, fit="tiles", place=1.5)


@pytest.mark.parametrize("counterclockwise", [0, 90, 180])
@pytest.mark.parametrize("shape", [(320, 180), (180, 320), (200, 200), (480, 180)])
def test_tiles_cover_the_picture_from_end_to_end(
    make_video: MakeVideo, shape: tuple[int, int], counterclockwise: int
) -> None:
    made = make_video(
        "waves.mov",
        1,
        paint=waves,
        codec="libx264",
        pix_fmt="yuv444p",
        options={"crf": "1"},
        size=shape,
        rotation=counterclockwise,
    )
    scaled = tuple(math.floor(64 * side / min(shape)) for side in shape)
    image = Image.fromarray(waves(0, *shape)).resize(scaled, Image.Resampling.BICUBIC)
    upright = np.asarray(image.rotate(counterclockwise, expand=True), dtype=float)
    height, width = upright.shape[:2]
    places = square_places(width, height, "tiles")
    assert len(places) == {200: 1, 320: 2, 480: 3}[max(shape)]
    covered = np.zeros((height, width), dtype=bool)
    for place in places:
        (tile,) = decode_frames(made.path, [0.0], 64, fit="tiles", place=place).pixels
        top, left = int(place * (height - 64)), int(place * (width - 64))
        covered[top : top + 64, left : left + 64] = True
        assert np.abs(tile - upright[top : top + 64, left : left + 64]).mean() <= 2
    assert covered.all()


@pytest.mark.parametrize(
    "size", [(1920, 1080), (1080, 1920), (640, 480), (1000, 1095), (1000, 1105), (2560, 1080), (9000, 1)]
)
def test_as_many_tiles_as_cover_a_picture(size: tuple[int, int]) -> None:
    places = square_places(*size, "tiles")
    shape = min(max(size) / min(size), LONGEST_SHAPE)
    assert shape - LEFT_OUT <= len(places) < shape + 1
    assert len(places) == 1 or (places[0], places[-1]) == (0.0, 1.0)
    # Neighbours overlap, or touch as far as they leave nothing out but `LEFT_OUT`.
    assert all(later - earlier <= (1 + LEFT_OUT) / (shape - 1) for earlier, later in pairwise(places))
    others: list[Fit] = ["crop", "pad", "stretch"]
    assert [square_places(*size, fit) for fit in others] == [[0.5]] * 3


@pytest.mark.parametrize(
    ("colorspace", "height", "tag"),
    [("itu601", 96, True), ("itu709", 96, True), ("itu601", 96, False), ("itu709", 720, False)],
)
def test_colours_follow_the_tag_or_the_size(tmp_path: Path, colorspace: str, height: int, tag: bool) -> None:
    """Read with the wrong matrix, this green would be off by more than 15."""
    green = np.full((height, 128, 3), (30, 200, 40), dtype=np.uint8)
    path = tmp_path / "green.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 128, height, "yuv444p"
        if tag:
            stream.codec_context.colorspace = {"itu601": 6, "itu709": 1}[colorspace]
        else:
            stream.codec_context.colorspace = 2
        frame = av.VideoFrame.from_ndarray(green, format="rgb24").reformat(
            format="yuv444p", dst_colorspace=colorspace
        )
        if not tag:
            frame.colorspace = 2
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (picture,) = decode_frames(path, [0.0], SIZE).pixels
    assert np.abs(picture.reshape(-1, 3).mean(axis=0) - (30, 200, 40)).max() < 4


def test_a_size_that_changes_in_mid_stream_is_followed(tmp_path: Path) -> None:
    """Two H.264 streams of other sizes, one after the other, as a transport stream may carry them."""
    parts = []
    for part, size in enumerate(((96, 64), (64, 96))):
        part_path = tmp_path / f"{part}.h264"
        with av.open(str(part_path), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for index in range(25):
                frame = av.VideoFrame.from_ndarray(quadrants(index, *size), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        parts.append(part_path.read_bytes())
    path = tmp_path / "changes.h264"
    path.write_bytes(b"".join(parts))
    frames = decode_frames(path, [0.5, 1.5], SIZE)
    assert [corner_names(picture) for picture in frames.pixels] == ["rgbw", "rgbw"]


def test_a_shape_that_is_no_picture_is_refused(make_video: MakeVideo) -> None:
    made = make_video("thread.mkv", 2, codec="ffv1", pix_fmt="yuv444p", size=(2000, 2))
    assert reason_of(lambda: decode_frames(made.path, [0.0], SIZE)) == Reason.ABSURD_SHAPE


# Damage --------------------------------------------------------------------------------------------


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(VideoError) as caught:
        call()
    return caught.value.reason


def packet_places(path: Path) -> list[tuple[int, int]]:
    """Where in the file each video packet's bytes are."""
    with av.open(str(path)) as container:
        return [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]


def scenery(number: int, width: int, height: int) -> np.ndarray:
    """The number's colour in the middle, noise around it: packets large enough to be hit."""
    noise = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
    noise[height // 4 : -height // 4, width // 4 : -width // 4] = number_colour(number)
    return noise


def middle_numbers(frames: Frames) -> list[int]:
    edge = SIZE // 8 * 3
    return [number_of(picture[edge:-edge, edge:-edge]) for picture in frames.pixels]


def damaged(made: Made, first: int, last: int, sound_share: float = 0.0) -> Path:
    """A copy of the file in which the packets `first` to `last` are rubbish, from some share of them on."""
    data = bytearray(made.path.read_bytes())
    rubbish = np.random.default_rng(0)
    for position, size in packet_places(made.path)[first : last + 1]:
        sound = int(size * sound_share)
        data[position + sound : position + size] = rubbish.bytes(size - sound)
    path = made.path.with_name("damaged" + made.path.suffix)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_damage_costs_its_own_frames_only(make_video: MakeVideo, name: str) -> None:
    made = make_video(name, 60, fps=10, gop=10, paint=scenery)
    path = damaged(made, 25, 29)
    asked = [1.05, 2.05, 2.45, 2.75, 3.05, 5.95]
    frames = decode_frames(path, asked, SIZE)
    assert middle_numbers(frames) == [10, 20, 24, 24, 30, 59]
    np.testing.assert_allclose(frames.times, [1.0, 2.0, 2.4, 2.4, 3.0, 5.9], atol=1e-3)


def test_frames_that_the_decoder_patched_up_are_not_shown(make_video: MakeVideo) -> None:
    """A half-good packet gives a picture, the lower part of it invented: FFmpeg marks it, and it is left out."""
    made = make_video("a.mp4", 30, fps=10, gop=10, paint=scenery)
    path = damaged(made, 15, 19, sound_share=0.6)
    with av.open(str(path)) as container:
        assert any(frame.is_corrupt for frame in container.decode(video=0)), "the decoder does patch up"
    frames = decode_frames(path, [1.45, 1.75, 2.05], SIZE)
    assert middle_numbers(frames) == [14, 14, 20]
    np.testing.assert_allclose(frames.times, [1.4, 1.4, 2.0], atol=1e-6)


def test_a_question_about_damage_alone_is_refused(make_video: MakeVideo) -> None:
    made = make_video("a.mp4", 60, fps=10, gop=10, paint=scenery)
    path = damaged(made, 20, 39)
    assert reason_of(lambda: decode_frames(path, [2.55, 3.05, 3.85], SIZE)) == Reason.DAMAGED_HERE
    assert middle_numbers(decode_frames(path, [1.95, 3.05, 4.05], SIZE)) == [19, 19, 40]


def test_a_damaged_beginning_leaves_the_times_as_a_player_shows_them(make_video: MakeVideo) -> None:
    made = make_video("a.mp4", 30, fps=10, gop=10, paint=scenery)
    path = damaged(made, 0, 9)
    info = probe(path)
    assert (info.start, info.first_frame) == (0.0, pytest.approx(1.0))
    assert info.duration == pytest.approx(3.0)
    frames = decode_frames(path, [0.0, 1.55, 2.95], SIZE)
    assert middle_numbers(frames) == [10, 15, 29]
    np.testing.assert_allclose(frames.times, [1.0, 1.5, 2.9], atol=1e-6)


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.ts"])
def test_a_picture_that_begins_after_the_sound_keeps_the_times_of_a_player(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with_sound(path, video_start=3.0, sound_seconds=7.0)
    info = probe(path)
    assert (info.duration, info.first_frame) == (pytest.approx(7.0, abs=0.1), pytest.approx(3.0, abs=0.1))
    frames = decode_frames(path, [0.5, 3.05 + 0.07, 5.15, 3.35, 6.95], SIZE)
    assert numbers_of(frames.pixels) == [
        0,
        *(int((t - info.first_frame) * 10) for t in (3.12, 5.15, 3.35, 6.95)),
    ]
    assert clip_windows(info.duration, start=info.first_frame) == [(info.first_frame, info.duration)]


def test_a_hole_in_a_transport_stream_costs_what_was_in_it(make_video: MakeVideo) -> None:
    """FFmpeg looks for the next packet in pieces, and says that it has found none yet after each."""
    made = make_video("hole.ts", 300, fps=10, gop=10, size=(160, 120), paint=scenery)
    data = bytearray(made.path.read_bytes())
    middle = len(data) // 2
    assert len(data) > 1_500_000
    data[middle : middle + 400_000] = bytes(400_000)
    made.path.write_bytes(data)
    assert probe(made.path).duration == pytest.approx(30.0, abs=0.01)
    asked = np.arange(0.05, 30, 0.1)
    frames = decode_frames(made.path, asked, SIZE)
    clean = sum(abs(frames.times - (asked - 0.05)) < 1e-6)
    lost = 300 * 400_000 / len(data)
    assert 300 - lost - 2 * 10 <= clean <= 300 - lost + 2
    assert frames.times[-1] == pytest.approx(29.9)


def test_nothing_but_damage_is_a_failure_and_no_grey_picture(make_video: MakeVideo) -> None:
    path = damaged(make_video("a.mp4", 20, paint=scenery), 0, 19)
    assert reason_of(lambda: decode_frames(path, [0.5], SIZE)) == Reason.NOTHING_DECODED


def test_times_and_sizes_that_cannot_be_are_refused(make_video: MakeVideo) -> None:
    made = make_video()
    for times, size in ([], SIZE), ([np.nan], SIZE), ([np.inf], SIZE), ([0.5], 0):
        with pytest.raises(UsageError):
            decode_frames(made.path, times, size)


def test_frames_check_themselves_and_print_their_shape() -> None:
    frames = Frames(np.zeros((2, 4, 4, 3), dtype=np.uint8), np.array([0.0, 0.5]))
    assert repr(frames) == "Frames(pixels=[2, 4, 4, 3], times=[0.  0.5])"
    with pytest.raises(UsageError, match=r"pixels \[2, 4, 4, 3\] with 1 times"):
        Frames(frames.pixels, np.array([0.0]))
