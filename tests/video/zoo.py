"""The zoo of video files: sound, odd and broken ones, each made by code, each with what must come out of it.

A specimen that can be shown names its duration, its size and, for some times, the number of the frame shown then
(see `number_colour` in conftest.py). A specimen that cannot be shown names the reason. `test_zoo.py` checks them, and
`fuzz.py` damages them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from tests.video.conftest import number_colour, plain, write_video

from prost.video.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """One file of the zoo.

    Attributes:
        name: file name; a name may hold bytes that are not UTF-8.
        make: writes it to a path.
        shown: `(time in seconds, number of the frame shown then)`; empty for a file that must be refused.
        duration: seconds, within `tolerance`.
        tolerance: seconds by which the duration may differ.
        size: width and height as shown; None where it does not matter.
        reason: why it must be refused; None for a file that can be shown.
        why: what is odd about it.
    """

    name: str
    make: Callable[[Path], Any]
    shown: Sequence[tuple[float, int]] = ()
    duration: float | None = None
    tolerance: float = 0.06
    size: tuple[int, int] | None = (64, 48)
    reason: Reason | None = None
    why: str = ""


def every(frames: int, fps: float = 10, first: int = 0) -> list[tuple[float, int]]:
    """Each frame of a film at a constant rate, asked for in the middle of its time."""
    return [((index + 0.5) / fps, first + index) for index in range(frames)]


# Codecs and containers -----------------------------------------------------------------------------

PAIRS = [
    ("h264.mp4", "libx264", "yuv420p"),
    ("h264.mkv", "libx264", "yuv420p"),
    ("h264.ts", "libx264", "yuv420p"),
    ("h264.m2ts", "libx264", "yuv420p"),
    ("h264.mov", "libx264", "yuv444p"),
    ("h264.flv", "libx264", "yuv420p"),
    ("h264.3gp", "libx264", "yuv420p"),
    ("h264.f4v", "libx264", "yuv420p"),
    ("h264_ten_bit.mkv", "libx264", "yuv420p10le"),
    ("hevc.mkv", "libx265", "yuv420p"),
    ("hevc.ts", "libx265", "yuv420p"),
    ("hevc_ten_bit.mp4", "libx265", "yuv420p10le"),
    ("vp8.webm", "libvpx", "yuv420p"),
    ("vp9.webm", "libvpx-vp9", "yuv420p"),
    ("vp9_alpha.webm", "libvpx-vp9", "yuva420p"),
    ("vp9.mp4", "libvpx-vp9", "yuv420p"),
    ("vp9.ivf", "libvpx-vp9", "yuv420p"),
    ("av1.mp4", "libsvtav1", "yuv420p"),
    ("av1.webm", "libsvtav1", "yuv420p"),
    ("av1_ten_bit.mkv", "libsvtav1", "yuv420p10le"),
    ("prores.mov", "prores_ks", "yuv422p10le"),
    ("prores_alpha.mov", "prores_ks", "yuva444p10le"),
    ("mpeg4.mp4", "mpeg4", "yuv420p"),
    ("mpeg4.avi", "mpeg4", "yuv420p"),
    ("msmpeg4.avi", "msmpeg4", "yuv420p"),
    ("mpeg2.ts", "mpeg2video", "yuv420p"),
    ("mpeg2.mpg", "mpeg2video", "yuv420p"),
    ("mpeg2.mxf", "mpeg2video", "yuv420p"),
    ("mjpeg.avi", "mjpeg", "yuvj420p"),
    ("mjpeg.mov", "mjpeg", "yuvj422p"),
    ("wmv2.wmv", "wmv2", "yuv420p"),
    ("flash.flv", "flv", "yuv420p"),
    ("ffv1.mkv", "ffv1", "yuv444p"),
    ("ffv1.nut", "ffv1", "yuv420p"),
    ("huffyuv.avi", "huffyuv", "yuv422p"),
    ("utvideo.avi", "utvideo", "yuv420p"),
    ("animation.mov", "qtrle", "argb"),
    ("animated.gif", "gif", "rgb8"),
    ("animated.apng", "apng", "rgb24"),
]

# MPEG-1 and MPEG-2 know a few frame rates only.
RATES = {"mpeg2video": 25, "mpeg1video": 25}
SHARP = {
    "libvpx": {"crf": "4", "b": "2M"},
    "libvpx-vp9": {"crf": "4", "b": "2M"},
    "libsvtav1": {"crf": "8"},
    "mpeg4": {"qscale": "2", "flags": "+qscale", "global_quality": "236"},
    "msmpeg4": {"flags": "+qscale", "global_quality": "236"},
    "mpeg2video": {"flags": "+qscale", "global_quality": "236"},
    "mjpeg": {"flags": "+qscale", "global_quality": "236"},
    "wmv2": {"flags": "+qscale", "global_quality": "236"},
    "flv": {"flags": "+qscale", "global_quality": "236"},
}


def pair(name: str, codec: str, pix_fmt: str) -> Specimen:
    """Twenty frames of one codec in one container."""
    fps = RATES.get(codec, 10)

    def make(path: Path) -> None:
        format = {"m2ts": "mpegts", "f4v": "f4v"}.get(name.rsplit(".")[-1])
        options = {"mpegts_m2ts_mode": "1"} if name.endswith(".m2ts") else {}
        write_video(
            path,
            20,
            fps=fps,
            codec=codec,
            pix_fmt=pix_fmt,
            format=format,
            container_options=options,
            options=SHARP.get(codec),
        )

    return Specimen(
        name=name,
        make=make,
        shown=every(20, fps),
        duration=20 / fps,
        tolerance=0.11,
        why=f"{codec} {pix_fmt}",
    )


# Sound files that are odd --------------------------------------------------------------------------


def film(path: Path, frames: int = 40, **options: Any) -> None:
    """Forty frames at ten a second."""
    write_video(path, frames, **options)


def raw_stream(codec: str) -> Callable[[Path], None]:
    """An elementary stream: no container, no timestamps."""

    def make(path: Path) -> None:
        format = {"libx264": "h264", "libx265": "hevc", "mpeg2video": "mpeg2video"}[codec]
        write_video(path, 20, fps=25, codec=codec, format=format, options=SHARP.get(codec))

    return make


def without_duration(path: Path) -> None:
    """A live recording: Matroska written to something that cannot be rewound."""
    write_video(path, 40, container_options={"live": "1"})


def fragmented(path: Path) -> None:
    write_video(path, 40, gop=10, container_options={"movflags": "frag_keyframe+empty_moov"})


def truncated(kept: float, **options: Any) -> Callable[[Path], None]:
    """The first part of a file."""

    def make(path: Path) -> None:
        write_video(path, 40, gop=10, **options)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * kept)])

    return make


def changing_size(path: Path) -> None:
    """Two pictures sizes in one transport stream."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        parts = [(64, 48), (128, 96)]
        for place, (width, height) in enumerate(parts):
            context = av.CodecContext.create("mpeg2video", "w")
            context.width, context.height, context.pix_fmt = width, height, "yuv420p"
            context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
            context.options = SHARP["mpeg2video"]
            for index in range(25):
                number = 25 * place + index
                frame = av.VideoFrame.from_ndarray(plain(number, width, height), format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="itu601")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                _mux(container, stream, context.encode(frame))
            _mux(container, stream, context.encode(None))


