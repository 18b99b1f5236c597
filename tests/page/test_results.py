"""The page of results: what is on it leads to the right file and shows the right frames, whatever the names are."""

import base64
import io
import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import av
import numpy as np
import pytest
from PIL import Image

from prost.page.results import FRAMES_SHOWN, Answer, ExpectedMoment, write_page
from prost.printable import printable
from prost.search.hits import Hit, Moment
from prost.search.records import VideoRow

RED, BLUE = (200, 30, 30), (30, 30, 200)
VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """A page as a list of its elements; complains where tags are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open and "script" not in self._open:
            self.text += data

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, str]]:
        return [
            values for name, values in self.elements if name == tag and kind in (None, values.get("class"))
        ]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two seconds of red, then two seconds of blue."""
    path = tmp_path / "videos" / "red then blue.mp4"
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(40):
            colour = np.full((64, 96, 3), RED if index < 20 else BLUE, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(colour, format="rgb24")))
        container.mux(stream.encode())
    return path


def moment(start: float, end: float) -> Moment:
    return Moment(
        start=start,
        end=end,
        score=1.4,
        object_phrase=0.6,
        event_sentence=0.5,
        frame_time=(start + end) / 2,
        clip="a:0",
        clip_start=0.0,
        clip_end=4.0,
    )


def hit_in(path: Path, start: float = 2.0, end: float = 4.0, *others: Moment) -> Hit:
    video = VideoRow(path=str(path), size=1, modified=0, added="2026-01-31", status="indexed", duration=4.0)
    return Hit(video=video, moments=(moment(start, end), *others))


def written(tmp_path: Path, *answers: Answer, **choices: object) -> Page:
    write_page(tmp_path / "index.html", answers, **choices)  # type: ignore[arg-type]
    return Page(tmp_path / "index.html")


def pictures(page: Page) -> list[np.ndarray]:
    encoded = [image["src"].removeprefix("data:image/jpeg;base64,") for image in page.all("img")]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in encoded]


def place_of(bar: dict[str, str]) -> tuple[float, float]:
    """Left border and width, in percent of the video."""
    return float(bar["x"]), float(bar["width"])


def test_the_strip_shows_the_moment_and_not_the_rest(film: Path, tmp_path: Path) -> None:
    blue = pictures(written(tmp_path, Answer(query="blue", hits=[hit_in(film, 2.0, 4.0)])))
    red = pictures(written(tmp_path, Answer(query="red", hits=[hit_in(film, 0.0, 1.9)])))
    assert len(blue) == len(red) == FRAMES_SHOWN
    for seen, colour in ((blue, BLUE), (red, RED)):
        assert max(abs(picture.mean(axis=(0, 1)) - colour).max() for picture in seen) < 16


def test_the_link_leads_to_the_moment_in_the_file(film: Path, tmp_path: Path) -> None:
    page = written(tmp_path, Answer(query="blue", hits=[hit_in(film)]))
    (link,) = page.all("a", "film")
    address, _, fragment = link["href"].partition("#")
    assert (tmp_path / os.fsdecode(unquote_to_bytes(address))).samefile(film)
    assert fragment == "t=2.00,4.00"
    assert (link["data-start"], link["data-end"]) == ("2.00", "4.00")


def test_every_picture_and_bar_says_what_it_shows(film: Path, tmp_path: Path) -> None:
    page = written(tmp_path, Answer(query="blue", hits=[hit_in(film)]))
    assert all("red then blue.mp4 at " in image["alt"] for image in page.all("img"))
    assert page.all("a", "film")[0]["aria-label"] == "Play red then blue.mp4 from 2.0 to 4.0 seconds"
    assert page.all("svg", "timeline")[0]["aria-label"] == "found from 2.0 to 4.0 of 4.0 seconds"
    assert page.all("html")[0]["lang"] == "en"


def test_the_card_says_which_score_ordered_the_hits(film: Path, tmp_path: Path) -> None:
    hit = hit_in(film)
    written(tmp_path, Answer(query="blue", hits=[hit, replace(hit, joint_score=0.974)]))
    plain, judged = (tmp_path / "index.html").read_text(encoding="utf-8").split("<li class=")[1:]
    assert "joint scorer" not in plain and "1.400" in plain
    assert "by the joint scorer, which orders the hits" in judged and "97" in judged and "1.400" in judged


