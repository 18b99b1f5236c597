"""Sentences about a scene, and whether they are true.

A caption is a text and its meaning, a tuple of claims; truth is decided on claims and scene records alone, never on
pixels. Every caption of a whole story pins its order down: no claim in it is true of two events of the story, so in any
other order of the same events it is false.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .drawing import COLOURS, COVERS, KINDS
from .motion import events_of, pose_at, visible_boxes
from .scene import SIZES, Event, Scene, Thing

LONGEST = 28
"""Largest number of words and commas of a caption."""

KIND_WORDS: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in (*KINDS, *COVERS)} | {
    "ring": ("ring", "hoop"),
    "cross": ("cross", "plus sign"),
    "moon": ("moon", "crescent moon"),
    "boat": ("boat", "sailing boat", "ship"),
    "house": ("house", "cottage"),
    "car": ("car", "motor car"),
    "rocket": ("rocket", "spaceship"),
    "cat": ("cat", "kitten"),
    "umbrella": ("umbrella", "parasol"),
    "flower": ("flower", "blossom"),
    "mushroom": ("mushroom", "toadstool"),
    "cup": ("cup", "mug"),
    "box": ("box", "crate"),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "big": ("big", "large")}
TEXTURE_WORDS = {
    "plain": ("plain",),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
}
ACTION_WORDS: dict[str, tuple[str, ...]] = {
    "moves left": ("moves left", "moves to the left", "goes left", "slides to the left"),
    "moves right": ("moves right", "moves to the right", "goes right", "slides to the right"),
    "rises": ("rises", "goes up", "moves up", "floats up"),
    "falls": ("falls", "falls down", "drops", "goes down"),
    "grows": ("grows", "gets bigger", "becomes larger"),
    "shrinks": ("shrinks", "gets smaller", "becomes smaller"),
    "spins": ("spins", "turns around", "rotates"),
    "blinks": ("blinks", "flashes", "flickers"),
    "jumps": ("jumps", "hops", "leaps"),
    "shakes": ("shakes", "wobbles", "trembles"),
    "hides": ("hides behind", "goes behind", "slips behind"),
    "comes out": ("comes out from behind", "appears from behind", "peeks out from behind"),
    "appears": ("appears", "shows up", "pops up"),
    "disappears": ("disappears", "vanishes", "fades away"),
}

# {0} is the first event of the story. A later mention of the same thing can be "it" only where the order of the words
# is the order of the events.
_STORIES: dict[int, tuple[tuple[str, bool], ...]] = {
    1: (("{0}", True),),
    2: (
        ("{0}, then {1}", True),
        ("{0} and then {1}", True),
        ("first {0}, then {1}", True),
        ("{0}, and after that {1}", True),
        ("{0}, next {1}", True),
        ("{0} before {1}", True),
        ("before {1}, {0}", False),
        ("after {0}, {1}", True),
        ("{1} after {0}", False),
    ),
    3: (
        ("{0}, then {1}, then {2}", True),
        ("first {0}, then {1}, and finally {2}", True),
        ("{0}, {1}, and at last {2}", True),
        ("{0}, next {1}, and then {2}", True),
        ("after {0}, {1} and then {2}", True),
        ("{0} before {1}, and then {2}", True),
        ("{1} after {0}, and then {2}", False),
        ("{0}, and after that {1}, then {2}", True),
    ),
}
_PLACES_ACROSS = ("on the left", "", "on the right")
_PLACES_DOWN = ("at the top", "", "at the bottom")
_MIDDLE = "in the middle"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that a thing of this description exists, or does this; a field that is None is true of anything."""

    kind: str
    colour: str | None
    size: str | None
    texture: str | None
    action: str | None
    cover: str | None = None


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence and its claims, in the order of time (not of words)."""

    text: str
    claims: tuple[Claim, ...]


# ------------------------------------------------------------------------------------------------------------ truth


def _is_true_of(claim: Claim, event: Event, scene: Scene) -> bool:
    thing = scene.objects[event.thing]
    return (
        claim.action in (None, event.action)
        and claim.kind == thing.kind
        and claim.colour in (None, thing.colour)
        and claim.size in (None, thing.size)
        and claim.texture in (None, thing.texture)
        and (
            claim.cover is None
            or (event.cover is not None and claim.cover == scene.objects[event.cover].kind)
        )
    )


def holds(claims: Sequence[Claim], scene: Scene) -> bool:
    """Whether events of the scene match all claims in order: each claim's event is later than the previous claim's.

    Sizes are those at the video's start: a small ball that grows stays "the small ball" of its story.
    """
    events: Iterator[Event] = iter(scene.events)
    # The earliest match for each claim leaves the most events for the following claims.
    return all(any(_is_true_of(claim, event, scene) for event in events) for claim in claims)


def holds_in_any_order(claims: Sequence[Claim], scene: Scene) -> bool:
    """Whether the scene has a different event for each claim, in any order."""
    return any(
        all(_is_true_of(claim, event, scene) for claim, event in zip(claims, chosen, strict=True))
        for chosen in itertools.permutations(scene.events, len(claims))
    )


# --------------------------------------------------------------------------------------------------------- sentences


def choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of some words, each as likely as the others."""
    return options[int(rng.integers(len(options)))]


