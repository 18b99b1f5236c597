"""Search by a video of the library, by another file, and by a picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.search.conftest import COLOURS, ColourModel, paint_video

from prost.errors import BadFilter, MissingPath, UsageError, VideoError
from prost.model.vectors import unit
from prost.search.library import Library
from prost.search.likeness import encode_picture, most_different, query_like
from prost.search.records import ClipSettings
from prost.video.fit import Fit


@pytest.fixture
def seas(library: Library, tmp_path: Path) -> Library:
    """Two blue videos that differ at their ends, one of another colour."""
    folder = tmp_path / "seas"
    paint_video(folder / "blue.mp4", ("blue", 2))
    paint_video(folder / "blue and white.mp4", ("blue", 2), ("white", 1))
    paint_video(folder / "red.mp4", ("red", 2))
    library.add(folder)
    return library


def row(library: Library, name: str):  # type: ignore[no-untyped-def]
    (found,) = library.videos(f"name = '{name}'")
    return found


def test_a_video_finds_its_like_and_not_itself(seas: Library) -> None:
    hits = seas.search_like(row(seas, "blue.mp4"))
    assert [Path(hit.path).name for hit in hits] == ["blue and white.mp4", "red.mp4"]
    assert hits[0].score > hits[1].score + 0.5


def test_the_stored_prototypes_are_used_though_the_file_is_gone(seas: Library) -> None:
    blue = row(seas, "blue.mp4")
    Path(blue.path).unlink()
    assert Path(seas.search_like(blue)[0].path).name == "blue and white.mp4"


def test_a_part_of_a_video_counts_alone(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    both = paint_video(folder / "both.mp4", ("red", 12), ("green", 12))
    paint_video(folder / "red.mp4", ("red", 2))
    paint_video(folder / "green.mp4", ("green", 2))
    library.add(folder)
    assert Path(library.search_like(both, start=0, end=8)[0].path).name == "red.mp4"
    assert Path(library.search_like(both, start=16, end=24)[0].path).name == "green.mp4"


def test_a_stretch_between_two_stored_frames_is_the_frame_next_to_it(
    library: Library, tmp_path: Path
) -> None:
    folder = tmp_path / "parts"
    half = paint_video(folder / "half.mp4", ("red", 4), ("green", 4))
    for colour in ("red", "green"):
        paint_video(folder / f"{colour}.mp4", (colour, 2))
    library.add(folder)
    (clip,) = library._searcher.clips_of(library.videos("name = 'half.mp4'")[0].content or "")
    for start, end, colour in (
        (0.1, 0.12, "red"),
        (0.9, 0.9, "red"),
        (6.4, 6.45, "green"),
        (7.9, 7.9, "green"),
    ):
        assert not ((clip.frame_times >= start) & (clip.frame_times <= end)).any()
        assert Path(library.search_like(half, start=start, end=end)[0].path).name == f"{colour}.mp4"


def test_a_file_outside_the_library_is_encoded(seas: Library, tmp_path: Path) -> None:
    other = paint_video(tmp_path / "other" / "sea.mp4", ("blue", 3))
    hits = seas.search_like(other)
    assert Path(hits[-1].path).name == "red.mp4" and len(hits) == 3


def test_a_picture_is_a_clip_in_which_nothing_moves(seas: Library, tmp_path: Path) -> None:
    picture = tmp_path / "red.png"
    Image.new("RGB", (40, 30), COLOURS["red"]).save(picture)
    assert Path(seas.search_like(picture)[0].path).name == "red.mp4"
    assert Path(seas.search_like(picture.read_bytes())[0].path).name == "red.mp4"


def test_an_upright_picture_is_seen(model: ColourModel) -> None:
    """The orientation of EXIF is applied, as for videos."""
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:, :16], pixels[:, 16:] = COLOURS["red"], COLOURS["blue"]
    content = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees to the right: what was left is now above
    Image.fromarray(pixels).save(content, "PNG", exif=exif)
    turned = encode_picture(model, content.getvalue())
    above = io.BytesIO()
    Image.fromarray(np.rot90(pixels, -1)).save(above, "PNG")
    assert torch.allclose(turned.phrase, encode_picture(model, above.getvalue()).phrase, atol=1e-5)


def test_an_example_becomes_square_as_the_videos_of_the_library(
    tmp_path: Path, model: ColourModel, seas: Library
) -> None:
    """Red with green at one end: only a library of whole pictures knows the green."""
    pixels = np.full((72, 128, 3), COLOURS["red"], dtype=np.uint8)
    pixels[:, :40] = COLOURS["green"]
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    scores = {}
    fits: list[Fit] = ["crop", "pad", "stretch", "tiles"]
    for fit in fits:
        with Library(tmp_path / f"{fit}.prost", model, clips=ClipSettings(fit=fit)) as library:
            library.add([row.path for row in seas.videos()])
            phrases = encode_picture(model, tmp_path / "wide.png", fit=fit).sentence[0]
            scores[fit] = phrases[list(COLOURS).index("green")].item()
            assert library.search_like(tmp_path / "wide.png")
    assert scores["stretch"] > 1.5 * scores["crop"]
    assert scores["tiles"] == scores["crop"] != scores["pad"]


def test_filters_apply(seas: Library) -> None:
    blue = row(seas, "blue.mp4")
    assert [
        Path(hit.path).name for hit in seas.search_like(blue, where="name LIKE 'r%' OR duration > 90")
    ] == ["red.mp4"]
    with pytest.raises(BadFilter):
        seas.search_like(blue, where="duration <")
    with pytest.raises(BadFilter):  # in brackets of its own it would let the example find itself
        seas.search_like(blue, where="duration > 0) OR (duration > 0")


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"<svg xmlns='x'/>"]
)
def test_no_picture(seas: Library, content: bytes) -> None:
    with pytest.raises(UsageError, match="no picture"):
        seas.search_like(content)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    seas: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prost.search.likeness.MOST_PIXELS", 100)
    content = io.BytesIO()
    Image.new("RGB", (11, 10)).save(content, "PNG")
    with pytest.raises(UsageError, match="11 x 10 pixels"):
        seas.search_like(content.getvalue())


def test_wrong_use(seas: Library, tmp_path: Path) -> None:
    with pytest.raises(MissingPath, match="does not exist"):
        seas.search_like(tmp_path / "none.mp4")
    with pytest.raises(MissingPath, match="does not exist"):
        seas.search_like(tmp_path / "none.png")
    with pytest.raises(UsageError, match="a part from"):
        seas.search_like(row(seas, "blue.mp4"), start=3, end=2)
    elsewhere = paint_video(tmp_path / "elsewhere.mp4", ("red", 2))
    for example in (row(seas, "blue.mp4"), elsewhere):
        with pytest.raises(UsageError, match="starts at 300 s; expected: a start before the end at 2 s"):
            seas.search_like(example, start=300, end=400)
    broken = tmp_path / "broken.mp4"
    broken.write_text("text")
    with pytest.raises(VideoError):
        seas.search_like(broken)
    seas.add(broken)
    with pytest.raises(VideoError):
        seas.search_like(row(seas, "broken.mp4"))


def test_the_query_is_made_of_the_prototypes() -> None:
    random = np.random.default_rng(3)
    object = random.normal(size=(1, 5, 3, 8)).astype(np.float32)
    object[:, :, 2] = 0
    event = random.normal(size=(1, 2, 8)).astype(np.float32)
    query = query_like(object, event, 4)
    assert query.phrase.shape == (1, 4, 8) and query.sentence.shape == (1, 8)
    assert torch.allclose(query.sentence[0], unit(torch.from_numpy(event[0])).mean(dim=0))
    lengths = unit(torch.from_numpy(object.reshape(-1, 8)))
    for phrase in query.phrase[0]:
        assert (lengths @ phrase).max() == pytest.approx(1, abs=1e-5)


def test_equal_vectors_are_chosen_once_and_dead_phrases_fill_up() -> None:
    object = np.ones((1, 4, 2, 8), dtype=np.float32)
    query = query_like(object, np.ones((1, 1, 8), np.float32), 3)
    assert query.phrase[0, 0].norm() == pytest.approx(1) and not query.phrase[0, 1:].any()
    assert len(most_different(torch.zeros(0, 8), 3)) == 0


def test_a_hit_at_a_stretch_has_the_scores_of_its_clip(seas: Library) -> None:
    best = seas.search("blue")[0]
    hit = seas.hit_at("blue", best.video, best.start, best.end)
    assert hit.clip == best.clip and hit.score == pytest.approx(best.score)
    assert (hit.start, hit.end, hit.path) == (best.start, best.end, best.path)


def test_a_hit_at_a_stretch_lies_in_its_video(seas: Library) -> None:
    blue = row(seas, "blue.mp4")
    hit = seas.hit_at("blue", blue, 1, 2.001)
    assert (hit.start, hit.end) == (1, blue.duration)
    with pytest.raises(UsageError, match="a start before the end at 2 s"):
        seas.hit_at("blue", blue, 100, 110)
    with pytest.raises(UsageError, match="a moment from 2 to 1 s"):
        seas.hit_at("blue", blue, 2, 1)


def test_relevance_over_a_whole_video(library: Library, tmp_path: Path) -> None:
    path = paint_video(tmp_path / "long.mp4", ("red", 12), ("green", 14))
    library.add(path)
    times, values = library.relevance("green", library.videos()[0])
    assert (np.diff(times) > 0).all() and times[-1] > 20
    assert values[times > 13].min() > values[times < 11].max() + 1


@pytest.mark.parametrize(("place", "value"), [(17, 0), (17, 26), (17, 84), (41, 13)])
def test_a_picture_with_broken_exif_data(model: ColourModel, place: int, value: int) -> None:
    """A tag has a value of another type than expected: Pillow raises struct.error, TypeError or AttributeError."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 2.5
    broken = bytearray(exif.tobytes())
    broken[place] = value
    content = io.BytesIO()
    Image.new("RGB", (20, 10)).save(content, "JPEG", exif=bytes(broken))
    with pytest.raises(UsageError, match="EXIF data is broken"):
        encode_picture(model, content.getvalue())
