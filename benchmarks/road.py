"""How fast videos become prototypes: decoding alone, encoding alone, and `Library.add`, which does both at once.

    python benchmarks/road.py --work /tmp/road

The whole is compared with the slower of the two parts, which it cannot beat: with as many cores as it likes, `add`
would run at that speed. Where both parts share the same cores (decoding on one, encoding on all), the bound is the sum
of their times, and the report gives the fraction of that too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from prost.config import ModelConfig
from prost.data.toybox import write
from prost.model.checkpoint import load_prost
from prost.model.encoding import VideoEncoder
from prost.model.prost import ProST
from prost.search.library import Library
from prost.search.reading import look_at, requests
from prost.search.records import ClipSettings
from prost.video.files import find_videos
from prost.video.reader import ReadWindow, VideoReader

FRAMES_WITH_B16 = 12


def vit_b16() -> ProST:
    """The paper's sizes with a ViT-B/16 of random weights: speed does not depend on what they know."""
    torch.manual_seed(0)
    config = ModelConfig.parse({"name": "random-b16", "clip": {"patch_size": 16}, "frames": FRAMES_WITH_B16})
    return ProST(config).eval()


def decode(model: ProST, paths: Sequence[Path], workers: int | None) -> tuple[float, list[NDArray[np.uint8]]]:
    """Seconds for reading all windows of all files, and their frames."""
    frames = []
    files = [look_at(str(path)) for path in paths]
    started = time.perf_counter()
    with VideoReader(size=model.config.image_size, workers=workers) as reader:
        wanted = requests(files, lambda content: False, ClipSettings(), model.config.frames)
        frames = [event.frames.pixels for event in reader.read(wanted) if isinstance(event, ReadWindow)]
    return time.perf_counter() - started, frames


def encode(model: ProST, frames: Sequence[NDArray[np.uint8]]) -> float:
    """Seconds for encoding windows that are in memory."""
    encoder = VideoEncoder(model)
    size = encoder.batch_clips
    encoder.encode(np.stack(frames[:1]))
    started = time.perf_counter()
    batches = (np.stack(frames[first : first + size]) for first in range(0, len(frames), size))
    for _ in encoder.stream(batches):
        pass
    return time.perf_counter() - started


def measure(model: ProST, paths: Sequence[Path], work: Path, workers: int | None) -> dict[str, object]:
    """Both parts and the whole, for one model."""
    decoding, frames = decode(model, paths, workers)
    encoding = encode(model, frames)
    library = work / "library.prost"
    shutil.rmtree(library, ignore_errors=True)
    started = time.perf_counter()
    with Library(library, model) as opened:
        report = opened.add(paths, workers=workers)
    whole = time.perf_counter() - started
    assert len(report.added) == len(paths), report
    pictures = len(frames) * model.config.frames
    return {
        "model": model.config.name,
        "files": len(paths),
        "clips": len(frames),
        "frames": pictures,
        **{
            f"{part}: {unit} a second": round(count / seconds, 1)
            for part, seconds in (("decoding", decoding), ("encoding", encoding), ("whole", whole))
            for unit, count in (("files", len(paths)), ("frames", pictures))
        },
        "whole / slower part": round(max(decoding, encoding) / whole, 3),
        "whole / both in turn": round((decoding + encoding) / whole, 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for videos and libraries")
    parser.add_argument("--videos", type=int, default=60, help="Toybox videos for the bundled model")
    parser.add_argument("--few", type=int, default=4, help="of them, for the ViT-B/16")
    parser.add_argument("--workers", type=int, help="decoding processes; one a core less one by default")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    folder = arguments.work / "videos"
    if not folder.exists():
        write(folder, videos=arguments.videos, seed=0)
    paths = find_videos(folder).videos
    for model, some in ((load_prost("toybox"), paths), (vit_b16(), paths[: arguments.few])):
        print(json.dumps(measure(model, some, arguments.work, arguments.workers)))


if __name__ == "__main__":
    main()
