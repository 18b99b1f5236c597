"""Clips of long videos: nothing is left out, sizes are those of the clip, and each query has one answer."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from prost.data.toybox import Caption, Claim, Event, LongGallery, Scene, Thing, excerpts, holds, long_gallery
from prost.data.toybox.sampling import sample_scene
from prost.errors import UsageError


def growing_ball() -> Scene:
    """A small ball grows from second 1 to 2; three more events follow, one every two seconds."""
    actions = ("grows", "jumps", "spins", "blinks")
    return Scene(
        duration=9.0,
        fps=12,
        width=96,
        height=96,
        background="sea",
        objects=(Thing("ball", "red", "small", "striped", 0.5, 0.5),),
        events=tuple(
            Event(0, action, 1 + 2 * place, 2 + 2 * place, 1.9 if action == "grows" else 0.0)
            for place, action in enumerate(actions)
        ),
        seed=0,
        split="test",
    )


def test_clips_are_cut_in_the_middle_of_pauses_and_a_thing_has_the_size_of_its_clip() -> None:
    first, second = excerpts(growing_ball(), np.random.default_rng(0))
    assert (first.start, first.end, second.start, second.end) == (0.0, 4.5, 4.5, 9.0)
    assert [event.action for event in first.story().events] == ["grows", "jumps"]
    assert [event.action for event in second.story().events] == ["spins", "blinks"]
    # 0.22 of the stage x 1.9 is 0.418, close to the 0.43 of a big thing.
    assert (first.story().objects[0].size, second.story().objects[0].size) == ("small", "big")


@pytest.mark.parametrize("seed", range(6))
def test_every_event_is_in_one_clip_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng, "test", long=True)
    clips = excerpts(scene, rng)
    assert len(clips) >= 2
    assert [event for clip in clips for event in clip.story().events] == list(scene.events)
    assert clips[0].start == 0 and clips[-1].end == scene.duration
    assert all(a.end == b.start for a, b in itertools.pairwise(clips))
    for clip in clips:
        assert len(clip.story().events) in (2, 3)
        assert all(clip.start < event.start < event.end < clip.end for event in clip.story().events)


@pytest.mark.parametrize("split", ["test", "val"])
def test_each_query_has_one_answer_by_looking_at_all(split: str) -> None:
    made = long_gallery("toybox-long-40", split)
    assert len(made) == len(made.excerpts) == len(made.queries) == 40
    stories = [excerpt.story() for excerpt in made.excerpts]
    for place, query in enumerate(made.queries):
        assert [i for i, story in enumerate(stories) if holds(query.claims, story)] == [place]
    assert {story.split for story in stories} == {split}
    # Two to five clips a video; the last video may give fewer.
    assert 8 <= made.videos == len({excerpt.scene for excerpt in made.excerpts}) <= 20


def test_a_name_gives_one_gallery() -> None:
    assert long_gallery("toybox-long-12") == long_gallery("toybox-long-12")
    assert long_gallery("toybox-long-12").queries != long_gallery("toybox-long-13").queries[:12]


def test_a_query_that_is_true_of_two_clips_is_refused() -> None:
    clips = tuple(excerpts(growing_ball(), np.random.default_rng(0)))
    spins = Caption("", (Claim("ball", "red", None, None, "spins"),))
    grows = Caption("", (Claim("ball", "red", None, None, "grows"),))
    assert len(LongGallery("by-hand", clips, (grows, spins))) == 2
    again = replace(clips[1], scene=replace(growing_ball(), seed=1))
    with pytest.raises(ValueError, match="query 1"):
        LongGallery("by-hand", (*clips, again), (grows, spins, spins))


@pytest.mark.parametrize(
    ("name", "split"), [("toybox-40", "test"), ("toybox-long-0", "test"), ("toybox-long-8", "dev")]
)
def test_names_that_nothing_has(name: str, split: str) -> None:
    with pytest.raises(UsageError):
        long_gallery(name, split)
