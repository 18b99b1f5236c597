import os
import shutil
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.search import bucket_writers
from tests.search.bucket_server import BUCKET, BucketServer, overloaded_server
from tests.search.conftest import ColourModel, fill, paint_video

import prost.search.lease as lease_module
from prost.errors import LibraryBusy, LibraryDamaged, MissingPath, StorageError, UsageError
from prost.object_store import ENDPOINTS, ObjectStore, lance_options
from prost.search.description import read_description
from prost.search.hits import SearchResult
from prost.search.lease import Holder, hold_lease
from prost.search.library import Library
from prost.search.pack_cache import UNFINISHED_SECONDS, RemotePacks, cache_state, packs_cache
from prost.search.store import WORDS, Store
from prost.search.words import index_words, sweep_words
from prost.search.writer_lock import LOCK

COLOURS = ("red", "green", "blue", "yellow", "white", "black", "cyan")


@pytest.fixture
def root(environment: BucketServer, request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{request.node.name}.prost"


@pytest.fixture
def films(tmp_path: Path) -> list[str]:
    """Fourteen videos of different contents."""
    paths = [
        paint_video(tmp_path / "films" / f"{colour}-{seconds}.mp4", (colour, seconds))
        for colour in COLOURS
        for seconds in (1, 2)
    ]
    return [str(path) for path in paths]


def clips_of_each_content(root: str) -> tuple[dict[str, int], Counter[str]]:
    """Clips that the videos should have, and those that are there."""
    store = Store.open(root)
    wanted = {row.content: row.clips for row in store.read_videos() if row.indexed and row.content}
    return wanted, Counter(store.clips().to_table(columns=["content"])["content"].to_pylist())


def faults(result: SearchResult) -> list[str]:
    """Notes of a search that tell of damage or missing codes."""
    return [note for note in result.notes if not note.startswith("how well the hits fit")]


def expect_whole(root: str, paths: list[str]) -> None:
    """Every video is there, and each has its clips once."""
    assert sorted(row.path for row in Store.open(root).read_videos()) == sorted(paths)
    wanted, there = clips_of_each_content(root)
    assert there == wanted
    assert Library(root).verify() == []


@pytest.mark.slow
class TestEverythingThatAFolderDoes:
    def test_add_search_tag_remove_duplicates_status(
        self, root: str, folder: Path, model: ColourModel
    ) -> None:
        copy = paint_video(folder / "again.mp4", ("red", 2))
        copy.write_bytes((folder / "red.mp4").read_bytes())
        with Library(root, model) as library:
            report = library.add(folder)
            assert sorted(Path(path).name for path in report.added) == [
                "again.mp4",
                "blue.mp4",
                "green.mp4",
                "red.mp4",
            ]
            assert library.add(folder).counts["unchanged"] == 4
        with Library(root, model) as library:
            found = library.search("blue", limit=1)
            assert Path(found[0].path).name == "blue.mp4"
            # No scores of unrelated sentences are stored on object storage, and `optimize` stores none either.
            assert found.confidence is not None and "optimize" not in " ".join(found.notes)
            assert [len(group) for group in library.duplicates()] == [2]
            library.tag(folder / "sea", "holiday")
            tagged = library.search("red", where="array_has(tags, 'holiday')")
            assert [Path(hit.path).name for hit in tagged] == ["blue.mp4"]
            library.untag(folder / "sea", "holiday")
            assert library.videos("array_has(tags, 'holiday')") == []
            assert library.remove(folder / "green.mp4") == [str(folder / "green.mp4")]
            assert all(Path(hit.path).name != "green.mp4" for hit in library.search("green"))
            assert library.verify() == []
            run = library.last_run()
            assert run is not None and run.counts["unchanged"] == 4
            assert library.stats().nbytes > 1000
        wanted, there = clips_of_each_content(root)
        assert there == wanted

    def test_storage_options_alone_are_enough(
        self,
        server: BucketServer,
        root: str,
        folder: Path,
        model: ColourModel,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name in server.environment:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with Library(root, model, storage_options=server.options) as library:
            library.add(folder)
        with Library(root, storage_options=server.options) as library:
            assert len(library.videos()) == 3
            assert library.verify() == []

    def test_words_are_found_and_damaged_words_are_read_again(
        self, root: str, folder: Path, model: ColourModel
    ) -> None:
        subtitles = folder / "red.srt"
        subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nthe lighthouse at night\n")
        library = Library(root, model)
        library.add(folder)
        assert Path(library.search("lighthouse", sources=["words"])[0].path).name == "red.mp4"
        objects = ObjectStore(root)
        for name in objects.sizes("words.lance"):
            if "_versions" in name:
                objects.write(name, b"")
        assert "words" in str(library.verify())
        library.add(folder)
        assert Path(library.search("lighthouse", sources=["words"])[0].path).name == "red.mp4"
        assert library.verify() == []

    def test_an_overloaded_store_is_not_damage_and_the_words_are_kept(
        self, root: str, folder: Path, model: ColourModel
    ) -> None:
        (folder / "red.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nthe lighthouse at night\n")
        Library(root, model).add(folder)
        store = Store.open(root)
        words = ObjectStore(root).sizes(WORDS)
        assert words
        with overloaded_server() as options:
            store.storage_options = lance_options(options)
            with pytest.raises(StorageError, match="overloaded"):
                sweep_words(store)
            with pytest.raises(StorageError, match="overloaded"):
                ObjectStore(root, options).read("library.json")
        assert ObjectStore(root).sizes(WORDS) == words

    def test_a_trailing_slash_and_capitals_in_the_scheme_are_the_same_library(
        self, root: str, model: ColourModel
    ) -> None:
        Library(root, model)
        assert Library(f"{root}/").path == Library(root.replace("s3", "S3")).path == root


@pytest.mark.slow
class TestPacks:
    def test_optimize_uploads_codes_and_another_machine_scans_with_them(
        self, root: str, model: ColourModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        library = Library(root, model)
        for first in range(0, 120, 40):
            fill(Store.open(root), first, 40)
        exact = [hit.path for hit in library.search("red", limit=5, coarse="exact")]
        report = library.optimize(index="ivf-pq")
        assert (report.coding.clips, report.fragments) == (240, (3, 1))
        assert [hit.path for hit in library.search("red", limit=5, coarse="scan", recall=1.0)] == exact
        monkeypatch.setenv("PROST_HOME", str(tmp_path / "another machine"))
        with Library(root, model) as elsewhere:
            result = elsewhere.search("red", limit=5, coarse="scan", recall=1.0)
            assert [hit.path for hit in result] == exact
            assert faults(result) == []
            stats = elsewhere.stats()
            assert stats.codes_current is True
            assert stats.cache is not None and stats.cache.nbytes > 0
            assert stats.cache.path.startswith(str(tmp_path / "another machine"))
            assert elsewhere.verify() == []
            assert faults(elsewhere.search("red", limit=5, coarse="index")) == []

    def test_new_clips_follow_and_unused_objects_go(self, root: str, model: ColourModel) -> None:
        library = Library(root, model)
        fill(Store.open(root), 0, 40)
        library.optimize()
        before = set(ObjectStore(root).sizes("packs"))
        fill(Store.open(root), 40, 40)
        assert library.optimize().coding.coded == 80
        after = set(ObjectStore(root).sizes("packs"))
        assert len(after) == len(before) == 3 and after != before
        assert library.optimize().coding.coded == 0
        assert set(ObjectStore(root).sizes("packs")) == after

    @pytest.mark.parametrize("harm", ["cut", "changed", "removed"])
    def test_a_copy_that_was_harmed_is_downloaded_again(
        self, root: str, model: ColourModel, harm: str
    ) -> None:
        Library(root, model)
        fill(Store.open(root), 0, 40)
        Library(root, model).optimize()
        for path in packs_cache().glob("*/*.pack"):
            data = path.read_bytes()
            if harm == "removed":
                path.unlink()
            else:
                path.write_bytes(data[:-1] if harm == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
        assert faults(Library(root, model).search("red", coarse="scan")) == []

    def test_lost_objects_are_told_and_made_again(self, root: str, model: ColourModel) -> None:
        library = Library(root, model)
        fill(Store.open(root), 0, 40)
        library.optimize()
        shutil.rmtree(packs_cache())
        objects = ObjectStore(root)
        objects.remove([name for name in objects.sizes("packs") if name.endswith(".pack")])
        assert "gone" in faults(Library(root, model).search("red", coarse="scan"))[0]
        assert "gone" in str(library.verify())
        assert len(library.optimize().coding.damaged) == 1
        assert faults(Library(root, model).search("red", coarse="scan")) == []

    def test_a_cut_copy_does_not_replace_the_object(self, environment: BucketServer, root: str) -> None:
        objects = ObjectStore(root)
        objects.write("packs/a.pack", b"whole")
        packs = RemotePacks(objects, "id", lambda: None)
        packs.copy("a.pack").write_bytes(b"who")
        packs.publish({"a.pack"})
        assert packs.copy("a.pack", again=True).read_bytes() == b"whole"

    def test_downloads_of_one_object_at_once(self, root: str, model: ColourModel) -> None:
        objects = ObjectStore(root)
        content = os.urandom(4 << 20)
        objects.write("packs/a.pack", content)
        packs = RemotePacks(objects, "id", lambda: None)

        def download(number: int) -> None:
            assert packs.copy("a.pack", again=True).read_bytes() == content

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(download, range(16)))
        assert [path.name for path in packs.folder.iterdir()] == ["a.pack"]

    def test_a_file_that_is_being_downloaded_is_no_copy_unless_it_was_left_behind(
        self, environment: BucketServer
    ) -> None:
        folder = packs_cache() / "library"
        folder.mkdir(parents=True)
        (folder / "a.pack.0.new").write_bytes(b"part")
        assert cache_state().nbytes == 0
        long_ago = time.time() - 2 * UNFINISHED_SECONDS
        os.utime(folder / "a.pack.0.new", (long_ago, long_ago))
        assert cache_state().nbytes == 4

    def test_copies_of_other_libraries_make_room(
        self, root: str, model: ColourModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        roots = [f"{root}/{number}" for number in range(3)]
        for each in roots:
            Library(each, model)
            fill(Store.open(each), 0, 40)
            Library(each, model).optimize()
        one = cache_state().nbytes // 3
        shutil.rmtree(packs_cache())
        monkeypatch.setattr("prost.search.pack_cache.CACHE_BYTES", 2 * one + one // 2)
        for each in roots:
            assert faults(Library(each, model).search("red", coarse="scan")) == []
        assert cache_state().nbytes <= 2 * one + one // 2
        assert faults(Library(roots[0], model).search("red", coarse="scan")) == []


class TestCredentials:
    @pytest.fixture
    def made(
        self, server: BucketServer, root: str, model: ColourModel, monkeypatch: pytest.MonkeyPatch
    ) -> str:
        """A library, and an environment that no longer tells anything of its store."""
        Library(root, model)
        for name in server.environment:
            monkeypatch.delenv(name)
        return root

    def test_keys_of_a_profile(
        self, server: BucketServer, made: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        folder = tmp_path / "home" / ".aws"
        folder.mkdir(parents=True)
        (folder / "credentials").write_text(
            "[films]\naws_access_key_id = someone\naws_secret_access_key = secret\n"
        )
        (folder / "config").write_text(
            f"[profile films]\nregion = us-east-1\nendpoint_url = {server.endpoint}\n"
        )
        monkeypatch.setenv("AWS_PROFILE", "films")
        assert read_description(made) is not None

    @pytest.mark.parametrize("variable", ENDPOINTS)
    def test_the_environments_address_wins_over_that_of_a_profile(
        self,
        server: BucketServer,
        made: str,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        variable: str,
    ) -> None:
        (tmp_path / "config").write_text(
            "[default]\nregion = us-east-1\nendpoint_url = http://127.0.0.1:9\n"
            "aws_access_key_id = someone\naws_secret_access_key = secret\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv(variable, server.endpoint)
        assert read_description(made) is not None

    @pytest.mark.parametrize("with_model", [True, False])
    def test_none(
        self, server: BucketServer, root: str, monkeypatch: pytest.MonkeyPatch, with_model: bool
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(StorageError, match="no credentials") as caught:
            Library(root, ColourModel() if with_model else None)
        assert "AWS_ACCESS_KEY_ID" in str(caught.value)
        assert "\n" not in caught.value.arrived

    def test_half_of_them(self, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(StorageError, match="no credentials"):
            Library(root)

    def test_wrong_bucket(self, environment: BucketServer, model: ColourModel) -> None:
        for given in (None, model):
            with pytest.raises(StorageError, match="no such bucket"):
                Library("s3://nobody-made-this/x.prost", given)

    def test_no_network(self, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(StorageError, match="cannot be reached"):
            Library(root)

    def test_unknown_option(self, root: str) -> None:
        with pytest.raises(UsageError, match="storage_options"):
            Library(root, storage_options={"aws_colour": "red"})


class TestCreation:
    def test_broken_off_before_its_description_then_done_again(
        self, root: str, folder: Path, model: ColourModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*args: object, **kwargs: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Store, "write_description", killed)
            Library(root, model)
        with pytest.raises(MissingPath):
            Library(root)
        with Library(root, model) as library:
            library.add(folder)
            assert library.verify() == []

    @pytest.mark.parametrize("moment", range(3))
    def test_a_creation_that_lost_its_lease_does_not_replace_the_library_of_the_next(
        self, environment: BucketServer, model: ColourModel, monkeypatch: pytest.MonkeyPatch, moment: int
    ) -> None:
        """At each look of a creation at its lease: another takes it over after that look and makes the library."""
        root = f"s3://{BUCKET}/lost_lease_{moment}.prost"
        description = Library(f"{root}/first", model).description
        root += "/second"
        look, looks, made = Store.expect_held, [], []

        def taken_over_after_the_look(self: Store) -> None:
            look(self)
            looks.append(1)
            if len(looks) == moment + 1:
                monkeypatch.setattr(Store, "expect_held", look)
                ObjectStore(root).write(
                    LOCK, Holder(owner="dead", process=1, host="x", seconds=-60).to_json()
                )
                made.append(Store.create(root, description))
                fill(made[0], 0, 2)

        monkeypatch.setattr(Store, "expect_held", taken_over_after_the_look)
        with pytest.raises(LibraryBusy):
            Store.create(root, description)
        assert Store.open(root).description == made[0].description
        wanted, there = clips_of_each_content(root)
        assert there == wanted and len(wanted) == 2

    def test_a_creation_over_empty_tables_lost_its_lease(
        self, root: str, model: ColourModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Library(root, model)
        description = Store.open(root).description
        ObjectStore(root).remove(["library.json"])
        look, made = Store.expect_held, []

        def taken_over_after_the_look(self: Store) -> None:
            look(self)
            monkeypatch.setattr(Store, "expect_held", look)
            ObjectStore(root).write(LOCK, Holder(owner="dead", process=1, host="x", seconds=-60).to_json())
            made.append(Store.create(root, description))
            fill(made[0], 0, 2)

        monkeypatch.setattr(Store, "expect_held", taken_over_after_the_look)
        with pytest.raises(LibraryBusy):
            Store.create(root, description)
        assert Store.open(root).description == made[0].description
        wanted, there = clips_of_each_content(root)
        assert there == wanted and len(wanted) == 2

    def test_empty_tables_of_other_sizes_ask_for_a_new_place(self, root: str, model: ColourModel) -> None:
        description = Library(root, model).description
        ObjectStore(root).remove(["library.json"])
        sizes = replace(description.sizes, width=2 * description.sizes.width)
        with pytest.raises(UsageError, match="a new place"):
            Store.create(root, replace(description, sizes=sizes))

    def test_a_library_that_was_made_meanwhile_is_opened(self, root: str, model: ColourModel) -> None:
        first = Library(root, model)
        fill(Store.open(root), 0, 3)
        again = Store.create(root, first.description)
        assert again.description.id == first.description.id
        assert len(again.read_videos()) == 3

    def test_a_lost_description_is_no_new_library(self, root: str, model: ColourModel) -> None:
        Library(root, model)
        fill(Store.open(root), 0, 1)
        ObjectStore(root).remove(["library.json"])
        with pytest.raises(LibraryDamaged, match=r"library\.json is missing"):
            Library(root, model)

    def test_other_things(self, root: str, model: ColourModel) -> None:
        ObjectStore(root).write("letter.txt", b"dear")
        with pytest.raises(UsageError, match="other things"):
            Library(root, model)


@pytest.mark.slow
class TestLease:
    def test_the_second_writer_is_told_who_writes_and_since_when(
        self, root: str, folder: Path, model: ColourModel
    ) -> None:
        library = Library(root, model)
        with hold_lease(ObjectStore(root)), pytest.raises(LibraryBusy) as caught:
            library.add(folder)
        message = str(caught.value)
        assert f"process {os.getpid()}" in message and "UTC" in message and "wait=True" in message
        assert library.add(folder).counts["added"] == 3  # released

    def test_waiting(self, root: str, folder: Path, model: ColourModel) -> None:
        library = Library(root, model)
        said: list[str] = []
        context = hold_lease(ObjectStore(root))
        context.__enter__()
        import threading

        thread = threading.Thread(target=lambda: said.append(str(library.add(folder, wait=True))))
        thread.start()
        time.sleep(1)
        assert not said
        context.__exit__(None, None, None)
        thread.join(60)
        assert said == ["3 added, 0 unchanged, 0 moved, 0 removed, 0 failed"] or "3 added" in said[0]

    def test_it_is_renewed(self, root: str, model: ColourModel, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease_module, "LEASE_SECONDS", 0.3)
        Library(root, model)
        objects = ObjectStore(root)
        with hold_lease(objects) as lease:
            time.sleep(1)
            found = objects.read(LOCK)
            assert found is not None
            holder = Holder.from_json(found.data)
            assert holder.renewals >= 2 and holder.since
            lease.expect_held()

    def test_a_writer_whose_lease_is_gone_cannot_commit(self, root: str, model: ColourModel) -> None:
        Library(root, model)
        store = Store.open(root)
        with store.writing():
            fill(store, 0, 1)
            ObjectStore(root).write(LOCK, Holder(owner="other", process=7, host="far", seconds=30).to_json())
            with pytest.raises(LibraryBusy, match="process 7 on far"):
                fill(store, 1, 1)
        assert len(Store.open(root).read_videos()) == 1

    def test_a_takeover_that_could_not_refuse_older_commits_is_left_to_expire(
        self, root: str, model: ColourModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Library(root, model)
        objects = ObjectStore(root)
        dead = Holder(owner="dead", process=1, host="x", seconds=-60)
        objects.write(LOCK, dead.to_json())

        def refused(self: Store, name: str) -> None:
            raise StorageError("the store refuses")

        with monkeypatch.context() as patch, pytest.raises(StorageError, match="refuses"):
            patch.setattr(Store, "_refuse_older_commits", refused)
            patch.setattr(lease_module, "LEASE_SECONDS", 1.0)
            with Store.open(root).writing():
                pass
        store = Store.open(root)
        before = store.versions()
        with store.writing(wait=True):
            assert all(now > then for now, then in zip(store.versions(), before, strict=True))
        with store.writing():  # released
            pass

    def test_a_description_prepared_before_a_takeover_is_not_written(
        self, root: str, model: ColourModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Library(root, model)
        stale = Store.open(root)
        other = "bf16" if stale.description.precision == "fp32" else "fp32"
        with stale.writing():
            stale.set_precision(other)
            first = replace(stale.description, model="the next writer's")
            look, looks = Store.expect_held, []

            def taken_over_after_the_look(self: Store) -> None:
                look(self)
                looks.append(1)
                if len(looks) == 3:  # after those before the commits to the two tables
                    objects = ObjectStore(root)
                    objects.write(LOCK, Holder(owner="other", process=7, host="far", seconds=30).to_json())
                    objects.write("library.json", first.to_json().encode())

            monkeypatch.setattr(Store, "expect_held", taken_over_after_the_look)
            with pytest.raises(LibraryBusy):
                stale.set_precision("fp32" if other == "bf16" else "bf16")
        assert read_description(root) == first

    def test_commits_prepared_before_a_takeover_fail(
        self, root: str, model: ColourModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The instant between the look at the lease and the commit: Lance itself refuses."""
        Library(root, model)
        stale = Store.open(root)
        with stale.writing():
            fill(stale, 0, 2)
            look, looks = Store.expect_held, []

            def taken_over_after_the_look(self: Store) -> None:
                look(self)
                if self is stale and not looks:
                    looks.append(1)
                    objects = ObjectStore(root)
                    objects.write(LOCK, Holder(owner="dead", process=1, host="x", seconds=-60).to_json())
                    with Store.open(root).writing():
                        pass

            monkeypatch.setattr(Store, "expect_held", taken_over_after_the_look)
            with pytest.raises(LibraryBusy):
                fill(stale, 2, 1)
        wanted, there = clips_of_each_content(root)
        assert there == wanted and len(wanted) == 2

    @pytest.mark.parametrize("moment", ["create", "append", "delete", "index"])
    def test_words_prepared_before_a_takeover_fail(
        self,
        root: str,
        folder: Path,
        model: ColourModel,
        monkeypatch: pytest.MonkeyPatch,
        moment: str,
    ) -> None:
        subtitles = folder / "red.srt"
        subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nthe lighthouse at night\n")
        library = Library(root, model)
        if moment != "create":
            library.add(folder)
            subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nan owl in the evening\n")
        stale = Library(root, model)._store
        look, looks = Store.expect_held, []
        commit = {"create": 1, "delete": 1, "append": 2, "index": 3}[moment]

        def taken_over_after_the_look(self: Store) -> None:
            look(self)
            if self is stale:
                looks.append(1)
                if len(looks) == commit:
                    objects = ObjectStore(root)
                    objects.write(LOCK, Holder(owner="dead", process=1, host="x", seconds=-60).to_json())
                    Library(root, model).add(folder)

        paths = [str(folder / "red.mp4")]
        if moment == "create":
            library.add(folder / "red.mp4")
            with stale.writing():
                stale.remove_objects(WORDS)
        with stale.writing():
            monkeypatch.setattr(Store, "expect_held", taken_over_after_the_look)
            with pytest.raises(LibraryBusy):
                index_words(stale, paths)
        word = "lighthouse" if moment == "create" else "owl"
        found = Library(root, model).search(word, sources=["words"])
        assert [Path(hit.path).name for hit in found] == ["red.mp4"]
        table = Store.open(root).table(WORDS)
        texts = [text for text in table.to_table()["text"].to_pylist() if text]
        assert len(texts) == 1 and word in texts[0]
        assert Library(root, model).verify() == []


class TestRacingWriters:
    def test_two_threads_lose_and_double_nothing(self, root: str, model: ColourModel) -> None:
        Library(root, model)

        def write(first: int) -> None:
            for number in range(first, first + 4):
                store = Store.open(root)
                with store.writing(wait=True):
                    fill(store, number, 1)

        with ThreadPoolExecutor() as threads:
            list(threads.map(write, (0, 4)))
        wanted, there = clips_of_each_content(root)
        assert there == wanted and len(wanted) == 8

    @pytest.mark.slow
    def test_two_waiting_writers_lose_and_double_nothing(self, root: str, films: list[str]) -> None:
        race(root, [films[0:4:2], films[1:4:2]], wait=True)

    @pytest.mark.slow
    def test_two_writers_of_the_same_files(self, root: str, films: list[str]) -> None:
        race(root, [films[:3], films[:3]], wait=True)

    @pytest.mark.slow
    def test_three_writers_that_do_not_wait(self, root: str, films: list[str]) -> None:
        outcomes = race(root, [films[0::3], films[1::3], films[2::3]], wait=False)
        assert sum(outcome.busy for outcome in outcomes)

    @pytest.mark.slow
    def test_a_killed_writer_is_followed_by_another(
        self, root: str, films: list[str], environment: BucketServer, model: ColourModel
    ) -> None:
        writer = bucket_writers.start(
            bucket_writers.stop_before_commit, root, environment.environment, films[0], 3.0
        )
        assert writer.hear()[0] == "ready"
        writer.process.kill()
        writer.process.join()
        library = Library(root, model)
        with pytest.raises(LibraryBusy):
            library.add(films[1])
        library.add(films, wait=True, workers=1)
        expect_whole(root, films)

    @pytest.mark.slow
    def test_a_writer_that_slept_past_its_lease_does_not_commit(
        self, root: str, films: list[str], environment: BucketServer, model: ColourModel
    ) -> None:
        writer = bucket_writers.start(
            bucket_writers.stop_before_commit, root, environment.environment, films[0], 3.0
        )
        word, process = writer.hear()
        assert word == "ready"
        os.kill(process, signal.SIGSTOP)
        Library(root, model).add(films[1:4], wait=True, workers=1)
        writer.said.send("go on")
        os.kill(process, signal.SIGCONT)
        word, message = writer.hear()
        assert word == "LibraryBusy" and "did not renew its lease" in message
        writer.process.join()
        expect_whole(root, films[1:4])
        Library(root, model).add(films, workers=1)
        expect_whole(root, films)


def race(root: str, shares: list[list[str]], *, wait: bool) -> list[bucket_writers.Outcome]:
    """Let one writer add each share; everything must have landed, once."""
    Library(root, ColourModel())
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    writers = [
        bucket_writers.start(bucket_writers.add_each, root, environment, share, wait) for share in shares
    ]
    outcomes = [writer.hear(300)[1] for writer in writers]
    for writer in writers:
        writer.process.join()
    assert [outcome.failed for outcome in outcomes] == [[]] * len(shares)
    assert [outcome.landed for outcome in outcomes] == shares
    expect_whole(root, sorted({path for share in shares for path in share}))
    return outcomes


def test_the_uri_of_a_folder_has_the_lock_of_the_folder(
    tmp_path: Path, folder: Path, model: ColourModel
) -> None:
    place = tmp_path / "a b.prost"
    library = Library(place, model)
    with library._store.writing():
        for uri in (
            place.as_uri(),
            place.as_uri().upper()[:4] + place.as_uri()[4:],
            f"file://localhost{place}",
        ):
            other = Library(uri, model)
            assert other.path == str(place)
            with pytest.raises(LibraryBusy):
                other.add(folder)