def _mux(container: Any, stream: Any, packets: Any) -> None:
    for packet in packets:
        packet.stream = stream
        container.mux(packet)


def with_sound(
    path: Path,
    *,
    sound_start: float = 0.0,
    video_start: float = 0.0,
    seconds: float = 4.0,
    sound_seconds: float = 4.0,
) -> None:
    """Pictures at ten a second, and a tone, each from a time of its own on."""
    rate = 16_000
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 90_000)
        video.max_b_frames = 0
        sound = container.add_stream("aac", rate=rate)
        packets: list[tuple[float, Any]] = []
        for index in range(int(seconds * 10)):
            frame = av.VideoFrame.from_ndarray(plain(index, 64, 48), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="itu601")
            frame.time_base, frame.pts = Fraction(1, 90_000), round((index / 10 + video_start) * 90_000)
            packets += [(float(packet.pts * packet.time_base), packet) for packet in video.encode(frame)]
        packets += [(float(packet.pts * packet.time_base), packet) for packet in video.encode(None)]
        for index in range(int(sound_seconds * rate / 1024)):
            tone = np.sin(np.arange(1024) * 0.1, dtype=np.float32)[None] * 0.1
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = index * 1024 + round(sound_start * rate)
            packets += [(float(packet.pts * packet.time_base), packet) for packet in sound.encode(frame)]
        packets += [(float(packet.pts * packet.time_base), packet) for packet in sound.encode(None)]
        for _, packet in sorted(packets, key=lambda each: each[0]):
            container.mux(packet)


