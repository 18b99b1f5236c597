import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pytest

import prost.search.store as store_module
from prost.errors import (
    LibraryBusy,
    LibraryDamaged,
    LibraryError,
    MissingPath,
    StorageError,
    UsageError,
)
from prost.search.description import Description
from prost.search.records import ClipRows, ClipSettings, PrototypeSizes, VideoRow
from prost.search.schema import VIDEO_SCHEMA, clip_schema
from prost.search.store import Store

SIZES = PrototypeSizes(frames=3, objects=2, events=2, width=4)
DESCRIPTION = Description(
    model="toy", fingerprint="f1", sizes=SIZES, clips=ClipSettings(longest=10, overlap=0.5)
)


def clip_rows(content: str, count: int = 2, first: int = 0) -> ClipRows:
    random = np.random.default_rng(len(content) + first)
    return ClipRows(
        content=content,
        first=first,
        start=np.arange(count) * 10.0,
        end=np.arange(count) * 10.0 + 10,
        frame_times=random.uniform(0, 10, (count, 3)),
        object_codes=random.integers(-127, 128, (count, 3, 2, 4)).astype(np.int8),
        object_scales=random.uniform(size=(count, 3, 2)).astype(np.float32),
        event=random.normal(size=(count, 2, 4)).astype(np.float32),
        event_attention=random.uniform(size=(count, 2, 3)).astype(np.float32),
    )


def video_row(path: str, content: str | None = "c1", **values) -> VideoRow:  # type: ignore[no-untyped-def]
    defaults = {"size": 7, "modified": 10**18 + 1, "added": "2026-01-31T12:00:00Z", "status": "indexed"}
    return VideoRow(path=path, content=content, **{**defaults, "clips": 2, **values})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "holiday.prost"


@pytest.fixture
def store(root: Path) -> Store:
    return Store.create(str(root), DESCRIPTION)


class TestRows:
    def test_videos_come_back_as_they_went_in(self, store: Store) -> None:
        rows = [
            video_row(
                "/b/two.mp4", duration=3.5, fps=29.97, width=640, height=360, codec="h264", tags=("x", "y")
            ),
            video_row(
                "/a/one.mp4", content=None, status="failed", reason="not a video", detail="moov", clips=0
            ),
        ]
        store.put_videos(rows)
        assert store.read_videos() == [rows[1], rows[0]]

    def test_a_name_that_is_no_text(self, store: Store) -> None:
        path = os.fsdecode(b"/a/caf\xe9.mp4")
        store.put_videos([video_row(path)])
        assert [row.path for row in store.read_videos()] == [path]
        store.delete_videos([path])
        assert store.read_videos() == []

    def test_a_row_of_the_same_path_is_replaced(self, store: Store) -> None:
        store.put_videos([video_row("/a.mp4", size=1)])
        store.put_videos([video_row("/a.mp4", size=2), video_row("/b'c.mp4")])
        assert [(row.path, row.size) for row in store.read_videos()] == [("/a.mp4", 2), ("/b'c.mp4", 7)]
        store.delete_videos(["/b'c.mp4"])
        assert [row.path for row in store.read_videos()] == ["/a.mp4"]

    def test_rows_are_put_and_removed_in_one_commit(self, store: Store) -> None:
        store.put_videos([video_row("/a.mp4"), video_row("/b'c.mp4"), video_row("/d.mp4")])
        version = store.videos().version
        store.put_videos([video_row("/e.mp4"), video_row("/d.mp4", size=1)], remove=["/a.mp4", "/none.mp4"])
        assert store.videos().version == version + 1
        assert [(row.path, row.size) for row in store.read_videos()] == [
            ("/b'c.mp4", 7),
            ("/d.mp4", 1),
            ("/e.mp4", 7),
        ]

    def test_clips_come_back_as_they_went_in(self, store: Store) -> None:
        rows = clip_rows("c1")
        store.append_clips([rows])
        table = store.clips().to_table()
        assert table["key"].to_pylist() == ["c1:0", "c1:1"]
        for name in ("frame_times", "object_codes", "object_scales", "event", "event_attention"):
            stored = np.array(table[name].to_pylist())
            expected = getattr(rows, name)
            assert stored.reshape(expected.shape).tolist() == expected.tolist(), name


