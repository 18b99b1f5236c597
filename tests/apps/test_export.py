"""`prost export` and `prost search --open`."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import av
import numpy as np
import opentimelineio as otio
import pytest
from tests.video.conftest import write_video


def test_everything_at_once(prost, indexed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    names = {"--hits": "a.csv", "--timeline": "a.otio", "--prototypes": "a.npz", "--clips": "clips"}
    options = [word for option, name in names.items() for word in (option, out / name)]
    said = prost("export", "a ball", "--library", indexed, *options, "--limit", "2", "--json")
    assert said.code == 0, said.err
    assert said.json["hits"]["hits"] == 2 and said.json["timeline"]["moments"] == 2
    with (out / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = prost("search", "a ball", "--library", indexed, "--limit", "2", "--json").json
    assert [row["path"] for row in rows] == [hit["path"] for hit in found]
    timeline = otio.adapters.read_from_file(str(out / "a.otio"))
    assert [clip.name for clip in timeline.find_clips()] == [Path(hit["path"]).name for hit in found]
    assert len(np.load(out / "a.npz")["start"]) == said.json["prototypes"]["clips"] == 3
    assert len(said.json["clips"]) == 2 and said.json["failed"] == []
    for clip, hit in zip(said.json["clips"], found, strict=True):
        assert clip["path"] == hit["path"]
        with av.open(clip["output"]) as container:
            length = float(container.duration) / av.time_base
        assert length == pytest.approx(clip["end"] - clip["start"], abs=0.11)


def test_a_video_that_is_gone_is_told_and_the_others_are_cut(
    prost, indexed: Path, videos: Path, tmp_path: Path
) -> None:
    (videos / "red.mp4").unlink()
    said = prost("export", "a ball", "--library", indexed, "--clips", tmp_path / "clips")
    assert said.code == 1
    assert f"not cut: {videos / 'red.mp4'}: file is gone" in said.err
    assert len(list((tmp_path / "clips").iterdir())) == len(said.out.splitlines()) == 2


def test_where_packets_cannot_be_copied_another_method_is_named(
    prost, library: Path, tmp_path: Path, untrained_folder: Path
) -> None:
    write_video(tmp_path / "a.mkv", 20, codec="mpeg2video")
    index = prost("index", tmp_path / "a.mkv", "--library", library, "--model", untrained_folder)
    assert index.code == 0, index.err
    options = ("--library", library, "--clips", tmp_path / "clips", "--method", "copy")
    said = prost("export", "a ball", *options)
    assert said.code == 1
    told = [line for line in said.err.splitlines() if line.startswith("not cut: ")]
    assert len(told) == 1 and told[0].endswith("(within 0.5 s); try: --method auto, or a larger --tolerance")


def test_existing_outputs_are_kept_unless_forced(prost, indexed: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.json"
    output.write_text("mine")
    said = prost("export", "a ball", "--library", indexed, "--hits", output)
    assert said.code == 2 and "exists" in said.err and said.err.count("\n") == 1
    assert output.read_text() == "mine"
    assert prost("export", "a ball", "--library", indexed, "--hits", output, "--force").code == 0
    assert len(json.loads(output.read_text())["hits"]) == 3
    arguments = ("export", "a ball", "--library", indexed, "--clips", tmp_path / "clips")
    assert prost(*arguments).code == 0
    assert prost(*arguments).code == 2
    assert prost(*arguments, "--force").code == 0


def test_one_thing_is_told_in_the_singular(prost, indexed: Path, tmp_path: Path) -> None:
    names = {"--hits": "a.csv", "--timeline": "a.otio", "--prototypes": "a.npz"}
    options = [word for option, name in names.items() for word in (option, tmp_path / name)]
    said = prost("export", "a ball", "--library", indexed, *options, "--where", "name = 'red.mp4'")
    assert said.code == 0, said.err
    assert [line.partition(" to ")[0] for line in said.err.splitlines() if line.startswith("wrote ")] == [
        "wrote the prototypes of 1 clip",
        "wrote 1 hit",
        "wrote 1 moment",
    ]


def test_without_a_hit_no_folder_is_made(prost, indexed: Path, tmp_path: Path) -> None:
    options = ("--library", indexed, "--where", "duration > 60", "--clips", tmp_path / "clips")
    said = prost("export", "a ball", *options)
    assert (said.code, said.out, said.err) == (0, "", "nothing was found\n")
    assert not (tmp_path / "clips").exists()
    assert prost("export", "a ball", *options, "--json").json == {"clips": [], "failed": []}


def test_whether_anything_fits_is_told_as_by_search(prost, indexed: Path, tmp_path: Path) -> None:
    said = prost("export", "a submarine", "--library", indexed, "--hits", tmp_path / "a.json")
    confidence = json.loads((tmp_path / "a.json").read_text())["confidence"]
    assert confidence["level"] in ("good", "possible", "none")
    assert confidence["statement"] in said.err.splitlines()
    shown = prost("search", "a submarine", "--library", indexed)
    assert shown.out.splitlines()[0] == confidence["statement"]


def test_what_can_be_refused_is_refused_before_anything_is_written(
    prost, indexed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert prost("export", "a ball", "--library", indexed, "--clips", out / "clips").code == 0
    before = sorted(out.rglob("*"))
    for arguments, message in (
        (["--timeline", out / "a.fcpxml", "--rate", "0"], "rate 0"),
        (["--clips", out / "clips"], "exists"),
        (["--clips", out / "clips" / before[1].name / "more"], "is a file"),
        (["--timeline", out / "a.fcpxml", "--where", "duration > 60"], "nothing was found"),
        (["--hits", out / "a.parquet", "--prototypes", out / "a.parquet"], "named twice"),
    ):
        others = ["--hits", out / "a.csv", "--prototypes", out / "a.npz"]
        options = [*(word for word in others if "--hits" not in arguments), *arguments]
        said = prost("export", "a ball", "--library", indexed, *options)
        assert said.code == 2 and message in said.err and said.err.count("\n") == 1, said.err
        assert sorted(out.rglob("*")) == before


def test_wrong_use_is_one_line(prost, indexed: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["a ball"], "nothing to export"),
        (["--hits", tmp_path / "a.json"], "without a sentence"),
        (["a ball", "--hits", tmp_path / "a.xml"], ".json, .csv or .parquet"),
        (["a ball", "--hits", tmp_path / "none" / "a.csv"], "does not exist"),
        (["a ball", "--clips", indexed / "library.json"], "is a file"),
        (["a ball", "--timeline", tmp_path / "a.edl", "--rate", "12.5"], "rate 12.5"),
    ):
        said = prost("export", *arguments, "--library", indexed)
        assert said.code == 2 and message in said.err and said.err.count("\n") == 1, said.err


def test_options_without_effect_are_refused(prost, indexed: Path, tmp_path: Path) -> None:
    hits, prototypes = ("--hits", tmp_path / "a.csv"), ("--prototypes", tmp_path / "a.npz")
    no_hits = "without --hits, --timeline or --clips"
    for arguments, message in (
        (["a ball", *hits, "--rate", "25"], "--rate without --timeline;"),
        (["a ball", *hits, "--margin", "0"], "--margin without --timeline or --clips;"),
        (["a ball", *hits, "--method", "copy"], "--method without --clips;"),
        (["a ball", *hits, "--tolerance", "1"], "--tolerance without --clips;"),
        (["a ball", *prototypes], f"the sentence {no_hits};"),
        ([*prototypes, "--limit", "10"], f"--limit {no_hits};"),
        ([*prototypes, "--moments", "2"], f"--moments {no_hits};"),
        ([*prototypes, "--device", "cpu"], f"--device {no_hits};"),
    ):
        said = prost("export", *arguments, "--library", indexed)
        assert said.code == 2 and said.err.startswith(f"error: {message}"), said.err
        assert said.err.count("\n") == 1 and list(tmp_path.glob("a.[cn]*")) == []


def test_prototypes_need_no_model(prost, indexed: Path, tmp_path: Path) -> None:
    (indexed / "model.txt").write_text("/no/such/model")
    said = prost("export", "--prototypes", tmp_path / "a.parquet", "--library", indexed)
    assert said.code == 0 and "3 clips" in said.err


def test_search_plays_the_best_moment(
    prost, indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    player = programs / "mpv"
    player.write_text(f"#!{sys.executable} -I\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    said = prost("search", "a ball", "--library", indexed, "--open", "--json")
    assert said.code == 0
    assert said.err == f"playing {said.json[0]['path']} from {said.json[0]['start']:.1f} s with mpv\n"
    player.unlink()
    said = prost("search", "a ball", "--library", indexed, "--open")
    assert said.code == 2 and "no video player was found" in said.err and ".mp4" in said.out
