"""Sentences that have nothing to do with a library: what scores as high as they do may be chance.

They are drawn from a small grammar of who does what where, over topics as different as possible. Each part is ordinary,
but hardly any library shows a whole sentence ("a beekeeper tunes a piano on a glacier"). A model of drawn videos, which
does not know these words, gets captions of drawn scenes. Sentences differ in length, since a query is compared with
those that claim about as much (`search.confidence`).
"""

from __future__ import annotations

import functools
from typing import Protocol

import numpy as np

# Stored with scores of the sentences; count up with every change of what is drawn.
EDITION = 2
COUNT = 500
SEED = 4711
# A model that does not know one of so many sentences word by word is one of drawn videos.
ASKED = 8
# Toybox scenes that nothing else draws.
DRAWN_SPLIT, DRAWN_STREAM = "train", 107

_WHO = """
    a baker|a beekeeper|a judge in a robe|an astronaut|a lighthouse keeper|two nurses|a shepherd|a blacksmith|a toddler
    an old fisherman|a violinist|a clown|three firefighters|a potter|a sumo wrestler|a librarian|a bride|a coal miner
    a penguin|a camel|an owl|a swarm of bees|a grey donkey|a goldfish|an elephant calf|a hedgehog|two swans|a lizard
    a parrot|a sheepdog|a white horse|a tortoise|a bulldozer|a tractor|a cable car|an old steam train|a racing bicycle
    a submarine|a hot-air balloon|a forklift|a yellow taxi|a cargo ship|a glider|a street sweeper|a snowplough
    a crowd of tourists|a marching band|a school class|a chess player|a cyclist in the rain|a welder|a tailor
    a politician|a scuba diver|a dentist|a mountain guide|a surfer|a weaver|a monk|a pilot|a plumber|a magician
"""
_DOES = """
    tunes a piano|paints a fence|repairs a clock|peels oranges|folds paper cranes|reads a newspaper|sharpens a knife
    carries a ladder|waters tomato plants|builds a wall of bricks|plays the trumpet|measures a plank|ties a knot
    pours tea into a glass|sweeps up leaves|throws a javelin|blows out candles|rolls out dough|digs a hole
    opens a suitcase|waves a flag|pushes a wheelbarrow|falls asleep|jumps over a rope|turns around slowly
    stops at a red light|drives through a puddle|crosses a narrow bridge|disappears into thick fog|climbs a staircase
    waits beside a vending machine|slides down a slope|circles above the roofs|drifts past a buoy|backs into a garage
    collides with a traffic cone|passes under an arch|shakes off the water|stands in a queue|lifts a heavy crate
    knits a scarf|mixes green paint|cuts a ribbon|shows a card trick|gives a speech|signs a letter|counts coins
    feeds the pigeons|tries on a hat|washes a window|hangs up laundry|looks through a telescope|lights a stove
"""
_WHERE = """
    on a glacier|in a cathedral|at a petrol station|in a greenhouse|on an oil platform|in a television studio
    beside a canal|in a desert|at the foot of a volcano|on a tennis court|in a law court|under a motorway bridge
    on a roof garden|in a shoe shop|at a railway crossing|in a cave|on a frozen lake|in a bowling alley|at a harbour
    in a wheat field|in a hospital corridor|on a cricket ground|in a laundry|at an airport gate|in a vineyard
    in a rain forest|on a ferry|in an aquarium|at a night market|in a steelworks|in a planetarium|on a cobbled square
"""


class Reader(Protocol):
    """Whoever may know a word or not."""

    def unknown_words(self, sentence: str) -> list[str]:
        """Words that are not in its vocabulary."""


def unrelated_sentences(model: Reader, count: int = COUNT) -> list[str]:
    """The first `count` of endlessly many sentences; the same ones each time.

    Args:
        model: the sentences are in words that it knows.
        count: of sentences.
    """
    plain = plain_sentences(max(count, ASKED))
    if any(model.unknown_words(sentence) for sentence in plain[:ASKED]):
        return list(_drawn_sentences(count))
    return plain[:count]


def plain_sentences(count: int) -> list[str]:
    """Sentences about the real world, no two alike.

    >>> plain_sentences(2)[0]
    'two swans measure a plank'
    """
    random = np.random.default_rng(SEED)
    who, does, where = (_parts(text) for text in (_WHO, _DOES, _WHERE))

    def draw(parts: list[str]) -> str:
        return parts[int(random.integers(len(parts)))]

    def placed() -> str:
        return f"{_with_verb(draw(who), draw(does))} {draw(where)}"

    forms = (lambda: _with_verb(draw(who), draw(does)), placed, lambda: f"{placed()} while {placed()}")
    sentences: dict[str, None] = {}
    while len(sentences) < count:
        # In turns, so that the first few of them have all lengths, too.
        sentences[forms[len(sentences) % len(forms)]()] = None
    return list(sentences)


def _with_verb(who: str, does: str) -> str:
    """Subject and predicate that agree: "two nurses paint a fence"."""
    if not who.startswith(("two ", "three ")):
        return f"{who} {does}"
    verb, _, rest = does.partition(" ")
    for ending, plural in (("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("ies", "y")):
        if verb.endswith(ending) and verb != "ties":
            return f"{who} {verb.removesuffix(ending)}{plural} {rest}".rstrip()
    return f"{who} {verb.removesuffix('s')} {rest}".rstrip()


def _parts(text: str) -> list[str]:
    return [part.strip() for line in text.strip().splitlines() for part in line.split("|")]


@functools.cache  # drawing 500 scenes takes about a second, and a process can make many libraries
def _drawn_sentences(count: int) -> tuple[str, ...]:
    """Captions of Toybox scenes that no gallery shows: of a story and of a single event in turns."""
    from prost.data.toybox import describe, describe_event, scene_stream

    random = np.random.default_rng(SEED)
    sentences: dict[str, None] = {}
    for scene in scene_stream(DRAWN_SPLIT, DRAWN_STREAM):
        if len(sentences) == count:
            break
        caption = (
            describe(scene, random)
            if len(sentences) % 2 == 0
            else describe_event(scene, int(random.integers(len(scene.events))), random)
        )
        sentences[caption.text] = None
    return tuple(sentences)
