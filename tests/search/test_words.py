"""Words of subtitle files and text tracks are found, kept in step with the files, and fused with the pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.video.conftest import plain, write_video
from tests.video.test_subtitles import SRT, mux_subtitles

from prost.errors import BadFilter, UsageError
from prost.model.checkpoint import load_prost
from prost.model.prost import ProST
from prost.search.fusing import K, reciprocal_rank_fusion
from prost.search.hits import SearchResult
from prost.search.library import Library
from prost.search.store import WORDS
from prost.search.verifying import Kind
from prost.search.words import open_words


def srt(*cues: tuple[float, float, str]) -> str:
    def clock(time: float) -> str:
        return f"00:{int(time // 60):02d}:{int(time % 60):02d},{round(time * 1000) % 1000:03d}"

    return "".join(f"{n}\n{clock(a)} --> {clock(b)}\n{text}\n\n" for n, (a, b, text) in enumerate(cues, 1))


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Three films of thirty seconds; two have subtitles."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate(("a", "b", "c")):
        shift = 60 * number  # other pictures: the same film would be one hit
        paint = lambda index, width, height, shift=shift: plain(index + shift, width, height)  # noqa: E731
        write_video(folder / f"{name}.mp4", 30, fps=1, paint=paint)
    (folder / "a.srt").write_text(srt((1, 2, "The bakery opens at dawn"), (20, 22, "A submarine dives")))
    (folder / "b.en.vtt").write_text("WEBVTT\n\n00:05.000 --> 00:06.000\nBread from the bakery\n")
    return folder


@pytest.fixture(scope="module")
def untrained(untrained_folder: Path) -> ProST:
    return load_prost(untrained_folder, "cpu")


@pytest.fixture
def library(tmp_path: Path, videos: Path, untrained: ProST) -> Library:
    made = Library(tmp_path / "a.prost", untrained)
    made.add(videos)
    return made


def names(hits: SearchResult) -> list[str]:
    return [Path(hit.path).name for hit in hits]


def spoken(library: Library, query: str, **options) -> list[str]:
    return names(library.search(query, sources=("words",), **options))


def test_fusion_is_that_of_the_paper() -> None:
    assert K == 60
    assert reciprocal_rank_fusion([["a", "b", "c"], ["c", "a"]]) == ["a", "c", "b"]
    assert reciprocal_rank_fusion([["a", "b"], []]) == ["a", "b"]
    assert reciprocal_rank_fusion([["a"], ["b"]]) == ["a", "b"]


def test_words_alone(library: Library) -> None:
    hits = library.search("submarine", sources=("words",))
    assert names(hits) == ["a.mp4"]
    # Whether the model knows the word only matters where it reads it.
    assert hits.notes == []
    assert "the model does not know 'submarine'" in library.search("submarine").notes[0]
    (hit,) = hits
    assert hit.sources == ("words",)
    assert (hit.start, hit.end) == (20.0, 22.0)
    assert [(cue.text, cue.source) for cue in hit.words] == [("A submarine dives", "a.srt")]
    assert hit.clip_start <= 20.0 and hit.clip_end >= 22.0 and 20.0 <= hit.frame_time <= 22.0
    assert hit.score == pytest.approx(hit.event_sentence + 1.5 * hit.object_phrase, abs=1e-5)
    assert sorted(spoken(library, "bakery")) == ["a.mp4", "b.mp4"]
    assert spoken(library, "zeppelin") == [] and spoken(library, "the") == []
    assert library.search("bakery", sources=("words",), limit=1)[0].sources == ("words",)


def test_words_beyond_the_end_of_a_video_stand_at_its_end(library: Library, videos: Path) -> None:
    """Subtitles of a longer cut: the moment can be played, though the cue keeps its own times."""
    (videos / "a.srt").write_text(srt((29.5, 31, "A submarine"), (300, 302, "A zeppelin")))
    library.add(videos)
    (across,) = library.search("submarine", sources=("words",))
    assert (across.start, across.end) == (29.5, 30.0)
    (beyond,) = library.search("zeppelin", sources=("words",))
    assert (beyond.start, beyond.end) == (29.0, 30.0) and beyond.words[0].start == 300


def test_both_sources_are_fused_and_say_so(library: Library) -> None:
    pictures = library.search("a submarine", sources=("picture",))
    assert len(pictures) == 3 and all(hit.sources == ("picture",) and not hit.words for hit in pictures)
    hits = library.search("a submarine")
    assert names(hits) == reciprocal_rank_fusion([names(pictures), ["a.mp4"]])
    found = {Path(hit.path).name: hit for hit in hits}
    assert found["a.mp4"].sources == ("picture", "words")
    assert found["b.mp4"].sources == ("picture",)
    assert any((moment.start, moment.end) == (20.0, 22.0) for moment in found["a.mp4"].moments)
    for hit in hits:
        same = next(each for each in pictures if each.path == hit.path)
        assert set(same.moments) <= set(hit.moments) or len(hit.words) > 0


def test_without_words_that_fit_the_answer_is_that_of_the_pictures(library: Library) -> None:
    assert list(library.search("zeppelin")) == list(library.search("zeppelin", sources=("picture",)))


def test_a_library_without_words_answers_as_before(library: Library, videos: Path) -> None:
    before = list(library.search("a submarine", sources=("picture",)))
    shutil.rmtree(Path(library.path, WORDS))
    opened = Library(library.path, library.model)
    assert list(opened.search("a submarine")) == before
    assert opened.search("a submarine", sources=("words",)) == []
    report = opened.add(videos)
    assert len(report.unchanged) == 3
    assert spoken(opened, "submarine") == ["a.mp4"]


def test_filters_and_tags_hold_for_words(library: Library, videos: Path) -> None:
    library.tag(videos / "b.mp4", "mine")
    assert spoken(library, "bakery", where="array_has(tags, 'mine')") == ["b.mp4"]
    assert spoken(library, "bakery", where="duration > 500") == []
    assert names(library.search("bakery", where="name = 'b.mp4'")) == ["b.mp4"]
    with pytest.raises(BadFilter):
        library.search("bakery", where="colour = = 3")
    with pytest.raises(UsageError, match="sources"):
        library.search("bakery", sources=("sound",))


def test_a_filter_finds_words_behind_many_better_ones(library: Library, videos: Path) -> None:
    cues = [(n / 10, n / 10 + 0.1, "bakery") for n in range(290)]
    (videos / "a.srt").write_text(srt(*cues))
    library.add(videos)
    assert spoken(library, "bakery", where="name = 'b.mp4'") == ["b.mp4"]


def test_words_follow_a_sidecar_that_changes_comes_or_goes(library: Library, videos: Path) -> None:
    (videos / "a.srt").write_text(srt((3, 4, "An airship lands")))
    (videos / "c.srt").write_text(srt((3, 4, "A volcano")))
    (videos / "b.en.vtt").unlink()
    report = library.add(videos)
    assert len(report.unchanged) == 3 and not report.added
    assert spoken(library, "airship") == ["a.mp4"] and spoken(library, "volcano") == ["c.mp4"]
    assert spoken(library, "submarine bakery") == []


def test_words_follow_a_video_that_moves_changes_or_is_removed(library: Library, videos: Path) -> None:
    (videos / "a.mp4").rename(videos / "z.mp4")
    (videos / "a.srt").rename(videos / "z.srt")
    assert library.add(videos).moved == [str(videos / "z.mp4")]
    assert spoken(library, "submarine") == ["z.mp4"]
    (videos / "z.mp4").unlink()
    write_video(videos / "z.mp4", 20, fps=1)
    library.add(videos)
    assert spoken(library, "submarine") == ["z.mp4"]
    library.remove(videos / "z.mp4")
    assert spoken(library, "submarine") == []
    table = open_words(library._store)
    assert table is not None and table.count_rows("text LIKE '%submarine%'") == 0


def test_what_did_not_change_is_not_read_again(
    library: Library, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = open_words(library._store)
    assert table is not None
    version = table.version
    library.add(videos)
    after = open_words(library._store)
    assert after is not None and after.version == version


def test_a_run_that_was_killed_before_the_words_is_made_good(library: Library, videos: Path) -> None:
    table = open_words(library._store)
    assert table is not None
    table.delete("position = -1")  # as if the commit of the words had not happened
    library.add(videos)
    assert spoken(library, "submarine") == ["a.mp4"]
    whole = open_words(library._store)
    assert whole is not None and whole.count_rows("text LIKE '%submarine%'") == 1


def test_tracks_of_the_file_are_words_too(tmp_path: Path, untrained: ProST) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    mux_subtitles(folder / "film.mkv", SRT, "srt")
    library = Library(tmp_path / "a.prost", untrained)
    library.add(folder)
    (hit,) = library.search("rolls", sources=("words",))
    assert hit.words[0].text == "A red ball falls & rolls" and hit.words[0].source.startswith("track 1")


def test_copies_of_a_film_are_one_hit(library: Library, videos: Path) -> None:
    shutil.copy(videos / "a.mp4", videos / "copy.mp4")
    library.add(videos)
    assert spoken(library, "submarine") == ["a.mp4"]
    (hit,) = library.search("submarine", sources=("words",))
    assert [Path(path).name for path in hit.copies] == ["copy.mp4"]
    assert sorted(names(library.search("submarine"))) == ["a.mp4", "b.mp4", "c.mp4"]


def test_damaged_words_are_found_dropped_and_read_again(library: Library, videos: Path) -> None:
    data = next(Path(library.path, WORDS, "data").iterdir())
    data.write_bytes(b"\0" * data.stat().st_size)
    problems = library.verify()
    assert {problem.kind for problem in problems} == {Kind.WORDS}
    report = library.repair()
    assert report.left == []
    opened = Library(library.path, library.model)
    assert opened.search("submarine", sources=("words",)) == []
    opened.add(videos)
    assert spoken(opened, "submarine") == ["a.mp4"]
    assert opened.verify() == []


def test_what_is_left_out_is_reported(library: Library, videos: Path) -> None:
    with (videos / "c.srt").open("wb") as file:
        file.truncate(40 << 20)
    report = library.add(videos)
    assert (str(videos / "c.mp4"), "c.srt: larger than 32 MiB") in report.notes
    assert spoken(library, "submarine") == ["a.mp4"]


@pytest.mark.parametrize("query", ["submarine AND (", '"', "text:submarine*", "submarine\n\x00", "x" * 5000])
def test_no_query_is_taken_for_a_language(library: Library, query: str) -> None:
    library.search(query, sources=("words",))
