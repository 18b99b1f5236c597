"""The library as a whole: real videos in, sentences about colours, moments out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import av
import numpy as np
import pytest

from prost.errors import (
    BadFilter,
    EmptyQuery,
    LibraryBusy,
    LibraryDamaged,
    LibraryError,
    MissingPath,
    ModelMismatch,
    UsageError,
)
from prost.model.checkpoint import load_prost
from prost.model.prost import ProST
from prost.model.retrieval_model import ADDED_SINCE
from prost.search.library import Library
from prost.search.records import ClipSettings
from prost.search.store import Store

Paint = Callable[..., Path]


def names(hits) -> list[str]:  # type: ignore[no-untyped-def]
    return [Path(hit.path).name for hit in hits]


class TestSearching:
    @pytest.mark.parametrize("colour", ["red", "green", "blue"])
    def test_a_video_is_found_by_its_colour(self, library: Library, folder: Path, colour: str) -> None:
        library.add(folder)
        hits = library.search(f"a {colour} video")
        assert names(hits)[0] == f"{colour}.mp4"
        assert len(hits) == 3
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)

    def test_the_score_is_the_sum_of_its_parts(self, library: Library, folder: Path) -> None:
        library.add(folder)
        best = library.search("red")[0]
        # Slots: the whole frame and its upper half are red, the third is dead: (1 + 1 + 0) / 3.
        assert best.object_phrase == pytest.approx(2 / 3, abs=0.01)
        assert best.event_sentence == pytest.approx(1, abs=0.01)
        assert best.score == pytest.approx(best.event_sentence + 1.5 * best.object_phrase)

    def test_a_hit_tells_of_its_video(self, library: Library, folder: Path) -> None:
        library.add(folder, tags=["sea"])
        best = library.search("blue")[0]
        assert best.path == str(folder / "sea" / "blue.mp4")
        assert best.duration == pytest.approx(4)
        assert (best.video.width, best.video.height, best.video.codec) == (32, 32, "h264")
        assert best.video.tags == ("sea",)
        assert (best.clip_start, best.clip_end) == (0, pytest.approx(4))
        assert 0 <= best.start < best.end <= 4
        assert best.start <= best.frame_time <= best.end

    def test_limit(self, library: Library, folder: Path) -> None:
        library.add(folder)
        assert names(library.search("green", limit=1)) == ["green.mp4"]
        assert len(library.search("green", limit=99)) == 3
        for wrong in (0, -1):
            with pytest.raises(UsageError, match="1 or more"):
                library.search("green", limit=wrong)
            with pytest.raises(UsageError, match="per_video"):
                library.search("green", per_video=wrong)

    def test_where(self, library: Library, folder: Path) -> None:
        library.add(folder)
        library.add(folder / "sea", tags=["wet"])
        assert names(library.search("green", where="duration > 3.5")) == ["blue.mp4"]
        assert set(names(library.search("green", where="duration < 3.5"))) == {"red.mp4", "green.mp4"}
        assert names(library.search("green", where="array_has(tags, 'wet')")) == ["blue.mp4"]
        assert names(library.search("green", where="name = 'nothing'")) == []
        with pytest.raises(BadFilter, match="duration"):
            library.search("green", where="lasts < 3")

    @pytest.mark.parametrize("query", ["", "  ", "\n"])
    def test_an_empty_query(self, library: Library, folder: Path, query: str) -> None:
        library.add(folder)
        with pytest.raises(EmptyQuery):
            library.search(query)

    def test_a_query_that_is_too_long_is_cut_and_said_to_be(self, library: Library, folder: Path) -> None:
        library.add(folder)
        assert library.search("one two three green").notes == []
        cut = library.search("one two three red green")
        assert names(cut)[0] == "red.mp4"
        assert len(cut.notes) == 1
        assert "7 tokens" in cut.notes[0] and "reads 6" in cut.notes[0]

    def test_words_that_the_model_does_not_know_are_named(self, library: Library, folder: Path) -> None:
        library.add(folder)
        result = library.search("green frisbee frisbee")
        assert names(result)[0] == "green.mp4"
        assert result.notes == ["the model does not know 'frisbee'; only the rest of the query counts"]

    def test_a_query_without_a_known_word_is_said_to_say_nothing(
        self, library: Library, folder: Path
    ) -> None:
        library.add(folder)
        (note,) = library.search("frisbee frisbee").notes
        assert note == "the model does not know 'frisbee', so that the query says nothing to it"
        (note,) = library.search("frisbee" + "x" * 3000).notes
        assert len(note) < 150

    def test_only_stop_words_are_said_to_fit_any_video(self, library: Library, folder: Path) -> None:
        library.add(folder)
        (note,) = library.search("it is the").notes
        assert "'it is the' holds only stop words" in note
        assert library.search("the green").notes == []

    def test_an_empty_library_has_no_hits(self, library: Library) -> None:
        assert library.search("red") == []

    @pytest.mark.parametrize("memory", [0, 2 << 30], ids=["from disk", "in memory"])
    def test_a_larger_library_is_read_from_disk(self, library, folder, model, memory) -> None:  # type: ignore[no-untyped-def]
        library.add(folder)
        with Library(library.path, model, memory=memory) as small:
            assert names(small.search("blue", where="duration > 2.5")) == ["blue.mp4", "green.mp4"]
            assert [hit.score for hit in small.search("red")] == pytest.approx(
                [hit.score for hit in library.search("red")]
            )


class TestFilms:
    @pytest.fixture
    def film(self, folder: Path, paint: Paint) -> Path:
        return paint(
            folder / "film.mp4", ("black", 20), ("yellow", 6), ("white", 30), ("yellow", 4), ("black", 9)
        )

    def test_the_moment_lies_in_the_right_clip(self, library: Library, folder: Path, film: Path) -> None:
        library.add(folder)
        best = library.search("yellow")[0]
        assert best.path == str(film)
        assert best.start == pytest.approx(20, abs=2)  # a frame every two seconds
        assert best.end == pytest.approx(26, abs=2)
        assert best.clip_start <= best.start < best.end <= best.clip_end
        assert 20 <= best.frame_time <= 26

    def test_a_film_is_one_hit_with_its_moments(self, library: Library, folder: Path, film: Path) -> None:
        library.add(film)
        hits = library.search("yellow")
        assert len(hits) == 1
        library.add(folder)
        hits = library.search("yellow")
        assert len({hit.path for hit in hits}) == len(hits) == 4

    def test_moments_are_best_first_and_do_not_tell_the_same(
        self, library: Library, folder: Path, film: Path
    ) -> None:
        library.add(film)
        moments = library.search("yellow white", per_video=8)[0].moments
        assert [each.score for each in moments] == sorted((each.score for each in moments), reverse=True)
        for place, one in enumerate(moments):
            for other in moments[:place]:
                shared = min(one.end, other.end) - max(one.start, other.start)
                covered = max(one.end, other.end) - min(one.start, other.start)
                assert shared / covered <= 0.3

    def test_a_further_moment_must_be_as_good_as_the_best_videos_whatever_is_shown(
        self, library: Library, folder: Path, film: Path, paint: Paint
    ) -> None:
        paint(folder / "dusk.mp4", ("yellow", 1), ("red", 3))
        library.add(folder)
        hits = library.search("yellow")
        assert names(hits)[:2] == ["film.mp4", "dusk.mp4"] and len(hits) == 5
        assert 2 <= len(hits[0].moments) <= 3
        assert all(each.score >= hits[-1].score for each in hits[0].moments)
        assert any(each.start == pytest.approx(56, abs=2) for each in hits[0].moments)
        for limit in (1, 2, 4):
            assert [hit.moments for hit in library.search("yellow", limit)] == [hit.moments for hit in hits][
                :limit
            ]
        (alone,) = library.search("yellow", where="name = 'film.mp4'")
        assert len(alone.moments) == 3 and set(hits[0].moments) <= set(alone.moments)
        assert [len(hit.moments) for hit in library.search("yellow", per_video=1)] == [1] * 5

    def test_clip_settings_cut_it_otherwise(self, tmp_path: Path, model, film: Path) -> None:  # type: ignore[no-untyped-def]
        settings = ClipSettings(longest=4, overlap=0.5)
        with Library(tmp_path / "fine.prost", model, clips=settings) as library:
            library.add(film)
            best = library.search("yellow")[0]
            assert best.clip_end - best.clip_start == pytest.approx(4)
            assert library.stats().clips == 34  # 69 s, one every 2 s, the last moved back to the end
        assert Library(tmp_path / "fine.prost", model).description.clips == settings
        with pytest.raises(LibraryError, match="clips of 4 s"):
            Library(tmp_path / "fine.prost", model, clips=ClipSettings())

    def test_a_library_keeps_how_pictures_become_square(self, tmp_path: Path, model) -> None:  # type: ignore[no-untyped-def]
        """A red picture with a green left edge: only the whole picture shows the green."""
        path, settings = tmp_path / "edge.mp4", ClipSettings(fit="stretch")
        picture = np.full((72, 128, 3), (230, 20, 20), dtype=np.uint8)
        picture[:, :28] = (20, 200, 20)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=5)
            stream.width, stream.height, stream.pix_fmt = 128, 72, "yuv420p"
            for _ in range(10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        scores = {}
        for fit in ("crop", "pad", "stretch"):
            with Library(tmp_path / f"{fit}.prost", model, clips=ClipSettings(fit=fit)) as library:
                library.add([path])
                scores[fit] = library.search("green")[0].score
            with Library(tmp_path / f"{fit}.prost", model) as again:
                assert again.description.clips.fit == fit
                assert again.search("green")[0].score == scores[fit]
        assert scores["stretch"] > 10 * scores["crop"]
        assert len(set(scores.values())) == 3
        with pytest.raises(LibraryError, match=r"\(fit crop\), asked for .*\(fit stretch\)"):
            Library(tmp_path / "crop.prost", model, clips=settings)

    def test_tiles_show_what_happens_at_both_ends(self, tmp_path: Path, model) -> None:  # type: ignore[no-untyped-def]
        """Green at the left, red in the middle, blue at the right; each tile is a clip of its own."""
        picture = np.full((72, 144, 3), (230, 20, 20), dtype=np.uint8)
        picture[:, :56], picture[:, 88:] = (20, 200, 20), (20, 20, 230)
        path = tmp_path / "ends.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=5)
            stream.width, stream.height, stream.pix_fmt = 144, 72, "yuv420p"
            for _ in range(40):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        settings = ClipSettings(fit="tiles", longest=4.0)
        scores: dict[str, list[float]] = {}
        for fit in ("crop", "tiles"):
            with Library(tmp_path / f"{fit}.prost", model, clips=replace(settings, fit=fit)) as library:
                library.add([path])
                (row,) = library.videos()
                assert row.clips == {"crop": 3, "tiles": 6}[fit]
                assert library.verify() == []
                hits = [library.search(colour, per_video=9)[0] for colour in ("green", "blue")]
                scores[fit] = [hit.score for hit in hits]
                for hit in hits:
                    # Both tiles of a window show one moment.
                    starts = [moment.clip_start for moment in hit.moments]
                    assert len(starts) == len(set(starts))
                assert library.add([path]).unchanged == [str(path)]
        assert all(tiles > 2 * crop for tiles, crop in zip(scores["tiles"], scores["crop"], strict=True))

    def test_a_new_library_takes_the_fit_of_the_models_training(self, tmp_path: Path) -> None:
        model = load_prost("toybox", device="cpu")
        model.config = model.config.model_copy(update={"image_fit": "stretch"})
        with Library(tmp_path / "own.prost", model) as library:
            assert library.description.clips == ClipSettings(fit="stretch")
        with Library(tmp_path / "given.prost", model, clips=ClipSettings(fit="pad")) as library:
            assert library.description.clips.fit == "pad"
        with Library(tmp_path / "given.prost", model) as library:
            assert library.description.clips.fit == "pad"

    def test_libraries_of_older_versions_are_cropped(self, tmp_path: Path, model) -> None:  # type: ignore[no-untyped-def]
        Library(tmp_path / "old.prost", model, clips=ClipSettings(longest=4)).close()
        described = tmp_path / "old.prost" / "library.json"
        values = json.loads(described.read_text())
        assert values["clips"].pop("fit") == "crop"
        described.write_text(json.dumps(values))
        assert Library(tmp_path / "old.prost", model).description.clips == ClipSettings(longest=4)
        values["clips"]["fit"] = "squash"
        described.write_text(json.dumps(values))
        with pytest.raises(LibraryDamaged, match="fit 'squash'"):
            Library(tmp_path / "old.prost", model)


class TestOpening:
    def test_close_and_reopen(self, library: Library, folder: Path, model) -> None:  # type: ignore[no-untyped-def]
        library.add(folder)
        before = library.search("red")
        library.close()
        with Library(library.path, model) as again:
            assert again.search("red") == before
            assert again.stats() == library.stats()

    def test_another_model_is_refused(self, library: Library, folder: Path, make_model) -> None:  # type: ignore[no-untyped-def]
        library.add(folder)
        with pytest.raises(ModelMismatch) as caught:
            Library(library.path, make_model(fingerprint="0ther"))
        for word in ("colours", "c0104125", "0ther", "new library"):
            assert word in str(caught.value)
        assert len(library.search("red")) == 3

    def test_a_rule_of_matching_that_search_does_not_know_is_refused(
        self,
        library: Library,
        folder: Path,
        make_model,  # type: ignore[no-untyped-def]
    ) -> None:
        """Otherwise its prototypes would be scored by another rule than the model's own."""
        library.add(folder)
        model = make_model()
        model.config = model.config.model_copy(update={"matching_rule": "sum_of_cosines"})
        for place in (library.path, f"{library.path}-new"):
            with pytest.raises(UsageError, match=r"'sum_of_cosines'; expected: a model that search knows"):
                Library(place, model)
        assert not Path(f"{library.path}-new").exists()

    def test_without_a_model_it_can_be_listed(self, library: Library, folder: Path) -> None:
        library.add(folder)
        with Library(library.path) as listed:
            assert [Path(row.path).name for row in listed.videos("duration < 3.5")] == [
                "green.mp4",
                "red.mp4",
            ]
            assert listed.stats().videos == 3
            for attempt in (lambda: listed.search("red"), lambda: listed.add(folder)):
                with pytest.raises(UsageError, match=r"needs a model.*colours"):
                    attempt()

    def test_nothing_there_and_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(MissingPath) as caught:
            Library(tmp_path / "none.prost")
        assert caught.value.exit_code == 2
        assert str(caught.value) == (
            f"no library at {tmp_path / 'none.prost'}; expected: a folder with a library; try: `prost index FOLDER "
            f"--library {tmp_path / 'none.prost'} --model siglip2-b16`, which makes one; toybox knows drawn videos only"
        )
        assert not (tmp_path / "none.prost").exists()

    def test_stats(self, library: Library, folder: Path) -> None:
        (folder / "bad.mp4").write_text("no video")
        library.add(folder)
        stats = library.stats()
        assert (stats.videos, stats.failed, stats.clips) == (3, 1, 3)
        assert stats.seconds == pytest.approx(9)
        assert (stats.model, stats.fingerprint) == ("colours", "c0104125")
        assert stats.nbytes == sum(
            file.stat().st_size for file in Path(library.path).rglob("*") if file.is_file()
        )

    def test_a_reader_sees_what_another_adds(
        self, library: Library, folder: Path, model, paint: Paint
    ) -> None:  # type: ignore[no-untyped-def]
        library.add(folder)
        reader = Library(library.path, model)
        assert names(reader.search("yellow"))[0] != "sun.mp4"
        paint(folder / "sun.mp4", ("yellow", 1))
        library.add(folder)
        assert names(reader.search("yellow"))[0] == "sun.mp4"


