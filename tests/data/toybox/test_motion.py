"""Events move things as their names say, and what they changed stays changed."""

from dataclasses import replace

import pytest

from prost.data.toybox import Event, Scene, Thing
from prost.data.toybox.motion import Pose, events_of, picture_boxes, pose_at, stage_box, visible_boxes
from prost.data.toybox.scene import SIZES

SIDE = SIZES["medium"]
BALL = Thing("ball", "red", "medium", "plain", 0.5, 0.5)
WALL = Thing("wall", "grey", "big", "plain", 0.2, 0.5)


def _scene(*events: Event) -> Scene:
    return Scene(
        duration=6.0,
        fps=12,
        width=320,
        height=240,
        background="paper",
        objects=(BALL, WALL),
        events=events,
        seed=0,
        split="train",
    )


def _pose(scene: Scene, time: float) -> Pose:
    return pose_at(scene, BALL, events_of(scene, 0), time)


@pytest.mark.parametrize(
    ("action", "amount", "x", "y", "side", "opacity"),
    [
        ("moves left", -0.3, 0.2, 0.5, SIDE, 1),
        ("moves right", 0.3, 0.8, 0.5, SIDE, 1),
        ("rises", -0.3, 0.5, 0.2, SIDE, 1),
        ("falls", 0.3, 0.5, 0.8, SIDE, 1),
        ("grows", 2.0, 0.5, 0.5, 2 * SIDE, 1),
        ("shrinks", 0.5, 0.5, 0.5, SIDE / 2, 1),
        ("jumps", 0.0, 0.5, 0.5, SIDE, 1),
        ("shakes", 0.0, 0.5, 0.5, SIDE, 1),
        ("blinks", 0.0, 0.5, 0.5, SIDE, 1),
        ("appears", 0.0, 0.5, 0.5, SIDE, 1),
        ("disappears", 0.0, 0.5, 0.5, SIDE, 0),
    ],
)
def test_what_an_action_leaves_behind(
    action: str, amount: float, x: float, y: float, side: float, opacity: float
) -> None:
    scene = _scene(Event(0, action, 1.0, 3.0, amount))
    for time in (3.0, 5.9):
        pose = _pose(scene, time)
        assert (pose.x, pose.y, pose.side, pose.opacity) == pytest.approx((x, y, side, opacity))
        assert pose.angle % 360 == pytest.approx(0)


def test_halfway_through_an_action() -> None:
    assert _pose(_scene(Event(0, "moves left", 1, 3, -0.3)), 2).x == pytest.approx(0.35)
    assert _pose(_scene(Event(0, "grows", 1, 3, 4.0)), 2).side == pytest.approx(2 * SIDE)
    assert _pose(_scene(Event(0, "spins", 1, 3, 1.0)), 2).angle == pytest.approx(180)
    assert _pose(_scene(Event(0, "jumps", 1, 3)), 2).y == pytest.approx(0.26)
    assert _pose(_scene(Event(0, "blinks", 1, 3)), 1.5).opacity == 0
    assert _pose(_scene(Event(0, "blinks", 1, 3)), 2).opacity == 1


def test_events_add_up_in_turn() -> None:
    scene = _scene(Event(0, "moves left", 1, 2, -0.3), Event(0, "falls", 3, 4, 0.3))
    assert (_pose(scene, 2.5).x, _pose(scene, 2.5).y) == pytest.approx((0.2, 0.5))
    assert (_pose(scene, 4.5).x, _pose(scene, 4.5).y) == pytest.approx((0.2, 0.8))


def test_out_of_sight_before_appearing_and_behind_a_cover() -> None:
    assert visible_boxes(_scene(Event(0, "appears", 1, 3)), 0.5)[0] is None
    hiding = _scene(Event(0, "hides", 1, 3, 0.0, 1))
    assert visible_boxes(hiding, 0.5)[0] is not None
    assert visible_boxes(hiding, 3.0)[0] is None
    assert visible_boxes(hiding, 3.0)[1] is not None


def test_box_of_a_turned_thing_is_wider() -> None:
    wall = replace(WALL, x=0.5)
    left, top, right, bottom = stage_box(wall, Pose(0.5, 0.5, 0.2, angle=45))
    flat = stage_box(wall, Pose(0.5, 0.5, 0.2))
    assert right - left == pytest.approx(2**0.5 * (flat[2] - flat[0]), rel=0.01)
    assert bottom - top == pytest.approx(right - left)


def test_picture_box_of_a_centred_thing() -> None:
    # On 320 x 240 the stage is the middle three quarters of the width, and all of the height.
    scene = _scene()
    on_stage, in_picture = visible_boxes(scene, 0)[0], picture_boxes(scene, 0)[0]
    assert on_stage is not None and in_picture is not None
    assert in_picture[0] == pytest.approx(0.125 + 0.75 * on_stage[0])
    assert in_picture[2] == pytest.approx(0.125 + 0.75 * on_stage[2])
    assert (in_picture[1], in_picture[3]) == pytest.approx((on_stage[1], on_stage[3]))
