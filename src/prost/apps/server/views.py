"""What the templates of the page take, made from what the API answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, Field

from prost.apps.server.schemas import (
    LONGEST_QUERY,
    ConfidenceOut,
    Evidence,
    FolderOut,
    Job,
    MomentOut,
    Relevance,
    SearchHit,
    Seconds,
    Video,
)
from prost.page.cards import Card, Picture, bars_of
from prost.page.rendering import clock, length, percent
from prost.printable import counted

FORMS = {
    "json": "JSON",
    "csv": "table (CSV)",
    "clips": "cut clips (ZIP)",
    "edl": "timeline (EDL)",
    "fcpxml": "timeline (FCPXML)",
    "otio": "timeline (OTIO)",
}
# A phrase is named by the words that have at least this share of it.
LEAST_SHARE = 0.1
# Coordinates of drawings: curves are 1000 wide.
WIDE = 1000.0
DEEPEST = 4


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the form of the search page holds, as it was typed; for the meaning see `GET /api/search`."""

    q: str = ""
    folder: str = ""
    min_duration: str = ""
    max_duration: str = ""
    after: str = ""
    before: str = ""
    tag: str = ""
    words: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        """The fields of an address."""
        return cls(**{field.name: query.get(field.name, "").strip() for field in fields(cls)})

    @property
    def filters(self) -> int:
        """How many filters are set."""
        return sum(1 for name in self.given if name != "q")

    @property
    def given(self) -> dict[str, str]:
        """Fields that say something."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value and (name, value) != ("words", "auto")}

    @property
    def without_filters(self) -> str:
        """Address of the same search without filters."""
        return address("/", q=self.q)


class Watched(BaseModel):
    """What the address of a video's page says; for the meaning see `templates/video.html`."""

    q: str = Field("", max_length=LONGEST_QUERY)
    start: Seconds = 0.0
    end: Seconds | None = None
    why: bool = False
    slot: int = 0


def address(path: str, **values: object) -> str:
    """An address with those values that are not empty."""
    given = {name: value for name, value in values.items() if value not in ("", None)}
    return f"{path}?{urlencode(given)}" if given else path


def video_address(
    video: str, query: str, start: float | None = None, end: float | None = None, **more: object
) -> str:
    """Address of the page of a video, opened at a moment."""
    return address(f"/video/{video}", q=query, start=_seconds(start), end=_seconds(end), **more)


def selection_of(video: str, start: float, end: float) -> str:
    """A moment as the value of a check box."""
    return f"{video},{start:.3f},{end:.3f}"


def selected(value: str) -> dict[str, str]:
    """What the value of such a check box says; the API checks it.

    >>> selected("ab-cd,1.000,2.500")
    {'video': 'ab-cd', 'start': '1.000', 'end': '2.500'}
    """
    video, _, times = value.partition(",")
    start, _, end = times.partition(",")
    return {"video": video, "start": start, "end": end}


def hit_card(hit: SearchHit, rank: int, query: str) -> Card:
    """A hit as a card that leads to the page of its video."""
    video, moment = hit.video, hit.moment
    others = [
        (clock(other.start), video_address(video.id, query, other.start, other.end))
        for other in hit.moments[1:]
    ]
    return Card(
        rank=rank,
        name=video.name,
        address=video_address(video.id, query, moment.start, moment.end),
        label=f"Play {video.name} from {moment.start:.1f} to {moment.end:.1f} seconds",
        start=moment.start,
        end=moment.end,
        duration=video.duration or 0.0,
        score=moment.score,
        joint_score=hit.joint_score,
        poster=Picture(address=moment.thumbnail, alt=""),
        film=tuple(Picture(address=picture, alt="") for picture in moment.strip),
        bars=bars_of(hit.moments),
        folder=video.folder,
        words=tuple(f"{cue.text}" for cue in hit.words[:1]),
        details=tuple(video.tags),
        faint=hit.confidence is not None and hit.confidence.level == "none",
        select=selection_of(video.id, moment.start, moment.end),
        links=(
            (
                "more like this",
                address("/", like=video.id, start=_seconds(moment.start), end=_seconds(moment.end)),
            ),
            *((f"also at {text}", where) for text, where in others),
        ),
    )


def video_card(video: Video) -> Card:
    """A video of which no moment was asked for."""
    duration = video.duration or 0.0
    return Card(
        rank=None,
        name=video.name,
        address=video_address(video.id, ""),
        label=f"Open {video.name}",
        start=0.0,
        end=duration,
        duration=duration,
        score=None,
        poster=Picture(address=frame_address(video, 0.0, duration), alt=""),
        film=(),
        bars=(),
        folder=video.folder,
        details=tuple(video.tags),
        links=(("more like this", address("/", like=video.id)),),
    )


