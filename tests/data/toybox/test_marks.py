"""What a thing does can be seen in one frame, and only while it does it."""

import itertools

import numpy as np
import pytest

from prost.data.toybox import Event, Scene, Thing, render
from prost.data.toybox.marks import MARKS, marks, marks_side
from prost.data.toybox.scene import ACTIONS, SIZES

# A whole turn leaves a thing as it was, so that what differs after a moment is the marks.
TURN = Event(0, "spins", 1.0, 3.0, 1.0)


def _scene(event: Event) -> Scene:
    return Scene(
        duration=4.0,
        fps=12,
        width=96,
        height=96,
        background="paper",
        objects=(Thing("ball", "red", "medium", "plain", 0.5, 0.5),),
        events=(event,),
        seed=0,
        split="train",
    )


def test_every_action_has_marks() -> None:
    assert set(MARKS) == set(ACTIONS)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(ACTIONS, 2)))
def test_no_two_actions_have_the_same_marks(one: str, other: str) -> None:
    difference = np.abs(marks(one, 32).astype(int) - marks(other, 32)).max(axis=-1)
    assert (difference > 100).sum() > 25


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_the_thing_has_the_middle_for_itself(action: str, size: str) -> None:
    side = 64
    half = round(0.42 * side * SIZES[size] / marks_side(SIZES[size]))
    middle = marks(action, side)[side // 2 - half : side // 2 + half, side // 2 - half : side // 2 + half]
    assert (middle[..., 3] > 0).mean() < 0.05


def test_marks_are_there_while_a_thing_acts_and_at_no_other_time() -> None:
    before, first, within, last, after = render(_scene(TURN), [0.5, 1.0, 2.0, 3.0, 3.5], 96).astype(int)
    for other in (first, last, after):
        np.testing.assert_allclose(before, other, atol=1)  # a turn by 2 pi is none, but for its rounding
    assert (np.abs(within - before).max(axis=-1) > 60).sum() > 100


@pytest.mark.parametrize(
    ("action", "amount", "rows", "columns"),
    [
        ("moves left", -0.3, slice(None), slice(48, None)),
        ("moves right", 0.3, slice(None), slice(None, 48)),
        ("rises", -0.3, slice(48, None), slice(None)),
        ("falls", 0.3, slice(None, 48), slice(None)),
    ],
)
def test_three_streaks_follow_what_moves(action: str, amount: float, rows: slice, columns: slice) -> None:
    moment = render(_scene(Event(0, action, 1.0, 3.0, amount)), [1.02], 96)[0].astype(int)
    still = render(_scene(TURN), [0.5], 96)[0].astype(int)
    changed = np.abs(moment - still).max(axis=-1) > 60
    behind = changed[rows, columns].sum()
    assert behind > changed.sum() - behind