class TestRemoving:
    def test_a_file_and_a_folder(self, library: Library, folder: Path) -> None:
        library.add(folder)
        assert library.remove(folder / "red.mp4") == [str(folder / "red.mp4")]
        assert names(library.search("red")) == ["green.mp4", "blue.mp4"]
        assert library.remove([folder / "sea"]) == [str(folder / "sea" / "blue.mp4")]
        assert library.stats().clips == 1
        assert (folder / "red.mp4").exists()

    def test_what_is_not_there(self, library: Library, folder: Path) -> None:
        library.add(folder)
        with pytest.raises(MissingPath, match="pink"):
            library.remove([folder / "red.mp4", folder / "pink.mp4"])
        assert library.stats().videos == 3

    def test_the_last_video_and_a_folder_that_is_gone(self, library: Library, folder: Path) -> None:
        library.add(folder)
        library.optimize()
        shutil.rmtree(folder)
        assert len(library.remove(folder)) == 3
        assert (library.stats().videos, library.stats().clips) == (0, 0)
        assert library.search("red") == []
        library.optimize()

    def test_tag(self, library: Library, folder: Path) -> None:
        library.add(folder, tags="wet")
        assert library.tag(folder / "sea", ["wet", "warm"]) == [str(folder / "sea" / "blue.mp4")]
        assert library.tag(folder / "sea", "warm") == []
        assert [row.tags for row in library.videos("name = 'blue.mp4'")] == [("wet", "warm")]
        assert names(library.search("blue", where="array_has(tags, 'warm')")) == ["blue.mp4"]
        with pytest.raises(MissingPath):
            library.tag(folder / "pink.mp4", "wet")

    def test_untag(self, library: Library, folder: Path) -> None:
        library.add(folder, tags=["wet", "warm"])
        assert names(library.videos("array_has(tags, 'wet')")) == ["green.mp4", "red.mp4", "blue.mp4"]
        assert library.untag(folder / "sea", "wet") == [str(folder / "sea" / "blue.mp4")]
        assert library.untag(folder / "sea", ["wet", "dry"]) == []
        assert names(library.search("blue", where="array_has(tags, 'warm')"))[0] == "blue.mp4"
        assert set(names(library.search("blue", where="array_has(tags, 'wet')"))) == {"red.mp4", "green.mp4"}
        with pytest.raises(MissingPath):
            library.untag(folder / "pink.mp4", "wet")