def y4m(path: Path) -> None:
    """Pictures without compression after a line of text."""
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W64 H48 F10:1 Ip A1:1 C420\n")
        for index in range(20):
            frame = av.VideoFrame.from_ndarray(plain(index, 64, 48), format="rgb24")
            planes = frame.reformat(format="yuv420p", dst_colorspace="itu601").to_ndarray()
            file.write(b"FRAME\n" + planes.tobytes())


def two_streams(path: Path) -> None:
    """A dashcam's file: a small picture of the rear before a large one of the front."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream, (width, height) in zip(streams, ((64, 48), (128, 96)), strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = av.stream.Disposition(0)
        for index in range(20):
            for place, stream in enumerate(streams):
                picture = plain(100 * (1 - place) + index, stream.width, stream.height)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="itu601")
                frame.pts, frame.time_base = index, Fraction(1, 10)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))


def hours(path: Path) -> None:
    """Three hours of a film that shows a new picture every minute."""
    write_video(path, 180, times=[60.0 * index for index in range(180)], gop=20)


def hard_link(path: Path) -> None:
    original = path.with_name("original_of_" + path.name)
    film(original)
    os.link(original, path)


def soft_link(path: Path) -> None:
    original = path.with_name("original_behind_" + path.name)
    film(original)
    path.symlink_to(original)


# Transport streams, joined and damaged -------------------------------------------------------------


def joined(**options: Any) -> Callable[[Path], None]:
    """Three recordings one after another in one file, each with a clock that starts again."""

    def make(path: Path) -> None:
        part = path.with_name("part_of_" + path.name)
        data = b""
        for place in range(3):
            write_video(part, 50, fps=25, paint=_numbered_from(50 * place), gop=10, **options)
            data += part.read_bytes()
        part.unlink()
        path.write_bytes(data)

    return make


def _numbered_from(first: int) -> Callable[[int, int, int], np.ndarray]:
    return lambda number, width, height: plain((first + number) % 216, width, height)


def junk_before(path: Path) -> None:
    write_video(path, 50, fps=25, format="mpegts")
    path.write_bytes(bytes(range(1, 101)) + path.read_bytes())


def from_mid_packet(path: Path) -> None:
    write_video(path, 50, fps=25, format="mpegts", gop=10)
    path.write_bytes(path.read_bytes()[100:])


def packets_of_204(path: Path) -> None:
    """Transport packets with the 16 bytes of error correction of a broadcast."""
    write_video(path, 50, fps=25, format="mpegts")
    data = path.read_bytes()
    path.write_bytes(b"".join(data[at : at + 188] + b"\xff" * 16 for at in range(0, len(data) - 187, 188)))


def noisy(number: int, width: int, height: int) -> np.ndarray:
    """The number's colour with noise, so that packets are large."""
    picture = np.random.default_rng(number).integers(-6, 7, (height, width, 3)) + np.array(
        number_colour(number)
    )
    return picture.astype(np.uint8)


def zeros_in_the_middle(path: Path) -> None:
    """Lost sectors: a long run of zeros in a transport stream."""
    write_video(
        path, 200, fps=25, format="mpegts", gop=10, size=(128, 96), paint=noisy, options={"crf": "10"}
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle : middle + 60_000] = bytes(60_000)
    path.write_bytes(data)


def broken_first_packet(path: Path) -> None:
    """VP9 whose first packet is rubbish."""
    write_video(path, 40, codec="libvpx-vp9", gop=10, options=SHARP["libvpx-vp9"])
    with av.open(str(path)) as container:
        packet = next(packet for packet in container.demux(video=0) if packet.size)
        at, size = packet.pos or 0, packet.size
    data = bytearray(path.read_bytes())
    inside = data.find(bytes(packet), max(0, at - 64))
    data[inside : inside + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)


# AVI ------------------------------------------------------------------------------------------------


def avi_without_index(path: Path) -> None:
    film(path, codec="mpeg4", options=SHARP["mpeg4"])
    data = path.read_bytes()
    path.write_bytes(data[: data.rfind(b"idx1")])


