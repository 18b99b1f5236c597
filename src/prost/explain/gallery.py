"""Hits as a page to look at: one HTML file that opens from disk and needs no network.

Each hit is a card: frames along the found moment as a film strip, a bar that shows where the moment lies in its video,
and the two parts of the score. The videos themselves are not copied; the page links to them by relative paths.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import quote

import numpy as np
from PIL import Image

from prost.errors import VideoError
from prost.printable import printable
from prost.search.hits import Hit
from prost.video.isolation import IsolatedDecoder
from prost.video.sampling import sample_times

FRAMES_SHOWN = 6
FRAME_SIDE = 176  # pixels; a strip of six stays sharp at the page's width and costs about 30 kB
JPEG_QUALITY = 82

SECTION = Template("""<section aria-labelledby="query-$number">
<h2 id="query-$number">&ldquo;$query&rdquo;</h2>
$found
</section>""")
CARD = Template("""<li>
<header>
<span class="rank">$rank</span>
<h3>$name</h3>
$mark
<span class="quiet">$start&ndash;$end s of $duration s</span>
<span class="score">$score</span>
</header>
$film
$timeline
$parts
</li>""")
FILM = Template(
    '<a class="film" href="$address#t=$start,$end" data-start="$start" data-end="$end" aria-label="$label">'
    "$pictures</a>"
)
PICTURE = Template('<img src="$data" alt="$name at $time seconds" width="$side" height="$side">')
NO_FILM = Template('<p class="quiet">The frames cannot be shown: $reason.</p>')
TIMELINE = Template('<div class="timeline" role="img" aria-label="$label" title="$label">$bars</div>')
BAR = Template('<span class="$kind" style="left:$left%;width:$width%"></span>')
PARTS = Template('<dl class="parts">$rows</dl>')
PART = Template(
    '<dt>$label</dt><dd class="bar $kind"><span style="width:$width%"></span></dd><dd>$score</dd>'
)


class Html(str):
    """Text that is HTML already and must not be escaped again."""


NOTHING_FOUND = Html('<p class="quiet">Nothing was found.</p>')
EXPECTED_VIDEO = Html('<span class="right">&#10003; the expected video</span>')


@dataclass(frozen=True, kw_only=True)
class ExpectedMoment:
    """The moment that a query describes, where that is known.

    Attributes:
        path: the video.
        start: seconds.
        end: seconds.
    """

    path: Path
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A query and its hits.

    Attributes:
        query: the sentence.
        hits: best first.
        expected: the moment that should be found, where that is known.
    """

    query: str
    hits: Sequence[Hit]
    expected: ExpectedMoment | None = None


def write_page(
    page: str | os.PathLike[str],
    answers: Sequence[Answer],
    *,
    object_phrase_weight: float = 1.5,
    title: str = "What prost found",
    summary: str = "",
) -> None:
    """Write answers as one HTML file.

    Args:
        page: the file to write; its folder must exist.
        answers: in the order in which they are shown.
        object_phrase_weight: weight of the object-phrase score in the total, from the model's configuration.
        title: title of the page.
        summary: one line below the title.
    """
    page = Path(page)
    with IsolatedDecoder() as decoder:
        sections = _joined(
            (
                _section(answer, page.parent, decoder, object_phrase_weight, number)
                for number, answer in enumerate(answers, 1)
            ),
            "\n",
        )
    html = _filled(
        Template(_source("gallery.html")),
        title=title,
        summary=summary,
        sections=sections,
        weight=f"{object_phrase_weight:g}",
        style=_source("gallery.css"),
        script=_source("gallery.js"),
    )
    page.write_text(html, encoding="utf-8")


def _filled(template: Template, **values: str) -> Html:
    """Fill in a template; all values but HTML are made printable and escaped here."""
    return Html(
        template.substitute(
            {
                name: value if isinstance(value, Html) else escape(printable(value))
                for name, value in values.items()
            }
        )
    )


def _joined(parts: Iterable[Html], separator: str = "") -> Html:
    return Html(separator.join(parts))


def _source(name: str) -> Html:
    return Html(files("prost.explain").joinpath(name).read_text(encoding="utf-8"))