def _with_article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _length(text: str) -> int:
    return len(text.split()) + text.count(",")


def _claim(rng: np.random.Generator, scene: Scene, event: Event, detail: float) -> Claim:
    """The claim about one event; `detail` (0..1) is the probability of each attribute other than the colour."""
    thing = scene.objects[event.thing]
    texture_chance = detail if thing.texture != "plain" else 0.15 * detail
    return Claim(
        kind=thing.kind,
        colour=thing.colour if rng.random() < 0.82 + 0.18 * detail else None,
        size=thing.size if thing.size in SIZE_WORDS and rng.random() < detail else None,
        texture=thing.texture if rng.random() < texture_chance else None,
        action=event.action,
        cover=None if event.cover is None else scene.objects[event.cover].kind,
    )


def _name(rng: np.random.Generator, thing: Thing | Claim) -> str:
    words = [
        choose(rng, SIZE_WORDS[thing.size]) if thing.size in SIZE_WORDS else "",
        choose(rng, TEXTURE_WORDS[thing.texture]) if thing.texture is not None else "",
        thing.colour or "",
        choose(rng, KIND_WORDS[thing.kind]),
    ]
    return " ".join(word for word in words if word)


def _action(rng: np.random.Generator, claim: Claim) -> str:
    assert claim.action is not None
    words = choose(rng, ACTION_WORDS[claim.action])
    if claim.cover is None:
        return words
    return f"{words} {choose(rng, ('a', 'the'))} {choose(rng, KIND_WORDS[claim.cover])}"


def _tell(rng: np.random.Generator, scene: Scene, events: Sequence[Event], detail: float) -> Caption:
    """One way to describe some events of a scene, in their order."""
    template, in_order = _STORIES[len(events)][int(rng.integers(len(_STORIES[len(events)])))]
    claims: list[Claim] = []
    clauses: list[str] = []
    article = choose(rng, ("the", "a", "a"))
    for index, event in enumerate(events):
        claim = _claim(rng, scene, event, detail)
        same = index > 0 and events[index - 1].thing == event.thing
        if same and in_order and rng.random() < 0.6:
            before = claims[-1]
            claim = Claim(before.kind, before.colour, before.size, before.texture, claim.action, claim.cover)
            subject = "it"
        else:
            name = _name(rng, claim)
            seen = any(earlier.thing == event.thing for earlier in events[:index])
            subject = f"the {name}" if article == "the" or (seen and in_order) else _with_article(name)
        claims.append(claim)
        clauses.append(f"{subject} {_action(rng, claim)}")
    return Caption(template.format(*clauses), tuple(claims))


def _pins_down(caption: Caption, events: Sequence[Event], scene: Scene) -> bool:
    """Whether each claim is true of its own event and of no other of the scene."""
    return all(
        [event for event in scene.events if _is_true_of(claim, event, scene)] == [own]
        for claim, own in zip(caption.claims, events, strict=True)
    )


