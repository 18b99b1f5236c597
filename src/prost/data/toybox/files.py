"""Toybox as real files: H.264 videos and `captions.jsonl`, one line per video.

A line holds `video` (file name), `captions` (the first is true of this video alone in its folder), `split`, `duration`
(seconds), `twin` (the file with the same events in another order, or null), `events` (`text`, `start`, `end` in
seconds, `objects`: indices), `times` (seconds), and `objects` (`name`, `colour`, `size`, `texture` as the video begins,
and `boxes`: for each of `times` left, top, right, bottom as fractions of the picture, or null when out of sight).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from prost.data.benchmarks.annotations import captioned_video, read_json_lines
from prost.data.writing import writing_errors, written_whole
from prost.errors import MissingPath, UsageError
from prost.progress import Advance

from .gallery import Gallery, mixed_gallery
from .grammar import describe, describe_event
from .motion import picture_boxes
from .render import render
from .sampling import SPLITS
from .scene import Scene

CAPTIONS_FILE = "captions.jsonl"
BOX_TIMES = 12
"""Number of times with boxes: the middles of as many equal parts of a video."""

CAPTIONS_A_VIDEO = 4

_FRAMES_AT_ONCE = 64
_BT601 = 6
"""SMPTE 170M as matrix, primaries and transfer of H.264: the default of players for pictures of this size."""


def write(
    folder: str | Path, videos: int = 60, seed: int = 0, split: str = "test", progress: Advance | None = None
) -> Path:
    """Write a folder of videos of different sizes, frame rates and lengths, with captions.

    One in eight is long, and about one in five has an order-swapped twin in the folder.

    Args:
        folder: created if it does not exist; other files in it stay.
        videos: number of videos.
        seed: the same seed gives the same folder.
        split: "train", "val" or "test".
        progress: called after each video with the number done, the total, and the file's name.

    Returns:
        the folder.

    Raises:
        UsageError: fewer than one video, an unknown split, or a folder that is a file.
        StorageError: the files cannot be written.
    """
    if videos < 1:
        raise UsageError(f"{videos} videos", "1 or more")
    if split not in SPLITS:
        raise UsageError(f"no split is called {split!r}", ", ".join(SPLITS))
    if seed < 0:
        raise UsageError(f"a seed of {seed}", "0 or more")
    return write_gallery(folder, mixed_gallery(videos, seed, split), progress)


def write_gallery(folder: str | Path, gallery: Gallery, progress: Advance | None = None) -> Path:
    """Write a gallery's videos as files, in its order; the first caption of each is its query.

    Raises:
        UsageError: the folder is a file.
        StorageError: the files cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "a folder, or a name for a new one")
    names = [f"toy-{place:04d}.mp4" for place in range(len(gallery))]
    rows = []
    with writing_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for place, (scene, name) in enumerate(zip(gallery.scenes, names, strict=True)):
        with written_whole(folder / name, av.FFmpegError) as path:
            _encode(scene, path)
        twin = gallery.twin[place]
        captions = _captions(scene, gallery.queries[place].text, place)
        rows.append(_row(scene, name, captions, None if twin is None else names[twin]))
        if progress is not None:
            progress(place + 1, len(gallery), name)
    with written_whole(folder / CAPTIONS_FILE) as path:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return folder


def read_captions(folder: Path) -> list[dict[str, Any]]:
    """Read the `captions.jsonl` of a folder: one dict per video, with the keys that the top of this file explains.

    Raises:
        MissingPath: there is none, or a video that it names does not exist.
        BadAnnotations: a line cannot be read, names no video or has no caption; or there is no line.
    """
    path = folder / CAPTIONS_FILE
    if not path.is_file():
        raise MissingPath(f"{folder} holds no {CAPTIONS_FILE}", "a folder that `prost toybox` wrote")
    rows = []
    for place, row in read_json_lines(path):
        video, captions = captioned_video(row, place)
        if not (folder / video).is_file():
            raise MissingPath(
                f"{folder / video}, named in {place}, does not exist", suggestion="write the folder again"
            )
        rows.append({**row, "video": video, "captions": captions})
    return rows


def _frame_count(scene: Scene) -> int:
    return round(scene.duration * scene.fps)


def _encode(scene: Scene, path: Path) -> None:
    times = np.arange(_frame_count(scene)) / scene.fps
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        # The macroblock tree of x264 165 reads uninitialised memory with AVX-512, so that the same pixels sometimes
        # gave different bytes. Without it the files are up to twice as large.
        options = {"crf": "20", "preset": "veryfast", "mbtree": "0"}
        stream = container.add_stream("libx264", rate=scene.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        codec = stream.codec_context
        # One thread, so that the bytes do not depend on the number of cores.
        codec.thread_count = 1
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT601
        codec.color_range = ColorRange.MPEG
        for start in range(0, len(times), _FRAMES_AT_ONCE):
            for pixels in render(scene, times[start : start + _FRAMES_AT_ONCE]):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
                )
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _captions(scene: Scene, query: str, place: int) -> list[str]:
    """The query, and other captions of the same video."""
    rng = np.random.default_rng([scene.seed, place])
    captions = [query]
    while len(captions) < CAPTIONS_A_VIDEO:
        other = describe(scene, rng).text
        if other not in captions:
            captions.append(other)
    return captions


def _row(scene: Scene, name: str, captions: list[str], twin: str | None) -> dict[str, Any]:
    duration = _frame_count(scene) / scene.fps
    times = [round((i + 0.5) / BOX_TIMES * duration, 4) for i in range(BOX_TIMES)]
    boxes = [picture_boxes(scene, time) for time in times]
    rng = np.random.default_rng(scene.seed)
    return {
        "video": name,
        "captions": captions,
        "split": scene.split,
        "duration": round(duration, 4),
        "twin": twin,
        "events": [
            {
                "text": describe_event(scene, index, rng).text,
                "start": event.start,
                "end": event.end,
                "objects": [event.thing] if event.cover is None else [event.thing, event.cover],
            }
            for index, event in enumerate(scene.events)
        ],
        "times": times,
        "objects": [
            {
                "name": thing.kind,
                "colour": thing.colour,
                "size": thing.size,
                "texture": thing.texture,
                "boxes": [None if box is None else [round(edge, 4) for edge in box] for box in column],
            }
            for thing, column in zip(scene.objects, zip(*boxes, strict=True), strict=True)
        ],
    }