def frame_address(video: Video, start: float, end: float) -> str:
    """Address of the most telling frame of a stretch."""
    return address(f"/api/videos/{video.id}/frame", start=_seconds(start), end=_seconds(end), height=360)


def said_of(hits: int, more: bool, confidence: ConfidenceOut | None) -> str:
    """The answer to a search in one line, to be read out."""
    found = f"{hits} or more videos found." if more else f"{counted(hits, 'video')} found."
    return f"{found} {confidence.statement}" if confidence is not None else found


def facts_of(video: Video) -> list[str]:
    """Short facts about a video."""
    facts = [video.folder, length(video.duration or 0.0)]
    if video.width and video.height:
        facts.append(f"{video.width} × {video.height}")
    if video.codec:
        facts.append(video.codec)
    return [*facts, f"changed {video.modified:%d %B %Y}", *video.tags]


def moment_rows(
    video: Video, moments: Iterable[MomentOut], query: str, start: float, end: float
) -> list[dict[str, Any]]:
    """Moments of a video by time, the one that is shown marked; it stands alone where none is known."""
    rows = [
        {
            "start": moment.start,
            "end": moment.end,
            "score": moment.score,
            "address": video_address(video.id, query, moment.start, moment.end),
            "now": abs(moment.start - start) < 0.01,
        }
        for moment in sorted(moments, key=lambda each: each.start)
    ]
    if not any(row["now"] for row in rows) and end - start < (video.duration or 0.0) - 0.01:
        here = video_address(video.id, query, start, end)
        rows.append({"start": start, "end": end, "score": None, "address": here, "now": True})
    return sorted(rows, key=lambda row: float(row["start"]))


def curve_of(relevance: Relevance, duration: float) -> dict[str, str] | None:
    """Relevance over the time of a video as points of a drawing 1000 wide and 100 high; None without samples."""
    if not relevance.times or duration <= 0:
        return None
    low, high = min(relevance.scores), max(relevance.scores)
    spread = (high - low) or 1.0
    places = [
        (WIDE * min(max(time / duration, 0.0), 1.0), 92 - 84 * (score - low) / spread)
        for time, score in zip(relevance.times, relevance.scores, strict=True)
    ]
    # The first and the last sample also stand for what is before and after them.
    places = [(0.0, places[0][1]), *places, (WIDE, places[-1][1])]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return {"line": line, "area": f"0,100 {line} {WIDE:.0f},100"}


def curve_said(relevance: Relevance | None) -> str:
    """The curve in words."""
    if relevance is None or not relevance.times:
        return "the whole video"
    best = max(range(len(relevance.times)), key=lambda place: relevance.scores[place])
    return f"how well each part of the video fits; best at {clock(relevance.times[best])}"


def why_of(evidence: Evidence, *, here: str, chosen: int) -> dict[str, Any]:
    """Evidence as the template takes it.

    Args:
        evidence: of the API.
        here: address of this page.
        chosen: whose regions are shown: 0 for those of the whole sentence, 1 + slot for those of a slot's phrase.
    """
    groups = _groups(evidence)
    parts = [("event", "the whole sentence, compared with what happens", evidence.event_sentence)]
    parts += [("object", label, sum(slot["share"] for slot in slots)) for label, slots in groups]
    total = sum(max(0.0, score) for _, _, score in parts) or 1.0
    rows, left = [], 0.0
    for kind, label, score in parts:
        width = WIDE * max(0.0, score) / total
        rows.append(
            {"kind": kind, "label": label, "score": score, "left": f"{left:.2f}", "width": round(width, 2)}
        )
        left += width
    has_heat = bool(evidence.frames and evidence.frames[0].heat and evidence.frames[0].overlay)
    won = {slot["frame"] for slot in evidence.slots}
    curves = evidence.events or []
    highest = max((value for curve in curves for value in curve), default=0.0) or 1.0
    lost = [word for word in evidence.words if word["lost_without"] is not None]
    most = max((abs(word["lost_without"]) for word in lost), default=0.0) or 1.0
    phrases = [{"label": "whole sentence", "slot": 0, "share": evidence.score - evidence.event_sentence}]
    phrases += [
        {
            "label": label,
            "slot": 1 + max(slots, key=lambda slot: float(slot["share"]))["slot"],
            "share": sum(slot["share"] for slot in slots),
        }
        for label, slots in groups
    ]
    first, last = evidence.times[0], evidence.times[-1]
    said = "; ".join(f"{label} {score:.3f}" for _, label, score in parts)
    return {
        "score": evidence.score,
        "span": f"The clip from {clock(first)} to {clock(last)} was decoded and encoded again.",
        "sum_said": f"{said}; together {evidence.score:.3f}",
        "joint_score": evidence.joint_score,
        "parts": rows,
        "phrases": [
            {**phrase, "address": f"{here}&slot={phrase['slot']}", "now": phrase["slot"] == chosen}
            for phrase in phrases
        ]
        if has_heat
        else [],
        "slot": chosen if has_heat and 0 <= chosen <= len(evidence.slots) else 0,
        "frames": [
            {
                "time": frame.time,
                "picture": frame.picture,
                "heat": [frame.overlay, *frame.heat] if has_heat else [],
                "won": place in won,
                "address": frame.picture,
            }
            for place, frame in enumerate(evidence.frames)
        ],
        "events": [
            {
                "place": place,
                "points": _points(evidence.times, curve, highest),
                "cosine": cosine,
                "won": place == evidence.winner,
            }
            for place, (curve, cosine) in enumerate(zip(curves, evidence.event_cosines, strict=False))
        ],
        "events_said": f"attention of {len(curves)} events over the frames; the best is event {evidence.winner + 1}",
        "events_coincide": evidence.events_coincide and len(curves) > 1,
        "first": first,
        "last": last,
        "words": [
            {
                "text": word["word"],
                "lost": word["lost_without"],
                "width": percent(abs(word["lost_without"]), most),
            }
            for word in lost
        ],
    }


