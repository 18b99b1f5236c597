"""Videos played backwards: what they show is read off the poses, and symmetric stories stay as they are."""

import numpy as np
import pytest

from prost.data.toybox import (
    Caption,
    Claim,
    Event,
    Scene,
    Thing,
    backwards,
    is_changed_by_reversal,
    render,
    sample_scene,
    visible_boxes,
)
from prost.data.toybox.motion import events_of, pose_at


def acts(*actions: str) -> Scene:
    """A ball that does these things, one after the other."""
    return Scene(
        duration=1.0 + 2 * len(actions),
        fps=12,
        width=96,
        height=96,
        background="sea",
        objects=(Thing("ball", "red", "medium", "striped", 0.5, 0.5),),
        events=tuple(
            Event(0, action, 1.0 + 2 * place, 2.0 + 2 * place) for place, action in enumerate(actions)
        ),
        seed=0,
        split="test",
    )


def says(*actions: str) -> Caption:
    return Caption("", tuple(Claim("ball", "red", None, None, action) for action in actions))


@pytest.mark.parametrize(
    ("actions", "changed"),
    [
        (("moves left",), True),
        (("falls",), True),
        (("grows",), True),
        (("disappears",), True),
        (("jumps",), False),
        (("spins",), False),
        (("blinks",), False),
        (("shakes",), False),
        (("jumps", "spins"), True),  # the order
        (("jumps", "falls"), True),
        (("moves right", "moves left"), False),  # there and back
        (("rises", "falls"), False),
        (("rises", "jumps", "falls"), False),
        (("rises", "spins", "jumps", "falls"), True),
    ],
)
def test_what_reversal_changes(actions: tuple[str, ...], changed: bool) -> None:
    assert is_changed_by_reversal(says(*actions), acts(*actions)) is changed


def test_a_sentence_about_a_part_is_decided_by_the_whole_scene() -> None:
    # "jumps, then spins" is true backwards too, because the ball jumps once more at the end.
    assert not is_changed_by_reversal(says("jumps", "spins"), acts("jumps", "spins", "jumps"))


def test_backwards_twice_is_the_scene() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scene = sample_scene(rng, "train")
        again = backwards(backwards(scene))
        assert [(event.thing, event.action) for event in again.events] == [
            (event.thing, event.action) for event in scene.events
        ]
        np.testing.assert_allclose([e.start for e in again.events], [e.start for e in scene.events])


def seen(scene: Scene, thing: int, begin: float, end: float) -> str | None:
    """What a thing does from one time to another, which may be earlier, by its poses and whether it is visible."""
    before, after = (
        pose_at(scene, scene.objects[thing], events_of(scene, thing), time) for time in (begin, end)
    )
    was, is_now = (visible_boxes(scene, time)[thing] is not None for time in (begin, end))
    if was != is_now:
        return "is there" if is_now else "is gone"
    if abs(after.side / before.side - 1) > 0.2:
        return "grows" if after.side > before.side else "shrinks"
    if abs(after.x - before.x) > 0.1:
        return "moves right" if after.x > before.x else "moves left"
    if abs(after.y - before.y) > 0.1:
        return "falls" if after.y > before.y else "rises"
    return None


def test_the_words_are_those_of_the_poses_in_the_opposite_order() -> None:
    rng = np.random.default_rng(1)
    kinds = set()
    for _ in range(60):
        scene = sample_scene(rng, "train")
        for event in backwards(scene).events:
            # Times of the original: the event begins where the original ends.
            begin, end = scene.duration - event.start, scene.duration - event.end
            shown = seen(scene, event.thing, begin, end)
            if event.action in ("appears", "comes out"):
                assert shown == "is there", (scene, event)
            elif event.action in ("disappears", "hides"):
                assert shown == "is gone", (scene, event)
            elif event.action in ("jumps", "spins", "blinks", "shakes"):
                assert shown is None, (scene, event)
            else:
                assert shown == event.action, (scene, event)
            kinds.add(event.action)
    assert len(kinds) == 14


def test_the_middles_of_equal_parts_backwards_are_the_same_frames() -> None:
    scene = acts("moves right", "jumps")
    times = (np.arange(4) + 0.5) * scene.duration / 4
    np.testing.assert_array_equal(render(scene, scene.duration - times, 32), render(scene, times, 32)[::-1])