class TestOpening:
    def test_the_description_is_kept(self, store: Store, root: Path) -> None:
        assert Store.open(str(root)).description == replace(DESCRIPTION, id=store.description.id)
        assert len(store.description.id) == 32
        assert json.loads((root / "library.json").read_text())["model"] == "toy"

    def test_by_uri(self, store: Store, root: Path) -> None:
        store.put_videos([video_row("/a.mp4")])
        by_uri = Store.open(root.as_uri())
        assert by_uri.description == store.description
        assert [row.path for row in by_uri.read_videos()] == ["/a.mp4"]

    def test_nothing_there(self, root: Path) -> None:
        with pytest.raises(MissingPath):
            Store.open(str(root))
        assert not root.exists()

    def test_opening_writes_nothing(self, store: Store, root: Path) -> None:
        before = sorted(root.rglob("*"))
        Store.open(str(root)).read_videos()
        assert sorted(root.rglob("*")) == before

    def test_a_newer_format(self, store: Store, root: Path) -> None:
        description = root / "library.json"
        description.write_text(description.read_text().replace('"format": 1', '"format": 2'))
        with pytest.raises(LibraryError, match="newer version of prost"):
            Store.open(str(root))

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1, "model": "toy"}'])
    def test_a_description_that_is_none(self, store: Store, root: Path, text: str) -> None:
        (root / "library.json").write_text(text)
        with pytest.raises(LibraryDamaged, match=r"library\.json"):
            Store.open(str(root))

    @pytest.mark.parametrize("table", ["videos.lance", "clips.lance"])
    @pytest.mark.parametrize("damage", ["gone", "empty manifest", "random manifest"])
    def test_a_damaged_table(self, store: Store, root: Path, table: str, damage: str) -> None:
        if damage == "gone":
            shutil.rmtree(root / table)
        else:
            for manifest in (root / table / "_versions").glob("*.manifest"):
                manifest.write_bytes(b"" if damage == "empty manifest" else os.urandom(700))
        with pytest.raises(LibraryDamaged) as caught:
            Store.open(str(root))
        assert "\n" not in str(caught.value)

    def test_the_table_of_another_library(self, store: Store, root: Path, tmp_path: Path) -> None:
        other = Store.create(str(tmp_path / "other"), DESCRIPTION)
        shutil.rmtree(root / "clips.lance")
        shutil.copytree(tmp_path / "other" / "clips.lance", root / "clips.lance")
        with pytest.raises(LibraryDamaged, match=r"clips\.lance belongs to another library"):
            Store.open(str(root))
        assert other.clips().count_rows() == 0

    def test_a_library_of_an_older_version(self, store: Store, root: Path) -> None:
        """Without an id, without checksums."""
        description = json.loads((root / "library.json").read_text())
        del description["id"]
        (root / "library.json").write_text(json.dumps(description))
        (root / "checksums.json").unlink()
        for table, schema in (("videos.lance", VIDEO_SCHEMA), ("clips.lance", clip_schema(SIZES))):
            shutil.rmtree(root / table)
            lance.write_dataset(schema.empty_table(), root / table)
        old = Store.open(str(root))
        with old.writing():
            old.append_clips([clip_rows("c1")])
            old.put_videos([video_row("/a.mp4", "c1")])
            old.check_counts()
        assert (root / "checksums.json").exists()

    def test_damaged_rows(self, store: Store, root: Path) -> None:
        store.put_videos([video_row("/a.mp4")])
        for data in (root / "videos.lance" / "data").iterdir():
            data.write_bytes(os.urandom(data.stat().st_size))
        with pytest.raises(LibraryDamaged, match="cannot be read"):
            Store.open(str(root)).read_videos()


class TestCreating:
    def test_not_among_other_things(self, root: Path) -> None:
        root.mkdir()
        (root / "letter.txt").write_text("dear")
        with pytest.raises(UsageError, match="other things"):
            Store.create(str(root), DESCRIPTION)
        assert [entry.name for entry in root.iterdir()] == ["letter.txt"]

    def test_not_in_a_file(self, root: Path) -> None:
        root.write_text("x")
        with pytest.raises(UsageError, match="is a file"):
            Store.create(str(root), DESCRIPTION)

    def test_goes_on_where_it_was_interrupted(self, store: Store, root: Path) -> None:
        (root / "library.json").unlink()
        Store.create(str(root), DESCRIPTION).put_videos([video_row("/a.mp4")])
        assert len(Store.open(str(root)).read_videos()) == 1

    def test_never_over_the_rows_of_a_library_that_lost_its_description(
        self, store: Store, root: Path
    ) -> None:
        store.put_videos([video_row("/a.mp4")])
        (root / "packs").mkdir()
        (root / "model.txt").write_text("toy")
        (root / "library.json").unlink()
        with pytest.raises(
            LibraryDamaged, match=r"library\.json is missing; try: prost doctor --verify --repair"
        ):
            Store.create(str(root), DESCRIPTION)
        with pytest.raises(LibraryDamaged, match=r"library\.json is missing"):
            Store.open(str(root))


