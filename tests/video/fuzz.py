"""Damaged copies of the zoo's files, and what a decoder may say about them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.video.zoo import ZOO

from prost.errors import VideoError
from prost.video.isolation import IsolatedDecoder
from prost.video.probe import LONGEST_LAST_FRAME
from prost.video.reasons import Reason
from prost.video.sampling import sample_times

FRAMES, SIZE = 4, 32


@dataclass
class Outcome:
    """Counts of what came out of damaged files.

    Attributes:
        shown: files that could still be decoded.
        refused: files that were refused, by reason.
        wrong: what no decoder may answer, a line each.
    """

    shown: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def sound_files(folder: Path) -> list[Path]:
    """Write the regular files of the zoo that can be shown."""
    paths = []
    for specimen in ZOO:
        path = folder / specimen.name
        if specimen.reason is None and "\udcff" not in specimen.name:
            specimen.make(path)
            paths.append(path)
    return sorted(path for path in paths if not path.is_symlink())


def mutated(paths: Sequence[Path], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files: a name that says what was done, and the content."""
    rng = np.random.default_rng(seed)
    contents = [path.read_bytes() for path in paths]
    for number in range(count):
        place = int(rng.integers(len(paths)))
        data = np.frombuffer(contents[place], np.uint8).copy()
        kind = ("flip", "zero", "cut", "noise", "repeat", "splice", "header")[int(rng.integers(7))]
        at, length = sorted(int(each) for each in rng.integers(0, len(data), size=2))
        length = max(1, min(length - at, 2_000))
        if kind == "flip":
            spots = rng.integers(0, len(data), size=int(rng.integers(1, 30)))
            data[spots] ^= (1 << rng.integers(0, 8, size=len(spots))).astype(np.uint8)
        elif kind == "header":  # the first bytes decide how all others are read
            spots = rng.integers(0, min(len(data), 600), size=int(rng.integers(1, 12)))
            data[spots] = rng.integers(0, 256, size=len(spots))
        elif kind == "zero":
            data[at : at + length] = 0
        elif kind == "noise":
            data[at : at + length] = rng.integers(0, 256, size=len(data[at : at + length]))
        elif kind == "cut":
            data = np.delete(data, slice(at, at + length))
        elif kind == "repeat":
            data = np.concatenate([data[: at + length], data[at:]])
        else:
            other = np.frombuffer(contents[int(rng.integers(len(paths)))], np.uint8)
            data = np.concatenate([data[:at], other[min(at, len(other)) :]])
        yield f"{number:05d}-{kind}-{paths[place].name}", data.tobytes()


def run(paths: Sequence[Path], folder: Path, count: int, seed: int, time_limit: float = 20.0) -> Outcome:
    """Probe and decode damaged files in a child process; a crash of the child is a refusal, not a fault."""
    outcome = Outcome()
    with IsolatedDecoder(time_limit=time_limit) as decoder:
        for name, content in mutated(paths, count, seed):
            path = folder / name
            path.write_bytes(content)
            try:
                info = decoder.probe(path)
                frames = decoder.decode(path, sample_times(0.0, info.duration, FRAMES), SIZE)
            except VideoError as refused:
                outcome.refused[str(Reason(refused.reason))] += 1
                if refused.reason == Reason.OUR_ERROR:  # ours, not FFmpeg's
                    outcome.wrong.append(f"{name}: {refused.detail}")
                if refused.reason in (Reason.NO_PERMISSION, Reason.GONE, Reason.TIMED_OUT):
                    outcome.wrong.append(f"{name}: {refused.reason}")
            else:
                outcome.shown += 1
                # Frames that claim to be shown for hours are the usual wrong success.
                believable = (len(content) + 1) / 10 + 2 * LONGEST_LAST_FRAME
                if not (math.isfinite(info.duration) and info.duration > 0):
                    outcome.wrong.append(f"{name}: a duration of {info.duration} s")
                elif info.duration > 50_000 and info.duration > believable:
                    outcome.wrong.append(f"{name}: {info.duration:.0f} s in {len(content)} bytes")
                if frames.pixels.shape != (FRAMES, SIZE, SIZE, 3) or not np.isfinite(frames.times).all():
                    outcome.wrong.append(f"{name}: {frames!r}")
                if (np.diff(frames.times) < 0).any():
                    outcome.wrong.append(f"{name}: times run backwards: {frames.times.tolist()}")
            finally:
                path.unlink()
    return outcome
