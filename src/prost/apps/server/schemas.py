"""What goes over the wire, as pydantic models; `openapi.json` is made from them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from prost.apps.server.identity import FOLDER_ID, VIDEO_ID, folder_id, video_id
from prost.printable import printable
from prost.search.confidence import Confidence
from prost.search.hits import Hit, Moment
from prost.search.records import VideoRow
from prost.video.fit import Fit
from prost.video.sampling import sample_times

STRIP = 6
THUMBNAIL_HEIGHT = 180
# What browsers play, by the end of the name: codecs of the picture.
PLAYABLE = {
    ".mp4": ("h264", "av1", "vp9"),
    ".m4v": ("h264", "av1", "vp9"),
    ".mov": ("h264",),
    ".webm": ("vp8", "vp9", "av1"),
}
LONGEST_QUERY = 1_000
# Times are seconds; longer videos than a week are not expected.
LAST_SECOND = 7 * 24 * 3600.0

Query = Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY, description="A sentence.")]
VideoId = Annotated[str, Field(pattern=f"^{VIDEO_ID}$", description="Identifier of a video.")]
FolderId = Annotated[str, Field(pattern=f"^{FOLDER_ID}$", description="Identifier of a folder.")]
Seconds = Annotated[float, Field(ge=0, le=LAST_SECOND, allow_inf_nan=False)]
Tag = Annotated[str, Field(min_length=1, max_length=200)]
Page = Annotated[int, Field(ge=1, le=100)]
WordsChoice = Literal["auto", "only", "off"]
ExportForm = Literal["json", "csv", "edl", "fcpxml", "otio", "clips"]


class Asked(BaseModel):
    """A body of a request: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Video(BaseModel):
    """A file of the library."""

    id: str = Field(description="Stays the same as long as path and content do.")
    name: str
    folder: str = Field(description="For people; it is no input.")
    folder_id: str
    duration: float | None = Field(description="Seconds.")
    width: int | None = Field(description="Pixels, as shown.")
    height: int | None = Field(description="Pixels, as shown.")
    codec: str | None
    modified: datetime
    tags: list[str]
    status: Literal["indexed", "failed"]
    reason: str | None = Field(description="Why it failed.")
    playable: bool = Field(description="Whether browsers can be expected to play the file as it is.")
    media: str = Field(description="Address of the file.")
    preview: str = Field(description="Address of a preview of its beginning; takes `start` and `end`.")

    @classmethod
    def of(cls, row: VideoRow) -> Video:
        """What is shown of a row."""
        folder, name = os.path.split(row.path)
        identifier = video_id(row)
        return cls(
            id=identifier,
            name=printable(name),
            folder=printable(folder),
            folder_id=folder_id(folder),
            duration=row.duration,
            width=row.width,
            height=row.height,
            codec=row.codec,
            modified=_instant(row.modified),
            tags=list(row.tags),
            status="indexed" if row.indexed else "failed",
            reason=None if row.reason is None else printable(row.reason),
            playable=row.codec in PLAYABLE.get(os.path.splitext(name)[1].lower(), ()),
            media=f"/api/videos/{identifier}/media",
            preview=f"/api/videos/{identifier}/preview",
        )


def _instant(nanoseconds: int) -> datetime:
    """A file's time since 1970. A time beyond the calendar, which some disks give, becomes its first or last day.

    >>> _instant(1_700_000_000_000_000_000).year, _instant(10**21).year, _instant(-(10**21)).year
    (2023, 9999, 1)
    """
    first, last = (edge.replace(tzinfo=UTC) for edge in (datetime.min, datetime.max))
    seconds = nanoseconds / 1e9
    if seconds >= last.timestamp():
        return last
    return first if seconds <= first.timestamp() else datetime.fromtimestamp(seconds, UTC)


class MomentOut(BaseModel):
    """A stretch of a video that fits."""

    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")
    score: float = Field(description="event-sentence + weight x object-phrase.")
    object_phrase: float
    event_sentence: float
    frame_time: float = Field(description="Of the frame that fits best, seconds.")
    thumbnail: str = Field(description="Address of a picture of the moment.")
    strip: list[str] = Field(description="Addresses of pictures along the moment.")
    preview: str = Field(description="Address of the moment as H.264.")

    @classmethod
    def of(cls, identifier: str, moment: Moment) -> MomentOut:
        """A moment of the video with an identifier."""
        start, end = moment.start, moment.end
        place = f"/api/videos/{identifier}"
        span = {"start": f"{start:.3f}", "end": f"{end:.3f}"}
        at = {"time": f"{moment.frame_time:.3f}", "height": THUMBNAIL_HEIGHT}
        times = sample_times(start, end, STRIP).tolist()
        return cls(
            start=start,
            end=end,
            score=moment.score,
            object_phrase=moment.object_phrase,
            event_sentence=moment.event_sentence,
            frame_time=moment.frame_time,
            thumbnail=f"{place}/frame?{urlencode({**span, **at})}",
            strip=[f"{place}/frame?time={time:.3f}&height={THUMBNAIL_HEIGHT}" for time in times],
            preview=f"{place}/preview?{urlencode(span)}",
        )


class WordsOut(BaseModel):
    """Words of a subtitle file or a text track that fit."""

    start: float
    end: float
    text: str


