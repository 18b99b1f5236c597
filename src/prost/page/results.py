"""Hits as a page to look at: one HTML file that opens from disk and needs no network.

Each hit is a card: frames along the found moment as a film strip, a bar that shows where the moment lies in its video,
and the two parts of the score. The videos themselves are not copied; the page links to them by relative paths.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prost.data.writing import written_whole
from prost.errors import VideoError
from prost.object_store import is_remote
from prost.page.cards import Card, Part, Picture, bars_of
from prost.page.rendering import render
from prost.printable import printable
from prost.search.hits import Hit
from prost.video.isolation import IsolatedDecoder
from prost.video.sampling import sample_times

FRAMES_SHOWN = 6
FRAME_SIDE = 176  # pixels; a strip of six stays sharp at the page's width and costs about 30 kB
JPEG_QUALITY = 82


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

    Raises:
        StorageError: the file cannot be written.
    """
    page = Path(page)
    with IsolatedDecoder() as decoder:
        sections = [
            {
                "query": answer.query,
                "cards": [
                    result_card(
                        hit,
                        rank,
                        answer.expected,
                        page.parent,
                        decoder,
                        object_phrase_weight=object_phrase_weight,
                    )
                    for rank, hit in enumerate(answer.hits, 1)
                ],
            }
            for answer in answers
        ]
    html = render(
        "results.html",
        title=title,
        summary=summary,
        sections=sections,
        weight=f"{object_phrase_weight:g}",
    )
    with written_whole(page) as partial:
        partial.write_text(html, encoding="utf-8")


def result_card(
    hit: Hit,
    rank: int,
    expected: ExpectedMoment | None,
    folder: Path,
    decoder: IsolatedDecoder,
    *,
    object_phrase_weight: float,
) -> Card:
    """A hit as a card that needs no other file but the video.

    Args:
        hit: what was found.
        rank: its place, from 1.
        expected: the moment that should be found; it is drawn if it lies in this video.
        folder: where the page lies; the card links to the video by a path relative to it.
        decoder: makes the frames.
        object_phrase_weight: weight of the object-phrase score in the total.
    """
    name = Path(hit.path).name
    is_expected = expected is not None and os.path.realpath(expected.path) == os.path.realpath(hit.path)
    film, unplayable = _film(hit, decoder)
    # Percent-encoded bytes, so that names that are not UTF-8 still lead to their file.
    link = hit.path if is_remote(hit.path) else os.path.relpath(hit.path, folder)
    address = quote(os.fsencode(link), safe=":/" if is_remote(hit.path) else "/")
    return Card(
        rank=rank,
        name=name,
        address=f"{address}#t={hit.start:.2f},{hit.end:.2f}",
        label=f"Play {printable(name)} from {hit.start:.1f} to {hit.end:.1f} seconds",
        start=hit.start,
        end=hit.end,
        duration=hit.duration,
        score=hit.score,
        joint_score=hit.joint_score,
        film=film,
        unplayable=unplayable,
        bars=bars_of(hit.moments, expected if is_expected else None),
        parts=(
            Part(kind="event", label="event-sentence", score=hit.event_sentence),
            Part(kind="object", label=f"{object_phrase_weight:g} × object-phrase", score=hit.object_phrase),
        ),
        mark="the expected video" if is_expected else "",
    )


def _film(hit: Hit, decoder: IsolatedDecoder) -> tuple[tuple[Picture, ...], str]:
    """The frames along the moment; or none, and the reason why they cannot be decoded."""
    name = Path(hit.path).name
    try:
        frames = decoder.decode(hit.path, sample_times(hit.start, hit.end, FRAMES_SHOWN), FRAME_SIDE)
    except VideoError as error:
        return (), error.reason
    pictures = (
        Picture(address=data_uri(pixels), alt=f"{name} at {time:.1f} seconds")
        for pixels, time in zip(frames.pixels, frames.times, strict=True)
    )
    return tuple(pictures), ""


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A frame, uint8 `[H, W, 3]`, as a JPEG inside the page."""
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
