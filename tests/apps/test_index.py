"""`prost index`: what is taken in, what is refused, and what is left alone."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prost.search.library import Library
from prost.video import files

from .conftest import add_second_stream, write_video

Prost = Callable[..., Any]


def names(paths: list[str]) -> list[str]:
    return sorted(Path(path).name for path in paths)


def test_good_files_are_added_and_bad_ones_named(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path
) -> None:
    said = prost("index", videos, "--library", library, "--model", untrained_folder, "--json")
    assert said.code == 0
    assert names(said.json["added"]) == ["blue.mp4", "green.mp4", "red.mp4"]
    assert said.json["unchanged"] == said.json["moved"] == said.json["removed"] == []
    (failed,) = said.json["failed"]
    assert failed["path"] == str(videos / "broken.mp4")
    assert failed["reason"] == "not a video"


def test_the_second_time_nothing_is_new_and_no_model_need_be_named(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(untrained_folder.parent)
    assert prost("index", videos, "--library", library, "--model", untrained_folder.name).code == 0
    monkeypatch.chdir("/")  # the note of the model must hold from any folder
    said = prost("index", videos, "--library", library)
    assert said.code == 0
    assert said.out == "0 added, 3 unchanged, 0 moved, 0 removed, 1 failed\n"
    assert "failed: " not in said.err
    assert "note: 1 of the failed files failed before" in said.err


def test_only_new_failures_are_printed_with_their_detail(prost: Prost, indexed: Path, videos: Path) -> None:
    (videos / "empty.mp4").touch()
    said = prost("index", videos, "--library", indexed, "--json")
    assert [(Path(file["path"]).name, file["known"]) for file in said.json["failed"]] == [
        ("broken.mp4", True),
        ("empty.mp4", False),
    ]
    again = prost("index", videos, "--library", indexed, "--retry-failed").err
    (line,) = [line for line in again.splitlines() if "broken.mp4" in line]
    assert line.startswith(f"failed: {videos / 'broken.mp4'}: not a video (Invalid data")


def test_a_named_file_that_fails_is_a_failure(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path
) -> None:
    for paths in ([videos / "broken.mp4"], [videos / "red.mp4", videos / "broken.mp4"]):
        assert prost("index", *paths, "--library", library, "--model", untrained_folder).code == 1


def test_a_folder_where_all_fail_is_a_failure(
    prost: Prost, tmp_path: Path, library: Path, untrained_folder: Path
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mp4").write_text("text")
    said = prost("index", tmp_path / "bad", "--library", library, "--model", untrained_folder)
    assert (said.code, said.out) == (1, "0 added, 0 unchanged, 0 moved, 0 removed, 1 failed\n")


def test_a_file_that_may_not_be_read_does_not_stop_the_others(
    prost: Prost, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typer would refuse the whole command. The superuser may read all files, so the system's answer is replaced."""
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: mode != os.R_OK and may(path, mode, **more))
    files = (videos / "red.mp4", videos / "green.mp4")
    said = prost("index", *files, "--library", tmp_path / "new.prost", "--model", "toybox")
    assert said.code == 0 and said.out.startswith("2 added"), said.err


def test_many_removals_need_yes(prost: Prost, indexed: Path, videos: Path) -> None:
    for name in ("red", "green", "blue"):
        (videos / f"{name}.mp4").unlink()
    kept = prost("index", videos, "--library", indexed)
    assert kept.out.endswith("3 missing\n") and "note: 3 videos of the library are not there now" in kept.err
    said = prost("index", videos, "--library", indexed, "--yes")
    assert "3 removed" in said.out
    assert prost("status", "--library", indexed, "--json").json["videos"] == 0


def test_a_folder_that_is_gone_is_removed_with_yes(prost: Prost, indexed: Path, videos: Path) -> None:
    shutil.rmtree(videos)
    assert prost("index", videos, "--library", indexed).code == 2
    said = prost("index", videos, "--library", indexed, "--yes")
    assert (said.code, "4 removed" in said.out) == (0, True)


def test_an_emptied_folder_names_the_command_that_removes(prost: Prost, indexed: Path, videos: Path) -> None:
    shutil.rmtree(videos)
    videos.mkdir()
    said = prost("index", videos, "--library", indexed)
    assert said.code == 2 and f"prost remove {videos}" in said.err


def test_a_busy_library_is_waited_for(prost: Prost, indexed: Path, videos: Path) -> None:
    """Another process holds the lock and lets go when its input ends."""
    code = "import sys; from prost.search.writer_lock import writer_lock\n"
    code += "with writer_lock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, indexed], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdin is not None and writer.stdout is not None
        assert writer.stdout.readline() == "held\n"
        busy = prost("index", videos, "--library", indexed)
        assert busy.code == 1 and f"process {writer.pid}" in busy.err and "--wait" in busy.err
        closing = threading.Timer(0.3, writer.stdin.close)
        closing.start()
        said = prost("index", videos, "--library", indexed, "--wait")
        closing.join()
    assert said.code == 0 and said.out.startswith("0 added, 3 unchanged")


