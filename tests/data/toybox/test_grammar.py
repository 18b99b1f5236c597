"""Captions: true of their own scene, false in any other order, and made of known words."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prost.data.toybox import (
    Claim,
    Event,
    Scene,
    Thing,
    can_twin,
    describe,
    describe_event,
    describe_frame,
    holds,
    holds_in_any_order,
    sample_scene,
    scene_stream,
    twin_of,
    vocabulary,
)
from prost.data.toybox.grammar import LONGEST
from prost.data.toybox.sampling import reorderings

SEEDS = st.integers(0, 2**32 - 1)
WORDS = frozenset(vocabulary())

BALL = Thing("ball", "red", "small", "striped", 0.2, 0.5)
STAR = Thing("star", "blue", "medium", "plain", 0.5, 0.5)
WALL = Thing("wall", "grey", "big", "plain", 0.8, 0.5)
STORY = Scene(
    duration=8.0,
    fps=12,
    width=96,
    height=96,
    background="sea",
    objects=(BALL, STAR, WALL),
    events=(Event(0, "falls", 1, 2, 0.3), Event(1, "spins", 3, 4, 1.0), Event(0, "hides", 5, 6, 0.0, 2)),
    seed=0,
    split="train",
)


def _holds_by_search(claims: tuple[Claim, ...], scene: Scene) -> bool:
    """The definition of `holds`, by trying every increasing choice of events."""

    def fits(claim: Claim, event: Event) -> bool:
        thing = scene.objects[event.thing]
        said = {"kind": claim.kind, "colour": claim.colour, "size": claim.size, "texture": claim.texture}
        for attribute, value in said.items():
            if value is not None and getattr(thing, attribute) != value:
                return False
        if claim.cover is not None and (
            event.cover is None or scene.objects[event.cover].kind != claim.cover
        ):
            return False
        return claim.action == event.action

    for chosen in itertools.combinations(range(len(scene.events)), len(claims)):
        if all(fits(claim, scene.events[i]) for claim, i in zip(claims, chosen, strict=True)):
            return True
    return False


FALLS = Claim("ball", "red", None, None, "falls")
SPINS = Claim("star", None, None, None, "spins")
HIDES = Claim("ball", None, "small", "striped", "hides", "wall")


@pytest.mark.parametrize(
    ("claims", "true"),
    [
        ((), True),
        ((FALLS,), True),
        ((FALLS, SPINS, HIDES), True),
        ((FALLS, HIDES), True),
        ((SPINS, FALLS), False),
        ((FALLS, FALLS), False),
        ((replace(FALLS, colour="blue"),), False),
        ((replace(FALLS, size="big"),), False),
        ((replace(FALLS, texture="plain"),), False),
        ((replace(HIDES, cover="box"),), False),
        ((replace(HIDES, cover=None),), True),
    ],
)
def test_holds_on_a_story_one_can_read(claims: tuple[Claim, ...], true: bool) -> None:
    assert holds(claims, STORY) is true
    assert _holds_by_search(claims, STORY) is true


def test_any_order_forgets_order_but_not_number() -> None:
    assert holds_in_any_order((SPINS, FALLS), STORY)
    assert not holds_in_any_order((FALLS, FALLS), STORY)
    assert not holds_in_any_order((replace(SPINS, colour="red"),), STORY)


def test_holds_as_the_search_does_on_short_and_long_scenes() -> None:
    rng = np.random.default_rng(0)
    scenes = [
        *itertools.islice(scene_stream("test", 8), 60),
        *itertools.islice(scene_stream("test", 8, long=True), 20),
    ]
    found = 0
    for scene in scenes:
        claims = describe(scene, rng).claims
        vague = tuple(replace(claim, colour=None, size=None, texture=None) for claim in claims)
        for told in [claims, vague, claims[::-1], vague[:1]]:
            for other in (scene, scenes[int(rng.integers(len(scenes)))]):
                assert holds(told, other) == _holds_by_search(told, other)
                found += holds(told, other)
    assert found > len(scenes)


@given(seed=SEEDS)
@settings(max_examples=150, deadline=None)
def test_a_story_holds_on_its_scene_and_in_no_other_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng, "test")
    caption = describe(scene, rng)
    assert len(caption.claims) == len(scene.events)
    assert holds(caption.claims, scene)
    for story in reorderings(scene):
        assert not holds(caption.claims, replace(scene, events=story))
        assert holds_in_any_order(caption.claims, replace(scene, events=story))
    if can_twin(scene):
        assert not holds(caption.claims, twin_of(scene))


@given(seed=SEEDS, long=st.booleans())
@settings(max_examples=100, deadline=None)
def test_texts_are_short_lower_case_and_of_known_words(seed: int, long: bool) -> None:
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng, "test", long=long)
    texts = [describe(scene, rng).text, describe_frame(scene, float(rng.uniform(0, scene.duration)), rng)]
    texts += [describe_event(scene, index, rng).text for index in range(len(scene.events))]
    for text in texts:
        words = text.replace(",", " , ").split()
        assert words
        assert len(words) <= LONGEST
        assert set(words) <= WORDS
        assert text == " ".join(words).replace(" ,", ",")
        assert text.isascii() and text == text.lower()
        assert all(one != other for one, other in itertools.pairwise(words))
        for article, word in itertools.pairwise(words):
            assert article not in ("a", "an") or (article == "an") == (word[0] in "aeiou")


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_one_event_s_caption_is_true_of_that_event_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng, "train", long=True)
    for index in range(len(scene.events)):
        claims = describe_event(scene, index, rng).claims
        true_of = [i for i, e in enumerate(scene.events) if holds(claims, replace(scene, events=(e,)))]
        assert true_of == [index]


def test_paraphrases_are_many_and_repeat_for_a_seed() -> None:
    texts = [describe(STORY, np.random.default_rng(seed)).text for seed in range(60)]
    assert len(set(texts)) > 50
    assert texts == [describe(STORY, np.random.default_rng(seed)).text for seed in range(60)]


def test_words_before_and_after_keep_the_order_of_events() -> None:
    two = replace(STORY, events=STORY.events[:2])
    seen = set()
    for seed in range(300):
        caption = describe(two, np.random.default_rng(seed))
        assert [claim.action for claim in caption.claims] == ["falls", "spins"]
        words = caption.text.split()
        first = next(i for i, word in enumerate(words) if word == "ball")
        second = next(i for i, word in enumerate(words) if word == "star")
        swapped = words[0] == "before" or ("after" in words and words[0] != "after" and "that" not in words)
        assert (second < first) == swapped
        seen.add(swapped)
    assert seen == {True, False}


def test_it_is_the_thing_of_the_clause_before() -> None:
    story = replace(STORY, events=(STORY.events[0], replace(STORY.events[2], start=3, end=4)))
    claims = [describe(story, np.random.default_rng(seed)) for seed in range(60)]
    with_it = [caption.claims for caption in claims if " it " in caption.text]
    assert with_it
    for first, second in with_it:
        assert (first.kind, first.colour, first.size) == (second.kind, second.colour, second.size)


def test_frame_names_what_is_seen_and_nothing_else() -> None:
    before = {describe_frame(STORY, 0.0, np.random.default_rng(seed)) for seed in range(20)}
    after = {describe_frame(STORY, 7.0, np.random.default_rng(seed)) for seed in range(20)}
    assert all("ball" in text and "star" in text and "wall" in text for text in before)
    assert all("ball" not in text and "star" in text and "wall" in text for text in after)
    assert not any("falls" in text or "spins" in text for text in before)


def test_empty_picture_says_so() -> None:
    scene = replace(STORY, objects=(BALL,), events=(Event(0, "appears", 1, 2),))
    assert describe_frame(scene, 0.0, np.random.default_rng(0)) == "nothing"


def test_events_that_words_cannot_tell_apart_are_refused() -> None:
    twice = (Event(0, "blinks", 1, 2), Event(0, "blinks", 3, 4))
    with pytest.raises(ValueError, match="told apart"):
        describe(replace(STORY, events=twice), np.random.default_rng(0))


def test_vocabulary_is_sorted_small_and_without_repeats() -> None:
    words = vocabulary()
    assert list(words) == sorted(set(words))
    assert len(words) < 300
    assert {",", "a", "an", "it", "before", "after", "then"} <= WORDS