class TestMissingFiles:
    def test_a_hit_whose_file_is_gone_is_marked(self, library: Library, folder: Path) -> None:
        library.add(folder)
        (folder / "red.mp4").unlink()
        assert {Path(hit.path).name: hit.missing for hit in library.search("red")} == {
            "red.mp4": True,
            "green.mp4": False,
            "blue.mp4": False,
        }

    def test_a_copy_that_is_there_stands_for_one_that_is_gone(self, library: Library, folder: Path) -> None:
        shutil.copy(folder / "red.mp4", folder / "a copy.mp4")
        library.add(folder)
        assert Path(library.search("red")[0].path).name == "a copy.mp4"
        (folder / "a copy.mp4").unlink()
        best = library.search("red")[0]
        assert (Path(best.path).name, best.missing) == ("red.mp4", False)
        assert best.copies == (str(folder / "a copy.mp4"),)


@pytest.mark.parametrize("uri", ["ftp://host/library", "http://host/x", "az://box/x", "hdfs://host/x"])
def test_a_scheme_that_is_not_supported(uri: str, model) -> None:  # type: ignore[no-untyped-def]
    for make in (lambda: Library(uri), lambda: Library(uri, model)):
        with pytest.raises(UsageError, match="a library cannot lie on") as caught:
            make()
        assert "s3://" in str(caught.value)


