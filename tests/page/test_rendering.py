"""The renderer: whatever a value holds, it is text on the page."""

import pytest
from jinja2 import UndefinedError

from prost.page.cards import Card, Picture, bars_of
from prost.page.rendering import as_typed, render, static_folder
from prost.search.confidence import Confidence

HOSTILE = [
    '<script>alert("1")</script>',
    "\" onmouseover='alert(1)' x=\"",
    "{{ 7 * 7 }}{% raw %}",
    "</style></title><svg onload=alert(1)>",
    "a\u202efdp.exe\n\x1b[2J",
    "caf\udce9 \u2028",
]


def shown(**values: object) -> str:
    chosen = {"title": "a title", "summary": "", "sections": [], "weight": "1.5", **values}
    return render("results.html", **chosen)


def card(text: str) -> Card:
    return Card(
        rank=1,
        name=text,
        address="a.mp4",
        label=text,
        start=0.0,
        end=1.0,
        duration=2.0,
        score=0.5,
        film=(Picture(address="data:,", alt=text),),
        bars=bars_of([]),
        mark=text,
        folder=text,
        words=(text,),
        details=(text, text),
        links=((text, "/"),),
        select=text,
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_no_value_can_write_into_the_page(text: str) -> None:
    plain, hostile = (
        shown(title=each, summary=each, sections=[{"query": each, "cards": [card(each)]}])
        for each in ("a", text)
    )
    # As many elements and attributes as with a harmless text: nothing was added.
    for mark in ("<", ">", '"', "\n"):
        assert hostile.count(mark) == plain.count(mark), mark
    assert "\x1b" not in hostile and "\u202e" not in hostile and "49" not in hostile
    hostile.encode("utf-8")


def test_a_value_that_a_template_needs_and_does_not_get_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="title"):
        render("results.html", sections=[])


def test_a_field_keeps_what_was_typed() -> None:
    assert as_typed('a\u200f "b" <c>') == "a\u200f &#34;b&#34; &lt;c&gt;"
    assert as_typed("caf\udce9").encode("utf-8")


def test_no_style_or_script_asks_for_anything_elsewhere() -> None:
    for file in static_folder().iterdir():
        if file.name.endswith((".css", ".js")):
            text = file.read_text(encoding="utf-8")
            assert "://" not in text.replace("http://www.w3.org/2000/svg", "") and "@import" not in text, (
                file.name
            )


@pytest.mark.parametrize(("rate", "level"), [(0.01, "good"), (0.2, "possible"), (0.6, "none")])
def test_hits_say_whether_anything_fits(rate: float, level: str) -> None:
    confidence = Confidence(false_alarm_rate=rate, interval=(0.0, 1.0), of_best=True)
    shown = render(
        "hits.html",
        heading="Moments",
        said="",
        milliseconds=None,
        problem=None,
        confidence=confidence,
        notes=["a <note>"],
        cards=[card("a")],
        more=None,
        empty=None,
    )
    assert f'class="confidence {level}"' in shown
    assert confidence.statement in shown.replace("<strong>", "").replace("</strong>", "")
    assert ("dimmed" in shown) == (level == "none")
    assert "a &lt;note&gt;" in shown
