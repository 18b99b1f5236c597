"""Endpoints about the library: state, lists, folders, pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from tests.apps.server.conftest import Running


def test_status(running: Running) -> None:
    status = running.get("/api/status")
    assert status["counts"] == {"videos": 8, "clips": running.library.stats().clips, "failed": 1}
    assert status["model"] == "toybox" and status["name"] == "films.prost"
    assert {"json", "csv", "fcpxml", "clips"} <= set(status["export_forms"])


def test_videos_come_in_pages(running: Running) -> None:
    seen, offset = [], 0
    while offset is not None:
        page = running.get("/api/videos", params={"limit": 4, "offset": offset})
        assert page["total"] == 9 and len(page["videos"]) <= 4
        seen += [video["name"] for video in page["videos"]]
        offset = page["next_offset"]
    assert len(seen) == len(set(seen)) == 9
    (failed,) = running.get("/api/videos", params={"status": "failed"})["videos"]
    assert failed["name"] == "broken.mp4" and failed["reason"]
    assert running.get("/api/videos", params={"tag": "it's"})["total"] == 0
    assert running.get("/api/videos", params={"tag": "toys", "status": "indexed"})["total"] == 8


def test_a_video_and_its_clips(running: Running) -> None:
    listed = running.first("0")
    assert running.get(f"/api/videos/{listed['id']}") == listed
    assert listed["playable"] and listed["codec"] == "h264" and listed["tags"] == ["toys"]
    clips = running.get(f"/api/videos/{listed['id']}/clips")["clips"]
    assert clips[0]["start"] == 0 and abs(clips[-1]["end"] - listed["duration"]) < 0.5
    assert running.get(f"/api/videos/{running.first('broken')['id']}/clips") == {"clips": []}


def test_folders(running: Running) -> None:
    folders = running.get("/api/folders")["folders"]
    by_name = {folder["name"]: folder for folder in folders}
    top, more = by_name[running.videos.name], by_name["more"]
    assert more["parent"] == top["id"] and top["parent"] is None
    assert top["videos"] == 7 and more["videos"] == 2
    assert top["may_index"] and more["may_index"]
    assert running.get("/api/videos", params={"folder": more["id"]})["total"] == 2
    assert running.get("/api/videos", params={"folder": top["id"]})["total"] == 9


def picture(running: Running, address: str) -> np.ndarray:
    answer = running.client.get(address)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg", answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_a_frame_has_the_shape_of_its_video(running: Running) -> None:
    video = running.first("0")
    pixels = picture(running, f"/api/videos/{video['id']}/frame?time=1&height=120")
    assert pixels.shape == (120, round(120 * video["width"] / video["height"]), 3)
    square = picture(running, f"/api/videos/{video['id']}/frame?time=1&height=72&seen=true")
    assert square.shape == (72, 72, 3)


def test_relevance(running: Running) -> None:
    found = running.get(f"/api/videos/{running.first('0')['id']}/relevance", params={"q": "a red ball"})
    assert len(found["times"]) == len(found["scores"]) >= 12
    assert found["times"] == sorted(found["times"])
