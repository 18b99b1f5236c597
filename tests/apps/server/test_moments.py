"""Previews and evidence of moments."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests.apps.server.conftest import Running

from prost.model.prost import ProST
from prost.search.library import Library

QUERY = "a red ball falls"


def write(
    path: Path, codec: str, pictures: list[np.ndarray], pixel_format: str = "yuv420p", rate: int = 10
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, toybox_model: ProST) -> Library:
    """What browsers do not play, and a film that begins in the dark."""
    folder = tmp_path_factory.mktemp("odd")
    random = np.random.default_rng(4)
    light = [random.integers(60, 250, (96, 128, 3), dtype=np.uint8) for _ in range(20)]
    write(folder / "hevc.mkv", "libx265", light)
    write(folder / "prores.mov", "prores_ks", light, "yuv422p10le")
    write(folder / "mjpeg.avi", "mjpeg", light, "yuvj420p")
    dark = [np.full((96, 128, 3), 2, dtype=np.uint8)] * 30
    write(folder / "dark.mp4", "libx264", dark + light)
    write(folder / "night.mp4", "libx264", dark)
    library = Library(tmp_path_factory.mktemp("library") / "odd.prost", toybox_model)
    report = library.add(folder, workers=1)
    assert not report.failed
    return library


def test_previews_of_what_browsers_do_not_play(odd: Library, serve: Callable[..., Any]) -> None:
    with serve(Path(odd.path)) as running:
        for name in ("hevc", "prores", "mjpeg"):
            video = running.first(name)
            assert not video["playable"]
            address = f"{video['preview']}?start=0.5&end=1.5"
            answer = running.client.get(address)
            assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4", answer.text
            assert answer.content.index(b"moov") < answer.content.index(b"mdat")
            with av.open(io.BytesIO(answer.content)) as preview:
                context = preview.streams.video[0].codec_context
                # yuvj420p is yuv420p with the full range of brightness, which the file states.
                assert context.name == "h264" and context.pix_fmt in ("yuv420p", "yuvj420p")
                assert sum(1 for _ in preview.decode(video=0)) == 10
            part = running.client.get(address, headers={"Range": "bytes=4-7"})
            assert part.status_code == 206 and part.content == b"ftyp"
            assert (
                running.client.get(address, headers={"If-None-Match": answer.headers["etag"]}).status_code
                == 304
            )
        assert running.get("/api/status")["cache"]["nbytes"] > 0
        assert running.client.get(f"{video['preview']}?start=2&end=1").status_code == 400


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("preview?start=100&end=101", "starts at 100 s"),
        ("preview?start=2&end=1", "from 2 to 1 s"),
        ("evidence?q=a+ball&start=100&end=200", "starts at 100 s"),
        ("evidence?q=a+ball&start=2&end=1", "from 2 to 1 s"),
        ("heat?q=a+ball&frame=0&start=100&end=200", "starts at 100 s"),
        ("frame?time=100", "a frame at 100 s"),
        ("frame?start=100&end=101", "starts at 100 s"),
        ("frame?start=2&end=1", "from 2 to 1 s"),
    ],
)
def test_moments_that_are_not_in_the_video_are_refused(running: Running, address: str, said: str) -> None:
    answer = running.client.get(f"/api/videos/{running.first('0')['id']}/{address}")
    assert answer.status_code == 400 and said in answer.json()["detail"], answer.text


def test_a_moment_may_end_a_little_beyond_the_video(running: Running) -> None:
    """Clients round; the page shows times with three decimals."""
    video = running.first("0")
    end = video["duration"]
    place, span = f"/api/videos/{video['id']}", f"start={end - 1:.3f}&end={end + 0.01:.3f}"
    for address in (f"preview?{span}", f"evidence?q=a+ball&{span}", f"frame?{span}", f"frame?time={end:.3f}"):
        answer = running.client.get(f"{place}/{address}")
        assert answer.status_code == 200, answer.text


def brightness(running: Running, address: str) -> float:
    answer = running.client.get(address)
    assert answer.status_code == 200, answer.text
    return float(np.asarray(Image.open(io.BytesIO(answer.content))).mean())


def test_a_thumbnail_is_never_black_if_anything_can_be_seen(odd: Library, serve: Callable[..., Any]) -> None:
    with serve(Path(odd.path)) as running:
        frame = f"/api/videos/{running.first('dark')['id']}/frame"
        assert brightness(running, f"{frame}?time=1") < 10  # a time is a time
        assert brightness(running, f"{frame}?start=2&end=4&time=2.1") > 80
        assert brightness(running, f"{frame}?start=0&end=2&time=1") > 80  # all of the moment is dark
        assert brightness(running, frame) > 80
        night = f"/api/videos/{running.first('night')['id']}/frame?start=0&end=2"
        assert brightness(running, night) < 10


def test_evidence(running: Running) -> None:
    hit = running.get("/api/search", params={"q": QUERY, "limit": 1})["hits"][0]
    place = f"/api/videos/{hit['video']['id']}"
    found = running.get(
        f"{place}/evidence", params={"q": QUERY, "start": hit["moment"]["start"], "end": hit["moment"]["end"]}
    )
    assert found["score"] == pytest.approx(hit["moment"]["score"], abs=0.01)
    assert found["event_sentence"] + sum(slot["share"] for slot in found["slots"]) == pytest.approx(
        found["score"], abs=1e-5
    )
    assert len(found["frames"]) == len(found["times"]) == 12 and len(found["frames"][0]["heat"]) == len(
        found["slots"]
    )
    picture = Image.open(io.BytesIO(running.client.get(found["frames"][3]["picture"]).content))
    for address in (found["frames"][3]["overlay"], found["frames"][3]["heat"][2]):
        answer = running.client.get(address)
        assert answer.headers["content-type"] == "image/png"
        veil = Image.open(io.BytesIO(answer.content))
        assert veil.mode == "RGBA" and veil.size == picture.size
        assert len(np.unique(np.asarray(veil)[..., 3])) > 10
    best = running.get(f"{place}/evidence", params={"q": QUERY})
    assert best["score"] == pytest.approx(found["score"], abs=0.01)
    assert running.client.get(f"{place}/heat?q=a&frame=999").status_code == 404


def test_evidence_of_a_failed_file(running: Running) -> None:
    answer = running.client.get(f"/api/videos/{running.first('broken')['id']}/evidence?q=a+ball")
    assert answer.status_code == 404


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_the_cache_is_private(odd: Library, serve: Callable[..., Any], tmp_path: Path) -> None:
    with serve(Path(odd.path)) as running:
        assert (
            running.client.get(f"/api/videos/{running.first('dark')['id']}/frame?time=4").status_code == 200
        )
        stored = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert len(stored) == 1 and stored[0].parent.stat().st_mode & 0o077 == 0
