"""Scenes: possible, on the stage, apart by split; twins differ in nothing but order."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prost.data.toybox import Event, Scene, Thing, can_twin, sample_scene, scene_stream, twin_of
from prost.data.toybox.drawing import COLOURS, COVERS, KINDS
from prost.data.toybox.motion import visible_boxes
from prost.data.toybox.sampling import HELD_OUT_PAIRS, SPLITS, reorderings
from prost.data.toybox.scene import ACTIONS, SIZES

SEEDS = st.integers(0, 2**32 - 1)


def _scene(seed: int, long: bool = False) -> Scene:
    return sample_scene(np.random.default_rng(seed), "test", long=long)


@given(seed=SEEDS, long=st.booleans())
@settings(max_examples=60, deadline=None)
def test_length_number_and_order_of_events(seed: int, long: bool) -> None:
    scene = _scene(seed, long)
    assert (20 <= scene.duration <= 40) if long else (3.5 <= scene.duration <= 10)
    assert len(scene.events) in (range(6, 11) if long else (2, 3))
    times = [0.0, *itertools.chain.from_iterable((e.start, e.end) for e in scene.events), scene.duration]
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    assert scene.width % 2 == 0 and scene.height % 2 == 0


@given(seed=SEEDS, long=st.booleans())
@settings(max_examples=60, deadline=None)
def test_everything_stays_on_the_stage_in_any_order(seed: int, long: bool) -> None:
    scene = _scene(seed, long)
    for story in [scene.events, *reorderings(scene)]:
        told = replace(scene, events=story)
        for time in np.linspace(0, scene.duration, 25):
            for box in visible_boxes(told, float(time)):
                assert box is None or (min(box) >= 0 and max(box) <= 1)


@given(seed=SEEDS, long=st.booleans())
@settings(max_examples=60, deadline=None)
def test_things_are_in_sight_while_they_act(seed: int, long: bool) -> None:
    scene = _scene(seed, long)
    for event in scene.events:
        seen_before = visible_boxes(scene, event.start)[event.thing] is not None
        seen_after = visible_boxes(scene, event.end)[event.thing] is not None
        assert seen_before == (event.action not in ("appears", "comes out"))
        assert seen_after == (event.action not in ("disappears", "hides"))


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_twin_differs_in_order_alone(seed: int) -> None:
    scene = _scene(seed)
    if not can_twin(scene):
        with pytest.raises(ValueError, match="can_twin"):
            twin_of(scene)
        return
    twin = twin_of(scene)
    assert replace(twin, events=scene.events) == scene
    assert twin.events != scene.events
    assert [(e.start, e.end) for e in twin.events] == [(e.start, e.end) for e in scene.events]
    done = [Counter((e.thing, e.action, e.amount, e.cover) for e in s.events) for s in (scene, twin)]
    assert done[0] == done[1]


def test_impossible_orders_are_no_twins() -> None:
    ball = Thing("ball", "red", "small", "plain", 0.5, 0.5)
    star = Thing("star", "blue", "small", "plain", 0.2, 0.5)
    scene = Scene(
        duration=5.0,
        fps=12,
        width=96,
        height=96,
        background="sea",
        objects=(ball, star),
        events=(),
        seed=0,
        split="train",
    )
    appears, blinks, gone = Event(0, "appears", 1, 2), Event(0, "blinks", 3, 4), Event(0, "disappears", 3, 4)
    assert not can_twin(replace(scene, events=(appears, blinks)))
    assert not can_twin(replace(scene, events=(replace(blinks, start=1, end=2), gone)))
    assert not can_twin(replace(scene, events=(appears, gone)))
    assert can_twin(replace(scene, events=(appears, replace(blinks, thing=1))))
    # Another order of equal events is the same story.
    assert not can_twin(replace(scene, events=(replace(blinks, start=1, end=2), blinks)))


def test_moves_are_far_and_growth_is_large() -> None:
    for scene in itertools.islice(scene_stream("train", 0), 200):
        for event in scene.events:
            if event.action in ("moves left", "moves right", "rises", "falls"):
                assert abs(event.amount) >= 0.25
                assert (event.amount < 0) == (event.action in ("moves left", "rises"))
            if event.action == "grows":
                assert event.amount >= 1.6
            if event.action == "shrinks":
                assert event.amount <= 1 / 1.6
    assert SIZES["small"] >= 1 / 8 and SIZES["big"] >= 1 / 3


def test_every_kind_colour_and_action_occurs() -> None:
    scenes = list(itertools.islice(scene_stream("train", 1), 600))
    actors = [scene.objects[event.thing] for scene in scenes for event in scene.events]
    assert {thing.kind for thing in actors} == set(KINDS)
    assert {thing.colour for thing in actors} == set(COLOURS)
    assert {event.action for scene in scenes for event in scene.events} == set(ACTIONS)
    assert {len({event.thing for event in scene.events}) for scene in scenes} == {1, 2, 3}


def test_held_out_pairs_are_seen_in_test_alone() -> None:
    share = len(HELD_OUT_PAIRS) / (len(KINDS) * len(COLOURS))
    assert 0.1 <= share <= 0.15
    assert {kind for kind, _ in HELD_OUT_PAIRS} == set(KINDS)
    assert {colour for _, colour in HELD_OUT_PAIRS} == set(COLOURS)
    for split in ("train", "val"):
        for long in (False, True):
            for scene in itertools.islice(scene_stream(split, 3, long=long), 150):
                assert not {(thing.kind, thing.colour) for thing in scene.objects} & HELD_OUT_PAIRS
    actors = [
        (scene.objects[index].kind, scene.objects[index].colour)
        for scene in itertools.islice(scene_stream("test", 3), 600)
        for index in {event.thing for event in scene.events}
    ]
    assert 0.2 <= np.mean([actor in HELD_OUT_PAIRS for actor in actors]) <= 0.3


def test_distractors_often_look_like_an_actor() -> None:
    alike = []
    for scene in itertools.islice(scene_stream("train", 4), 200):
        acting = {event.thing for event in scene.events}
        actors = [scene.objects[index] for index in acting]
        others = [t for i, t in enumerate(scene.objects) if i not in acting and t.kind not in COVERS]
        assert 1 <= len(others) <= 3
        alike += [any(o.kind == a.kind or o.colour == a.colour for a in actors) for o in others]
    assert np.mean(alike) > 0.6


def test_most_stories_have_several_actors() -> None:
    actors = [
        len({event.thing for event in scene.events})
        for scene in itertools.islice(scene_stream("train", 5), 400)
    ]
    assert {1, 2, 3} <= set(actors)
    assert 0.08 < np.mean(np.array(actors) == 1) < 0.25


def test_splits_and_seeds_share_no_scene_and_repeat_themselves() -> None:
    lines = [
        scene.to_json().replace(split, "")
        for split in SPLITS
        for seed in (0, 1)
        for scene in itertools.islice(scene_stream(split, seed), 20)
    ]
    assert len(set(lines)) == len(lines)
    again = [scene.to_json() for scene in itertools.islice(scene_stream("val", 1), 20)]
    assert again == [scene.to_json() for scene in itertools.islice(scene_stream("val", 1), 20)]