class ConfidenceOut(BaseModel):
    """How sure it is that something fits."""

    level: Literal["good", "possible", "none"]
    false_alarm_rate: float = Field(
        description="How often a sentence that has nothing to do with this library scores as high."
    )
    statement: str = Field(description="The same as a sentence.")

    @classmethod
    def of(cls, confidence: Confidence | None) -> ConfidenceOut | None:
        """What is shown of it; None where the library has nothing to compare with."""
        if confidence is None:
            return None
        return cls(
            level=confidence.level,
            false_alarm_rate=confidence.false_alarm_rate,
            statement=confidence.statement,
        )


class SearchHit(BaseModel):
    """A video that was found."""

    video: Video
    moment: MomentOut = Field(description="The best one.")
    moments: list[MomentOut] = Field(description="All of them, best first.")
    sources: list[str] = Field(description="What found it: `picture`, `words`, or both.")
    words: list[WordsOut]
    confidence: ConfidenceOut | None
    joint_score: float | None = Field(
        description="Probability that sentence and video belong together, by the joint scorer that orders the best "
        "videos; null where the score alone orders them."
    )

    @classmethod
    def of(cls, hit: Hit) -> SearchHit:
        """What is shown of a hit."""
        video = Video.of(hit.video)
        moments = [MomentOut.of(video.id, moment) for moment in hit.moments]
        return cls(
            video=video,
            moment=moments[0],
            moments=moments,
            sources=list(hit.sources),
            words=[WordsOut(start=cue.start, end=cue.end, text=printable(cue.text)) for cue in hit.words],
            confidence=ConfidenceOut.of(hit.confidence),
            joint_score=hit.joint_score,
        )


class SearchAnswer(BaseModel):
    """Hits of a search, best first."""

    query: str
    confidence: ConfidenceOut | None
    notes: list[str] = Field(description="What people should know about this search.")
    searched: float = Field(
        description="Fraction of the clips that was searched: below 1 where a part of the library does not answer."
    )
    hits: list[SearchHit]
    next_offset: int | None = Field(description="`offset` of the next page; null at the end.")
    milliseconds: float


class VideoPage(BaseModel):
    """Some of the files of the library, by path."""

    videos: list[Video]
    total: int
    next_offset: int | None


class ClipOut(BaseModel):
    """A window of a video that is scored as one."""

    start: float
    end: float


class ClipPage(BaseModel):
    """The clips of a video, by time."""

    clips: list[ClipOut]


class FolderOut(BaseModel):
    """A folder with videos of the library, or one that may be indexed."""

    id: str
    name: str
    parent: str | None = Field(description="Identifier of the folder that it lies in, if that is listed.")
    videos: int = Field(description="Videos of the library, directly in it.")
    may_index: bool


class FolderTree(BaseModel):
    """All folders, each after the one that it lies in."""

    folders: list[FolderOut]


class Counts(BaseModel):
    """The library in numbers."""

    videos: int
    clips: int
    failed: int


class CacheOut(BaseModel):
    """The cache of pictures and previews."""

    nbytes: int
    problem: str | None = Field(description="Why nothing is stored at present.")


class Status(BaseModel):
    """What is served, and how it is doing."""

    name: str
    counts: Counts
    model: str
    seconds: float = Field(description="Of video.")
    version: str = Field(description="Of prost.")
    library_version: str = Field(description="Another one whenever the library has changed.")
    jobs_running: int
    export_forms: list[ExportForm]
    extras: list[str] = Field(description="Those of timeline, plot, index and mcp that are installed.")
    cache: CacheOut


class Relevance(BaseModel):
    """How well each sampled frame of a video fits a sentence."""

    times: list[float]
    scores: list[float]


class EvidenceFrame(BaseModel):
    """A frame that the model saw."""

    time: float
    picture: str = Field(description="Address of the frame, cut as the model saw it.")
    overlay: str | None = Field(
        description="Address of a veil that leaves open what speaks for the sentence."
    )
    heat: list[str] = Field(description="The same for each object slot, by the phrase that is best for it.")


class Evidence(BaseModel):
    """Why a sentence and a clip have their score: what `prost explain --json` prints, and pictures."""

    video: str
    query: str
    score: float
    event_sentence: float
    object_phrase: float
    object_phrase_weight: float
    joint_score: float | None = Field(
        description="Probability that clip and sentence belong together, by the joint scorer; no part of the score."
    )
    times: list[float]
    fit: Fit = Field(description="How the library makes pictures square.")
    place: float = Field(description="Of the square along the long side of the picture: 0.5 is its middle.")
    slots: list[dict[str, Any]]
    frame_scores: list[float]
    winner: int
    event_cosines: list[float]
    events: list[list[float]] | None
    events_coincide: bool
    words: list[dict[str, Any]]
    frames: list[EvidenceFrame]


class JobAsked(Asked):
    """What to index."""

    folder: FolderId


class Job(BaseModel):
    """The indexing of a folder."""

    id: str
    folder: str
    name: str = Field(description="Of the folder.")
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int
    total: int
    failed: int = Field(description="Files that could not be read so far.")
    current: str = Field(description="Name of the file that was read last.")
    problem: str | None = Field(description="Why the job failed.")
    summary: str | None = Field(description="What a finished job did.")


class JobPage(BaseModel):
    """Jobs, the newest first."""

    jobs: list[Job]


class Selected(Asked):
    """A stretch of a video to export."""

    video: VideoId
    start: Seconds
    end: Seconds


class ExportAsked(Asked):
    """What to export, and how."""

    form: ExportForm
    query: Query
    selection: Annotated[list[Selected], Field(min_length=1, max_length=100)]