def _groups(evidence: Evidence) -> list[tuple[str, list[dict[str, Any]]]]:
    """Slots by the words of their phrases, the largest share first."""
    order = {word["word"]: place for place, word in enumerate(evidence.words)}
    groups: dict[str, list[dict[str, Any]]] = {}
    for slot in evidence.slots:
        words = [each["word"] for each in slot["words"] if each["share"] >= LEAST_SHARE]
        label = " ".join(sorted(words, key=lambda word: order.get(word, 0))) or "other"
        groups.setdefault(label, []).append(slot)
    return sorted(groups.items(), key=lambda group: -sum(slot["share"] for slot in group[1]))


def _points(times: Sequence[float], values: Sequence[float], highest: float) -> str:
    """A curve as points of a drawing 1000 wide and 200 high."""
    span = (times[-1] - times[0]) or 1.0
    return " ".join(
        f"{WIDE * (time - times[0]) / span:.1f},{190 - 175 * value / highest:.1f}"
        for time, value in zip(times, values, strict=True)
    )


def video_row(video: Video) -> dict[str, Any]:
    """A video as it is listed."""
    return {
        "name": video.name,
        "address": video_address(video.id, ""),
        "duration": video.duration or 0.0,
        "size": f"{video.width} × {video.height} {video.codec or ''}" if video.width else "",
        "tags": video.tags,
        "folder": video.folder,
    }


@dataclass(frozen=True, kw_only=True)
class FolderRow:
    """A folder in a list.

    Attributes:
        id: of the folder.
        name: of the folder.
        path: its name with those of the folders that it lies in.
        depth: how many listed folders it lies in.
        videos: in it and below it.
        may_index: whether it may be indexed from the page.
        address: of a search in it.
    """

    id: str
    name: str
    path: str
    depth: int
    videos: int
    may_index: bool
    address: str


def folder_rows(folders: Sequence[FolderOut]) -> list[FolderRow]:
    """Folders as they are listed; the videos of a folder count for those that it lies in, too."""
    rows: dict[str, FolderRow] = {}
    parents = {folder.id: folder.parent for folder in folders}
    for folder in folders:
        above = rows.get(folder.parent or "")
        rows[folder.id] = FolderRow(
            id=folder.id,
            name=folder.name,
            path=f"{above.path} / {folder.name}" if above else folder.name,
            depth=min(above.depth + 1, DEEPEST) if above else 0,
            videos=0,
            may_index=folder.may_index,
            address=address("/", folder=folder.id),
        )
    for folder in folders:
        place: str | None = folder.id
        while place is not None and place in rows:
            rows[place] = replace(rows[place], videos=rows[place].videos + folder.videos)
            place = parents[place]
    return list(rows.values())


def job_row(job: Job) -> dict[str, Any]:
    """A job as it is listed."""
    said = {
        "queued": "waits for its turn",
        "running": "is being indexed",
        "done": "is indexed",
        "failed": "could not be indexed",
        "cancelled": "was cancelled; what was finished is kept",
    }
    return {
        "id": job.id,
        "folder": job.name,
        "state": job.state,
        "said": said[job.state] + (f": {job.summary}" if job.summary else ""),
        "running": job.state in ("queued", "running"),
        "done": job.done,
        "total": job.total,
        "error": job.problem,
    }


def _seconds(time: float | None) -> str:
    return "" if time is None else f"{time:.3f}"
