"""What a search returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from prost.errors import UsageError
from prost.search.confidence import Confidence
from prost.search.records import VideoRow
from prost.search.schema import path_as_text
from prost.video.subtitles import Cue

if TYPE_CHECKING:
    import pyarrow as pa


# What found a hit.
PICTURE, WORDS = "picture", "words"


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
        sources: what found it: `picture`, `words`, or both.
        words: the cues that fit the sentence, best first.
        confidence: whether its pictures fit; None where only its words were found, or nothing is known to compare with.
        joint_score: probability from 0 to 1 that video and sentence belong together, by the model's joint scorer, which
            orders the best fifty videos. None where the score alone orders them.
    """

    video: VideoRow
    moments: tuple[Moment, ...]
    copies: tuple[str, ...] = ()
    near_duplicates: tuple[str, ...] = ()
    missing: bool = False
    sources: tuple[str, ...] = (PICTURE,)
    words: tuple[Cue, ...] = ()
    confidence: Confidence | None = None
    joint_score: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The hit for programs: times in seconds, scores as cosines, all of its moments."""
        return {
            "path": self.path,
            "missing": self.missing,
            "copies": list(self.copies),
            "near_duplicates": list(self.near_duplicates),
            "start": self.start,
            "end": self.end,
            "score": self.score,
            "event_sentence": self.event_sentence,
            "object_phrase": self.object_phrase,
            "joint_score": self.joint_score,
            "moments": [asdict(moment) for moment in self.moments],
            "sources": list(self.sources),
            "words": [asdict(cue) for cue in self.words],
            "confidence": None if self.confidence is None else self.confidence.as_dict(),
        }

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


_SCORES = ("score", "event_sentence", "object_phrase")


class SearchResult(list[Hit]):
    """Hits, best first.

    Attributes:
        notes: what the user should know about the search, such as that the query was cut.
        confidence: whether anything that was searched fits, by pictures: that of the video that fits best, even if
            words put others before it. None where nothing is known to compare with.
        searched: fraction of the library's clips that was searched by pictures: 1, unless other processes search parts
            of the library and some of them do not answer.
    """

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        notes: Iterable[str] = (),
        confidence: Confidence | None = None,
        searched: float = 1.0,
    ) -> None:
        super().__init__(hits)
        self.notes = list(notes)
        self.confidence = confidence
        self.searched = searched

    def to_table(self) -> pa.Table:
        r"""One row for each moment of each hit, best hit first.

        Columns: `rank` of the hit and `moment` within it, both from 1; `path` (bytes that are not UTF-8 as escapes such
        as `\udcff`); `start` and `end` in seconds; `score`, `event_sentence` and `object_phrase`; `frame_time`;
        `false_alarm_rate` of the hit's confidence; its `joint_score`; `clip`, `clip_start` and `clip_end`, see
        `Moment`; `missing`; `duration`, `fps`, `width`, `height`, `codec` and `tags` of the video; `copies` and
        `near_duplicates`; `sources`, what found the hit; `words`, the texts that fit.
        """
        import pyarrow as pa

        words = pa.list_(pa.string())
        schema = pa.schema(
            [
                ("rank", pa.int32()),
                ("moment", pa.int32()),
                ("path", pa.string()),
                *((name, pa.float64()) for name in ("start", "end", *_SCORES, "frame_time")),
                ("false_alarm_rate", pa.float64()),
                ("joint_score", pa.float64()),
                ("clip", pa.string()),
                ("clip_start", pa.float64()),
                ("clip_end", pa.float64()),
                ("missing", pa.bool_()),
                ("duration", pa.float64()),
                ("fps", pa.float64()),
                ("width", pa.int32()),
                ("height", pa.int32()),
                ("codec", pa.string()),
                ("tags", words),
                ("copies", words),
                ("near_duplicates", words),
                ("sources", words),
                ("words", words),
            ]
        )
        rows = [
            {
                "rank": rank,
                "moment": place,
                "path": path_as_text(hit.path),
                **asdict(moment),
                "false_alarm_rate": hit.confidence and hit.confidence.false_alarm_rate,
                "joint_score": hit.joint_score,
                "missing": hit.missing,
                **{
                    name: getattr(hit.video, name) for name in ("duration", "fps", "width", "height", "codec")
                },
                "tags": list(hit.video.tags),
                "copies": [path_as_text(path) for path in hit.copies],
                "near_duplicates": [path_as_text(path) for path in hit.near_duplicates],
                "sources": list(hit.sources),
                "words": [path_as_text(cue.text) for cue in hit.words],
            }
            for rank, hit in enumerate(self, 1)
            for place, moment in enumerate(hit.moments, 1)
        ]
        return pa.Table.from_pylist(rows, schema=schema)

    def to_pandas(self) -> Any:
        """The rows of `to_table` as a pandas DataFrame.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401  # pyarrow needs it
        except ImportError:
            raise UsageError(
                "pandas is not installed", "an environment with pandas", "pip install pandas, or to_table()"
            ) from None
        return self.to_table().to_pandas()
