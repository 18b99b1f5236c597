"""A scene with one thing changed, for sentences that are almost true of the real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .drawing import COLOURS, KINDS
from .scene import ACTIONS, Scene

_WITH_COVER = frozenset({"hides", "comes out"})
_CHANGES = ("colour", "kind", "action")


def with_one_change(scene: Scene, event: int, rng: np.random.Generator) -> Scene:
    """The scene with another colour or kind of the thing of an event, or another action in its place.

    Half of the new kinds are those of other things of the scene, so that what is named can be seen, doing something
    else. The result describes and is not to be rendered.

    Args:
        scene: the scene.
        event: index of the event.
        rng: draws what is changed, and into what.
    """
    done = scene.events[event]
    thing = scene.objects[done.thing]
    change = _CHANGES[int(rng.integers(2 if done.action in _WITH_COVER else 3))]
    if change == "action":
        other = _another(rng, [action for action in ACTIONS if action not in _WITH_COVER], done.action)
        events = tuple(
            replace(each, action=other) if place == event else each for place, each in enumerate(scene.events)
        )
        return replace(scene, events=events)
    if change == "colour":
        changed = replace(thing, colour=_another(rng, COLOURS, thing.colour))
    else:
        seen = sorted({each.kind for each in scene.objects if each.kind in KINDS} - {thing.kind})
        changed = replace(
            thing, kind=_another(rng, seen if seen and rng.random() < 0.5 else KINDS, thing.kind)
        )
    objects = tuple(changed if place == done.thing else each for place, each in enumerate(scene.objects))
    return replace(scene, objects=objects)


def _another(rng: np.random.Generator, options: Sequence[str], but: str) -> str:
    others = [option for option in options if option != but]
    return others[int(rng.integers(len(others)))]