def _caption(rng: np.random.Generator, scene: Scene, events: Sequence[Event]) -> Caption:
    # Actors differ in kind or colour, and none does the same twice, so that kind, colour and action are sufficient.
    for attempt in range(1000):
        detail = float(rng.uniform(0.1, 0.75)) if attempt < 20 else 0.0
        caption = _tell(rng, scene, events, detail)
        if _length(caption.text) <= LONGEST and _pins_down(caption, events, scene):
            return caption
    raise ValueError("two events of this scene cannot be told apart in words")


def describe(scene: Scene, rng: np.random.Generator) -> Caption:
    """A sentence about the whole story, or about two or three successive events of a longer story."""
    events = scene.events
    if len(events) > 3:
        count = int(rng.integers(2, 4))
        first = int(rng.integers(len(events) - count + 1))
        events = events[first : first + count]
    return _caption(rng, scene, events)


def describe_event(scene: Scene, index: int, rng: np.random.Generator) -> Caption:
    """A sentence about one event that is true of no other event of the scene."""
    return _caption(rng, scene, scene.events[index : index + 1])


def describe_frame(scene: Scene, time: float, rng: np.random.Generator, most: int | None = None) -> str:
    """A sentence about one picture without events: the visible things, sometimes with their positions.

    Sizes are those of the picture. What has no room within `LONGEST` is left out, and so is what comes after
    `most` things, drawn by lot.
    """
    parts: list[str] = []
    boxes = visible_boxes(scene, time)
    shown = [index for index, box in enumerate(boxes) if box is not None]
    rng.shuffle(shown)
    for index in shown[:most]:
        thing = scene.objects[index]
        pose = pose_at(scene, thing, events_of(scene, index), time)
        look = _look(rng, replace(thing, size=size_at(pose.side)), colour=0.92, size=0.45)
        part = _with_article(_name(rng, look))
        if rng.random() < 0.35:
            part = f"{part} {_place(rng, pose.x, pose.y)}"
        if _length(" ".join(parts)) + _length(part) + len(parts) + 2 > LONGEST:
            continue
        parts.append(part)
    if not parts:
        return "nothing"
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def describe_thing(scene: Scene, index: int, time: float, rng: np.random.Generator) -> Caption:
    """A sentence about what one thing is at a time, without what it does; its size is that in the picture."""
    thing = scene.objects[index]
    pose = pose_at(scene, thing, events_of(scene, index), time)
    claim = _look(rng, replace(thing, size=size_at(pose.side)), colour=0.5, size=0.3)
    return Caption(_with_article(_name(rng, claim)), (claim,))


def _look(rng: np.random.Generator, thing: Thing, colour: float, size: float) -> Claim:
    """The claim about a thing that does nothing; colour and size are named with these probabilities."""
    textured = thing.texture != "plain" and thing.kind in KINDS
    return Claim(
        kind=thing.kind,
        colour=thing.colour if rng.random() < colour else None,
        size=thing.size if rng.random() < size else None,
        texture=thing.texture if rng.random() < (0.5 if textured else 0.05) else None,
        action=None,
    )


def size_at(side: float) -> str:
    """The size that a thing is called by when its drawing has this side, a fraction of the stage's."""
    return min(SIZES, key=lambda name: abs(np.log(SIZES[name] / side)))


def _place(rng: np.random.Generator, x: float, y: float) -> str:
    across = _PLACES_ACROSS[0 if x < 0.36 else 2 if x > 0.64 else 1]
    down = _PLACES_DOWN[0 if y < 0.36 else 2 if y > 0.64 else 1]
    places = [place for place in (across, down) if place]
    return choose(rng, places) if places else _MIDDLE


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can have, and the comma, sorted."""
    phrases = [
        *itertools.chain.from_iterable(KIND_WORDS.values()),
        *itertools.chain.from_iterable(SIZE_WORDS.values()),
        *itertools.chain.from_iterable(TEXTURE_WORDS.values()),
        *itertools.chain.from_iterable(ACTION_WORDS.values()),
        *(
            template.format("", "", "").replace(",", " , ")
            for ways in _STORIES.values()
            for template, _ in ways
        ),
        *_PLACES_ACROSS,
        *_PLACES_DOWN,
        _MIDDLE,
        *COLOURS,
        *COVERS.values(),
        "a an the it and nothing",
    ]
    return tuple(sorted(set(" ".join(phrases).split())))
