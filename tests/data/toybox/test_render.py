"""Pixels: the same every time, and where the record says."""

import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest

from prost.data.toybox import Event, Scene, Thing, can_twin, render, scene_stream, twin_of

PROGRAM = """
import hashlib, itertools
import numpy as np
from prost.data.toybox import render, scene_stream
digest = hashlib.sha256()
for scene in itertools.islice(scene_stream("test", 5), 6):
    digest.update(scene.to_json().encode())
    digest.update(render(scene, np.linspace(0, scene.duration, 5), 64).tobytes())
print(digest.hexdigest())
"""


def test_same_pixels_in_another_process() -> None:
    digest = hashlib.sha256()
    for scene in itertools.islice(scene_stream("test", 5), 6):
        digest.update(scene.to_json().encode())
        digest.update(render(scene, np.linspace(0, scene.duration, 5), 64).tobytes())
    other = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest.hexdigest()


def test_shapes() -> None:
    scene = next(scene_stream("train", 0))
    assert render(scene, [0.0, 1.0], 48).shape == (2, 48, 48, 3)
    assert render(scene, [0.5]).shape == (1, scene.height, scene.width, 3)
    assert render(scene, [0.5]).dtype == np.uint8


@pytest.mark.parametrize("seed", range(4))
def test_stage_is_the_whole_picture_scaled_and_cropped(seed: int) -> None:
    scene = next(scene_stream("test", seed))
    times = np.linspace(0.1, scene.duration, 4)
    whole = render(scene, times).astype(float)
    side = min(scene.width, scene.height)
    top, left = (scene.height - side) // 2, (scene.width - side) // 2
    cropped = whole[:, top : top + side, left : left + side]
    factor = 2 if side % 3 else 3
    small = cropped.reshape(4, side // factor, factor, side // factor, factor, 3).mean((2, 4))
    stage = render(scene, times, side // factor).astype(float)
    assert np.abs(stage - small).mean() < 2.5


def test_thing_is_where_the_record_says() -> None:
    ball = Thing("ball", "red", "small", "plain", 0.25, 0.75)
    scene = Scene(
        duration=4.0,
        fps=12,
        width=200,
        height=100,
        background="paper",
        objects=(ball,),
        events=(Event(0, "moves right", 1, 2, 0.5),),
        seed=0,
        split="train",
    )
    before, after = render(scene, [0.0, 3.0]).astype(int)
    # The stage is columns 50 to 150: the ball goes from column 75 to column 125, at row 75.
    rows, columns = np.nonzero(np.abs(before - after).sum(-1) > 60)
    assert rows.mean() == pytest.approx(75, abs=1)
    assert columns.mean() == pytest.approx(100, abs=1)
    assert before[75, 75, 0] > 180 and before[75, 75, 2] < 80
    assert after[75, 125, 0] > 180 and after[75, 125, 2] < 80
    assert np.abs(after[75, 75] - before[75, 125]).max() <= 1


def test_half_opacity_is_half_way() -> None:
    wall = Thing("square", "black", "big", "plain", 0.5, 0.5)
    scene = Scene(
        duration=4.0,
        fps=12,
        width=96,
        height=96,
        background="paper",
        objects=(wall,),
        events=(Event(0, "disappears", 1, 2),),
        seed=0,
        split="train",
    )
    shown, half, gone = render(scene, [0.0, 1.55, 3.0], 96)[:, 48, 48].astype(float)
    assert half == pytest.approx((shown + gone) / 2, abs=1)


def test_twin_is_another_video_with_the_same_first_picture() -> None:
    scenes = [scene for scene in itertools.islice(scene_stream("test", 1), 40) if can_twin(scene)]
    for scene in scenes:
        times = (np.arange(12) + 0.5) / 12 * scene.duration
        own, other = render(scene, times, 48).astype(int), render(twin_of(scene), times, 48).astype(int)
        assert (np.abs(own - other).max(axis=(1, 2, 3)) > 25).sum() >= 2
        first, other_first = render(scene, [0.0], 48), render(twin_of(scene), [0.0], 48)
        assert np.array_equal(first, other_first)


def test_every_event_is_seen_in_twelve_pictures() -> None:
    """Each event leaves a mark: without it, some of twelve evenly spaced pictures would differ."""
    for scene in itertools.islice(scene_stream("test", 2), 60):
        times = (np.arange(12) + 0.5) / 12 * scene.duration
        for event in scene.events:
            during = times[(times > event.start) & (times < event.end)]
            still = render(scene, [max(0.0, event.start - 1e-3)], 64).astype(int)
            marks = [
                np.abs(picture.astype(int) - still[0]).max()
                for picture in render(scene, [*during, event.end], 64)
            ]
            assert len(during) >= 1
            assert max(marks) > 40, (event, scene.objects[event.thing])
