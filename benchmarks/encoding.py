"""What does it save to pass equal frames through the lower vision blocks once? Encoding time against the plain path.

Films are cut into windows of 12 s that overlap by a quarter, as a library cuts them. Both ways encode the same batches
in the same run, in turns, and the prototypes are compared. The plain path passes every frame of every window through
the whole tower.

    python benchmarks/encoding.py                    the bundled model
    python benchmarks/encoding.py --b16 --rounds 1   a ViT-B/16 of the paper's sizes and random weights
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from prost.config import ModelConfig
from prost.model.checkpoint import load_prost
from prost.model.encoding import Precision, VideoEncoder, autocast, choose_device, join
from prost.model.matching import VideoPrototypes
from prost.model.prost import ProST
from prost.video.sampling import clip_windows, sample_times

Film = Callable[[float, int], NDArray[np.uint8]]


def moving_camera(second: float, size: int) -> NDArray[np.uint8]:
    """A textured scene that a camera pans over, with noise of its own in every frame: no two frames are equal."""
    frame = round(second * 25)
    rows, columns = np.mgrid[:size, :size] / size
    waves = [
        np.sin(speed * (columns + 0.05 * second) + rows * tilt) for speed, tilt in ((9, 4), (23, -7), (5, 31))
    ]
    noise = np.random.default_rng(frame).normal(0, 4, (size, size, 3))
    return np.clip(128 + 60 * np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)


def screen_recording(second: float, size: int) -> NDArray[np.uint8]:
    """Pages of text that change every twenty seconds and do not move between."""
    page = np.random.default_rng(int(second // 20))
    picture = np.full((size, size, 3), 245, dtype=np.uint8)
    for row in range(size // 16, size - size // 16, max(4, size // 24)):
        picture[row : row + 2, size // 16 : size // 16 + int(page.integers(size // 3, size * 7 // 8))] = 40
    return picture


def batches_of(film: Film, model: ProST, seconds: float, clips: int) -> list[NDArray[np.uint8]]:
    """The windows of a film, `clips` at a time, `[B, L, R, R, 3]`."""
    config = model.config
    windows = [
        np.stack([film(at, config.image_size) for at in sample_times(*window, config.frames)])
        for window in clip_windows(seconds, 12.0, 0.25)
    ]
    return [np.stack(windows[first : first + clips]) for first in range(0, len(windows), clips)]


@torch.inference_mode()
def plain(model: ProST, precision: Precision, batches: list[NDArray[np.uint8]]) -> Iterator[VideoPrototypes]:
    """Every frame through every block."""
    for frames in batches:
        pixels = model.normalise_pixels(torch.from_numpy(frames).to(model.device))
        with autocast(precision, model.device):
            tokens = model.frame_tokens(pixels)
        yield model.video_head(tokens.float()).mapped(lambda tensor: tensor.float().cpu())


def main() -> None:
    """Measure, and print one row per film."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--b16", action="store_true", help="a ViT-B/16 with random weights")
    parser.add_argument("--seconds", type=float, default=66.0, help="length of each film")
    parser.add_argument("--rounds", type=int, default=3, help="times that both ways run; the median counts")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=["auto", "bf16", "fp32"])
    given = parser.parse_args()
    if given.b16:
        torch.manual_seed(0)
        config = ModelConfig.parse({"clip": {"patch_size": 16}, "token_shift_divisions": 14})
        model = ProST(config).eval().to(choose_device(given.device))
    else:
        model = load_prost("toybox", given.device)
    # On a CPU the time of the processor, so that other work on the machine does not count.
    clock = time.process_time if model.device.type == "cpu" else time.perf_counter
    encoder = VideoEncoder(model, precision=given.precision)
    print(
        f"{'ViT-B/16' if given.b16 else 'toybox'} on {model.device}, {given.precision}, {torch.get_num_threads()} "
        f"threads, {given.seconds:g} s of film, median of {given.rounds}"
    )
    ways: dict[str, Callable[[list[NDArray[np.uint8]]], Iterator[VideoPrototypes]]] = {
        "plain": partial(plain, model, given.precision),
        "once": encoder.stream,
    }
    for film in (moving_camera, screen_recording):
        batches = batches_of(film, model, given.seconds, encoder.batch_clips)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, way in ways.items():
                started = clock()
                record = join(list(way(batches)))
                times[name].append(clock() - started)
                if name == "plain":
                    expected = record
        difference = max(
            (one - other).abs().max().item()
            for one, other in zip(record.tensors(), expected.tensors(), strict=True)
        )
        frames = [frame.tobytes() for batch in batches for clip in batch for frame in clip]
        before, after = (statistics.median(times[name]) for name in ("plain", "once"))
        print(
            f"{film.__name__:17} {len(frames)} frames, {len(set(frames))} distinct: plain {before:.2f} s, "
            f"equal frames once {after:.2f} s, ratio {after / before:.2f}; largest difference {difference:.1e}"
        )


if __name__ == "__main__":
    main()
