"""How fast and in how much memory video files are read.

    python benchmarks/reading.py                  against OpenCV; a film of three hours; two thousand files
    python benchmarks/reading.py --minutes 5 --hours 0.5 --files 200

1. The same frames read twice in one run: by `prost.video.reader`, and by OpenCV as the authors' code reads them (one
   seek for every sampled second). Films of ordinary H.264, of H.264 with one keyframe, of MPEG-4 in AVI with two
   keyframes a second, and of keyframes alone.
2. A film of three hours: time, and the largest memory of this process and of its decoding processes.
3. Two thousand short files: time a file, and memory after a tenth of them against memory at the end.

OpenCV is only needed for the first part: pip install opencv-python-headless.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from prost.evaluation.machine import describe_machine
from prost.video.probe import VideoInfo
from prost.video.reader import ReadEnd, ReadRequest, ReadWindow, VideoReader
from prost.video.sampling import clip_windows, sample_times

FRAMES, SIZE = 12, 224
FPS = 25


def write_film(
    path: Path, seconds: float, *, codec: str = "libx264", gop: int = 50, size: tuple[int, int] = (640, 360)
) -> None:
    """A textured picture that moves, at 25 frames a second."""
    width, height = size
    base = (
        np.random.default_rng(0)
        .integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
        .repeat(8, 0)
        .repeat(8, 1)
    )
    options = {"preset": "ultrafast", "sc_threshold": "0"} if codec == "libx264" else {"b": "2M"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = gop
        for index in range(int(seconds * FPS)):
            frame = av.VideoFrame.from_ndarray(np.roll(base, (index, 2 * index), axis=(0, 1)), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode(None))


def repeated(source: Path, path: Path, times: int) -> None:
    """The film of `source` shown so many times over; the packets are copied."""
    with av.open(str(path), "w") as container:
        with av.open(str(source)) as given:
            copy = container.add_stream_from_template(given.streams.video[0])
        for turn in range(times):
            with av.open(str(source)) as given:
                stream = given.streams.video[0]
                length = int(stream.frames * Fraction(1, FPS) / stream.time_base)
                for packet in given.demux(stream):
                    if packet.size:
                        packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                        packet.stream = copy
                        container.mux(packet)


def windows(info: VideoInfo) -> list[np.ndarray]:
    """The times of all clips, as indexing asks for them."""
    return [sample_times(start, end, FRAMES) for start, end in clip_windows(info.duration)]


def read(paths: list[Path], workers: int) -> Iterator[Any]:
    """Every event of a reader."""
    with VideoReader(size=SIZE, workers=workers) as reader:
        yield from reader.read(ReadRequest(path=str(path), windows=windows) for path in paths)


def read_with_opencv(path: Path, times: list[np.ndarray]) -> int:
    """One seek for each sampled time, then scale and crop, as the authors' `rawvideo_util` does."""
    import cv2

    film = cv2.VideoCapture(str(path))
    fps = film.get(cv2.CAP_PROP_FPS)
    frames = 0
    for time_asked in np.concatenate(times):
        film.set(cv2.CAP_PROP_POS_FRAMES, int(time_asked * fps))
        there, picture = film.read()
        if not there:
            continue
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        height, width = picture.shape[:2]
        scale = SIZE / min(height, width)
        cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_CUBIC)
        frames += 1
    return frames


def memory_mb() -> float:
    """Resident memory of this process and its children, megabytes."""
    total = 0
    me = os.getpid()
    for entry in Path("/proc").iterdir():
        try:
            status = (entry / "status").read_text()
        except (OSError, NotADirectoryError):
            continue
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        if entry.name == str(me) or fields.get("PPid", "").strip() == str(me):
            total += int(fields.get("VmRSS", "0 kB").split()[0])
    return total / 1024


def against_opencv(folder: Path, minutes: float, workers: int) -> list[dict[str, Any]]:
    """The same frames by the reader and by OpenCV."""
    rows = []
    # OpenCV decodes from the keyframe on for every sampled second: a longer film with one keyframe would take it hours.
    films: dict[str, tuple[float, dict[str, Any]]] = {
        "ordinary.mp4": (60 * minutes, {}),
        "one_keyframe.mp4": (min(60.0, 60 * minutes), {"gop": 10**6}),
        "mpeg4.avi": (60 * minutes, {"codec": "mpeg4", "gop": 12}),
        "keyframes_only.avi": (60 * minutes, {"codec": "mjpeg", "gop": 1}),
    }
    for name, (length, options) in films.items():
        path = folder / name
        write_film(path, length, **options)
        started = time.perf_counter()
        events = list(read([path], workers))
        ours = time.perf_counter() - started
        frames = sum(len(event.frames.times) for event in events if isinstance(event, ReadWindow))
        info = next(event.info for event in events if isinstance(event, ReadEnd))
        started = time.perf_counter()
        theirs_frames = read_with_opencv(path, windows(info))
        theirs = time.perf_counter() - started
        rows.append(
            {
                "film": name,
                "frames": frames,
                "seconds": ours,
                "opencv_frames": theirs_frames,
                "opencv_seconds": theirs,
                "ratio": theirs / ours,
            }
        )
        print(
            f"{name}: {frames} frames in {ours:.1f} s; OpenCV {theirs_frames} in {theirs:.1f} s: {theirs / ours:.1f} x",
            flush=True,
        )
        path.unlink()
    return rows


def long_film(folder: Path, hours: float, workers: int) -> dict[str, Any]:
    """A film of hours."""
    part, path = folder / "part.mp4", folder / "long.mp4"
    write_film(part, 300, size=(320, 180))
    repeated(part, path, round(12 * hours))
    started, largest, read_windows = time.perf_counter(), 0.0, 0
    for number, event in enumerate(read([path], workers)):
        read_windows += isinstance(event, ReadWindow)
        if number % 50 == 0:
            largest = max(largest, memory_mb())
    seconds = time.perf_counter() - started
    print(f"{hours:g} hours: {read_windows} clips in {seconds:.1f} s, at most {largest:.0f} MB", flush=True)
    return {"hours": hours, "clips": read_windows, "seconds": seconds, "largest_mb": largest}


def many_files(folder: Path, files: int, workers: int) -> dict[str, Any]:
    """Thousands of short files."""
    original = folder / "short.mp4"
    write_film(original, 6, size=(320, 180))
    paths = []
    for number in range(files):
        paths.append(folder / f"{number:05d}.mp4")
        os.link(original, paths[-1])
    started, done, early, late = time.perf_counter(), 0, 0.0, 0.0
    for event in read(paths, workers):
        done += isinstance(event, ReadEnd)
        if isinstance(event, ReadEnd) and done == max(1, files // 10):
            early = memory_mb()
        if isinstance(event, ReadEnd) and done == files:
            late = memory_mb()
    seconds = time.perf_counter() - started
    print(
        f"{files} files: {1000 * seconds / files:.1f} ms a file, {early:.0f} MB after a tenth, "
        f"{late:.0f} MB at the end",
        flush=True,
    )
    return {
        "files": files,
        "ms_a_file": 1000 * seconds / files,
        "mb_after_a_tenth": early,
        "mb_at_the_end": late,
    }


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="length of the films that OpenCV reads as well"
    )
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = {
            "machine": describe_machine(),
            "workers": given.workers,
            "opencv": against_opencv(folder, given.minutes, given.workers),
            "long_film": long_film(folder, given.hours, given.workers),
            "many_files": many_files(folder, given.files, given.workers),
        }
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
