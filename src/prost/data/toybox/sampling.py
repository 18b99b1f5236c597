"""Random scenes: which things there are, who does what and when, and the order-swapped twin.

The splits never share a scene, and about one (kind, colour) pair in eight is kept out of "train" and "val": such things
are seen for the first time in "test", where about a quarter of the actors are of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .background import BACKGROUNDS, VARIANTS
from .drawing import COLOURS, COVERS, KINDS, ROUND_KINDS
from .grammar import choose
from .motion import JUMP_HEIGHT, visible_boxes
from .scene import (
    CLOSING_ACTIONS,
    OPENING_ACTIONS,
    SIZES,
    TEXTURES,
    Event,
    Scene,
    Thing,
)

SPLITS = {"train": 0x7261, "val": 0x7661, "test": 0x7465}
"""The splits, and the seeds that keep their random numbers apart."""

HELD_OUT_PAIRS = frozenset(
    (kind, colour)
    for (k, kind), (c, colour) in itertools.product(enumerate(KINDS), enumerate(COLOURS))
    if (3 * k - c) % 8 == 0
)
"""(kind, colour) pairs that occur in "test" only; they include every kind and every colour."""

HELD_OUT_SHARE = 0.25
"""Fraction of the actors in "test"."""

LONELY_SHARE = 0.15
"""Fraction of the short stories that have only one actor."""

PICTURE_SIZES = (
    (320, 240),
    (426, 240),
    (240, 320),
    (256, 256),
    (480, 270),
    (360, 270),
    (270, 360),
    (400, 300),
)
FRAME_RATES = (12, 15, 24, 25, 30)

_EDGE = 0.025
_PAIRS = tuple(itertools.product(KINDS, COLOURS))
_SHOWN_PAIRS = tuple(pair for pair in _PAIRS if pair not in HELD_OUT_PAIRS)
_HELD_OUT_LIST = tuple(pair for pair in _PAIRS if pair in HELD_OUT_PAIRS)

_MIDDLE_ACTIONS = (
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
)


def scene_stream(split: str, seed: int, *, long: bool = False) -> Iterator[Scene]:
    """Endless scenes of a split; the same arguments give the same scenes, and no two splits share one."""
    rng = np.random.default_rng(np.random.SeedSequence([SPLITS[split], seed, int(long)]))
    while True:
        yield sample_scene(rng, split, long=long)


def sample_scene(rng: np.random.Generator, split: str, *, long: bool = False) -> Scene:
    """One scene.

    Args:
        rng: where all chance comes from.
        split: "train", "val" or "test"; only "test" shows `HELD_OUT_PAIRS`.
        long: 20 to 40 seconds with 6 to 10 events, rather than 3.5 to 10 seconds with 2 or 3.
    """
    while True:
        scene = _draw(rng, split, long)
        if scene is not None and _acts_in_sight(scene):
            return scene


def _draw(rng: np.random.Generator, split: str, long: bool) -> Scene | None:
    """One scene in which everything has a place; None if none was found."""
    cast = _cast(rng, split, long)
    placed = _place(rng, cast, split, long)
    if placed is None:
        return None
    objects, events = placed
    spans, duration = _time_slots(rng, len(events), long)
    width, height = PICTURE_SIZES[rng.integers(len(PICTURE_SIZES))]
    return Scene(
        duration=duration,
        fps=FRAME_RATES[rng.integers(len(FRAME_RATES))],
        width=width,
        height=height,
        background=tuple(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))],
        objects=objects,
        events=tuple(
            replace(event, start=start, end=end) for event, (start, end) in zip(events, spans, strict=True)
        ),
        seed=int(rng.integers(VARIANTS * 1_000_000)),
        split=split,
    )


def _acts_in_sight(scene: Scene) -> bool:
    """Whether each thing is visible at the start and end of its events; it could walk back behind its cover."""
    for event in scene.events:
        begins, ends = (
            visible_boxes(scene, time)[event.thing] is not None for time in (event.start, event.end)
        )
        if begins == (event.action in OPENING_ACTIONS) or ends == (event.action in CLOSING_ACTIONS):
            return False
    return True


# ---------------------------------------------------------------------------------------------------------- twins


def reorderings(scene: Scene) -> list[tuple[Event, ...]]:
    """All other possible orders of the scene's events, in the same time slots.

    A thing cannot act before it appears or after it has gone, and an order that looks the same is not another one.
    Stories of more than three events have none: no caption tells all of them, so none would tell their order.
    """
    if len(scene.events) > 3:
        return []
    slots = [(event.start, event.end) for event in scene.events]
    orders = []
    for order in itertools.permutations(scene.events):
        story = tuple(
            replace(event, start=start, end=end) for event, (start, end) in zip(order, slots, strict=True)
        )
        if story != scene.events and _is_possible(story) and _acts_in_sight(replace(scene, events=story)):
            orders.append(story)
    return orders


def can_twin(scene: Scene) -> bool:
    """Whether another order of the scene's events is possible."""
    return bool(reorderings(scene))