def test_a_file_uri_is_a_folder(tmp_path: Path, model, folder: Path) -> None:  # type: ignore[no-untyped-def]
    with Library((tmp_path / "my library").as_uri(), model) as library:
        library.add(folder)
        assert library.path == str(tmp_path / "my library")
        assert library.stats().nbytes > 0


def test_a_writer_can_wait_for_another(library: Library, folder: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        with Store.open(library.path).writing():
            with pytest.raises(LibraryBusy):
                library.add(folder)
            waiting = threads.submit(library.add, folder, wait=True)
            assert not waiting.done()
        assert len(waiting.result(timeout=60).added) == 3


def test_a_library_of_an_earlier_version_opens_with_its_model_renamed(
    untrained_folder: Path, tmp_path: Path
) -> None:
    def earlier_rule(model: ProST) -> str:
        fields_of_then = model.config.model_dump_json(exclude=ADDED_SINCE)
        digest = blake2b(fields_of_then.encode(), digest_size=12)
        for key, tensor in sorted(model.state_dict().items()):
            digest.update(key.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    model = load_prost(untrained_folder, name="holiday")
    Library(tmp_path / "own.prost", model)
    description = tmp_path / "own.prost" / "library.json"
    written = description.read_text().replace(model.fingerprint, earlier_rule(model))
    assert earlier_rule(model) in written
    description.write_text(written)
    Library(tmp_path / "own.prost", load_prost(untrained_folder, name="renamed", object_phrase_weight=1.0))
    with pytest.raises(ModelMismatch, match="was made by model 'holiday'"):
        Library(tmp_path / "own.prost", load_prost(untrained_folder, name="holiday", window=0.5))


def test_a_library_holds_one_class_of_precision(tmp_path: Path, toybox_folder: Path) -> None:
    """bfloat16 changes prototypes by more than rounding, so what is added later is computed as before."""
    video = sorted(toybox_folder.glob("*.mp4"))[0]
    model = load_prost("toybox", "cpu")
    scores = {}
    for precision in ("fp32", "bf16"):
        place = tmp_path / f"{precision}.prost"
        with Library(place, model, precision=precision) as library:
            library.add(video)
        with Library(place, model) as again:
            assert again.description.precision == precision
            scores[precision] = again.search("a red ball").pop().score
        other = "bf16" if precision == "fp32" else "fp32"
        with pytest.raises(LibraryError, match=f"computed in {precision}, asked for was {other}"):
            Library(place, model, precision=other)
    assert scores["fp32"] != scores["bf16"]
    assert scores["fp32"] == pytest.approx(scores["bf16"], abs=0.05)


def test_the_precision_of_older_libraries_is_fp32(tmp_path: Path) -> None:
    model = load_prost("toybox", "cpu")
    Library(tmp_path / "a.prost", model).close()
    place = tmp_path / "a.prost" / "library.json"
    stored = json.loads(place.read_text())
    del stored["precision"]
    place.write_text(json.dumps(stored))
    assert Library(tmp_path / "a.prost", model, precision="fp32").description.precision == "fp32"
    place.write_text(json.dumps({**stored, "precision": "int3"}))
    with pytest.raises(LibraryDamaged, match="int3"):
        Library(tmp_path / "a.prost", model)


def test_the_name_of_a_model_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"prost\.load\('toybox'\)"):
        Library(tmp_path / "a.prost", "toybox")  # type: ignore[arg-type]
    assert not (tmp_path / "a.prost").exists()
