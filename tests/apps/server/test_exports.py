"""Exports over HTTP: the forms of `prost export`."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any
from xml.etree import ElementTree

import av
import pytest
from tests.apps.server.conftest import Running

QUERY = "a red ball falls"


@pytest.fixture(scope="module")
def asked(running: Running) -> dict[str, Any]:
    """An export of two moments, without a form."""
    hits = running.get("/api/search", params={"q": QUERY, "limit": 2})["hits"]
    selection = [
        {"video": hit["video"]["id"], "start": hit["moment"]["start"], "end": hit["moment"]["end"]}
        for hit in hits
    ]
    return {"query": QUERY, "selection": selection}


def exported(running: Running, asked: dict[str, Any], form: str) -> bytes:
    answer = running.client.post("/api/export", json={**asked, "form": form})
    assert answer.status_code == 200, answer.text
    suffix = "zip" if form == "clips" else form
    assert answer.headers["content-disposition"] == f'attachment; filename="prost.{suffix}"'
    return answer.content


def test_json_and_csv(running: Running, asked: dict[str, Any]) -> None:
    found = json.loads(exported(running, asked, "json"))
    assert found["query"] == QUERY and len(found["hits"]) == 2
    expected = running.library.search(QUERY, limit=2)
    for hit, moment in zip(found["hits"], asked["selection"], strict=True):
        assert (hit["start"], hit["end"]) == (moment["start"], moment["end"])
        assert hit["path"] in {each.path for each in expected}
    lines = exported(running, asked, "csv").decode().splitlines()
    assert lines[0].startswith("rank,moment,path") and len(lines) >= 3


def test_timelines(running: Running, asked: dict[str, Any]) -> None:
    root = ElementTree.fromstring(exported(running, asked, "fcpxml"))
    assert root.tag == "fcpxml" and len(root.findall(".//asset-clip")) == 2
    offered = running.get("/api/status")["export_forms"]
    if "otio" in offered:
        assert json.loads(exported(running, asked, "otio"))["name"] == QUERY
    if "edl" in offered:
        assert b"TITLE" in exported(running, asked, "edl")


def test_clips_come_as_a_zip(running: Running, asked: dict[str, Any]) -> None:
    with zipfile.ZipFile(io.BytesIO(exported(running, asked, "clips"))) as archive:
        names = archive.namelist()
        assert len(names) == 2 and names[0].startswith("01_") and names[1].startswith("02_")
        for name in names:
            with av.open(io.BytesIO(archive.read(name))) as clip:
                assert sum(1 for _ in clip.decode(video=0)) > 5


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"form": "exe"}, 422),
        ({"selection": []}, 422),
        ({"query": ""}, 422),
        ({"query": " "}, 400),
        ({"output": "/tmp/a"}, 422),
        ({"selection": [{"video": "0" * 32 + "-" + "0" * 16, "start": 0, "end": 1}]}, 404),
        ({"selection": [{"video": "../../etc/passwd", "start": 0, "end": 1}]}, 422),
    ],
)
def test_wrong_exports(running: Running, asked: dict[str, Any], change: dict[str, Any], status: int) -> None:
    answer = running.client.post("/api/export", json={**asked, "form": "json", **change})
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json", (
        answer.text
    )


def test_times_that_make_no_clip(running: Running, asked: dict[str, Any]) -> None:
    video = asked["selection"][0]["video"]
    wrong = (("json", 3, 3), ("json", 3, 1), ("clips", 0, 100_000), ("clips", 100, 110), ("fcpxml", 100, 110))
    for form, start, end in wrong:
        selection = [{"video": video, "start": start, "end": end}]
        answer = running.client.post(
            "/api/export", json={"form": form, "query": QUERY, "selection": selection}
        )
        assert answer.status_code == 400, answer.text
        assert start != 100 or "a start before the end at" in answer.json()["detail"]


def test_a_moment_that_ends_beyond_its_video_is_cut_to_it(running: Running, asked: dict[str, Any]) -> None:
    video = running.first("0")
    selection = [{"video": video["id"], "start": 1, "end": video["duration"] + 0.01}]
    (hit,) = json.loads(exported(running, {**asked, "selection": selection}, "json"))["hits"]
    assert (hit["start"], hit["end"]) == (1, video["duration"])