def test_a_device_that_is_not_there_is_wrong_use(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path
) -> None:
    said = prost("index", videos, "--library", library, "--model", untrained_folder, "--device", "tpu")
    assert said.code == 2 and "device 'tpu'" in said.err and said.err.count("\n") == 1
    assert not library.exists()
    arguments = ("index", videos, "--library", library, "--model", untrained_folder, "--device", "cpu")
    assert prost(*arguments).code == 0


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No model was pulled, and the default library is new."""
    monkeypatch.setenv("PROST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("PROST_MODEL", "PROST_LIBRARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_models")
@pytest.mark.parametrize("command", ["index", "watch"])
def test_a_new_library_needs_a_model(prost: Prost, videos: Path, library: Path, command: str) -> None:
    said = prost(command, videos, "--library", library)
    assert said.code == 2 and said.out == ""
    assert (
        "  toybox            drawn videos only: for the demo and for practice (on this machine)" in said.err
    )
    assert said.err.splitlines()[-1] == (
        f"error: no model is given for the new library {library}; expected: --model NAME, or the variable PROST_MODEL; "
        f"try: prost models pull siglip2-b16 && prost {command} {videos} --library {library} --model siglip2-b16"
    )
    assert not library.exists()


@pytest.mark.usefixtures("no_models")
def test_the_proposed_command_names_a_model_that_is_here_and_the_users_paths(
    prost: Prost, tmp_path: Path, untrained_folder: Path
) -> None:
    snapshot = tmp_path / "hub" / "models--openai--clip-vit-base-patch32" / "snapshots" / "abc"
    shutil.copytree(untrained_folder, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (tmp_path / "my videos").mkdir()
    write_video(tmp_path / "my videos" / "red.mp4", (200, 30, 30))
    said = prost("index", tmp_path / "my videos")
    assert said.err.endswith(f"try: prost index '{tmp_path / 'my videos'}' --model clip-b32\n")


@pytest.mark.usefixtures("no_models")
def test_the_variable_chooses_the_model_of_new_libraries_only(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROST_MODEL", str(untrained_folder))
    assert prost("index", videos, "--library", library).out.startswith("3 added")
    monkeypatch.setenv("PROST_MODEL", "siglip2-b16")
    assert "3 unchanged" in prost("index", videos, "--library", library).out
    assert prost("index", videos, "--library", library.with_name("new.prost")).err == (
        "error: the model siglip2-b16 is not on this machine; try: prost models pull siglip2-b16\n"
    )


@pytest.mark.usefixtures("no_models")
def test_a_library_without_a_note_keeps_the_model_that_it_names(
    prost: Prost, videos: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prost as package

    monkeypatch.setenv("PROST_MODEL", "siglip2-b16")
    package.Library(library, package.load("toybox")).close()
    monkeypatch.chdir(videos)
    Path("toybox").mkdir()  # a folder of that name changes nothing
    assert prost("index", "red.mp4", "--library", library).out.startswith("1 added")
    assert (library / "model.txt").read_text() == "toybox"


def test_files_and_folders_can_be_mixed_and_tagged(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path
) -> None:
    several = (videos / "red.mp4", videos / "blue.mp4")
    said = prost(
        "index", *several, "--library", library, "--model", untrained_folder, "--tag", "warm", "--tag", "cold"
    )
    assert said.out.startswith("2 added")
    assert {row.tags for row in Library(library).videos()} == {("warm", "cold")}


def test_a_mistyped_folder_leaves_no_library_behind(
    prost: Prost, library: Path, untrained_folder: Path
) -> None:
    said = prost("index", "/no/such/folder", "--library", library, "--model", untrained_folder)
    assert said.code == 2
    assert said.err.startswith("error: /no/such/folder ") and said.err.count("\n") == 1
    assert not library.exists()


def test_a_folder_without_videos_is_wrong_use(
    prost: Prost, tmp_path: Path, library: Path, untrained_folder: Path
) -> None:
    (tmp_path / "empty").mkdir()
    said = prost("index", tmp_path / "empty", "--library", library, "--model", untrained_folder)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: no video in ") and said.err.count("\n") == 1


def test_searching_by_another_model_is_refused_and_nothing_is_lost(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path, tmp_path: Path
) -> None:
    from prost import load
    from prost.model.checkpoint import save

    assert prost("index", videos, "--library", library, "--model", untrained_folder).code == 0
    other = load(untrained_folder)
    next(other.parameters()).data.add_(1)
    save(other, tmp_path / "other")
    said = prost("search", "a red ball", "--library", library, "--model", tmp_path / "other")
    assert (said.code, said.out) == (1, "")
    assert "was made by model 'untrained'" in said.err and said.err.count("\n") == 1
    assert prost("index", videos, "--library", library).out.startswith("0 added, 3 unchanged")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_place_that_may_not_be_written_is_one_line(
    prost: Prost, videos: Path, tmp_path: Path, untrained_folder: Path
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    said = prost("index", videos, "--library", locked / "a.prost", "--model", untrained_folder)
    assert said.code == 1
    assert "permission" in said.err and said.err.count("\n") == 1


def test_a_library_below_a_file_is_one_line(prost: Prost, videos: Path, untrained_folder: Path) -> None:
    below = videos / "notes.txt" / "a.prost"
    said = prost("index", videos, "--library", below, "--model", untrained_folder)
    assert said.code in (1, 2)
    assert said.err.startswith("error: ") and said.err.count("\n") == 1
    assert "unexpected" not in said.err


def test_weights_that_lack_a_key_are_named(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(untrained_folder, broken)
    weights = load_file(broken / "model.safetensors")
    del weights["event_decoder.queries"]
    save_file(weights, broken / "model.safetensors")
    said = prost("index", videos, "--library", library, "--model", broken)
    assert said.code == 1
    assert "event_decoder.queries" in said.err and said.err.count("\n") == 1
    assert not library.exists()


def test_folders_are_walked_once(
    prost: Prost, indexed: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = []
    walk = files.files_under

    def watched_walk(folder: str, *others: Any) -> Iterator[os.DirEntry[str]]:
        walked.append(folder)
        return walk(folder, *others)

    monkeypatch.setattr(files, "files_under", watched_walk)
    assert prost("index", videos, "--library", indexed).code == 0
    assert walked == [str(videos)]


def test_files_that_are_no_videos_are_counted(prost: Prost, indexed: Path, videos: Path) -> None:
    assert (
        "note: 1 file is no video and was passed over\n" in prost("index", videos, "--library", indexed).err
    )
    (videos / "picture.jpg").touch()
    said = prost("index", videos, "--library", indexed)
    assert "note: 2 files are no videos and were passed over\n" in said.err
    assert prost("index", videos, "--library", indexed, "--json").json["passed_over"] == 2
    (videos / "notes.txt").unlink()
    (videos / "picture.jpg").unlink()
    assert "passed over" not in prost("index", videos, "--library", indexed).err


def test_what_is_left_out_of_a_video_is_shown(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path
) -> None:
    add_second_stream(videos / "red.mp4")
    detail = "1 other video stream is left out"
    said = prost("index", videos, "--library", library, "--model", untrained_folder)
    assert f"note: {videos / 'red.mp4'}: {detail}\n" in said.err
    (row,) = [row for row in Library(library).videos() if row.path == str(videos / "red.mp4")]
    assert row.detail == detail
    (line,) = [line for line in prost("list", "--library", library).out.splitlines() if "red.mp4" in line]
    assert f"indexed ({detail})" in line
    noted = [{"path": str(videos / "red.mp4"), "detail": detail}]
    assert prost("status", "--library", library, "--json").json["notes"] == noted
    assert f"note: {videos / 'red.mp4'}: {detail}" in prost("status", "--library", library).out
    shutil.copy(videos / "red.mp4", videos / "copy.mp4")
    copied = prost("index", videos, "--library", library, "--json").json["notes"]
    assert copied == [{"path": str(videos / "copy.mp4"), "detail": detail}]


def test_excluded_files_are_left_out_and_counted(
    prost: Prost, videos: Path, library: Path, untrained_folder: Path
) -> None:
    (videos / ".prostignore").write_text("# no greens\ngreen*\n")
    given = ("index", videos, "--library", library, "--model", untrained_folder, "--exclude", "b*.mp4")
    said = prost(*given)
    assert said.out.startswith("1 added") and "left out by --exclude or .prostignore: 3\n" in said.err
    assert prost(*given, "--json").json["excluded"] == 3
    assert names([row.path for row in Library(library).videos()]) == ["red.mp4"]


def test_a_dry_run_writes_nothing(prost: Prost, videos: Path, library: Path, untrained_folder: Path) -> None:
    said = prost("index", videos, "--library", library, "--dry-run")
    assert said.code == 0 and not library.exists()
    assert said.out.splitlines() == [
        *(f"added: {videos / name}.mp4" for name in ("blue", "broken", "green", "red")),
        "would be: 4 added, 0 unchanged, 0 moved, 0 removed, 0 failed",
    ]
    assert "1 file is no video" in said.err


def test_a_dry_run_tells_what_the_run_then_does(prost: Prost, indexed: Path, videos: Path) -> None:
    (videos / "sub").mkdir()
    (videos / "red.mp4").rename(videos / "sub" / "red.mp4")
    shutil.copy(videos / "blue.mp4", videos / "copy.mp4")
    (videos / "green.mp4").unlink()
    before = Library(indexed).videos()
    plan = prost("index", videos, "--library", indexed, "--dry-run", "--json").json
    assert Library(indexed).videos() == before
    done = prost("index", videos, "--library", indexed, "--json").json
    parts = ("added", "unchanged", "moved", "removed", "missing", "passed_over")
    assert {part: plan[part] for part in parts} == {part: done[part] for part in parts}
    assert plan["moved"] == [str(videos / "sub" / "red.mp4")] and plan["removed"] == [
        str(videos / "green.mp4")
    ]
    assert [(file["path"], file["reason"]) for file in plan["failed"]] == [
        (file["path"], file["reason"]) for file in done["failed"]
    ]


def test_another_model_is_a_change_of_the_library(prost, videos: Path, indexed: Path) -> None:  # type: ignore[no-untyped-def]
    """Searches use it from then on; the tables of the former model go on request."""
    said = prost("index", videos, "--library", indexed, "--model", "toybox", "--tag", "sea")
    assert said.code == 0, said.err
    assert "searches use toybox now" in said.out and "indexed again by toybox" in said.err
    assert f"failed: {videos / 'broken.mp4'}" in said.err
    rows = prost("list", "--library", indexed, "--json").json
    assert {tuple(row["tags"]) for row in rows if row["status"] == "indexed"} == {("sea",)}
    status = prost("status", "--library", indexed, "--json").json
    assert status["model"] == "toybox" and status["videos"] == 3
    assert [other["videos"] for other in status["other_tables"]] == [3]
    assert prost("search", "a red ball", "--library", indexed).code == 0
    said = prost("index", videos, "--library", indexed, "--remove-old")
    assert said.code == 0 and "removed the tables" in said.err
    assert prost("status", "--library", indexed, "--json").json["other_tables"] == []
    assert len(prost("search", "a red ball", "--library", indexed, "--json").json) == 3


def test_videos_that_are_gone_stop_the_change(prost, videos: Path, indexed: Path) -> None:  # type: ignore[no-untyped-def]
    (videos / "red.mp4").unlink()
    said = prost("index", videos, "--library", indexed, "--model", "toybox")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("error: 1 videos of the library cannot be indexed by toybox")
    assert prost("status", "--library", indexed, "--json").json["model"] != "toybox"
    assert prost("index", videos, "--library", indexed, "--model", "toybox", "--yes").code == 0
    assert prost("status", "--library", indexed, "--json").json["model"] == "toybox"


def test_a_library_keeps_its_fit(prost: Prost, videos: Path, library: Path, untrained_folder: Path) -> None:
    made = prost("index", videos, "--library", library, "--model", untrained_folder, "--fit", "pad")
    assert made.code == 0
    assert Library(library).description.clips.fit == "pad"
    assert prost("index", videos, "--library", library, "--fit", "pad").code == 0
    assert prost("index", videos, "--library", library).code == 0
    figure = library.parent / "why.png"
    explained = (
        "explain",
        "a red ball",
        "--video",
        videos / "red.mp4",
        "--library",
        library,
        "--figure",
        figure,
    )
    assert prost(*explained, "--json").json["fit"] == "pad" and figure.exists()
    for more in ((), ("--dry-run",), ("--model", "toybox")):
        refused = prost("index", videos, "--library", library, "--fit", "crop", *more)
        assert refused.code != 0
        assert "(fit pad), asked for were 12 s and 0.25 (fit crop)" in " ".join(refused.err.split())
    assert Library(library).description.clips.fit == "pad"


def test_a_form_is_chosen_by_hand(prost: Prost, videos: Path, library: Path, untrained_folder: Path) -> None:
    index = ("index", videos, "--library", library, "--model", untrained_folder)
    assert prost(*index, "--form", "int4").code == 2 and not library.exists()
    assert prost(*index, "--form", "int8").code == 0
    for more in ((), ("--dry-run",)):  # a name with a mistake is one, also where nothing is left to encode
        refused = prost(*index, "--form", "int4", *more)
        assert refused.code == 2 and "form 'int4'" in refused.err
    assert '"precision": "int8"' in (library / "library.json").read_text()
    next(videos.glob("*.mp4")).rename(videos / "renamed.mp4")
    refused = prost(*index, "--form", "fp32")
    assert refused.code == 1 and "computed in int8, and the form fp32 computes in fp32" in refused.err
    assert prost(*index).code == 0
