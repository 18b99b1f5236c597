"""Recall@1 of wide videos, by how their pictures become square: crop, pad, stretch or tiles.

Scenes of a Toybox gallery are written as 16:9 files in two forms. In `middle` everything happens in the central
square, as Toybox draws it. In `edge` the whole scene is moved to the left or right edge of the picture, on the side
where its first actor stands, so that a part of it lies outside the central square. Every file is decoded from disk
with each fit, encoded by the bundled model, and ranked by exact matching against the gallery's queries. With tiles, a
video has the score of its best tile.

    python benchmarks/fit.py --gallery toybox-200
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import av
import numpy as np
import torch
from av.video.reformatter import Colorspace

from prost.data.toybox import Scene, gallery, render
from prost.evaluation.bootstrap import paired_bootstrap
from prost.evaluation.metrics import Metric
from prost.model.checkpoint import load_prost
from prost.model.encoding import VideoEncoder
from prost.model.prost import ProST
from prost.video.decode import decode_frames
from prost.video.fit import Fit, square_places
from prost.video.probe import probe
from prost.video.sampling import sample_times

WIDTH, HEIGHT = 426, 240
SHARE = Metric(lambda values: 100.0 * values.mean(axis=-1), higher_is_better=True)


def at_the_edge(scene: Scene) -> Scene:
    """The scene, moved as a whole to the edge of a wide picture on the side of its first actor."""
    actor = scene.objects[scene.events[0].thing]
    shift = (WIDTH / HEIGHT - 1) / 2 * (-1 if actor.x < 0.5 else 1)
    return replace(scene, objects=tuple(replace(thing, x=thing.x + shift) for thing in scene.objects))


def write(scene: Scene, path: Path) -> None:
    """Write a scene as a wide H.264 file."""
    wide = replace(scene, width=WIDTH, height=HEIGHT)
    times = np.arange(round(scene.duration * scene.fps)) / scene.fps
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=scene.fps, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for pixels in render(wide, times):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)))
        container.mux(stream.encode())


def hits(model: ProST, paths: Sequence[Path], queries: Sequence[str], fit: Fit) -> tuple[np.ndarray, float]:
    """For each query whether its video ranks first `[N]`, and the seconds that decoding and encoding a video took."""
    config = model.config
    scores = np.full((len(queries), len(paths)), -np.inf, dtype=np.float32)
    with torch.inference_mode():
        text = model.encode_text(list(queries))
        encoder, began = VideoEncoder(model), time.process_time()
        for column, path in enumerate(paths):
            info = probe(path)
            wanted = sample_times(0.0, info.duration, config.frames)
            tiles = [
                decode_frames(path, wanted, config.image_size, fit=fit, place=place).pixels
                for place in square_places(info.width, info.height, fit)
            ]
            scores[:, column] = model.match(text, encoder.encode(np.stack(tiles))).total.numpy().max(axis=1)
        seconds = time.process_time() - began
    own = np.diag(scores).copy()
    np.fill_diagonal(scores, -np.inf)
    return (own > scores.max(axis=1)).astype(float), seconds / len(paths)


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gallery", default="toybox-200")
    parser.add_argument(
        "--videos", type=Path, help="keep the videos in this folder; those there are not drawn again"
    )
    arguments = parser.parse_args()
    wanted, model = gallery(arguments.gallery), load_prost("toybox", device="cpu")
    queries = [query.text for query in wanted.queries]
    print("| Scenes | Fit | R@1 (%) | Difference to crop (95% interval) | CPU time (ms a video) |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        for name, place in (("edge", at_the_edge), ("middle", lambda scene: scene)):
            folder = (arguments.videos or Path(temporary)) / name
            folder.mkdir(parents=True, exist_ok=True)
            paths = [folder / f"{index:04}.mp4" for index in range(len(wanted))]
            for scene, path in zip(wanted.scenes, paths, strict=True):
                if not path.exists():
                    write(place(scene), path)
            found = {fit: hits(model, paths, queries, fit) for fit in get_args(Fit)}
            for fit, (first, seconds) in found.items():
                against = paired_bootstrap(first, found["crop"][0], SHARE)
                difference = f"{against.difference:+.1f} ({against.low:+.1f} to {against.high:+.1f})"
                print(
                    f"| {name} | {fit} | {100 * first.mean():.1f} | {difference} | {1000 * seconds:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
