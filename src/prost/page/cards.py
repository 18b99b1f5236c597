"""A hit as every page shows it: film strip, name, times, a bar of the whole video, parts of the score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol


class Stretch(Protocol):
    """What has a start and an end, in seconds."""

    @property
    def start(self) -> float:
        """Seconds."""

    @property
    def end(self) -> float:
        """Seconds."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A frame.

    Attributes:
        address: of the picture; a `data:` address where the page must not need other files.
        alt: what it is a picture of.
    """

    address: str
    alt: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A stretch of the video, to be drawn on the bar that stands for all of it.

    Attributes:
        kind: `found` is the moment of the card, `also` a further one, `expected` the true one.
        start: seconds.
        end: seconds.
    """

    kind: Literal["found", "also", "expected"]
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """A summand of the score.

    Attributes:
        kind: `event` or `object`; decides the colour.
        label: what it is.
        score: what it adds, before it is weighed.
    """

    kind: Literal["event", "object"]
    label: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Card:
    """A hit, ready to be drawn by `templates/card.html`.

    Attributes:
        rank: place in the list, from 1; None in a list that is not ranked.
        name: of the file.
        address: where a click leads; plays the moment.
        label: what a click does, for those who cannot see the pictures.
        start: of the moment, seconds.
        end: likewise.
        duration: of the video, seconds.
        score: similarity; None where there is none.
        joint_score: probability by the joint scorer, which orders the hits; None where the score does.
        film: frames along the moment, in order.
        unplayable: why there are no frames; empty where there are some.
        bars: on the bar of the whole video; the moment itself first.
        parts: of the score.
        mark: a word of praise, such as that this is the expected video.
        folder: where the file lies; empty where the page does not tell.
        poster: the frame that shows the moment best; None where the strip is always shown.
        words: what is said or written in the moment.
        details: short facts that stand behind the duration.
        faint: whether the hit probably does not fit.
        select: value of the check box that selects the moment; empty where nothing can be selected.
        links: further places to go to, as pairs of text and address.
    """

    rank: int | None
    name: str
    address: str
    label: str
    start: float
    end: float
    duration: float
    score: float | None
    film: tuple[Picture, ...]
    bars: tuple[Bar, ...]
    joint_score: float | None = None
    unplayable: str = ""
    parts: tuple[Part, ...] = ()
    mark: str = ""
    folder: str = ""
    poster: Picture | None = None
    words: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    faint: bool = False
    select: str = ""
    links: tuple[tuple[str, str], ...] = ()

    @property
    def bars_said(self) -> str:
        """The bars in words."""
        return bars_said(self.bars, self.duration)


def bars_of(moments: Iterable[Stretch], expected: Stretch | None = None) -> tuple[Bar, ...]:
    """Bars of the moments of a hit, best first, and of the true moment."""
    bars = [
        Bar(kind="also" if place else "found", start=moment.start, end=moment.end)
        for place, moment in enumerate(moments)
    ]
    if expected is not None:
        bars.append(Bar(kind="expected", start=expected.start, end=expected.end))
    return tuple(bars)


def bars_said(bars: Iterable[Bar], duration: float) -> str:
    """Bars in words.

    >>> bars_said(bars_of([Bar(kind="found", start=1, end=2.5), Bar(kind="also", start=4, end=5)]), 9)
    'found from 1.0 to 2.5 of 9.0 seconds; also from 4.0 to 5.0'
    """
    said = []
    for bar in bars:
        whole = f" of {duration:.1f} seconds" if bar.kind == "found" else ""
        said.append(f"{bar.kind} from {bar.start:.1f} to {bar.end:.1f}{whole}")
    return "; ".join(said)