def twin_of(scene: Scene) -> Scene:
    """The same things in the same places, with their events in another order.

    Raises:
        ValueError: the scene has no twin; ask `can_twin` first.
    """
    orders = reorderings(scene)
    if not orders:
        raise ValueError("this scene has no order-swapped twin; ask can_twin first")
    return replace(scene, events=orders[scene.seed % len(orders)])


def _is_possible(events: Sequence[Event]) -> bool:
    acted: set[int] = set()
    gone: set[int] = set()
    for event in events:
        if event.thing in gone or (event.action in OPENING_ACTIONS and event.thing in acted):
            return False
        acted.add(event.thing)
        if event.action in CLOSING_ACTIONS:
            gone.add(event.thing)
    return True


# ----------------------------------------------------------------------------------------------------- who does what


@dataclass(slots=True)
class _Actor:
    kind: str
    colour: str
    size: str
    texture: str
    actions: list[str]


@dataclass(slots=True)
class _Cast:
    actors: list[_Actor]
    owners: list[int]
    cover: str | None


def _cast(rng: np.random.Generator, split: str, long: bool) -> _Cast:
    """The actors, in order, and the actions of each."""
    events = int(rng.integers(6, 11)) if long else 2 + int(rng.random() < 0.35)
    if long:
        most = min(6, events // 2 + 2)
        count = int(rng.integers(max(-(-events // 3), most - 2), most + 1))
    else:
        count = 1 if rng.random() < LONELY_SHARE else int(rng.integers(2, events + 1))
    while True:
        owners = [*range(count), *(int(rng.integers(count)) for _ in range(events - count))]
        if max(owners.count(owner) for owner in owners) <= 3:
            break
    rng.shuffle(owners)
    coverable = int(rng.integers(count)) if rng.random() < (0.5 if long else 0.22) else -1

    actors: list[_Actor] = []
    taken: set[tuple[str, str]] = set()
    for index in range(count):
        actions = _actions(rng, owners.count(index), covered=index == coverable)
        kind, colour = _actor_pair(rng, split, actors, taken)
        taken.add((kind, colour))
        sizes = tuple(SIZES)
        if "grows" in actions or index == coverable:
            sizes = ("small", "medium")
        if "shrinks" in actions:
            sizes = ("medium", "big")
        if long:
            sizes = tuple(size for size in sizes if size != "big") or sizes
        texture = TEXTURES[int(rng.choice(3, p=(0.5, 0.25, 0.25)))]
        if "spins" in actions and kind in ROUND_KINDS and texture == "plain":
            texture = "striped"
        actors.append(_Actor(kind, colour, choose(rng, sizes), texture, actions))
    covered = any(action in ("hides", "comes out") for actor in actors for action in actor.actions)
    return _Cast(actors, owners, choose(rng, tuple(COVERS)) if covered else None)


def _actions(rng: np.random.Generator, count: int, covered: bool) -> list[str]:
    """`count` different actions that one thing can do in this order."""
    # Growing and shrinking would cancel out, and a covered thing must stay smaller than its cover.
    banned = "grows" if covered or rng.random() < 0.5 else "shrinks"
    middle = [action for action in _MIDDLE_ACTIONS if action != banned]
    rng.shuffle(middle)
    chosen = middle[:count]
    if covered:
        if rng.random() < 0.55:
            chosen[-1] = "hides"
        else:
            chosen[0] = "comes out"
    elif rng.random() < 0.13:
        chosen[0] = "appears"
    elif rng.random() < 0.15:
        chosen[-1] = "disappears"
    return chosen


def _actor_pair(
    rng: np.random.Generator, split: str, others: Sequence[_Actor], taken: set[tuple[str, str]]
) -> tuple[str, str]:
    """Kind and colour of a new actor; it often shares one of them with another actor, but never both."""
    pool = _SHOWN_PAIRS
    if split == "test" and rng.random() < HELD_OUT_SHARE:
        pool = _HELD_OUT_LIST
    if others and rng.random() < 0.4:
        other = others[int(rng.integers(len(others)))]
        alike = 0 if rng.random() < 0.5 else 1
        near = tuple(pair for pair in pool if pair[alike] == (other.kind, other.colour)[alike])
        pool = tuple(pair for pair in near if pair not in taken) or pool
    while True:
        pair = pool[int(rng.integers(len(pool)))]
        if pair not in taken:
            return pair


# ------------------------------------------------------------------------------------------------------ who is where


@dataclass(slots=True)
class _Reach:
    """The largest distances of a thing's edges from its start, over all orders of its events."""

    left: float
    top: float
    right: float
    bottom: float

    def box(self, x: float, y: float) -> tuple[float, float, float, float]:
        return x - self.left, y - self.top, x + self.right, y + self.bottom


def _amount(rng: np.random.Generator, action: str) -> float:
    if action in ("moves left", "rises"):
        return -round(float(rng.uniform(0.28, 0.5)), 3)
    if action in ("moves right", "falls"):
        return round(float(rng.uniform(0.28, 0.5)), 3)
    if action == "grows":
        return round(float(rng.uniform(1.65, 1.9)), 3)
    if action == "shrinks":
        return round(1 / float(rng.uniform(1.65, 1.9)), 3)
    if action == "spins":
        return float(rng.choice((-1.0, 1.0)))
    return 0.0


def _reach(size: str, actions: Sequence[str], amounts: Sequence[float]) -> _Reach:
    half = SIZES[size] / 2
    if "grows" in actions:
        half *= amounts[actions.index("grows")]
    turned = half * (1.3 if "spins" in actions or "shakes" in actions else 0.96)
    left = right = turned + (0.03 if "shakes" in actions else 0)
    top = bottom = turned
    if "jumps" in actions:
        top += JUMP_HEIGHT
    for action, amount in zip(actions, amounts, strict=True):
        if action in ("moves left", "moves right", "comes out"):
            left, right = left + max(0.0, -amount), right + max(0.0, amount)
        elif action in ("rises", "falls"):
            top, bottom = top + max(0.0, -amount), bottom + max(0.0, amount)
    return _Reach(left, top, right, bottom)


Box = tuple[float, float, float, float]


def _overlap(one: Box, other: Box) -> float:
    """The shared area as a fraction of the smaller box."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    if wide <= 0 or high <= 0:
        return 0.0
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return wide * high / smaller


def _spot(
    rng: np.random.Generator, reach: _Reach, filled: Sequence[Box], most: float
) -> tuple[float, float] | None:
    """A place where a thing stays on the stage and overlaps others by at most `most`; None if there is none."""
    low_x, high_x = reach.left + _EDGE, 1 - reach.right - _EDGE
    low_y, high_y = reach.top + _EDGE, 1 - reach.bottom - _EDGE
    if low_x > high_x or low_y > high_y:
        return None
    best, best_overlap = None, most
    for _ in range(14):
        x, y = round(float(rng.uniform(low_x, high_x)), 3), round(float(rng.uniform(low_y, high_y)), 3)
        box = reach.box(x, y)
        overlap = max((_overlap(box, other) for other in filled), default=0.0)
        if overlap < best_overlap or (best is None and overlap == 0):
            best, best_overlap = (x, y), overlap
        if overlap == 0:
            break
    return best


def _place(
    rng: np.random.Generator, cast: _Cast, split: str, long: bool
) -> tuple[tuple[Thing, ...], list[Event]] | None:
    """Things with places, and events without times; None if there is no room."""
    filled: list[Box] = []
    cover: Thing | None = None
    if cast.cover is not None:
        reach = _reach("big", (), ())
        spot = _spot(rng, reach, (), 1.0)
        assert spot is not None, "an empty stage has room for a cover"
        cover = Thing(cast.cover, COVERS[cast.cover], "big", "plain", *spot)
        filled.append(reach.box(*spot))

    actors: list[Thing] = []
    amounts: list[list[float]] = []
    for actor in cast.actors:
        measures = [_amount(rng, action) for action in actor.actions]
        crowd = 0.45 if long else 0.3
        if cover is not None and "comes out" in actor.actions:
            measures[0] = round(float(rng.uniform(0.36, 0.5)) * (1 if cover.x < 0.5 else -1), 3)
            spot = _spot_behind(actor, measures, cover, filled, crowd)
        else:
            spot = _spot_in_front(rng, actor, measures, cover, filled, crowd)
        if spot is None:
            return None
        actors.append(Thing(actor.kind, actor.colour, actor.size, actor.texture, *spot))
        amounts.append(measures)

    distractors: list[Thing] = []
    for _ in range(int(rng.integers(0, 3) if long else rng.integers(1, 4))):
        look = _distractor(rng, split, actors)
        reach = _reach(look.size, (), ())
        spot = _spot(rng, reach, filled, 0.15)
        if spot is not None:
            distractors.append(replace(look, x=spot[0], y=spot[1]))
            filled.append(reach.box(*spot))
    if not long and not distractors:
        return None

    first = len(distractors)
    things = (*distractors, *actors, *(() if cover is None else (cover,)))
    done = [0] * len(actors)
    events = []
    for owner in cast.owners:
        action, amount = cast.actors[owner].actions[done[owner]], amounts[owner][done[owner]]
        behind = len(things) - 1 if action in ("hides", "comes out") else None
        events.append(Event(first + owner, action, 0.0, 0.0, amount, behind))
        done[owner] += 1
    return things, events


def _spot_behind(
    actor: _Actor, amounts: Sequence[float], cover: Thing, filled: list[Box], crowd: float
) -> tuple[float, float] | None:
    """The place of the cover for an actor that will come out, if the way is free; adds the way to `filled`."""
    left, top, right, bottom = _reach(actor.size, actor.actions, amounts).box(cover.x, cover.y)
    if min(left, top) < _EDGE or max(right, bottom) > 1 - _EDGE:
        return None
    half = SIZES[cover.size] / 2
    way = (cover.x + half, top, right, bottom) if amounts[0] > 0 else (left, top, cover.x - half, bottom)
    if max((_overlap(way, other) for other in filled[1:]), default=0.0) > crowd:
        return None
    filled.append(way)
    return cover.x, cover.y


def _spot_in_front(
    rng: np.random.Generator,
    actor: _Actor,
    amounts: Sequence[float],
    cover: Thing | None,
    filled: list[Box],
    crowd: float,
) -> tuple[float, float] | None:
    """A place for an actor that starts in the open, away from the cover; adds its reach to `filled`."""
    reach = _reach(actor.size, actor.actions, amounts)
    spot = _spot(rng, reach, filled, crowd)
    if spot is None:
        return None
    box = reach.box(*spot)
    if cover is not None and _overlap(box, filled[0]) > (0.0 if "hides" in actor.actions else 0.1):
        return None
    filled.append(box)
    return spot


def _distractor(rng: np.random.Generator, split: str, actors: Sequence[Thing]) -> Thing:
    """A thing that does nothing, and often looks similar to an actor."""
    model = actors[int(rng.integers(len(actors)))]
    pool = _PAIRS if split == "test" else _SHOWN_PAIRS
    likeness = rng.random()
    if likeness < 0.3:
        pool = tuple(pair for pair in pool if pair[0] == model.kind and pair[1] != model.colour)
    elif likeness < 0.55:
        pool = tuple(pair for pair in pool if pair[1] == model.colour and pair[0] != model.kind)
    elif likeness < 0.75:
        sizes = tuple(size for size in SIZES if size != model.size)
        return Thing(model.kind, model.colour, choose(rng, sizes), choose(rng, TEXTURES), 0.0, 0.0)
    kind, colour = pool[int(rng.integers(len(pool)))]
    return Thing(kind, colour, choose(rng, tuple(SIZES)), choose(rng, TEXTURES), 0.0, 0.0)


def _time_slots(rng: np.random.Generator, count: int, long: bool) -> tuple[list[tuple[float, float]], float]:
    """Start and end of each of `count` events, and the duration of the video; seconds."""
    if long:
        target = float(rng.uniform(20.5, 39.5))
        weights = rng.uniform(0.8, 1.2, count)
        lengths = np.clip(0.62 * target * weights / weights.sum(), 1.2, 3.6)
        pauses = rng.uniform(0.6, 1.4, count + 1)
        pauses *= (target - lengths.sum()) / pauses.sum()
    else:
        lengths = rng.uniform(1.15, 2.5) * rng.uniform(0.88, 1.15, count)
        pauses = rng.uniform(0.15, 0.4, count + 1)
        pauses[[0, -1]] += 0.2
        pauses *= max(1.0, (3.5 - lengths.sum()) / pauses.sum())
    slots, time = [], 0.0
    for pause, length in zip(pauses, lengths, strict=False):
        time += float(pause)
        slots.append((round(time, 3), round(time + float(length), 3)))
        time += float(length)
    return slots, round(time + float(pauses[-1]), 3)