def avi_with_wild_index(path: Path) -> None:
    """An index whose entries point to chunks of other frames, as simple editing tools leave it."""
    film(path, codec="mpeg4", options=SHARP["mpeg4"])
    data = bytearray(path.read_bytes())
    index = data.rfind(b"idx1") + 8
    places = range(index + 8, len(data) - 7, 16)
    offsets = [data[place : place + 4] for place in places]
    for place, other in zip(places, np.random.default_rng(0).permutation(len(offsets)), strict=True):
        data[place : place + 4] = offsets[other]
    path.write_bytes(data)


def avi_with_b_frames(path: Path) -> None:
    """H.264 with B-frames in AVI, which has no field for the time at which a frame is shown."""
    source = path.with_suffix(".source.mp4")
    film(source, b_frames=3, options={"bf": "3", "b_strategy": "0"})
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = given.streams.video[0]
        copy = container.add_stream_from_template(stream)
        filter = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream, copy)
        for packet in given.demux(stream):
            for changed in filter.filter(packet if packet.size else None):
                changed.stream = copy
                container.mux(changed)
    source.unlink()


# Files that must be refused -------------------------------------------------------------------------


def damaged_ivf(path: Path) -> None:
    """The first frame is rubbish, and the size of the second one is a wild number."""
    film(path, codec="libvpx-vp9", options=SHARP["libvpx-vp9"], format="ivf")
    data = bytearray(path.read_bytes())
    data[44:84] = np.random.default_rng(1).bytes(40)
    path.write_bytes(data)


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def still_copied(path: Path) -> None:
    """An MP4 without its end, where its index is."""
    film(path, 100)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") // 2])


def moving_avif(path: Path) -> None:
    """An animated picture: a still one stands beside the track, for programs that do not know of it."""
    from PIL import Image

    first, *others = (Image.fromarray(plain(number, 64, 48)) for number in range(20))
    first.save(path, format="AVIF", save_all=True, append_images=others, duration=100, quality=100)


def photo(format: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        from PIL import Image

        Image.new("RGB", (64, 64), (200, 30, 30)).save(path, format=format)

    return make


def sound_only(path: Path, cover: bool = False) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000)
        picture = container.add_stream("mjpeg", rate=1) if cover else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            shot = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, dtype=np.uint8), format="rgb24")
            container.mux(picture.encode(shot))
            container.mux(picture.encode(None))
        for index in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, index * 1024, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def sound_with_cover(path: Path) -> None:
    sound_only(path, cover=True)


def mere_head(path: Path) -> None:
    film(path)
    path.write_bytes(path.read_bytes()[:30])


def unknown_codec(path: Path) -> None:
    film(path)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zq9x").replace(b"avcC", b"zq9C"))


