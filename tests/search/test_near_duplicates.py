"""Films that are one film: on made-up class tokens, and on real files in other sizes and codecs."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from tests.search.conftest import COLOURS, ColourModel

import prost
from prost.data.toybox import write
from prost.model.prost import ProST
from prost.search import near_duplicates
from prost.search.library import Library
from prost.search.near_duplicates import Film, group_films, same_frames
from prost.search.records import ClipSettings

RNG = np.random.default_rng(0)
L, D = 6, 32


def tokens(clips: int) -> np.ndarray:
    return RNG.standard_normal((clips, L, D)).astype(np.float32)


def copy_of(original: np.ndarray) -> np.ndarray:
    """What another size and codec do to the tokens: a little noise, another length."""
    return 3 * original + 0.2 * RNG.standard_normal(original.shape).astype(np.float32)


def groups(all_tokens: list[np.ndarray], durations: list[float]) -> list[list[int]]:
    films = [
        Film(content=f"{place}", duration=duration, clips=len(each), first=each[0])
        for place, (each, duration) in enumerate(zip(all_tokens, durations, strict=True))
    ]
    return group_films(films, lambda film, clip: all_tokens[film][clip])


def test_copies_are_grouped_and_others_are_not() -> None:
    a, b, c = tokens(3), tokens(3), tokens(1)
    assert groups([a, b, copy_of(a), c, copy_of(c), copy_of(a)], [30, 30, 30.1, 8, 8, 29.9]) == [
        [0, 2, 5],
        [3, 4],
    ]


def test_a_film_of_another_length_is_another_film() -> None:
    a = tokens(1)
    assert groups([a, copy_of(a)], [10, 11]) == []


def test_a_film_with_another_end_is_another_film() -> None:
    a = tokens(3)
    other_end = copy_of(a)
    other_end[2] = tokens(1)[0]
    assert groups([a, other_end], [30, 30]) == []


def test_swapped_events_are_another_film() -> None:
    a = tokens(1)
    swapped = copy_of(a)
    swapped[0, [1, 4]] = swapped[0, [4, 1]]
    assert groups([a, swapped], [10, 10]) == []
    assert not same_frames(a[0], swapped[0])


def test_zero_tokens_match_nothing() -> None:
    zero = np.zeros((1, L, D), np.float32)
    assert groups([zero, zero.copy()], [10, 10]) == []


def test_no_films() -> None:
    assert group_films([], lambda film, clip: np.zeros((L, D), np.float32)) == []


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = [tokens(2) for _ in range(7)]
    films = [*originals, *(copy_of(each) for each in originals[:5])]
    durations = [float(RNG.uniform(10, 11)) for _ in originals]
    durations += durations[:5]
    whole = groups(films, durations)
    assert len(whole) == 5
    monkeypatch.setattr(near_duplicates, "BLOCK", 3)
    assert groups(films, durations) == whole


def reencoded(source: Path, path: Path, scale: float, codec: str) -> Path:
    """The film of `source` in another size and codec."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        stream = given.streams.video[0]
        copy = made.add_stream(codec, rate=stream.average_rate)
        copy.width, copy.height = (2 * round(scale * side / 2) for side in (stream.width, stream.height))
        copy.pix_fmt = "yuv420p"
        copy.codec_context.time_base = stream.time_base
        for frame in given.decode(stream):
            scaled = frame.reformat(copy.width, copy.height, "yuv420p")
            scaled.pts, scaled.time_base = frame.pts, frame.time_base
            made.mux(copy.encode(scaled))
        made.mux(copy.encode(None))
    return path


def paint_pictures(path: Path, pictures: list[np.ndarray]) -> Path:
    """An H.264 video of pictures `[H, W, 3]`, ten in a second."""
    with av.open(str(path), "w") as made:
        stream = made.add_stream("libx264", rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            made.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        made.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Library]:
    """Six drawn films, the first two in two more forms each, indexed by the bundled model."""
    folder = tmp_path_factory.mktemp("films")
    write(folder, videos=6, seed=3)
    for number in range(2):
        source = folder / f"toy-{number:04d}.mp4"
        reencoded(source, folder / f"toy-{number:04d}.mkv", 0.5, "libx264")
        reencoded(source, folder / f"toy-{number:04d}.webm", 1.5, "libvpx-vp9")
    library = Library(tmp_path_factory.mktemp("library") / "films.prost", model=prost.load("toybox"))
    library.add(folder)
    return folder, library


@pytest.mark.slow
def test_films_in_other_sizes_and_codecs_are_found(films: tuple[Path, Library]) -> None:
    groups = films[1].duplicates()
    assert [sorted(Path(row.path).name for row in group) for group in groups] == [
        [f"toy-{number:04d}.{kind}" for kind in ("mkv", "mp4", "webm")] for number in range(2)
    ]


@pytest.mark.slow
def test_hits_of_one_film_are_one_hit_that_names_the_others(films: tuple[Path, Library]) -> None:
    folder, library = films
    caption = json.loads((folder / "captions.jsonl").read_text().splitlines()[0])["captions"][0]
    hits = library.search(caption, limit=4)
    everything = library.search(caption, limit=10, all_duplicates=True)
    assert len(everything) == 10
    stems = [Path(hit.path).stem for hit in hits]
    assert len(stems) == len(set(stems)) == 4, "places of near-duplicates go to other films"
    best_of_each = {Path(hit.path).stem: hit.path for hit in reversed(everything)}
    assert [hit.path for hit in hits] == [best_of_each[stem] for stem in stems]
    for hit in hits:
        others = {each.path for each in everything if Path(each.path).stem == Path(hit.path).stem} - {
            hit.path
        }
        assert (
            set(hit.near_duplicates) >= others
            if Path(hit.path).stem < "toy-0002"
            else not hit.near_duplicates
        )


def test_a_film_of_several_tiles_in_two_sizes_is_one_hit(tmp_path: Path) -> None:
    """Green at the left and blue at the right, so that a tile is unlike the other one of its window."""
    picture = np.full((72, 144, 3), COLOURS["green"], dtype=np.uint8)
    picture[:, 72:] = COLOURS["blue"]
    small = paint_pictures(tmp_path / "small.mp4", [picture] * 20)
    large = reencoded(small, tmp_path / "large.mkv", 2, "libx264")
    other = paint_pictures(tmp_path / "white.mp4", [np.full_like(picture, 240)] * 20)
    with Library(tmp_path / "l.prost", ColourModel(), clips=ClipSettings(fit="tiles")) as library:
        library.add([small, large, other])
        assert [row.clips for row in library.videos()] == [2, 2, 2]
        hits = library.search("green blue", limit=3)
    assert len(hits) == 2
    assert {hits[0].path, *hits[0].near_duplicates} == {str(small), str(large)}
    assert hits[1].path == str(other)


@pytest.mark.slow
def test_copies_with_equal_bytes_are_duplicates_too(tmp_path: Path, toybox_model: ProST) -> None:
    write(tmp_path, videos=2, seed=9)
    (tmp_path / "copy.mp4").write_bytes((tmp_path / "toy-0000.mp4").read_bytes())
    library = Library(tmp_path / "l.prost", model=toybox_model)
    library.add(tmp_path)
    assert [[Path(row.path).name for row in group] for group in library.duplicates()] == [
        ["copy.mp4", "toy-0000.mp4"]
    ]
