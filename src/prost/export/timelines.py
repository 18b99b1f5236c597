"""Moments one after another on a timeline, for programs that edit films: OpenTimelineIO, EDL (CMX 3600), FCPXML.

Times in a source count from the file's start on the player's clock, in whole frames of the source's rate. A timecode
that the file itself may carry is not read.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from prost.errors import UsageError, VideoError, install_extra
from prost.export.outputs import new_output, suffix_of
from prost.object_store import is_remote
from prost.printable import printable
from prost.search.hits import Hit
from prost.video.isolation import IsolatedDecoder

SUFFIXES = (".otio", ".edl", ".fcpxml")
USUAL_RATE = Fraction(25)
# Rates that editing programs know, frames a second; those with 1001 below are the rates of NTSC.
NTSC = tuple(Fraction(1000 * whole, 1001) for whole in (24, 30, 48, 60, 120))
RATES = (*NTSC, *map(Fraction, (24, 25, 30, 48, 50, 60, 100, 120)))
DROP_FRAME = (Fraction(30_000, 1001), Fraction(60_000, 1001))
# A measured rate this near to a known one is that one.
RATE_TOLERANCE = 0.003
INSTALL = install_extra("timeline")


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A stretch of a video on a timeline.

    Attributes:
        hit: of the search.
        rank: of the hit, from 1.
        score: of the moment.
        rate: of the video, frames a second.
        start: first frame in the video, counted from 0.
        frames: number of frames.
    """

    hit: Hit
    rank: int
    score: float
    rate: Fraction
    start: int
    frames: int

    @property
    def name(self) -> str:
        """Name of the file, on one line."""
        return printable(os.path.basename(self.hit.path))

    @property
    def uri(self) -> str:
        """Where the file is; an address on an object store is what it is, though few editors open it."""
        return quote(self.hit.path, safe=":/") if is_remote(self.hit.path) else Path(self.hit.path).as_uri()

    @property
    def available(self) -> int:
        """Frames of the whole video."""
        return max(self.start + self.frames, round((self.hit.video.duration or 0.0) * self.rate))


def write_timeline(
    path: Path,
    hits: Sequence[Hit],
    *,
    title: str,
    rate: float | None = None,
    margin: float = 0.0,
    force: bool = False,
) -> int:
    """Write the moments of hits as a timeline, in the format that the output's name says.

    Args:
        path: a name that ends in .otio, .edl or .fcpxml.
        hits: of a search; all their moments, best hit first.
        title: of the timeline.
        rate: frames a second of the timeline; by default that of the first hit. 29.97 and 59.94 count drop-frame.
        margin: seconds to add before and after each moment.
        force: replace a file that is there.

    Returns:
        number of moments.

    Raises:
        UsageError: another suffix, an unknown rate, nothing to write, the output exists, or OpenTimelineIO is not
            installed, which .otio and .edl need.
        OSError: the disk refuses.
    """
    expect_timeline(path, rate)
    suffix = suffix_of(path, SUFFIXES)
    shots = list(_shots(hits, margin))
    if not shots:
        raise UsageError("a timeline without moments", "one hit or more")
    timeline_rate = shots[0].rate if rate is None else _expected_rate(rate)
    title = printable(title)
    with new_output(path, force) as temporary:
        if suffix == ".fcpxml":
            text = _fcpxml(shots, title, timeline_rate, _silent(shots))
        elif suffix == ".edl":
            text = _edl(shots, title, timeline_rate)
        else:
            text = _otio().adapters.write_to_string(_timeline(shots, title, None), "otio_json") + "\n"
        temporary.write_text(text, encoding="utf-8")
    return len(shots)


def expect_timeline(path: Path, rate: float | None) -> None:
    """Check that `write_timeline` can write this form at this rate; for use before the search.

    Args:
        path, rate: as for `write_timeline`.

    Raises:
        UsageError: another suffix, an unknown rate, or OpenTimelineIO is not installed, which .otio and .edl need.
    """
    suffix = suffix_of(path, SUFFIXES)
    if rate is not None:
        _expected_rate(rate)
    if suffix == ".otio":
        _otio()
    elif suffix == ".edl":
        _otio_with_edl()


def _expected_rate(rate: float) -> Fraction:
    known = known_rate(rate)
    if known is None:
        raise UsageError(f"rate {rate:g}", ", ".join(f"{float(each):.5g}" for each in sorted(RATES)))
    return known


def known_rate(fps: float | None) -> Fraction | None:
    """The rate of editing programs that a measured one stands for; None where there is none near.

    >>> known_rate(29.97), known_rate(23.98), known_rate(12.5)
    (Fraction(30000, 1001), Fraction(24000, 1001), None)
    """
    if not fps:
        return None
    nearest = min(RATES, key=lambda rate: abs(rate - Fraction(fps)))
    return nearest if abs(float(nearest) - fps) <= max(RATE_TOLERANCE, 0.0005 * fps) else None


def _shots(hits: Sequence[Hit], margin: float) -> Iterator[Shot]:
    for rank, hit in enumerate(hits, 1):
        rate = known_rate(hit.video.fps) or USUAL_RATE
        for moment in hit.moments:
            start = floor(round(max(0.0, moment.start - margin) * rate, 6))
            end = ceil(round((moment.end + margin) * rate, 6))
            if hit.video.duration:
                end = min(end, max(round(hit.video.duration * rate), start + 1))
            yield Shot(
                hit=hit,
                rank=rank,
                score=moment.score,
                rate=rate,
                start=start,
                frames=max(1, end - start),
            )


def _otio() -> Any:
    try:
        import opentimelineio
    except ImportError:
        raise UsageError("OpenTimelineIO is not installed", "the extra `timeline`", INSTALL) from None
    return opentimelineio


