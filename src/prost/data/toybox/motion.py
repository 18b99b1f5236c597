"""From events to positions: the pose of each thing at a time, and its box in the picture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .drawing import COVERS, extent
from .scene import SIZES, Event, Scene, Thing

JUMP_HEIGHT = 0.24
"""As a fraction of the side of the stage."""


@dataclass(slots=True)
class Pose:
    """The pose of one thing at one time.

    Attributes:
        x: centre on the stage.
        y: centre on the stage.
        side: of its drawing, as a fraction of the stage's side.
        angle: degrees, clockwise.
        opacity: 0 (not there) to 1.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0
    opacity: float = 1.0


def _ease(progress: float) -> float:
    """Smooth progress: slow, fast, slow."""
    return progress * progress * (3 - 2 * progress)


def _between(progress: float, start: float, stop: float) -> float:
    """The fraction of start..stop that has passed, 0..1."""
    return min(1.0, max(0.0, (progress - start) / (stop - start)))


def _apply(pose: Pose, event: Event, progress: float, scene: Scene) -> None:
    """Change a pose by one event, of which the fraction `progress` (0..1) has passed."""
    action, amount = event.action, event.amount
    if action in ("moves left", "moves right"):
        pose.x += amount * _ease(progress)
    elif action == "rises":
        pose.y += amount * _ease(progress)
    elif action == "falls":
        pose.y += amount * min(1.0, (progress / 0.85) ** 2)
    elif action in ("grows", "shrinks"):
        pose.side *= amount ** _ease(progress)
    elif action == "spins":
        pose.angle += 360 * amount * progress
    elif action == "jumps":
        pose.y -= JUMP_HEIGHT * 4 * progress * (1 - progress)
    elif action == "shakes":
        if 0 < progress < 1:
            swing = math.sin(math.tau * 3.5 * progress)
            # Closer to a square wave than to a sine, so that almost every sampled frame shows a tilt.
            tilt = math.copysign(math.sqrt(abs(swing)), swing)
            pose.angle += 26 * tilt
            pose.x += 0.03 * tilt
    elif action == "blinks":
        if 0.1 < progress < 0.4 or 0.6 < progress < 0.9:
            pose.opacity = 0.0
    elif action == "appears":
        shown = _between(progress, 0.1, 0.4)
        pose.opacity *= shown
        pose.side *= 0.4 + 0.6 * shown
    elif action == "disappears":
        pose.opacity *= 1 - _between(progress, 0.4, 0.7)
    elif action == "hides" and event.cover is not None:
        cover = scene.objects[event.cover]
        share = _ease(_between(progress, 0, 0.8))
        pose.x += (cover.x - pose.x) * share
        pose.y += (cover.y - pose.y) * share
    elif action == "comes out":
        pose.x += amount * _ease(_between(progress, 0.2, 1))


def events_of(scene: Scene, index: int) -> list[Event]:
    """The events of one thing, in the order of time."""
    return [event for event in scene.events if event.thing == index]


def pose_at(scene: Scene, thing: Thing, events: Iterable[Event], time: float) -> Pose:
    """One thing at one time.

    Args:
        scene: where it stands.
        thing: one of the scene's objects.
        events: all that this thing does, in the order of time.
        time: seconds from the video's start.
    """
    pose = Pose(thing.x, thing.y, SIZES[thing.size])
    for event in events:
        if time <= event.start:
            if event.action == "appears":
                pose.opacity = 0.0
            break
        _apply(pose, event, min(1.0, (time - event.start) / (event.end - event.start)), scene)
    return pose


def stage_box(thing: Thing, pose: Pose) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the drawing of a thing, on the stage."""
    left, top, right, bottom = extent(thing.kind)
    angle = math.radians(pose.angle)
    cos, sin = math.cos(angle), math.sin(angle)
    half = pose.side / 2
    corners = [(x * cos - y * sin, x * sin + y * cos) for x in (left, right) for y in (top, bottom)]
    xs, ys = [pose.x + half * x for x, _ in corners], [pose.y + half * y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def visible_boxes(scene: Scene, time: float) -> list[tuple[float, float, float, float] | None]:
    """The box of each thing on the stage; None where it cannot be seen (faded out, or behind its cover)."""
    boxes: list[tuple[float, float, float, float] | None] = []
    covers = [thing for thing in scene.objects if thing.kind in COVERS]
    for index, thing in enumerate(scene.objects):
        pose = pose_at(scene, thing, events_of(scene, index), time)
        box = stage_box(thing, pose)
        shown = pose.opacity >= 0.5
        if thing.kind not in COVERS:
            shown = shown and all(_share_seen(box, cover) >= 0.2 for cover in covers)
        boxes.append(box if shown else None)
    return boxes


def picture_boxes(scene: Scene, time: float) -> list[tuple[float, float, float, float] | None]:
    """`visible_boxes` as fractions 0..1 of the whole picture's width and height."""
    side = min(scene.width, scene.height)
    wide, high = side / scene.width, side / scene.height
    left, top = (1 - wide) / 2, (1 - high) / 2
    return [
        None
        if box is None
        else (left + box[0] * wide, top + box[1] * high, left + box[2] * wide, top + box[3] * high)
        for box in visible_boxes(scene, time)
    ]


def _share_seen(box: tuple[float, float, float, float], cover: Thing) -> float:
    """The fraction of a box's area that a cover leaves visible."""
    left, top, right, bottom = stage_box(cover, Pose(cover.x, cover.y, SIZES[cover.size]))
    wide = max(0.0, min(box[2], right) - max(box[0], left))
    high = max(0.0, min(box[3], bottom) - max(box[1], top))
    return 1 - wide * high / ((box[2] - box[0]) * (box[3] - box[1]))