def _section(
    answer: Answer, folder: Path, decoder: IsolatedDecoder, object_phrase_weight: float, number: int
) -> Html:
    cards = _joined(
        (
            _card(hit, rank, answer.expected, folder, decoder, object_phrase_weight)
            for rank, hit in enumerate(answer.hits, 1)
        ),
        "\n",
    )
    found = Html(f"<ol>\n{cards}\n</ol>") if answer.hits else NOTHING_FOUND
    return _filled(SECTION, number=str(number), query=answer.query, found=found)


def _card(
    hit: Hit,
    rank: int,
    expected: ExpectedMoment | None,
    folder: Path,
    decoder: IsolatedDecoder,
    object_phrase_weight: float,
) -> Html:
    is_expected = expected is not None and os.path.realpath(expected.path) == os.path.realpath(hit.path)
    return _filled(
        CARD,
        rank=str(rank),
        name=Path(hit.path).name,
        mark=EXPECTED_VIDEO if is_expected else "",
        start=f"{hit.start:.1f}",
        end=f"{hit.end:.1f}",
        duration=f"{hit.duration:.1f}",
        score=f"{hit.score:.3f}",
        film=_film(hit, folder, decoder),
        timeline=_timeline(hit, expected if is_expected else None),
        parts=_parts(hit, object_phrase_weight),
    )


def _film(hit: Hit, folder: Path, decoder: IsolatedDecoder) -> Html:
    """The frames along the moment, as a link that plays it; the reason where they cannot be decoded."""
    name = Path(hit.path).name
    try:
        frames = decoder.decode(hit.path, sample_times(hit.start, hit.end, FRAMES_SHOWN), FRAME_SIDE)
    except VideoError as error:
        return _filled(NO_FILM, reason=error.reason)
    pictures = (
        _filled(PICTURE, data=_data_uri(pixels), name=name, time=f"{time:.1f}", side=str(FRAME_SIDE))
        for pixels, time in zip(frames.pixels, frames.times, strict=True)
    )
    return _filled(
        FILM,
        # Percent-encoded bytes, so that names that are not UTF-8 still lead to their file.
        address=quote(os.fsencode(os.path.relpath(hit.path, folder))),
        start=f"{hit.start:.2f}",
        end=f"{hit.end:.2f}",
        label=f"Play {name} from {hit.start:.1f} to {hit.end:.1f} seconds",
        pictures=_joined(pictures),
    )


def _data_uri(pixels: np.ndarray) -> str:
    """A frame, uint8 `[H, W, 3]`, as a JPEG inside the page."""
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")


def _timeline(hit: Hit, expected: ExpectedMoment | None) -> Html:
    label = f"found from {hit.start:.1f} to {hit.end:.1f} of {hit.duration:.1f} seconds"
    bars = [_bar("found", hit.start, hit.end, hit.duration)]
    for other in hit.moments[1:]:
        label += f"; also from {other.start:.1f} to {other.end:.1f}"
        bars.append(_bar("also", other.start, other.end, hit.duration))
    if expected is not None:
        label += f"; expected from {expected.start:.1f} to {expected.end:.1f}"
        bars.append(_bar("expected", expected.start, expected.end, hit.duration))
    return _filled(TIMELINE, label=label, bars=_joined(bars))


def _bar(kind: str, start: float, end: float, duration: float) -> Html:
    left = min(max(start / duration, 0.0), 1.0)
    right = min(max(end / duration, left), 1.0)
    return _filled(BAR, kind=kind, left=f"{100 * left:.2f}", width=f"{100 * (right - left):.2f}")


def _parts(hit: Hit, object_phrase_weight: float) -> Html:
    parts = (
        ("event", "event-sentence", hit.event_sentence),
        ("object", f"{object_phrase_weight:g} × object-phrase", hit.object_phrase),
    )
    rows = (
        _filled(
            PART,
            kind=kind,
            label=label,
            width=f"{100 * min(max(score, 0.0), 1.0):.1f}",
            score=f"{score:.3f}",
        )
        for kind, label, score in parts
    )
    return _filled(PARTS, rows=_joined(rows))