def _timeline(shots: Sequence[Shot], title: str, rate: Fraction | None) -> Any:
    """The timeline of OpenTimelineIO; `rate` is that of all times, None for the rate of each source."""
    otio = _otio()

    def span(shot: Shot, start: int, frames: int) -> Any:
        if rate is None or rate == shot.rate:
            first, count, shown = start, frames, shot.rate
        else:
            first, count, shown = *_rescaled(start, frames, shot.rate, rate), rate
        time, fps = otio.opentime.RationalTime, float(shown)
        return otio.opentime.TimeRange(time(first, fps), time(count, fps))

    timeline = otio.schema.Timeline(title)
    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    reels = _reels(shots)
    for shot in shots:
        media = otio.schema.ExternalReference(shot.uri, span(shot, 0, shot.available))
        metadata = {
            "cmx_3600": {"reel": reels[shot.hit.path]},
            "prost": {"rank": shot.rank, "score": shot.score},
        }
        clip = otio.schema.Clip(shot.name, media, span(shot, shot.start, shot.frames), metadata=metadata)
        track.append(clip)
    return timeline


def _reels(shots: Sequence[Shot]) -> dict[str, str]:
    """A reel name of up to eight characters for each file, as EDL needs."""
    return {path: f"P{place:06d}" for place, path in enumerate(dict.fromkeys(s.hit.path for s in shots), 1)}


def _rescaled(start: int, frames: int, old: Fraction, new: Fraction) -> tuple[int, int]:
    """First frame and number of frames at another rate: at least what was there."""
    first = floor(start / old * new)
    return first, max(1, ceil((start + frames) / old * new) - first)


def _otio_with_edl() -> Any:
    otio = _otio()
    if "edl" not in otio.adapters.suffixes_with_defined_adapters():
        raise UsageError("OpenTimelineIO has no adapter for EDL here", "the extra `timeline`", INSTALL)
    return otio


def _edl(shots: Sequence[Shot], title: str, rate: Fraction) -> str:
    otio = _otio_with_edl()
    text: str = otio.adapters.write_to_string(_timeline(shots, title, rate), "cmx_3600", rate=float(rate))
    head, _, rest = text.partition("\n")
    return f"{head}\nFCM: {'DROP FRAME' if rate in DROP_FRAME else 'NON-DROP FRAME'}\n{rest}"


def _silent(shots: Sequence[Shot]) -> set[str]:
    """Paths of the videos that have no sound.

    A video that is not on this machine now, or cannot be read, is not among them: an editor would leave out the sound
    that it may have, once it is back.
    """
    silent = set()
    with IsolatedDecoder() as decoder:
        for path in {shot.hit.path for shot in shots}:
            with suppress(VideoError):
                if os.path.isfile(path) and not decoder.has_sound(path):
                    silent.add(path)
    return silent


def _fcpxml(shots: Sequence[Shot], title: str, rate: Fraction, silent: Container[str]) -> str:
    """FCPXML 1.8. Times are fractions of a second, so that the rates of NTSC stay exact.

    Args:
        shots: to write.
        title: of the timeline.
        rate: of the timeline, frames a second.
        silent: paths of the videos without sound.
    """
    root = ElementTree.Element("fcpxml", version="1.8")
    resources = ElementTree.SubElement(root, "resources")
    formats: dict[tuple[Fraction, int | None, int | None], str] = {}
    assets: dict[str, str] = {}

    def format_of(fps: Fraction, width: int | None, height: int | None) -> str:
        key = (fps, width, height)
        if key not in formats:
            formats[key] = f"r{len(formats) + len(assets) + 1}"
            element = ElementTree.SubElement(
                resources, "format", id=formats[key], frameDuration=_seconds(1 / fps)
            )
            if width and height:
                element.attrib |= {"width": str(width), "height": str(height)}
        return formats[key]

    first = shots[0].hit.video
    sequence_format = format_of(rate, first.width, first.height)
    event = ElementTree.SubElement(ElementTree.SubElement(root, "library"), "event", name=title)
    project = ElementTree.SubElement(event, "project", name=title)
    counting = "DF" if rate in DROP_FRAME else "NDF"
    sequence = ElementTree.SubElement(
        project, "sequence", format=sequence_format, tcFormat=counting, tcStart="0s"
    )
    spine = ElementTree.SubElement(sequence, "spine")
    offset = 0
    for shot in shots:
        video = shot.hit.video
        if video.path not in assets:
            own = format_of(shot.rate, video.width, video.height)
            assets[video.path] = f"r{len(formats) + len(assets) + 1}"
            asset = ElementTree.SubElement(
                resources,
                "asset",
                id=assets[video.path],
                name=shot.name,
                src=shot.uri,
                start="0s",
                duration=_seconds(shot.available / shot.rate),
                hasVideo="1",
                format=own,
            )
            if video.path not in silent:
                asset.set("hasAudio", "1")
        _, frames = _rescaled(shot.start, shot.frames, shot.rate, rate)
        frames = shot.frames if shot.rate == rate else frames
        ElementTree.SubElement(
            spine,
            "asset-clip",
            name=shot.name,
            ref=assets[video.path],
            offset=_seconds(offset / rate),
            start=_seconds(shot.start / shot.rate),
            duration=_seconds(frames / rate),
        )
        offset += frames
    sequence.set("duration", _seconds(offset / rate))
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'


def _seconds(time: Fraction) -> str:
    """A time as FCPXML writes it.

    >>> _seconds(Fraction(1001, 30000)), _seconds(Fraction(2))
    ('1001/30000s', '2s')
    """
    return f"{time}s"