def index_without_data(path: Path) -> None:
    film(path, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def playlist_of_files(path: Path) -> None:
    """A script for FFmpeg's concat demuxer that names another file."""
    film(path.with_name("named_by_a_script.mp4"))
    path.write_text("ffconcat version 1.0\nfile named_by_a_script.mp4\n")


def encrypted(path: Path) -> None:
    """Common encryption, as shops sell films."""
    key = "76a6c65c5ea762046bd749a2e632ccbb"
    film(
        path,
        container_options={
            "encryption_scheme": "cenc-aes-ctr",
            "encryption_key": key,
            "encryption_kid": "a7" * 16,
        },
    )


HTTP_PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
ODD = [
    Specimen(
        name="b_frames.avi",
        make=avi_with_b_frames,
        # AVI has no field for the time at which a frame is shown: FFmpeg's guess is two frames late.
        shown=[((index + 0.5) / 10, index - 2) for index in range(5, 39)],
        duration=4.0,
        tolerance=0.35,
        why="B-frames without times",
    ),
    Specimen(
        name="joined.vob",
        make=joined(format="vob", codec="mpeg2video", options=SHARP["mpeg2video"]),
        shown=[(1.0, 25), (2.5, 62), (5.5, 137)],
        duration=6.0,
        tolerance=0.3,
        why="the clock starts again twice",
    ),
    Specimen(
        name="joined.flv",
        make=joined(format="flv"),
        shown=[(1.0, 25), (2.5, 62), (5.5, 137)],
        duration=6.0,
        tolerance=0.3,
        why="FLV files joined end to end",
    ),
    Specimen(
        name="joined.ts",
        make=joined(format="mpegts"),
        shown=[(1.0, 25), (2.5, 62), (5.5, 137)],
        duration=6.0,
        tolerance=0.3,
        why="the clock starts again twice",
    ),
    Specimen(
        name="one_frame.mp4",
        make=lambda p: film(p, 1),
        shown=[(0.0, 0), (5.0, 0)],
        duration=0.1,
        why="one frame",
    ),
    Specimen(name="short.mp4", make=lambda p: film(p, 3), shown=every(3), duration=0.3, why="under a second"),
    Specimen(
        name="hours.mp4",
        make=hours,
        shown=[(30.0, 0), (7_230.0, 120), (10_739.0, 178), (10_750.0, 179)],
        duration=10_750,
        tolerance=60,
        why="three hours",
    ),
    Specimen(
        name="variable_rate.mp4",
        make=lambda p: write_video(p, 5, times=[0, 0.05, 1.0, 1.1, 3.0]),
        shown=[(0.02, 0), (0.5, 1), (1.05, 2), (2.9, 3), (3.05, 4)],
        duration=3.1,
        tolerance=1.9,
        why="variable frame rate",
    ),
    Specimen(
        name="late_start.ts",
        make=lambda p: film(p, 40, start=3.0),
        shown=every(40),
        duration=4.0,
        why="the clock starts at 3 s",
    ),
    Specimen(
        name="negative_start.mkv",
        make=lambda p: film(p, 40, start=-1.0),
        shown=[(0.05, 0), (3.95, 39)],
        duration=4.0,
        tolerance=1.1,
        why="the clock starts before zero",
    ),
    Specimen(
        name="long_gop.mp4",
        make=lambda p: film(p, 200, gop=1000),
        shown=[(0.05, 0), (9.95, 99), (19.95, 199)],
        duration=20.0,
        why="one keyframe",
    ),
    Specimen(
        name="b_frames.mp4",
        make=lambda p: film(p, 40, b_frames=3),
        shown=every(40),
        duration=4.0,
        why="B-frames",
    ),
    Specimen(
        name="open_gop.mkv",
        make=lambda p: film(
            p,
            60,
            gop=12,
            b_frames=2,
            codec="libx265",
            options={"x265-params": "open-gop=1:keyint=12:log-level=none"},
        ),
        shown=every(60),
        duration=6.0,
        why="open GOPs",
    ),
    *(
        Specimen(
            name=f"rotated_{turn}.mp4",
            make=lambda p, turn=turn: film(p, rotation=turn),
            shown=every(40),
            duration=4.0,
            size=(64, 48) if turn == 180 else (48, 64),
            why=f"turned by {turn} degrees",
        )
        for turn in (90, 180, 270)
    ),
    Specimen(
        name="mirrored.mp4", make=lambda p: film(p, flip=True), shown=every(40), duration=4.0, why="mirrored"
    ),
    Specimen(
        name="pixel_aspect.mp4",
        make=lambda p: film(p, pixel_aspect=Fraction(2, 1)),
        shown=every(40),
        duration=4.0,
        size=(128, 48),
        why="pixels twice as wide as high",
    ),
    Specimen(
        name="odd_size.mkv",
        make=lambda p: film(p, size=(63, 47), codec="ffv1", pix_fmt="yuv444p"),
        shown=every(40),
        duration=4.0,
        size=(63, 47),
        why="odd width and height",
    ),
    Specimen(
        name="interlaced.ts",
        make=lambda p: film(p, fps=25, options={"x264-params": "interlaced=1:tff=1"}),
        shown=every(40, 25),
        duration=1.6,
        why="interlaced",
    ),
    Specimen(
        name="raw.h264",
        make=raw_stream("libx264"),
        shown=every(20, 25),
        duration=0.8,
        tolerance=0.11,
        why="H.264 without container",
    ),
    Specimen(
        name="raw.hevc",
        make=raw_stream("libx265"),
        shown=every(20, 25),
        duration=0.8,
        tolerance=0.11,
        why="HEVC without container",
    ),
    Specimen(
        name="raw.m2v",
        make=raw_stream("mpeg2video"),
        shown=every(20, 25),
        duration=0.8,
        tolerance=0.11,
        why="MPEG-2 without container",
    ),
    Specimen(name="raw.y4m", make=y4m, shown=every(20), duration=2.0, why="YUV4MPEG"),
    Specimen(
        name="live.mkv", make=without_duration, shown=every(40), duration=4.0, why="no duration in the header"
    ),
    Specimen(name="fragmented.mp4", make=fragmented, shown=every(40), duration=4.0, why="fragmented"),
    Specimen(
        name="truncated.mkv",
        make=truncated(0.6),
        shown=[(0.05, 0), (0.55, 5)],
        duration=2.2,
        tolerance=1.0,
        why="the end is missing",
    ),
    Specimen(
        name="truncated.ts",
        make=truncated(0.6, fps=25),
        shown=[(0.02, 0), (0.22, 5)],
        duration=0.9,
        tolerance=0.5,
        why="the end is missing",
    ),
    Specimen(
        name="truncated_fragments.mp4",
        make=truncated(0.6, container_options={"movflags": "frag_keyframe+empty_moov"}),
        shown=[(0.05, 0), (0.55, 5)],
        duration=2.2,
        tolerance=1.1,
        why="fragmented, the end is missing",
    ),
    Specimen(
        name="changing_size.ts",
        make=changing_size,
        shown=[(0.5, 12), (1.5, 37)],
        duration=2.0,
        why="the size changes in mid-stream",
    ),
    Specimen(name="with_sound.mp4", make=with_sound, shown=every(40), duration=4.0, why="picture and sound"),
    Specimen(
        name="longer_sound.mp4",
        make=lambda p: with_sound(p, sound_seconds=9.0),
        shown=every(40),
        duration=4.0,
        why="the sound goes on after the picture",
    ),
    Specimen(
        name="sound_late.mp4",
        make=lambda p: with_sound(p, sound_start=1.0, sound_seconds=3.0),
        shown=every(40),
        duration=4.0,
        why="the sound starts late",
    ),
    Specimen(
        name="two_streams.mkv",
        make=two_streams,
        shown=every(20),
        duration=2.0,
        size=(128, 96),
        why="two video streams",
    ),
    Specimen(
        name="no_extension",
        make=lambda p: film(p, format="mp4"),
        shown=every(40),
        duration=4.0,
        why="a name without extension",
    ),
    Specimen(
        name="misnamed.avi",
        make=lambda p: film(p, format="matroska"),
        shown=every(40),
        duration=4.0,
        why="Matroska named .avi",
    ),
    Specimen(
        name="named \udcff\udcfe.mp4",
        make=film,
        shown=every(40),
        duration=4.0,
        why="a name that is not UTF-8",
    ),
    Specimen(name="concat:a|b.mp4", make=film, shown=every(40), duration=4.0, why="a name like a protocol"),
    Specimen(name="hard_link.mp4", make=hard_link, shown=every(40), duration=4.0, why="a hard link"),
    Specimen(name="soft_link.mp4", make=soft_link, shown=every(40), duration=4.0, why="a symbolic link"),
    Specimen(
        name="junk_before.ts",
        make=junk_before,
        shown=every(50, 25),
        duration=2.0,
        why="junk before the first packet",
    ),
    Specimen(
        name="mid_packet.ts",
        make=from_mid_packet,
        duration=2.0,
        shown=[(1.0, 25)],
        why="starts within a packet",
    ),
    Specimen(
        name="packets_of_204.ts",
        make=packets_of_204,
        shown=every(50, 25),
        duration=2.0,
        why="packets of 204 bytes",
    ),
    Specimen(
        name="zeros_inside.ts",
        make=zeros_in_the_middle,
        shown=[(1.0, 25), (7.5, 187)],
        duration=8.0,
        size=(128, 96),
        tolerance=0.3,
        why="a hole of zeros",
    ),
    Specimen(
        name="broken_first_packet.webm",
        make=broken_first_packet,
        shown=[(2.55, 25)],
        duration=4.0,
        tolerance=1.1,
        why="the first packet is rubbish",
    ),
    Specimen(
        name="wild_index.avi",
        make=avi_with_wild_index,
        shown=every(40),
        duration=4.0,
        tolerance=0.11,
        why="AVI whose index points to other frames",
    ),
    Specimen(
        name="animated.avif",
        make=moving_avif,
        shown=every(20),
        duration=2.0,
        why="an animated AVIF, which holds a still picture as well",
    ),
    Specimen(
        name="no_index.avi",
        make=avi_without_index,
        shown=every(40),
        duration=4.0,
        tolerance=0.11,
        why="AVI without an index",
    ),
]
BAD = [
    Specimen(name="encrypted.mp4", make=encrypted, reason=Reason.ENCRYPTED, why="common encryption"),
    Specimen(
        name="damaged.ivf",
        make=damaged_ivf,
        reason=Reason.NOTHING_DECODED,
        why="a packet that claims more bytes than the file has",
    ),
    Specimen(name="still.avif", make=photo("AVIF"), reason=Reason.NOT_A_VIDEO, why="an AVIF picture"),
    Specimen(name="still.gif", make=photo("GIF"), reason=Reason.NOT_A_VIDEO, why="a GIF of one picture"),
    Specimen(
        name="script.mp4",
        make=playlist_of_files,
        reason=Reason.NOT_A_VIDEO,
        why="a script that names another file",
    ),
    Specimen(name="empty.mp4", make=written(b""), reason=Reason.EMPTY, why="0 bytes"),
    Specimen(
        name="text.mp4",
        make=written(b"This is a shopping list.\n" * 50),
        reason=Reason.NOT_A_VIDEO,
        why="text",
    ),
    Specimen(
        name="page.mp4",
        make=written(b"<!doctype html><title>Not found</title>" * 20),
        reason=Reason.NOT_A_VIDEO,
        why="a web page",
    ),
    Specimen(name="zeros.mp4", make=written(bytes(100_000)), reason=Reason.NOT_A_VIDEO, why="zeros"),
    Specimen(
        name="noise.mp4",
        make=written(np.random.default_rng(1).bytes(50_000)),
        reason=Reason.NOT_A_VIDEO,
        why="noise",
    ),
    Specimen(
        name="archive.mp4",
        make=written(b"PK\x03\x04" + bytes(2_000)),
        reason=Reason.NOT_A_VIDEO,
        why="a ZIP file",
    ),
    Specimen(
        name="playlist.mp4",
        make=written(HTTP_PLAYLIST),
        reason=Reason.NOT_A_VIDEO,
        why="a playlist that names the network",
    ),
    Specimen(name="photo.mp4", make=photo("JPEG"), reason=Reason.NOT_A_VIDEO, why="a JPEG"),
    Specimen(name="picture.mp4", make=photo("PNG"), reason=Reason.NOT_A_VIDEO, why="a PNG"),
    Specimen(name="still.webp", make=photo("WEBP"), reason=Reason.NOT_A_VIDEO, why="a WebP picture"),
    Specimen(
        name="copied.mp4", make=still_copied, reason=Reason.INCOMPLETE, why="still being copied, no index"
    ),
    Specimen(
        name="mere_head.mkv", make=mere_head, reason=Reason.INCOMPLETE, why="30 bytes of a Matroska file"
    ),
    Specimen(
        name="hollow.mp4",
        make=index_without_data,
        reason=Reason.NOTHING_DECODED,
        why="an index without its data",
    ),
    Specimen(name="sound.mp4", make=sound_only, reason=Reason.NO_VIDEO_STREAM, why="sound only"),
    Specimen(
        name="sound_with_cover.mp4",
        make=sound_with_cover,
        reason=Reason.NO_VIDEO_STREAM,
        why="sound with a cover picture",
    ),
    Specimen(
        name="unknown_codec.mp4",
        make=unknown_codec,
        reason=Reason.UNKNOWN_CODEC,
        why="a codec that nobody knows",
    ),
    Specimen(
        name="absurd_shape.mkv",
        make=lambda p: film(p, 3, size=(4000, 2), codec="ffv1", pix_fmt="yuv444p"),
        reason=Reason.ABSURD_SHAPE,
        why="4000 x 2 pixels",
    ),
    Specimen(name="folder.mp4", make=lambda p: p.mkdir(), reason=Reason.NOT_REGULAR, why="a folder"),
    Specimen(name="pipe.mp4", make=lambda p: os.mkfifo(p), reason=Reason.NOT_REGULAR, why="a pipe"),
    Specimen(name="gone.mp4", make=lambda p: None, reason=Reason.GONE, why="no file"),
    Specimen(name="link_to_itself.mp4", make=link_to_itself, reason=Reason.GONE, why="a link to itself"),
    Specimen(name="link_to_nothing.mp4", make=link_to_nothing, reason=Reason.GONE, why="a link to nothing"),
]
ZOO = [*(pair(*row) for row in PAIRS), *ODD, *BAD]
