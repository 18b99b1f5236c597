"""`prost explain`: the reason why a video fits, as tables, JSON and figures."""

from __future__ import annotations

from pathlib import Path

import pytest

QUERY = "a red ball falls"


def test_json_adds_up(prost, videos: Path, indexed: Path) -> None:
    said = prost("explain", QUERY, "--video", videos / "red.mp4", "--library", indexed, "--json")
    assert said.code == 0
    values = said.json
    assert values["video"] == str(videos / "red.mp4")
    assert values["event_sentence"] + sum(slot["share"] for slot in values["slots"]) == pytest.approx(
        values["score"], abs=1e-5
    )
    assert {"slot", "phrase", "words", "frame", "time", "cosine", "share"} == values["slots"][0].keys()
    assert len(values["events"]) == len(values["event_cosines"]) > values["winner"] >= 0
    hits = prost("search", QUERY, "--library", indexed, "--json").json
    (hit,) = [hit for hit in hits if hit["path"] == values["video"]]
    assert values["score"] == pytest.approx(hit["score"], abs=0.01)


def test_tables(prost, videos: Path, indexed: Path) -> None:
    said = prost("explain", QUERY, "--video", videos / "red.mp4", "--library", indexed)
    assert said.code == 0
    assert "Object slots" in said.out and "score lost without it" in said.out and "ball" in said.out


def test_a_model_explains_without_a_library(prost, videos: Path, library: Path) -> None:
    asked = ("explain", QUERY, "--video", videos / "red.mp4", "--library", library, "--model", "toybox")
    said = prost(*asked, "--json")
    assert said.code == 0
    assert not library.exists()
    assert 0 <= said.json["joint_score"] <= 1
    assert "joint score " in prost(*asked).out


def test_figures(prost, videos: Path, indexed: Path, tmp_path: Path) -> None:
    for form in ("png", "svg", "html"):
        figure = tmp_path / f"why.{form}"
        said = prost(
            "explain", QUERY, "--video", videos / "red.mp4", "--library", indexed, "--figure", figure
        )
        assert said.code == 0 and f"wrote {figure}" in said.err
        assert figure.stat().st_size > 5000


def test_wrong_use(prost, videos: Path, indexed: Path, library: Path, tmp_path: Path) -> None:
    for arguments, code, words in (
        (("a red ball", "--video", videos / "none.mp4"), 2, "does not exist"),
        (("a red ball", "--video", videos / "broken.mp4"), 1, "broken.mp4"),
        (("", "--video", videos / "red.mp4"), 2, "no word"),
        (("a red ball", "--video", videos / "red.mp4", "--figure", tmp_path / "why.gif"), 2, "ends in"),
        (
            ("a red ball", "--video", videos / "red.mp4", "--figure", videos / "red.mp4" / "why.png"),
            1,
            "why.png",
        ),
    ):
        said = prost("explain", *arguments, "--library", indexed)
        assert said.code == code, said.err
        assert words in said.err and said.err.startswith("error: ") and said.err.count("\n") == 1


def test_words_that_the_model_does_not_know_are_told_as_in_a_search(
    prost, videos: Path, library: Path
) -> None:
    arguments = ("--video", videos / "red.mp4", "--library", library, "--model", "toybox")
    assert "note: the model does not know 'zeppelin'" in prost("explain", "a red zeppelin", *arguments).err
    assert "note:" not in prost("explain", "a red ball", *arguments).err


def test_a_wrong_name_of_a_figure_is_told_before_the_video_is_read(
    prost, videos: Path, indexed: Path
) -> None:
    said = prost(
        "explain", "a", "--video", videos / "broken.mp4", "--library", indexed, "--figure", "why.gif"
    )
    assert said.code == 2 and "why.gif is no figure" in said.err
