"""Real files: they decode to what was drawn, their captions follow the schema, and no half file is left."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from prost.data.toybox import gallery, read_captions, render, write, write_gallery
from prost.data.toybox.drawing import COLOURS, COVERS, DRAWINGS
from prost.data.toybox.gallery import mixed_gallery
from prost.data.toybox.scene import SIZES, TEXTURES
from prost.errors import BadAnnotations, MissingPath, StorageError, UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("toybox") / "new" / "videos", videos=10, seed=3)


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]


def test_files_decode_to_what_was_drawn(folder: Path, rows: list[dict]) -> None:
    for row, scene in zip(rows, mixed_gallery(10, 3, "test").scenes, strict=True):
        with av.open(str(folder / row["video"])) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
            assert (stream.width, stream.height, stream.average_rate) == (
                scene.width,
                scene.height,
                scene.fps,
            )
            frames = list(container.decode(stream))
        assert len(frames) / scene.fps == pytest.approx(row["duration"], abs=1e-3)
        assert row["duration"] == pytest.approx(scene.duration, abs=1 / scene.fps)
        # SMPTE 170M throughout: what is written is what the pixels were turned by.
        assert {(f.colorspace, f.color_primaries, f.color_trc, f.color_range) for f in frames} == {
            (6, 6, 6, 1)
        }
        for frame in frames[:: len(frames) // 4]:
            drawn = render(scene, [float(frame.pts * frame.time_base)])[0].astype(int)
            assert np.abs(frame.to_ndarray(format="rgb24") - drawn).mean() < 4


def test_index_comes_first_in_the_file(folder: Path) -> None:
    content = (folder / "toy-0000.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_captions_follow_the_schema(folder: Path, rows: list[dict]) -> None:
    assert [row["video"] for row in rows] == [f"toy-{i:04d}.mp4" for i in range(10)]
    for row in rows:
        assert row["split"] == "test"
        assert len(set(row["captions"])) == len(row["captions"]) >= 2
        assert len(row["times"]) == 12
        assert row["times"][0] > 0 and row["times"][-1] < row["duration"]
        for event in row["events"]:
            assert event["text"] and 0 < event["start"] < event["end"] < row["duration"]
            assert all(0 <= index < len(row["objects"]) for index in event["objects"])
        for thing in row["objects"]:
            assert thing["name"] in DRAWINGS
            assert thing["colour"] in {*COLOURS, *COVERS.values()}
            assert thing["size"] in SIZES and thing["texture"] in TEXTURES
            assert len(thing["boxes"]) == 12
            for left, top, right, bottom in filter(None, thing["boxes"]):
                assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        if row["twin"] is not None:
            twin = next(other for other in rows if other["video"] == row["twin"])
            assert twin["twin"] == row["video"]
            assert twin["objects"][0]["boxes"][0] == row["objects"][0]["boxes"][0]
    assert sum(row["twin"] is not None for row in rows) == 2


def test_first_captions_are_the_queries(rows: list[dict]) -> None:
    queries = mixed_gallery(10, 3, "test").queries
    assert [row["captions"][0] for row in rows] == [query.text for query in queries]


def test_boxes_hold_what_differs_from_the_empty_stage(rows: list[dict]) -> None:
    scene, row = mixed_gallery(10, 3, "test").scenes[0], rows[0]
    for i in (0, 6, 11):
        full = render(scene, [row["times"][i]])[0].astype(int)
        empty = render(replace(scene, objects=(), events=()), [0.0])[0].astype(int)
        differs = np.abs(full - empty).sum(-1) > 60
        ys, xs = np.nonzero(differs)
        inside = np.zeros_like(differs)
        for thing in row["objects"]:
            if thing["boxes"][i] is not None:
                left, top, right, bottom = thing["boxes"][i]
                region = np.s_[
                    int(top * scene.height) - 2 : int(bottom * scene.height) + 3,
                    int(left * scene.width) - 2 : int(right * scene.width) + 3,
                ]
                assert differs[region].any()
                inside[region] = True
        assert inside[ys, xs].all()


@pytest.mark.slow
def test_same_seed_same_bytes(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a", videos=2, seed=4, split="val"), tmp_path / "b"
    # Another process, where glibc fills fresh memory with 254: nothing that was never set may reach a file.
    code = f"from prost.data.toybox import write; write({str(other)!r}, videos=2, seed=4, split='val')"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "MALLOC_PERTURB_": "1"}, check=True)
    assert sorted(os.listdir(one)) == sorted(os.listdir(other))
    for name in os.listdir(one):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert (write(tmp_path / "c", videos=1, seed=5) / "toy-0000.mp4").read_bytes() != (
        one / "toy-0000.mp4"
    ).read_bytes()


def test_nothing_but_whole_files_is_left(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == ["captions.jsonl", *(f"toy-{i:04d}.mp4" for i in range(10))]


def test_an_interrupted_run_leaves_whole_files_alone(tmp_path: Path) -> None:
    def stop(done: int, total: int, name: str) -> None:
        assert (total, name) == (5, f"toy-{done - 1:04d}.mp4")
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gallery(tmp_path, gallery("toybox-5"), stop)
    assert sorted(os.listdir(tmp_path)) == ["toy-0000.mp4", "toy-0001.mp4"]


def test_a_place_that_refuses_is_told_and_stays_clean(tmp_path: Path) -> None:
    # A folder stands where the first video should, so that it cannot take its name.
    (tmp_path / "toy-0000.mp4").mkdir()
    with pytest.raises(StorageError, match=r"toy-0000\.mp4 cannot be written"):
        write(tmp_path, videos=1)
    assert os.listdir(tmp_path) == ["toy-0000.mp4"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        write(tmp_path / "new", videos=1)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody may write to")
def test_a_folder_that_cannot_be_made_is_told() -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write("/proc/self/toybox", videos=1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_no_space_is_told(tmp_path: Path) -> None:
    (tmp_path / f".toy-0000.mp4.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left"):
        write(tmp_path, videos=1)
    assert os.listdir(tmp_path) == []


def test_wrong_use_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 videos"):
        write(tmp_path, videos=0)
    with pytest.raises(UsageError, match="train, val, test"):
        write(tmp_path, split="dev")
    with pytest.raises(UsageError, match="-1"):
        write(tmp_path, seed=-1)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        write(tmp_path / "file")


def test_captions_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    captions = tmp_path / "captions.jsonl"
    with pytest.raises(MissingPath, match=r"holds no captions\.jsonl"):
        read_captions(tmp_path)
    captions.write_text('{"video": "a.mp4", "captions": ["x"]}\n')
    with pytest.raises(MissingPath, match=r"a\.mp4, named in .*captions\.jsonl, line 1, does not exist"):
        read_captions(tmp_path)
    (tmp_path / "a.mp4").touch()
    for text, message in (
        (
            '{"video": "a.mp4", "captions": ["x"]}\n{"video": "a.mp4"}\n',
            "line 2 has an empty caption or none",
        ),
        ('{"video": "a.mp4", "captions": "x"}', "line 1 has an empty caption or none"),
        ('{"captions": ["x"]}', "line 1 names no video"),
        ("{", "line 1 is no JSON"),
        ("", "is empty"),
    ):
        captions.write_text(text)
        with pytest.raises(BadAnnotations, match=message):
            read_captions(tmp_path)
