"""Every kind of damage is found by `verify`, and mended by `repair`."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import lance
import numpy as np
import pytest
from tests.search.bucket_server import BUCKET, BucketServer, overloaded_server
from tests.search.conftest import ColourModel, clip_rows

from prost.errors import LibraryBusy, LibraryDamaged, MissingPath, ModelMismatch, ProstError, StorageError
from prost.model.checkpoint import load_prost
from prost.object_store import ObjectStore, lance_options
from prost.search import table_files
from prost.search.description import Description
from prost.search.lease import Holder
from prost.search.library import Library
from prost.search.records import ClipSettings, PrototypeSizes
from prost.search.repairing import repair_library
from prost.search.store import Store, fragment_files
from prost.search.verifying import Kind, _wrong_with, verify_library
from prost.search.writer_lock import LOCK
from prost.video.fit import Fit


def data_files(root: Path, table: str) -> list[Path]:
    return sorted((root / table / "data").iterdir())


def newest_manifest(root: Path, table: str) -> Path:
    return min((root / table / "_versions").glob("*.manifest"))


def answers(library: Library) -> list[tuple[str, float]]:
    return [(hit.path, hit.score) for colour in ("red", "green", "blue") for hit in library.search(colour)]


@pytest.fixture
def root(library: Library, folder: Path) -> Path:
    """A library of three videos, added one by one, so that it has several fragments."""
    for name in ("red.mp4", "green.mp4", "sea/blue.mp4"):
        library.add(folder / name, tags="mine")
    library.optimize(retrain=True)
    (folder / "last.mp4").write_text("no video")
    library.add(folder)
    return Path(library.path)


def clips_gone(root: Path) -> None:
    data_files(root, "clips.lance")[0].unlink()


def clips_cut(root: Path) -> None:
    os.truncate(data_files(root, "clips.lance")[0], 100)


def clips_zeroed(root: Path) -> None:
    file = data_files(root, "clips.lance")[0]
    file.write_bytes(bytes(file.stat().st_size))


def one_bit(root: Path) -> None:
    file = data_files(root, "clips.lance")[0]
    data = bytearray(file.read_bytes())
    data[7] ^= 4
    file.write_bytes(data)


def clips_table_gone(root: Path) -> None:
    shutil.rmtree(root / "clips.lance")


def clips_manifests_zeroed(root: Path) -> None:
    for file in (root / "clips.lance" / "_versions").glob("*.manifest"):
        file.write_bytes(bytes(file.stat().st_size))


def newest_manifest_empty(root: Path) -> None:
    newest_manifest(root, "clips.lance").write_bytes(b"")


def description_gone(root: Path) -> None:
    (root / "library.json").unlink()


def description_empty(root: Path) -> None:
    (root / "library.json").write_text("")


FAST = (clips_gone, one_bit, clips_table_gone, description_gone)
SLOW = (clips_cut, clips_zeroed, clips_manifests_zeroed, newest_manifest_empty, description_empty)


def test_a_whole_library_has_no_problem(root: Path, model) -> None:  # type: ignore[no-untyped-def]
    assert verify_library(root) == []
    assert repair_library(root, model).problems == []


def expect_mended(root: Path | str, model: ColourModel, folder: Path, do: Callable[[], None]) -> None:
    """A repair finds what was done to a library, and gives back answers, tags and dates."""
    with Library(root, model) as library:
        before = answers(library)
        rows = {row.path: (row.tags, row.added) for row in library.videos()}
    do()
    assert verify_library(root) != []
    report = repair_library(root, model)
    assert report.problems
    assert (report.left, report.failed) == ([], [])
    with Library(root, model) as library:
        assert library.verify() == []
        assert answers(library) == before
        assert {row.path: (row.tags, row.added) for row in library.videos()} == rows
        assert len(library.add(folder).unchanged) == 3


@pytest.mark.parametrize(
    "damage", [*FAST, *(pytest.param(damage, marks=pytest.mark.slow) for damage in SLOW)]
)
def test_damage_is_found_and_mended(root: Path, model, folder: Path, damage: Callable[[Path], None]) -> None:  # type: ignore[no-untyped-def]
    expect_mended(root, model, folder, lambda: damage(root))


@pytest.mark.parametrize("damage", [clips_gone, clips_table_gone, description_gone])
@pytest.mark.parametrize("fit", ["pad", "stretch", "tiles"])
def test_what_is_encoded_again_has_the_fit_of_the_library(
    tmp_path: Path,
    model,  # type: ignore[no-untyped-def]
    fit: Fit,
    damage: Callable[[Path], None],
) -> None:
    picture = np.full((72, 128, 3), (230, 20, 20), dtype=np.uint8)
    picture[:, :40] = (20, 200, 20)
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 128, 72, "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    root = tmp_path / "wide.prost"
    with Library(root, model, clips=ClipSettings(fit=fit)) as library:
        library.add([tmp_path / "wide.mp4"])
        before = answers(library)
    damage(root)
    assert verify_library(root) != []
    report = repair_library(root, model)
    assert (report.left, report.failed) == ([], [])
    with Library(root, model) as library:
        assert library.description.clips.fit == fit
        assert answers(library) == before


@pytest.mark.parametrize("what", ["row", "table"])
def test_lost_rows_of_videos_come_back_with_their_folder(root: Path, model, folder: Path, what: str) -> None:  # type: ignore[no-untyped-def]
    if what == "row":
        data_files(root, "videos.lance")[0].unlink()
    else:
        shutil.rmtree(root / "videos.lance")
    assert verify_library(root) != []
    report = repair_library(root, model)
    assert report.left == []
    if what == "row":
        assert report.videos_lost > 0
    with Library(root, model) as library:
        library.add(folder)
        assert library.stats().videos == 3
        assert library.search("red")[0].path == str(folder / "red.mp4")


@pytest.mark.parametrize("table", ["videos.lance", "clips.lance"])
def test_a_table_without_manifests_keeps_what_its_data_files_hold(
    root: Path, model: ColourModel, folder: Path, table: str
) -> None:
    with Library(root, model) as library:
        library.tag([folder / "red.mp4"], ["kept"])
        before = {row.path: row.tags for row in library.videos()}
        found = answers(library)
    for manifest in (root / table / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"")
    report = repair_library(root, model)
    assert report.left == [] and report.videos_lost == 0
    assert report.videos_kept == (len(before) if table == "videos.lance" else 0)
    with Library(root, model) as library:
        assert {row.path: row.tags for row in library.videos()} == before
        assert answers(library) == found


def test_an_interrupted_repair_of_the_videos_table_is_taken_up(
    root: Path, model: ColourModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library(root, model) as library:
        before = {row.path: row.tags for row in library.videos()}
    for manifest in (root / "videos.lance" / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Store, "_create_table", interrupted)
        repair_library(root, model)
    assert repair_library(root, model).videos_kept == len(before)
    with Library(root, model) as library:
        assert {row.path: row.tags for row in library.videos()} == before


def test_damaged_data_files_of_a_table_without_manifests_are_left_out(root: Path, model: ColourModel) -> None:
    with Library(root, model) as library:
        before = {row.path for row in library.videos()}
    (root / "videos.lance" / "_versions").rename(root / "videos.lance" / "gone")
    damaged = max(data_files(root, "videos.lance"), key=lambda file: file.stat().st_mtime_ns)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 4
    damaged.write_bytes(content)
    report = repair_library(root, model)
    assert report.left == [] and 0 < report.videos_kept < len(before)
    with Library(root, model) as library:
        assert {row.path for row in library.videos()} < before


def test_the_clips_of_another_library(root: Path, model, tmp_path: Path, folder: Path) -> None:  # type: ignore[no-untyped-def]
    other = Library(tmp_path / "other.prost", model)
    other.add(folder / "red.mp4")
    shutil.rmtree(root / "clips.lance")
    shutil.copytree(tmp_path / "other.prost" / "clips.lance", root / "clips.lance")
    with pytest.raises(LibraryDamaged, match="another library"):
        Library(root, model)
    assert Kind.OTHER_LIBRARY in {problem.kind for problem in verify_library(root)}
    report = repair_library(root, model)
    assert [Path(place).name for place in report.set_aside] == ["clips.lance.set-aside-1"]
    assert len(report.encoded) == 3
    assert Library(root, model).search("red")[0].path == str(folder / "red.mp4")


def test_clips_whose_file_is_gone_cannot_be_encoded_again(root: Path, model, folder: Path) -> None:  # type: ignore[no-untyped-def]
    red = (folder / "red.mp4").read_bytes()
    (folder / "red.mp4").unlink()
    clips_table_gone(root)
    report = repair_library(root, model)
    assert report.failed == [(str(folder / "red.mp4"), "file is gone")]
    assert len(report.encoded) == 2
    assert report.left == []
    (folder / "red.mp4").write_bytes(red)
    with Library(root, model) as library:
        assert library.add(folder).added == [str(folder / "red.mp4")]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_disk_that_refuses_to_read_is_no_damage(
    root: Path,
    model,
    monkeypatch: pytest.MonkeyPatch,
    number: int,  # type: ignore[no-untyped-def]
) -> None:
    before = sorted(str(file) for file in root.rglob("*"))

    def refused(path: Path) -> tuple[int, int]:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(table_files, "_checksum", refused)
        with pytest.raises(StorageError, match="what was stored is kept"):
            verify_library(root)
        with pytest.raises(StorageError, match="what was stored is kept"):
            repair_library(root, model)
    assert verify_library(root) == []
    assert sorted(str(file) for file in root.rglob("*")) == before


def test_a_process_without_a_free_file_finds_no_damage(root: Path) -> None:
    said = subprocess.run([sys.executable, "-c", WITHOUT_FILES, root], capture_output=True, text=True)
    assert said.stdout == f"{root}: this process has too many files open; what was stored is kept\n", (
        said.stderr
    )
    assert verify_library(root) == []


# The first open of a table succeeds, so that the checksums are what is refused.
WITHOUT_FILES = """
import os, resource, sys
from prost.errors import StorageError
from prost.search import verifying

