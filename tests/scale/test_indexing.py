"""Indexing on a real Ray cluster of two nodes gives what one machine gives, also when a worker or the driver dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ray_cluster import ray_cluster
from tests.search.bucket_server import BUCKET, bucket_server
from tests.search.conftest import COLOURS, ColourModel, paint_video

from prost.errors import LibraryBusy
from prost.scale.cluster import expect_reachable
from prost.scale.indexing import Shares, on_ray
from prost.search.library import Library
from prost.search.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with ray_cluster(nodes=2, cpus=2) as address:
        yield address


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Short and long videos, a copy, clips without finite numbers, and files that cannot be shown."""
    folder = tmp_path / "films"
    for seconds, colour in enumerate(COLOURS, 1):
        paint_video(folder / f"{colour}.mp4", (colour, seconds))
    film = paint_video(folder / "long.mp4", ("red", 30), ("magenta", 10), ("blue", 20)).read_bytes()
    (folder / "copy.mp4").write_bytes((folder / "red.mp4").read_bytes())
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video")
    (folder / "cut.mp4").write_bytes(film[: len(film) // 2])
    return folder


def rows_of(root: str | Path, options: dict[str, str] | None = None) -> tuple[list[Any], list[Any]]:
    """All rows of both tables, but for the time when a file was added."""
    store = Store.open(str(root), options)
    videos = [{**vars(row), "added": ""} for row in store.read_videos()]
    return videos, store.clips().to_table().sort_by("key").to_pylist()


def single(root: Path, films: Path) -> tuple[list[Any], list[Any]]:
    """What one machine makes of the films."""
    with Library(root, ColourModel(sick=True)) as library:
        library.add(films)
    return rows_of(root)


def test_a_cluster_that_answers_can_be_reached(cluster: str) -> None:
    expect_reachable(cluster)


class TestSameAsOneMachine:
    def test_row_for_row(self, cluster: str, films: Path, tmp_path: Path) -> None:
        expected = single(tmp_path / "one.prost", films)
        with Library(tmp_path / "ray.prost", ColourModel(sick=True)) as library:
            report = library.add(films, elsewhere=on_ray())
            again = library.add(films, elsewhere=on_ray())
            assert library.verify() == []
        assert rows_of(tmp_path / "ray.prost") == expected
        assert len(expected[1]) == 12 and len(report.added) == 9
        assert {Path(path).name: reason for path, reason in report.failed} == {
            "cut.mp4": "incomplete file",
            "empty.mp4": "empty file",
            "text.mp4": "not a video",
            "magenta.mp4": "the model gave numbers that are not finite",
        }
        assert [(Path(path).name, detail) for path, detail in report.notes] == [
            ("long.mp4", "2 of 7 clips damaged")
        ]
        assert again.counts["unchanged"] == 9 and again.counts["failed"] == 4 and not again.added

    def test_on_object_storage(self, cluster: str, films: Path, tmp_path: Path) -> None:
        expected = single(tmp_path / "one.prost", films)
        root = f"s3://{BUCKET}/ray.prost"
        with bucket_server() as server:
            with Library(root, ColourModel(sick=True), storage_options=server.options) as library:
                library.add(films, elsewhere=on_ray())
                assert library.verify() == []
            assert rows_of(root, server.options) == expected

    def test_a_library_that_another_writes(self, cluster: str, films: Path, tmp_path: Path) -> None:
        library = Library(tmp_path / "ray.prost", ColourModel())
        with Store.open(str(tmp_path / "ray.prost")).writing(), pytest.raises(LibraryBusy):
            library.add(films, elsewhere=on_ray())


class SlowColours(ColourModel):
    """Takes its time, so that there is some to be killed in, and says where it runs.

    Args:
        notes: a folder where each process that encodes leaves a file named by its number.
    """

    def __init__(self, notes: Path) -> None:
        super().__init__(sick=True)
        self._notes = notes

    def video_head(self, tokens: Any) -> Any:
        (self._notes / str(os.getpid())).touch()
        time.sleep(0.3 * len(tokens))
        return super().video_head(tokens)


def wait_for(folder: Path, pattern: str) -> Path:
    end = time.monotonic() + 60
    while not (found := sorted(folder.glob(pattern))):
        assert time.monotonic() < end, f"no {pattern}"
        time.sleep(0.05)
    return found[0]


class TestKills:
    def test_a_worker(self, cluster: str, films: Path, tmp_path: Path) -> None:
        expected = single(tmp_path / "one.prost", films)
        notes = tmp_path / "notes"
        notes.mkdir()
        context = multiprocessing.get_context("spawn")
        killer = context.Process(target=_kill_the_first, args=(notes,))
        killer.start()
        with Library(tmp_path / "ray.prost", SlowColours(notes)) as library:
            report = library.add(films, elsewhere=on_ray())
            assert library.verify() == []
        killer.join()
        assert killer.exitcode == 0 and len(report.added) == 9
        assert len(list(notes.iterdir())) > 1  # another one did it again
        assert rows_of(tmp_path / "ray.prost") == expected

    def test_the_driver(self, cluster: str, films: Path, tmp_path: Path) -> None:
        expected = single(tmp_path / "one.prost", films)
        notes, root = tmp_path / "notes", tmp_path / "ray.prost"
        notes.mkdir()
        Library(root, ColourModel()).close()
        driver = multiprocessing.get_context("spawn").Process(
            target=_drive, args=(cluster, root, films, notes)
        )
        driver.start()
        wait_for(notes, "*")
        assert driver.pid is not None
        os.kill(driver.pid, signal.SIGKILL)
        driver.join()
        assert driver.exitcode == -signal.SIGKILL
        with Library(root, ColourModel(sick=True)) as library:
            library.add(films, elsewhere=on_ray())
            assert library.verify() == []
        assert rows_of(root) == expected


def _kill_the_first(notes: Path) -> None:
    os.kill(int(wait_for(notes, "*").name), signal.SIGKILL)


def _drive(address: str, root: Path, films: Path, notes: Path) -> None:
    """What the killed driver does."""
    from prost.scale.cluster import connected

    with connected(address):
        Library(root, SlowColours(notes)).add(films, elsewhere=on_ray())


@pytest.mark.parametrize("cores", [0.5, 1, 2, 3, 8, 64])
@pytest.mark.parametrize("gpus", [0, 1, 4])
@pytest.mark.parametrize("decoders", [None, 1, 1000])
def test_a_cluster_has_room_for_both_kinds_of_actors(cores: float, gpus: int, decoders: int | None) -> None:
    shares = Shares.of(cores, gpus, decoders)
    assert shares.decoders >= 1 and shares.encoders >= 1
    taken = shares.decoders * shares.cores + (0 if shares.gpus else shares.encoders * shares.cores)
    assert taken <= cores
    assert shares.encoders * shares.gpus <= gpus
