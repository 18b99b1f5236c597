"""One thing of a scene changed: something else is then said of the event, and nothing else differs."""

from dataclasses import fields

import numpy as np
import pytest

from prost.data.toybox import Scene, describe_event, holds, sample_scene, with_one_change
from prost.data.toybox.drawing import COLOURS, KINDS
from prost.data.toybox.scene import ACTIONS


def differences(one: object, other: object) -> list[str]:
    """Names of the fields that differ, within things and events as well."""
    found = []
    for field in fields(one):  # type: ignore[arg-type]
        was, now = getattr(one, field.name), getattr(other, field.name)
        if was == now:
            continue
        if isinstance(was, tuple) and field.name in ("objects", "events"):
            assert len(was) == len(now)
            found += [name for pair in zip(was, now, strict=True) for name in differences(*pair)]
        else:
            found.append(field.name)
    return found


def changed_scenes(count: int) -> list[tuple[Scene, Scene, int]]:
    rng = np.random.default_rng(3)
    drawn = []
    for number in range(count):
        scene = sample_scene(rng, "train", long=number % 4 == 0)
        event = int(rng.integers(len(scene.events)))
        drawn.append((scene, with_one_change(scene, event, rng), event))
    return drawn


def test_one_thing_changes_and_it_belongs_to_the_event() -> None:
    kinds: list[str] = []
    for scene, changed, event in changed_scenes(300):
        (kind,) = differences(scene, changed)
        kinds.append(kind)
        was, now = scene.events[event], changed.events[event]
        assert (was.action != now.action) == (kind == "action")
        acting, other = scene.objects[was.thing], changed.objects[now.thing]
        assert (acting != other) == (kind in ("colour", "kind"))
        assert other.colour in COLOURS and other.kind in KINDS and now.action in ACTIONS
        # A thing that hides needs something to hide behind.
        assert (now.action in ("hides", "comes out")) == (now.cover is not None)
    assert all(0.2 < kinds.count(kind) / 300 < 0.5 for kind in ("colour", "kind", "action"))


def test_new_kinds_are_often_those_of_other_things_of_the_scene() -> None:
    seen = [
        changed.objects[scene.events[event].thing].kind
        in {thing.kind for place, thing in enumerate(scene.objects) if place != scene.events[event].thing}
        for scene, changed, event in changed_scenes(400)
        if differences(scene, changed) == ["kind"]
        and len({thing.kind for thing in scene.objects if thing.kind in KINDS}) > 1
    ]
    assert 0.4 < np.mean(seen) < 0.75


@pytest.mark.parametrize("seed", range(3))
def test_what_is_told_of_the_event_is_false_unless_another_thing_does_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    false = 0
    for scene, changed, event in changed_scenes(100):
        try:
            told = describe_event(changed, event, rng)
        except ValueError:  # the change made two events the same
            continue
        false += not holds(told.claims, scene)
    assert false > 70
