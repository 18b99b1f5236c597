"""The record of one Toybox video: its things, and what they do when.

A scene is the whole truth about a video. Pixels (`render`), captions (`grammar`) and boxes (`motion`) are read off it,
so that a program can decide whether a sentence is true of a video.

Places are fractions of the *stage*, the central square of the picture: (0, 0) is its upper left corner, (1, 1) its
lower right one. All that matters happens on the stage, so a centre crop loses nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

SIZES = {"small": 0.22, "medium": 0.31, "big": 0.43}
"""Side of a thing's drawing, as a fraction of the stage's side."""

TEXTURES = ("plain", "striped", "dotted")

ACTIONS = (
    "moves left",
    "moves right",
    "rises",
    "falls",
    "grows",
    "shrinks",
    "spins",
    "blinks",
    "jumps",
    "shakes",
    "hides",
    "comes out",
    "appears",
    "disappears",
)

OPENING_ACTIONS = frozenset({"appears", "comes out"})
"""A thing is invisible before these actions, so that it can do nothing earlier."""

CLOSING_ACTIONS = frozenset({"disappears", "hides"})
"""A thing is invisible after these actions, so that it can do nothing later."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing on the stage, at the start of the video.

    Attributes:
        kind: what it is; a name in `drawing.DRAWINGS`.
        colour: the colour of its body; a name in `drawing.PALETTE`.
        size: a name in `SIZES`.
        texture: a name in `TEXTURES`.
        x: its centre, from the stage's left edge.
        y: its centre, from the stage's upper edge.
    """

    kind: str
    colour: str
    size: str
    texture: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Event:
    """One action of one thing.

    Attributes:
        thing: index into the scene's `objects`.
        action: a name in `ACTIONS`.
        start: seconds from the video's start.
        end: seconds; what changed until then stays so.
        amount: how far (of the stage's side), how much larger (a factor), how often (turns), with its sign; 0 where
            the action has no such measure.
        cover: index of the thing that it hides behind or comes out from.
    """

    thing: int
    action: str
    start: float
    end: float
    amount: float = 0.0
    cover: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The record of one video.

    Attributes:
        duration: seconds.
        fps: pictures a second of the file.
        width: pixels of the file.
        height: pixels of the file.
        background: a name in `background.BACKGROUNDS`.
        objects: back to front.
        events: one after the other, never two at once.
        seed: varies the background, and picks the twin among the orders there are.
        split: "train", "val" or "test".
    """

    duration: float
    fps: int
    width: int
    height: int
    background: str
    objects: tuple[Thing, ...]
    events: tuple[Event, ...]
    seed: int
    split: str

    def to_json(self) -> str:
        """One line of JSON; equal scenes give equal lines."""
        return json.dumps(asdict(self), sort_keys=True)
