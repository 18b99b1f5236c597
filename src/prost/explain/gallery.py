"""Hits as a page to look at: one HTML file that opens from disk and needs no network.

A card for each hit: the frames along the found moment as a film strip, where the moment lies in its video, and the
score split into its two parts. The videos themselves are not copied; the page links to them by relative paths.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from prost.errors import VideoError
from prost.search.hits import Hit
from prost.video.isolation import IsolatedDecoder
from prost.video.sampling import sample_times

FRAMES_SHOWN = 6
FRAME_SIDE = 176  # pixels; a strip of six stays sharp at the page's width and costs about 30 kB
JPEG_QUALITY = 82


@dataclass(frozen=True)
class ExpectedMoment:
    """The moment that a query was written about, where that is known.

    Attributes:
        path: the video.
        start: seconds.
        end: seconds.
    """

    path: Path
    start: float
    end: float


@dataclass(frozen=True)
class Answer:
    """A query and what was found for it, best first."""

    query: str
    hits: Sequence[Hit]
    truth: ExpectedMoment | None = None


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
        object_phrase_weight: the share of the object-phrase score in the total, from the model's configuration.
        title: of the page.
        summary: one line below the title.
    """
    page = Path(page)
    with IsolatedDecoder() as decoder:
        sections = "\n".join(
            _section(answer, page.parent, decoder, object_phrase_weight, number)
            for number, answer in enumerate(answers, 1)
        )
    page.write_text(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{_source("gallery.css")}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="quiet">{escape(summary)}</p>
</header>
<main>
{sections}
</main>
<footer class="quiet">
<p>Score = event-sentence + {object_phrase_weight:g} &times; object-phrase, both cosines. Event-sentence compares the
whole sentence with what happens; object-phrase compares its phrases with the things in single frames.</p>
<p>The bar below a film strip is the whole video: filled where the moment was found, faint where others were, framed
where the moment lies that was meant. Click a film strip to play the moment.</p>
</footer>
<script>
{_source("gallery.js")}</script>
</body>
</html>
""",
        encoding="utf-8",
    )


def _source(name: str) -> str:
    return files("prost.explain").joinpath(name).read_text(encoding="utf-8")


def _section(
    answer: Answer, folder: Path, decoder: IsolatedDecoder, object_phrase_weight: float, number: int
) -> str:
    cards = "\n".join(
        _card(hit, rank, answer.truth, folder, decoder, object_phrase_weight)
        for rank, hit in enumerate(answer.hits, 1)
    )
    found = f"<ol>\n{cards}\n</ol>" if answer.hits else '<p class="quiet">Nothing was found.</p>'
    return f"""<section aria-labelledby="query-{number}">
<h2 id="query-{number}">&ldquo;{escape(answer.query)}&rdquo;</h2>
{found}
</section>"""


def _card(
    hit: Hit,
    rank: int,
    truth: ExpectedMoment | None,
    folder: Path,
    decoder: IsolatedDecoder,
    object_phrase_weight: float,
) -> str:
    is_truth = truth is not None and os.path.realpath(truth.path) == os.path.realpath(hit.path)
    mark = '<span class="right">&#10003; the video that was meant</span>' if is_truth else ""
    return f"""<li>
<header>
<span class="rank">{rank}</span>
<h3>{escape(_shown(Path(hit.path).name))}</h3>
{mark}
<span class="quiet">{hit.start:.1f}&ndash;{hit.end:.1f} s of {hit.duration:.1f} s</span>
<span class="score">{hit.score:.3f}</span>
</header>
{_film(hit, folder, decoder)}
{_timeline(hit, truth if is_truth else None)}
{_parts(hit, object_phrase_weight)}
</li>"""


def _film(hit: Hit, folder: Path, decoder: IsolatedDecoder) -> str:
    """The frames along the moment, as a link that plays it; where they cannot be decoded, the reason."""
    name = _shown(Path(hit.path).name)
    try:
        frames = decoder.decode(hit.path, sample_times(hit.start, hit.end, FRAMES_SHOWN), FRAME_SIDE)
    except VideoError as error:
        return f'<p class="quiet">The frames cannot be shown: {escape(_shown(error.reason))}.</p>'
    pictures = "".join(
        f'<img src="{_data_uri(pixels)}" alt="{escape(name)} at {time:.1f} seconds" width="{FRAME_SIDE}" '
        f'height="{FRAME_SIDE}">'
        for pixels, time in zip(frames.pixels, frames.times, strict=True)
    )
    # Percent-encoded bytes, so that names that are no UTF-8 still lead to their file.
    address = quote(os.fsencode(os.path.relpath(hit.path, folder)))
    return (
        f'<a class="film" href="{address}#t={hit.start:.2f},{hit.end:.2f}" data-start="{hit.start:.2f}" '
        f'data-end="{hit.end:.2f}" aria-label="Play {escape(name)} from {hit.start:.1f} to {hit.end:.1f} seconds">'
        f"{pictures}</a>"
    )


def _data_uri(pixels: np.ndarray) -> str:
    """A frame, uint8 `[H, W, 3]`, as a JPEG inside the page."""
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")


def _timeline(hit: Hit, truth: ExpectedMoment | None) -> str:
    told = f"found from {hit.start:.1f} to {hit.end:.1f} of {hit.duration:.1f} seconds"
    bars = _bar("found", hit.start, hit.end, hit.duration)
    for other in hit.moments[1:]:
        told += f"; also from {other.start:.1f} to {other.end:.1f}"
        bars += _bar("also", other.start, other.end, hit.duration)
    if truth is not None:
        told += f"; meant from {truth.start:.1f} to {truth.end:.1f}"
        bars += _bar("truth", truth.start, truth.end, hit.duration)
    return f'<div class="timeline" role="img" aria-label="{told}" title="{told}">{bars}</div>'


def _bar(kind: str, start: float, end: float, duration: float) -> str:
    left = min(max(start / duration, 0.0), 1.0)
    right = min(max(end / duration, left), 1.0)
    return f'<span class="{kind}" style="left:{100 * left:.2f}%;width:{100 * (right - left):.2f}%"></span>'


def _parts(hit: Hit, object_phrase_weight: float) -> str:
    parts = (
        ("event", "event-sentence", hit.event_sentence),
        ("object", f"{object_phrase_weight:g} &times; object-phrase", hit.object_phrase),
    )
    rows = "".join(
        f'<dt>{label}</dt><dd class="bar {kind}">'
        f'<span style="width:{100 * min(max(score, 0.0), 1.0):.1f}%"></span></dd><dd>{score:.3f}</dd>'
        for kind, label, score in parts
    )
    return f'<dl class="parts">{rows}</dl>'


def _shown(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a file name that it cannot become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