def test_the_bar_lies_where_the_moment_lies(film: Path, tmp_path: Path) -> None:
    page = written(
        tmp_path,
        Answer(
            query="blue",
            hits=[hit_in(film, 1.0, 3.0)],
            expected=ExpectedMoment(path=film, start=2.0, end=4.0),
        ),
    )
    assert place_of(page.all("rect", "found")[0]) == (25.0, 50.0)
    assert place_of(page.all("rect", "expected")[0]) == (50.0, 50.0)
    assert page.all("svg", "timeline")[0]["aria-label"].endswith("; expected from 2.0 to 4.0")


def test_other_moments_of_the_video_are_on_the_bar(film: Path, tmp_path: Path) -> None:
    page = written(tmp_path, Answer(query="blue", hits=[hit_in(film, 2.0, 4.0, moment(0.0, 1.0))]))
    assert place_of(page.all("rect", "also")[0]) == (0.0, 25.0)
    assert page.all("svg", "timeline")[0]["aria-label"].endswith("; also from 0.0 to 1.0")


def test_only_the_expected_video_is_marked(film: Path, tmp_path: Path) -> None:
    other = film.with_name("other.mp4")
    other.write_bytes(film.read_bytes())
    page = written(
        tmp_path,
        Answer(
            query="blue",
            hits=[hit_in(other), hit_in(film)],
            expected=ExpectedMoment(path=film, start=2.0, end=4.0),
        ),
    )
    assert len(page.all("span", "mark")) == len(page.all("rect", "expected")) == 1
    assert page.text.index("other.mp4") < page.text.index("the expected video")


def test_both_parts_of_the_score_are_shown_with_the_weight(film: Path, tmp_path: Path) -> None:
    page = written(tmp_path, Answer(query="blue", hits=[hit_in(film)]), object_phrase_weight=1.5)
    assert [bar["width"] for bar in page.all("rect", "filled")] == ["50.00", "60.00"]
    assert page.text.index("0.500") < page.text.index("0.600")
    assert "1.5 × object-phrase" in page.text and "1.400" in page.text


def test_a_query_cannot_write_into_the_page(film: Path, tmp_path: Path) -> None:
    query = '</h2><script>alert("1")</script>&amp;'
    page = written(tmp_path, Answer(query=query, hits=[hit_in(film)]), title="<b>", summary="<i>")
    assert query in page.text and "<b>" in page.text and "<i>" in page.text
    assert len(page.all("script")) == 1 and not page.all("b") and not page.all("i")


@pytest.mark.parametrize(
    "name",
    [
        "a&b <c> \"d\" 'e'.mp4",
        "50% #1?.mp4",
        "été 🎈.mp4",
        os.fsdecode(b"\xff\xfe.mp4"),
        "a\u202e$name\n\x1b.mp4",
    ],
)
def test_any_name_of_a_file_is_shown_and_reached(film: Path, tmp_path: Path, name: str) -> None:
    renamed = film.rename(film.with_name(name))
    page = written(tmp_path, Answer(query="blue", hits=[hit_in(renamed)]))
    address = page.all("a", "film")[0]["href"].partition("#")[0]
    assert (tmp_path / os.fsdecode(unquote_to_bytes(address))).samefile(renamed)
    assert len(page.all("img")) == FRAMES_SHOWN
    assert printable(name) in page.text and printable(name) in page.all("img")[0]["alt"]


def test_the_page_needs_no_other_file(film: Path, tmp_path: Path) -> None:
    page = written(tmp_path, Answer(query="blue", hits=[hit_in(film)]))
    assert not page.all("link") and not any("src" in script for script in page.all("script"))
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "@import" not in text and "import {" not in text and "url(" not in text


def test_a_file_that_has_gone_is_said_and_the_others_are_shown(film: Path, tmp_path: Path) -> None:
    page = written(tmp_path, Answer(query="blue", hits=[hit_in(film.with_name("gone.mp4")), hit_in(film)]))
    assert "The frames cannot be shown: file is gone." in page.text
    assert len(page.all("img")) == FRAMES_SHOWN


def test_no_hits_are_said(tmp_path: Path) -> None:
    page = written(tmp_path, Answer(query="a green dog", hits=[]))
    assert "a green dog" in page.text and "Nothing was found." in page.text
