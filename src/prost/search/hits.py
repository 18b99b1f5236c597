"""What a search returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prost.search.records import VideoRow


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A stretch of a video that fits a sentence.

    Attributes:
        start: seconds from the video's start.
        end: likewise.
        score: similarity of the clip that it lies in: event-sentence + weight x object-phrase.
        object_phrase: the clip's object-phrase score.
        event_sentence: the clip's event-sentence score.
        frame_time: time of the frame that shows it best, seconds; for a thumbnail.
        clip: key of the clip.
        clip_start: the clip's border, seconds.
        clip_end: the clip's other border, seconds.
    """

    start: float
    end: float
    score: float
    object_phrase: float
    event_sentence: float
    frame_time: float
    clip: str
    clip_start: float
    clip_end: float


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A video that was found, by its best moment.

    Attributes:
        video: what the library knows of the file.
        moments: best first; never empty.
        copies: paths of other files with the same content.
        near_duplicates: paths of files that would have been hits of their own, but show the same film in another size,
            codec or container.
        missing: whether the file is not there now: deleted, moved, or on a disk that is not mounted.
    """

    video: VideoRow
    moments: tuple[Moment, ...]
    copies: tuple[str, ...] = ()
    near_duplicates: tuple[str, ...] = ()
    missing: bool = False

    @property
    def path(self) -> str:
        """The file."""
        return self.video.path

    @property
    def duration(self) -> float:
        """Seconds, of the whole video."""
        return self.video.duration or 0.0

    @property
    def start(self) -> float:
        """Start of the best moment, seconds."""
        return self.moments[0].start

    @property
    def end(self) -> float:
        """End of the best moment, seconds."""
        return self.moments[0].end

    @property
    def score(self) -> float:
        """Similarity of the best moment's clip."""
        return self.moments[0].score

    @property
    def object_phrase(self) -> float:
        """Its object-phrase score."""
        return self.moments[0].object_phrase

    @property
    def event_sentence(self) -> float:
        """Its event-sentence score."""
        return self.moments[0].event_sentence

    @property
    def frame_time(self) -> float:
        """Time of the frame that shows the best moment best, seconds."""
        return self.moments[0].frame_time

    @property
    def clip(self) -> str:
        """Key of the best moment's clip."""
        return self.moments[0].clip

    @property
    def clip_start(self) -> float:
        """That clip's border, seconds."""
        return self.moments[0].clip_start

    @property
    def clip_end(self) -> float:
        """That clip's other border, seconds."""
        return self.moments[0].clip_end


class SearchResult(list[Hit]):
    """Hits, best first.

    Attributes:
        notes: what the user should know about the search, such as that the query was cut.
    """

    def __init__(self, hits: Iterable[Hit] = (), notes: Iterable[str] = ()) -> None:
        super().__init__(hits)
        self.notes = list(notes)
