"""`prost demo`: its sentences are true of one moment, and nothing is made twice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prost.apps.cli.demo import SINGLE_EVENTS, WHOLE_VIDEOS, questions

Prost = Callable[..., Any]


def video(name: str, duration: float, *events: tuple[str, int], twin: str | None = None) -> dict[str, Any]:
    """A line of captions.jsonl with a red ball (0) and a blue boat (1), told by events of text and actor."""
    return {
        "video": name,
        "captions": [f"the caption of {name}"],
        "duration": duration,
        "twin": twin,
        "events": [
            {"text": text, "start": float(place), "end": place + 1.0, "objects": [actor]}
            for place, (text, actor) in enumerate(events)
        ],
        "objects": [{"name": "ball", "colour": "red"}, {"name": "boat", "colour": "blue"}],
    }


def test_a_twin_comes_first_and_events_of_the_longest_videos_last() -> None:
    long = video("long.mp4", 40.0, ("the green kite falls", 2), ("a red ball falls", 0))
    long["objects"].append({"name": "kite", "colour": "green"})
    short = [video(f"{place}.mp4", 3.0 + place) for place in range(8)]
    short[1]["twin"] = "7.mp4"
    asked = questions(Path("/v"), [long, *short])
    assert asked[0][0] == "the caption of 1.mp4"
    assert asked[-1][0] == "the green kite falls"
    truth = asked[-1][1]
    assert (truth.path, truth.start, truth.end) == (Path("/v/long.mp4"), 0.0, 1.0)
    assert len(asked) == WHOLE_VIDEOS + 1
    assert len({sentence for sentence, _ in asked}) == len(asked)


@pytest.mark.parametrize(
    "events",
    [
        [("a red ball falls", 0)],  # another video has a red ball
        [("the green kite falls", 2), ("it spins", 2)],  # it acts twice
        [("a kite falls", 2)],  # without its colour it may be another one
    ],
)
def test_an_event_that_could_be_meant_elsewhere_is_not_asked(events: list[tuple[str, int]]) -> None:
    long = video("long.mp4", 40.0, *events)
    long["objects"].append({"name": "kite", "colour": "green"})
    asked = questions(Path("/v"), [long, *(video(f"{place}.mp4", 3.0) for place in range(4))])
    assert "long.mp4" not in {truth.path.name for _, truth in asked}


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch, untrained_folder: Path, prost: Prost, tmp_path: Path) -> Any:
    """The demo with an untrained model: what it makes matters here, not what it finds."""
    monkeypatch.setattr("prost.apps.cli.demo.BUNDLED", str(untrained_folder))
    return lambda: prost("demo", "--folder", tmp_path / "demo", "--videos", "8")


@pytest.mark.slow
def test_the_demo_makes_videos_a_library_and_a_page(small_demo: Any, tmp_path: Path) -> None:
    said = small_demo()
    folder = tmp_path / "demo"
    assert said.code == 0
    lines = (folder / "videos" / "captions.jsonl").read_text().splitlines()
    captions = [json.loads(line) for line in lines]
    assert len(captions) == len(list((folder / "videos").glob("*.mp4"))) == 8
    assert "8 added, 0 unchanged" in said.err
    asked = questions(folder / "videos", captions)
    assert WHOLE_VIDEOS <= len(asked) <= WHOLE_VIDEOS + SINGLE_EVENTS
    page = (folder / "index.html").read_text()
    for sentence, truth in asked:
        assert sentence in said.out and sentence in page
        assert truth.path.is_file() and truth.end <= 41
    assert f"of {len(asked)} sentences" in said.out
    assert said.out.splitlines()[-1].endswith("index ~/Videos --model siglip2-b16")

    before = {path: path.stat().st_mtime_ns for path in folder.glob("videos/*")}
    again = small_demo()
    assert again.code == 0
    assert "0 added, 8 unchanged" in again.err
    assert {path: path.stat().st_mtime_ns for path in folder.glob("videos/*")} == before
    assert again.out == said.out


@pytest.mark.slow
def test_the_bundled_model_finds_more_than_chance(prost: Prost, tmp_path: Path) -> None:
    said = prost("demo", "--folder", tmp_path / "demo")
    assert said.code == 0
    found, asked = said.out.split("came first for ")[1].split(" of ")
    # One of sixty videos is meant: two of six by chance happen once in 250 times.
    assert int(asked.split()[0]) == 6 and int(found) >= 2
