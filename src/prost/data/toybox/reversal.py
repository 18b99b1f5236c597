"""A video played backwards, and which sentences are then no longer true of it.

The frames stay the same and only their order changes, as in the benchmark RTime (arXiv 2412.19178). Marks stay on their
frames: a ball that moves right has its streaks on the left, also where it is played backwards and moves left. So marks
tell what a thing did in the original, and only the order of the frames tells that they are played backwards.
"""

from __future__ import annotations

from dataclasses import replace

from .grammar import Caption, holds
from .scene import Event, Scene

_PAIRS = (
    ("moves left", "moves right"),
    ("rises", "falls"),
    ("grows", "shrinks"),
    ("hides", "comes out"),
    ("appears", "disappears"),
)
_BACKWARDS = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}


def backwards(scene: Scene) -> Scene:
    """What is seen when a scene is played backwards, for words: the last event comes first and undoes itself.

    What moved left moves right, and what hid comes out; a jump, a spin, a blink and a shake look alike in both
    directions. Things keep the looks by which captions name them. The result describes and is not to be rendered.
    """
    return replace(scene, events=tuple(_undone(event, scene.duration) for event in reversed(scene.events)))


def _undone(event: Event, duration: float) -> Event:
    return replace(
        event,
        action=_BACKWARDS.get(event.action, event.action),
        start=duration - event.end,
        end=duration - event.start,
    )


def is_changed_by_reversal(caption: Caption, scene: Scene) -> bool:
    """Whether a sentence that is true of a scene is false of the scene played backwards.

    A ball that moves right and then moves left does the same backwards, and so does one that only jumps.
    """
    return not holds(caption.claims, backwards(scene))