class TestWriting:
    def test_clips_of_no_video_are_swept_when_the_next_writer_begins(self, store: Store) -> None:
        store.append_clips([clip_rows("c1"), clip_rows("orphan", 3)])
        store.put_videos([video_row("/a.mp4", "c1"), video_row("/bad.mp4", "orphan", status="failed")])
        with store.writing():
            assert set(store.clips().to_table()["content"].to_pylist()) == {"c1"}
            store.check_counts()

    @pytest.mark.parametrize("there", [1, 3])
    def test_counts_that_differ_are_damage(self, store: Store, there: int) -> None:
        store.append_clips([clip_rows("c1", there)])
        store.put_videos([video_row("/a.mp4", "c1", clips=2)])
        with pytest.raises(LibraryDamaged, match=f"{there} clips are there, 2 belong"):
            store.check_counts()

    def test_many_small_commits_become_few_fragments(self, store: Store) -> None:
        for number in range(20):
            store.append_clips([clip_rows(f"c{number}")])
            store.put_videos([video_row(f"/{number}.mp4", f"c{number}")])
        store.tidy()
        assert len(store.clips().get_fragments()) == len(store.videos().get_fragments()) == 1
        assert store.clips().count_rows() == 40
        assert len(store.read_videos()) == 20
        store.check_counts()

    def test_fragments_are_bounded_in_bytes(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        # One row takes 3 * 2 * (4 + 4) + 2 * (4 + 3) * 4 = 104 bytes: ten rows a fragment.
        monkeypatch.setattr(store_module, "FRAGMENT_BYTES", 1040)
        store.append_clips([clip_rows("c1", 25)])
        assert [fragment.count_rows() for fragment in store.clips().get_fragments()] == [10, 10, 5]

    def test_a_second_writer_of_the_process_is_refused(self, store: Store, root: Path) -> None:
        other = Store.open(str(root))
        with store.writing(), pytest.raises(LibraryBusy, match=f"process {os.getpid()}"), other.writing():
            pass
        with Store.open(str(root)).writing():
            pass

    def test_a_second_process_is_refused_and_told_which_writes(self, store: Store, root: Path) -> None:
        other = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys\nfrom prost.search.store import Store\n"
                "with Store.open(sys.argv[1]).writing():\n"
                "    print('writing', flush=True)\n    sys.stdin.read()",
                str(root),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with other:
            assert other.stdout is not None and other.stdout.readline() == "writing\n"
            with pytest.raises(LibraryBusy, match=f"process {other.pid}"), store.writing():
                pass
            assert store.read_videos() == []  # readers never wait
            other.kill()
        with store.writing():  # a killed writer holds nothing
            pass


FULL_DISK = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from test_store import clip_rows, video_row
from prost.errors import StorageError
from prost.search.store import Store
store = Store.open(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    with store.writing():
        store.append_clips([clip_rows("big", 10_000)])
except StorageError as error:
    print(error)
"""


class TestBytesOnDisk:
    MARK = b"\x55\x2a\x55\x2b\x55\x2c\x55\x2d"

    def marked(self, content: str) -> ClipRows:
        codes = np.tile(np.frombuffer(self.MARK, np.int8), 6).reshape(2, 3, 2, 4)
        return replace(clip_rows(content), object_codes=codes)

    def places(self, root: Path, data: bytes) -> list[str]:
        files = (file for file in root.rglob("*") if file.is_file())
        return [file.name for file in files if data in file.read_bytes()]

    @pytest.mark.parametrize("others", [0, 1, 3])
    def test_removed_clips_and_rows_leave_the_disk(self, store: Store, root: Path, others: int) -> None:
        for number in range(others):
            store.append_clips([clip_rows(f"kept{number}")])
            store.put_videos([video_row(f"/kept{number}.mp4", f"kept{number}")])
        store.append_clips([clip_rows("beside"), self.marked("secret")])
        store.put_videos([video_row("/beside.mp4", "beside"), video_row("/secret.mp4", "secret")])
        assert self.places(root, self.MARK) and self.places(root, b"/secret.mp4")
        with store.writing():
            store.delete_videos(["/secret.mp4"])
            store.sweep()
            store.tidy()
            store.tidy(thorough=True)
        assert self.places(root, self.MARK) == []
        assert self.places(root, b"/secret.mp4") == []
        assert len(store.read_videos()) == others + 1
        store.check_counts()

    def test_the_last_video_leaves_the_disk(self, store: Store, root: Path) -> None:
        store.append_clips([self.marked("secret")])
        store.put_videos([video_row("/secret.mp4", "secret")])
        with store.writing():
            store.delete_videos(["/secret.mp4"])
            store.sweep()
            store.tidy(thorough=True)
        assert self.places(root, self.MARK) == self.places(root, b"/secret.mp4") == []
        assert store.read_videos() == []


class TestLasting:
    def test_files_are_flushed_before_the_commit_that_names_them(
        self, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flushed: list[str] = []
        fsync = os.fsync

        def watched(handle: int) -> None:
            flushed.append(os.readlink(f"/proc/self/fd/{handle}"))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", watched)
        commit = store_module.lance.LanceDataset.commit
        unflushed: list[str] = []

        def watched_commit(*arguments, **options):  # type: ignore[no-untyped-def]
            files = (*root.rglob("data/*.lance"), *root.rglob("_deletions/*"))
            unflushed.extend(str(file) for file in files if str(file) not in flushed)
            return commit(*arguments, **options)

        monkeypatch.setattr(store_module.lance.LanceDataset, "commit", watched_commit)
        with store.writing():
            store.append_clips([clip_rows("c1"), clip_rows("c2")])
            store.put_videos([video_row("/a.mp4", "c1"), video_row("/b.mp4", "c2")])
            store.put_videos([video_row("/a.mp4", "c1", size=9)])
            store.delete_videos(["/b.mp4"])
            store.sweep()
            store.tidy(thorough=True)
        assert unflushed == []
        tables = (root / "videos.lance", root / "clips.lance")
        manifests = {str(file) for table in tables for file in table.glob("_versions/*.manifest")}
        folders = {str(table / "_versions") for table in tables}
        assert manifests | folders <= set(flushed)
        assert str(root / "checksums.json.new") in flushed

    def test_every_file_has_a_checksum(self, store: Store, root: Path) -> None:
        with store.writing():
            store.append_clips([clip_rows("c1")])
            store.put_videos([video_row("/a.mp4", "c1")])
            store.tidy()
        recorded = json.loads((root / "checksums.json").read_text())
        tables = (root / "videos.lance", root / "clips.lance")
        there = {
            str(file.relative_to(root)) for table in tables for file in table.rglob("*") if file.is_file()
        }
        assert recorded.keys() == {name for name in there if "latest_version_hint" not in name}
        assert store.files is not None
        assert all(store.files.changed(name) == "" for name in recorded)

    def test_leftovers_of_a_killed_writer_are_removed(self, store: Store, root: Path) -> None:
        left = [
            root / "clips.lance" / "data" / "abc.lance#1",
            root / "videos.lance" / "_versions" / "7.manifest#2",
            root / "videos.lance" / "_versions" / ".tmp_7.manifest",
        ]
        for file in left:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"half")
        with store.writing():
            assert [file for file in left if file.exists()] == []

    def test_compaction_does_not_hide_a_changed_file(self, store: Store, root: Path) -> None:
        for content in ("c1", "c2"):
            store.append_clips([clip_rows(content)])
            store.put_videos([video_row(f"/{content}.mp4", content)])
        file = next((root / "clips.lance" / "data").iterdir())
        data = bytearray(file.read_bytes())
        data[5] ^= 1
        file.write_bytes(data)
        with store.writing(), pytest.raises(LibraryDamaged, match="has changed"):
            store.tidy(thorough=True)


class TestRefusals:
    def test_no_more_bytes_allowed(self, store: Store, root: Path) -> None:
        store.append_clips([clip_rows("c1")])
        store.put_videos([video_row("/a.mp4", "c1")])

        finished = subprocess.run(
            [sys.executable, "-c", FULL_DISK, str(root), str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=True,
        )

        assert "would exceed the size allowed; what was stored is kept" in finished.stdout
        with store.writing():
            store.check_counts()
        assert [row.path for row in store.read_videos()] == ["/a.mp4"]

    @pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root")
    def test_a_full_disk_and_a_read_only_one(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=False).returncode:
            pytest.skip("mounting is not allowed here")
        try:
            store = Store.create(str(disk / "small.prost"), DESCRIPTION)
            store.append_clips([clip_rows("c1")])
            store.put_videos([video_row("/a.mp4", "c1")])
            (disk / "holiday.mov").write_bytes(bytes(100_000))
            with pytest.raises(StorageError, match="no space left; what was stored is kept"):
                for number in range(50):
                    store.append_clips([clip_rows(f"more{number}", 500)])
            assert [row.path for row in Store.open(store.root).read_videos()] == ["/a.mp4"]

            filler = disk / "filler"
            with suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(bytes(1024))
            with pytest.raises(StorageError, match="no space left; what was stored is kept"):
                store.delete_videos(["/a.mp4"])
            assert [row.path for row in Store.open(store.root).read_videos()] == ["/a.mp4"]
            filler.unlink()

            (disk / "holiday.mov").unlink()
            with store.writing():
                store.tidy()
                store.check_counts()

            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            assert [row.path for row in Store.open(store.root).read_videos()] == ["/a.mp4"]
            with pytest.raises(StorageError, match="read-only"), store.writing():
                pass
            with pytest.raises(StorageError, match="read-only"):
                store.put_videos([video_row("/b.mp4", "c1")])
        finally:
            subprocess.run(["umount", "-l", disk], check=True)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
    def test_no_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(StorageError, match="no permission"):
                Store.create(str(tmp_path / "library.prost"), DESCRIPTION)
        finally:
            tmp_path.chmod(0o700)
