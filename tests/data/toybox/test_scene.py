"""The record: equal scenes give equal lines, and a line holds all there is to know."""

import json
from dataclasses import replace

from prost.data.toybox import Event, Scene, Thing

SCENE = Scene(
    duration=4.0,
    fps=12,
    width=320,
    height=240,
    background="sea",
    objects=(Thing("ball", "red", "small", "plain", 0.5, 0.2),),
    events=(Event(0, "falls", 0.5, 2.0, 0.4), Event(0, "blinks", 2.5, 3.5)),
    seed=3,
    split="train",
)


def test_json_holds_every_field() -> None:
    record = json.loads(SCENE.to_json())
    rebuilt = Scene(
        **record
        | {
            "objects": tuple(Thing(**thing) for thing in record["objects"]),
            "events": tuple(Event(**event) for event in record["events"]),
        }
    )
    assert rebuilt == SCENE


def test_json_tells_scenes_apart() -> None:
    assert SCENE.to_json() == replace(SCENE).to_json()
    assert SCENE.to_json() != replace(SCENE, seed=4).to_json()