whole = verifying._table

def without_files(store, name):
    there = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (there - 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return whole(store, name)

verifying._table = without_files
try:
    print(verifying.verify_library(sys.argv[1]))
except StorageError as error:
    print(error.arrived)
"""


def test_a_damaged_pack(root: Path, model) -> None:  # type: ignore[no-untyped-def]
    pack = next((root / "packs").glob("*.pack"))
    pack.write_bytes(pack.read_bytes()[:-8])
    (problem,) = verify_library(root)
    assert problem.kind is Kind.PACKS
    assert repair_library(root, model).left == []


def test_what_a_repair_needs(root: Path, make_model, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    clips_gone(root)
    with pytest.raises(ModelMismatch):
        repair_library(root, make_model(fingerprint="0ther"))
    for use in (
        lambda: verify_library(tmp_path / "none"),
        lambda: repair_library(tmp_path / "none", make_model()),
    ):
        with pytest.raises(MissingPath):
            use()


def test_a_library_under_an_earlier_fingerprint_of_its_model_is_repaired_with_it(
    tmp_path: Path, folder: Path, untrained_folder: Path
) -> None:
    model = load_prost(untrained_folder, "cpu")
    (former,) = model.former_fingerprints(model.config.name)
    root = tmp_path / "former.prost"
    described = Description(
        model=model.config.name,
        fingerprint=former,
        sizes=PrototypeSizes.of(model.config),
        clips=ClipSettings.default(model.config),
    )
    Store.create(str(root), described, None)
    with Library(root, model) as library:
        library.add(folder)
    clips_gone(root)
    report = repair_library(root, model)
    assert len(report.encoded) == 3 and report.left == []


def test_a_library_without_checksums_is_decoded(root: Path) -> None:
    (root / "checksums.json").unlink()
    assert verify_library(root) == []
    clips_zeroed(root)
    assert {problem.kind for problem in verify_library(root)} == {Kind.FRAGMENT}


def test_too_many_clips(root: Path, model) -> None:  # type: ignore[no-untyped-def]
    with Library(root, model) as library:
        table = library._store.clips().to_table()
    import lance

    lance.write_dataset(table.slice(0, 1), root / "clips.lance", mode="append")
    assert {problem.kind for problem in verify_library(root)} == {Kind.CLIPS}
    assert repair_library(root, model).left == []


FLIPS = 40


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_a_single_flipped_bit(root: Path, model, tmp_path: Path, seed: int) -> None:  # type: ignore[no-untyped-def]
    """Whatever bit flips: the answer is right or the error is one of ours, and `verify` finds it."""
    with Library(root, model) as library:
        before = answers(library)
    recorded = json.loads((root / "checksums.json").read_text())
    latest = {newest_manifest(root, table) for table in ("videos.lance", "clips.lance")}
    files = [
        root / name
        for name in recorded
        if "/data/" in name or "/_deletions/" in name or root / name in latest
    ]
    choose = random.Random(seed)
    for number in range(FLIPS):
        copy = tmp_path / f"flipped{number}"
        shutil.copytree(root, copy)
        file = copy / choose.choice(files).relative_to(root)
        data = bytearray(file.read_bytes())
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        file.write_bytes(data)
        try:
            with Library(copy, model) as library:
                after = answers(library)
        except ProstError:
            after = None
        if after != before:
            assert verify_library(copy) != [], file
        shutil.rmtree(copy)


@pytest.mark.slow
class TestOnObjectStorage:
    """The same damage, done to the objects of a library on an S3 server."""

    @pytest.fixture
    def root(
        self, environment: BucketServer, folder: Path, model: ColourModel, request: pytest.FixtureRequest
    ) -> str:
        root = f"s3://{BUCKET}/{abs(hash(request.node.name)):x}.prost"
        with Library(root, model) as library:
            for name in ("red.mp4", "green.mp4", "sea/blue.mp4"):
                library.add(folder / name, tags="mine")
            library.optimize(retrain=True)
            (folder / "last.mp4").write_text("no video")
            library.add(folder)
        return root

    @pytest.mark.parametrize(
        "damage",
        [
            "clips gone",
            "newest manifest empty",
            *(
                pytest.param(damage, marks=pytest.mark.slow)
                for damage in (
                    "clips cut",
                    "clips zeroed",
                    "clips table gone",
                    "clips manifests zeroed",
                    "description gone",
                    "description empty",
                )
            ),
        ],
    )
    @pytest.mark.parametrize("takeover", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_damage_is_found_and_mended(
        self, root: str, folder: Path, model: ColourModel, damage: str, takeover: bool
    ) -> None:
        objects = ObjectStore(root)

        def harmed() -> None:
            harm(objects, damage)
            if takeover:
                objects.write(LOCK, Holder(owner="dead", process=1, host="x", seconds=-60).to_json())

        expect_mended(root, model, folder, harmed)

    def test_a_commit_that_builds_on_a_damaged_manifest_fails_after_the_repair(
        self, root: str, folder: Path, model: ColourModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stale = Store.open(root)
        look, looks = Store.expect_held, []

        def repaired_after_the_look(self: Store) -> None:
            look(self)
            if self is stale and not looks:
                looks.append(1)
                objects = ObjectStore(root)
                harm(objects, "newest manifest empty")
                objects.write(LOCK, Holder(owner="dead", process=1, host="x", seconds=-60).to_json())
                repair_library(root, model)

        with stale.writing():
            monkeypatch.setattr(Store, "expect_held", repaired_after_the_look)
            with pytest.raises(LibraryBusy):
                stale.append_clips([clip_rows("stale", 1, np.random.default_rng(0))])
        assert Library(root, model).verify() == []

    def test_videos_without_manifests_are_kept(self, root: str, folder: Path, model: ColourModel) -> None:
        with Library(root, model) as library:
            library.tag([folder / "red.mp4"], ["kept"])
            before = {row.path: row.tags for row in library.videos()}
        objects = ObjectStore(root)
        for name in objects.sizes("videos.lance/_versions"):
            objects.write(name, b"")
        assert repair_library(root, model).left == []
        with Library(root, model) as library:
            assert {row.path: row.tags for row in library.videos()} == before
            assert len(library.search("red")) == 3

    def test_damaged_words_do_not_keep_the_next_writer_out(
        self, root: str, folder: Path, model: ColourModel
    ) -> None:
        (folder / "red.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nthe lighthouse at night\n")
        Library(root, model).add(folder)
        objects = ObjectStore(root)
        harm(objects, "words zeroed")
        assert [problem.kind for problem in verify_library(root)] == [Kind.WORDS]
        objects.write(LOCK, Holder(owner="dead", process=1, host="x", seconds=-60).to_json())
        with Library(root, model) as library:
            library.add(folder)
            assert Path(library.search("lighthouse", sources=["words"])[0].path).name == "red.mp4"
            assert library.verify() == []

    def test_a_store_that_does_not_answer_is_no_damage(self, root: str) -> None:
        store = Store.open(root)
        fragment = store.clips().get_fragments()[0]
        with overloaded_server() as options:

            class Unanswered:
                def scanner(self, **choices: object) -> lance.LanceDataset:
                    return lance.dataset(f"{root}/clips.lance", storage_options=lance_options(options))

            with pytest.raises(StorageError, match="overloaded"):
                _wrong_with(store, "clips.lance", Unanswered(), fragment)  # type: ignore[arg-type]


def harm(objects: ObjectStore, damage: str) -> None:
    """Damage a library on an object store."""

    def below(folder: str, end: str = "") -> list[str]:
        return sorted(name for name in objects.sizes(folder) if name.endswith(end))

    clips = ""
    if damage.startswith("clips"):  # in use, unlike files of fragments that were merged
        clips = fragment_files("clips.lance", Store.open(objects.root).clips().get_fragments()[0])[0]
    match damage:
        case "clips gone":
            objects.remove([clips])
        case "clips cut":
            found = objects.read(clips)
            assert found is not None
            objects.write(clips, found.data[:100])
        case "clips zeroed":
            objects.write(clips, bytes(objects.sizes()[clips]))
        case "clips table gone":
            objects.remove(below("clips.lance"))
        case "clips manifests zeroed":
            for name in below("clips.lance/_versions", ".manifest"):
                objects.write(name, bytes(100))
        case "newest manifest empty":
            objects.write(below("clips.lance/_versions", ".manifest")[0], b"")
        case "description gone":
            objects.remove(["library.json"])
        case "description empty":
            objects.write("library.json", b"")
        case "words zeroed":
            for name in below("words.lance/_versions", ".manifest"):
                objects.write(name, bytes(100))
