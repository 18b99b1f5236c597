"""What an assistant can ask a library over the Model Context Protocol: `search`, `explain` and `clip`.

No tool changes the library, and no tool reads a file that the library does not hold. Needs the extra `mcp`.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent, Tool, ToolAnnotations
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from prost.errors import LibraryError, MissingPath, ProstError, StorageError, UsageError
from prost.places import cache_folder
from prost.printable import printable
from prost.search.confidence import Confidence
from prost.search.explaining import pictures_of
from prost.search.filters import has_tag, in_folder, lasts, quoted
from prost.search.hits import PICTURE, Hit
from prost.search.library import Library
from prost.search.present import expect_present
from prost.search.records import VideoRow
from prost.search.schema import path_as_text, path_key
from prost.video.isolation import IsolatedDecoder
from prost.video.sampling import sample_times, stretch_within

logger = logging.getLogger(__name__)

INSTRUCTIONS = """Finds videos, and the moments in them, that a sentence describes, in a library of the user's videos.
Call `search` first. Its hits name their video by an id, which `explain` and `clip` take. Times are seconds from the
start of the video. Scores are sums of cosines; compare them within one search only.
A search returns the best hits even if nothing fits; `fits` says how often an unrelated sentence scores as high."""
# Pixels of the longer side of a frame, and of a frame's side in the figure.
FRAME_SIDE = 512
FIGURE_SIDE = 320
JPEG_QUALITY = 85
LONGEST_CLIP = 600.0
# Moments of a video that are looked at for the one that starts at a time, and seconds by which answers are rounded.
MOST_MOMENTS, SAME_SECOND = 50, 0.06
# Clips that were cut are kept in the cache folder, up to so many bytes.
CLIPS_BYTES = 2 << 30
# Letters of a wrong value that an error repeats.
LONGEST_SHOWN = 60
# Tags that an error lists.
MOST_TAGS = 20

Sentence = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=1000),
    Field(description="A sentence that describes what is seen, such as 'a dog catches a frisbee'."),
]
Video = Annotated[
    str, Field(description="A video of the library: its id from `search`, or its path.", max_length=4096)
]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Arguments(BaseModel):
    """Arguments of a tool; their schema is what the assistant is told."""

    model_config = ConfigDict(extra="forbid")


class SearchArguments(Arguments):
    """Find the videos, and the moments in them, that a sentence describes."""

    query: Sentence
    limit: Annotated[int, Field(ge=1, le=50, description="Largest number of videos.")] = 10
    folder: Annotated[str | None, Field(description="Only videos in this folder and below it.")] = None
    tag: Annotated[str | None, Field(description="Only videos that the user gave this tag.")] = None
    min_duration: Annotated[Seconds | None, Field(description="Shortest video, seconds.")] = None
    max_duration: Annotated[Seconds | None, Field(description="Longest video, seconds.")] = None


class ExplainArguments(Arguments):
    """Tell why a video fits a sentence: phrases, words and frames, and what each adds to the score."""

    query: Sentence
    video: Video
    start: Annotated[
        Seconds | None, Field(description="A time in the moment to explain; without it the best moment.")
    ] = None
    figure: Annotated[bool, Field(description="Also a picture that shows where in the frames.")] = False


class ClipArguments(Arguments):
    """Show a moment of a video: its frames as pictures, or the path of an MP4 file in the cache folder."""

    video: Video
    start: Annotated[Seconds, Field(description="Seconds.")]
    end: Annotated[Seconds, Field(description="Seconds; at most 600 after the start.")]
    form: Annotated[Literal["frames", "file"], Field(description="Pictures, or a file.")] = "frames"
    frames: Annotated[int, Field(ge=1, le=16, description="Number of pictures.")] = 6


class Assistant:
    """Answers the calls of an assistant. Calls run one at a time.

    Args:
        open_library: opens the library with its model. It is called when the first call needs it, and again after the
            library was replaced.
    """

    def __init__(self, open_library: Callable[[], Library]) -> None:
        self._open_library = open_library
        self._library: Library | None = None
        self._lock = threading.Lock()
        self._tools: dict[str, tuple[type[Arguments], Callable[[Library, Any], CallToolResult]]] = {
            "search": (SearchArguments, search),
            "explain": (ExplainArguments, explain),
            "clip": (ClipArguments, clip),
        }

    def tools(self) -> list[Tool]:
        """The tools, with the schemas of their arguments."""
        return [
            Tool(
                name=name,
                description=arguments.__doc__,
                input_schema=arguments.model_json_schema(),
                annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
            )
            for name, (arguments, _) in self._tools.items()
        ]

    def open(self) -> None:
        """Open the library now, so that the first call need not wait for the model."""
        with suppress(ProstError), self._lock:  # the first call reports the error
            self._opened()

    def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Answer a call. What goes wrong is a result, too: one line that says what, and what to try."""
        try:
            if name not in self._tools:
                raise UsageError(f"no tool {name!r}", ", ".join(self._tools))
            form, answer = self._tools[name]
            checked = _checked(form, arguments)
            with self._lock:
                return self._answered(lambda library: answer(library, checked))
        except ProstError as error:
            return _failed(str(error))
        except Exception as error:  # the assistant gets a line, the log gets the rest
            logger.exception("the tool %s failed", name)
            return _failed(f"unexpected {type(error).__name__}: {error}; this is a fault in prost")

    def _answered(self, answer: Callable[[Library], CallToolResult]) -> CallToolResult:
        """An answer from the library that is there now: where a call fails it is opened anew, once."""
        already_open = self._library is not None
        try:
            return answer(self._opened())
        except (LibraryError, StorageError, MissingPath):
            if not already_open:
                raise
            self._close()
            return answer(self._opened())

    def _opened(self) -> Library:
        if self._library is None:
            self._library = self._open_library()
        return self._library

    def _close(self) -> None:
        library, self._library = self._library, None
        if library is not None:
            library.close()


def search(library: Library, asked: SearchArguments) -> CallToolResult:
    """Answer a call of `search`."""
    result = library.search(asked.query, limit=asked.limit, where=_where(asked))
    if not result:
        _expect_known(library, asked)
    return _answer(
        {
            "query": asked.query,
            "fits": _fits(result.confidence),
            "notes": list(result.notes),
            "hits": [_hit(hit) for hit in result],
        }
    )


def explain(library: Library, asked: ExplainArguments) -> CallToolResult:
    """Answer a call of `explain`."""
    row = _find(library, asked.video)
    hit = _hit_in(library, row, asked)
    evidence = library.explain(asked.query, hit)
    found = [
        f"“{group.words or 'the sentence'}” adds {group.share:.3f}, best seen at {group.best.time:.1f} s"
        for group in evidence.by_phrase()
    ]
    lost = [
        f"without “{word.text}” the score falls by {loss:.3f}"
        for word, loss in zip(evidence.words, evidence.without, strict=True)
        if word.text and loss > 0
    ]
    judged = (
        [f"joint score {evidence.joint_score:.3f}, the probability that clip and sentence belong together"]
        if evidence.joint_score is not None
        else []
    )
    pictures: list[ContentBlock] = []
    if asked.figure:
        pictures.append(_figure(expect_present(library.files_of(row)), evidence))
    return _answer(
        {
            "video": path_key(row.path),
            "path": path_as_text(row.path),
            "start": hit.start,
            "end": hit.end,
            "in_words": [
                f"score {evidence.score:.3f} = event-sentence {evidence.event_sentence:.3f} (the whole sentence with "
                f"what happens) + {evidence.object_phrase_weight:g} x object-phrase {evidence.object_phrase:.3f} "
                "(its phrases with what is seen)",
                *judged,
                *found,
                *lost,
            ],
            "evidence": evidence.to_dict(),
        },
        pictures,
    )


def clip(library: Library, asked: ClipArguments) -> CallToolResult:
    """Answer a call of `clip`."""
    row = _find(library, asked.video)
    if not asked.start < asked.end <= asked.start + LONGEST_CLIP:
        raise UsageError(
            f"a clip from {asked.start:g} to {asked.end:g} s", f"a length above 0, {LONGEST_CLIP:g} s at most"
        )
    start, end = stretch_within(row.duration, asked.start, asked.end)
    row = expect_present(library.files_of(row))
    about = {"video": path_key(row.path), "path": path_as_text(row.path), "start": start, "end": end}
    if asked.form == "file":
        return _answer({**about, "file": str(_cut(row, start, end))})
    with IsolatedDecoder() as decoder:
        times = sample_times(start, end, asked.frames)
        frames = decoder.decode(row.path, times, FRAME_SIDE, fit="stretch")
    width, height = row.width or 1, row.height or 1
    scale = FRAME_SIDE / max(width, height)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    pictures: list[ContentBlock] = [
        ImageContent(data=_jpeg(pixels, size), mime_type="image/jpeg") for pixels in frames.pixels
    ]
    return _answer({**about, "frame_times": frames.times.tolist()}, pictures)


def _checked(form: type[Arguments], arguments: dict[str, Any]) -> Arguments:
    try:
        return form.model_validate(arguments)
    except ValidationError as error:
        raise _wrong(form, error.errors(include_url=False)[0]) from None


def _wrong(form: type[Arguments], wrong: ErrorDetails) -> UsageError:
    """What is wrong with an argument, and what that one expects."""
    name = ".".join(map(str, wrong["loc"]))
    if wrong["type"] == "extra_forbidden":
        return UsageError(f"no argument {name}", ", ".join(form.model_fields))
    if wrong["type"] == "missing":
        about = form.model_fields[name].description or ""
        return UsageError(f"argument {name} is missing", (about[:1].lower() + about[1:]).rstrip("."))
    expected = re.sub("^(Input|String) should (be|have) ", "", wrong["msg"])
    return UsageError(f"argument {name}: {_shortly(wrong['input'])}", expected[:1].lower() + expected[1:])


def _shortly(value: object) -> str:
    """A value that was given, as JSON; of a long one the beginning."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _where(asked: SearchArguments) -> str | None:
    """The filter of a search; None for all videos."""
    parts = [] if asked.folder is None else [_in_folder(asked.folder)]
    parts += [] if asked.tag is None else [has_tag(asked.tag)]
    parts += lasts(asked.min_duration, asked.max_duration)
    return " AND ".join(parts) or None


def _in_folder(folder: str) -> str:
    """The expression for a folder as an assistant names it."""
    return in_folder(os.path.abspath(os.path.expanduser(folder)))


def _expect_known(library: Library, asked: SearchArguments) -> None:
    """Check folder and tag of a search that found nothing; one that found something need not list their videos.

    Raises:
        UsageError: the library has no video in the folder, or none with the tag.
    """
    if asked.folder is not None and not library.videos(_in_folder(asked.folder)):
        raise UsageError(
            f"no video of the library is in the folder {asked.folder}",
            "a folder of a video that `search` found, or one above it",
        )
    if asked.tag is not None and not library.videos(has_tag(asked.tag)):
        raise UsageError(f"no video of the library has the tag {asked.tag!r}", _tags_of(library))


def _tags_of(library: Library) -> str:
    """The tags of a library, as an error lists them."""
    tags = sorted({tag for row in library.videos() for tag in row.tags})
    more = f" and {len(tags) - MOST_TAGS} more" if len(tags) > MOST_TAGS else ""
    return ", ".join(map(repr, tags[:MOST_TAGS])) + more if tags else "no tag: the user gave none yet"


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "video": path_key(hit.path),
        "path": path_as_text(hit.path),
        "duration": hit.duration,
        "missing": hit.missing,
        "fits": _fits(hit.confidence),
        "joint_score": hit.joint_score,
        "tags": list(hit.video.tags),
        "moments": [
            {
                "start": moment.start,
                "end": moment.end,
                "score": moment.score,
                "event_sentence": moment.event_sentence,
                "object_phrase": moment.object_phrase,
            }
            for moment in hit.moments
        ],
        "words": [{"start": cue.start, "end": cue.end, "text": cue.text} for cue in hit.words],
        "copies": [path_as_text(path) for path in (*hit.copies, *hit.near_duplicates)],
    }


def _fits(confidence: Confidence | None) -> dict[str, Any] | None:
    """Whether anything fits, in words and numbers; None where the library has nothing to compare with."""
    return None if confidence is None else confidence.as_dict()


def _find(library: Library, video: str) -> VideoRow:
    """The row of a video by its id or its path.

    Raises:
        UsageError: the library does not hold it, or it failed when it was indexed.
    """
    keys = {video, path_key(os.path.abspath(os.path.expanduser(video)))} if video else set()
    rows = [row for key in sorted(keys) for row in library.videos(f"key = '{quoted(key)}'")]
    if not rows:
        raise UsageError(f"{video!r} is not in the library", "the id or path of a video that `search` found")
    if not rows[0].indexed:
        raise UsageError(f"{path_as_text(rows[0].path)} cannot be shown: {rows[0].reason}")
    return rows[0]


def _hit_in(library: Library, row: VideoRow, asked: ExplainArguments) -> Hit:
    """The moment of a video that is to be explained."""
    here = f"key = '{path_key(row.path)}'"
    hits = library.search(asked.query, limit=1, where=here, per_video=MOST_MOMENTS, sources=(PICTURE,))
    if not hits:
        raise LibraryError(f"{path_as_text(row.path)} is no longer in the library")
    if asked.start is None:
        return hits[0]
    # The moment that a search has told, with the clip that gave it its score.
    told = [moment for moment in hits[0].moments if abs(moment.start - asked.start) < SAME_SECOND]
    if told:
        return replace(hits[0], moments=(told[0],))
    return library.hit_at(asked.query, row, asked.start, asked.start + 1.0)


def _cut(row: VideoRow, start: float, end: float) -> Path:
    """A clip in the cache folder; one that was cut before is used again."""
    from prost.export.clips import cut_clip

    # The content is part of the name, so that a changed video is cut anew.
    output = cache_folder() / "clips" / f"{row.content or ''}-{start:.2f}-{end:.2f}.mp4"
    if not output.exists():
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            cut_clip(row.path, start, end, output)
            _remove_oldest(output.parent, CLIPS_BYTES)
        except OSError as error:
            raise StorageError(f"{output} cannot be written: {error.strerror or error}") from None
    return output


def _remove_oldest(folder: Path, most: int) -> None:
    """Remove the clips that were cut first, until so many bytes are left; the newest clip stays in any case."""
    clips = []
    for path in folder.glob("[!.]*.mp4"):  # a dot is the name of a clip that is being written
        with suppress(FileNotFoundError):  # another assistant does the same
            status = path.stat()
            clips.append((status.st_mtime_ns, status.st_size, path))
    total = 0
    for place, (_, size, path) in enumerate(sorted(clips, reverse=True)):
        total += size
        if place and total > most:
            path.unlink(missing_ok=True)


def _figure(row: VideoRow, evidence: Any) -> ImageContent:
    from prost.explain.figure import write_figure

    pictures = pictures_of(evidence, row.path, FIGURE_SIDE)
    with tempfile.TemporaryDirectory(prefix="prost-") as folder:
        place = Path(folder, "figure.png")
        write_figure(place, evidence, pictures, title=os.path.basename(row.path))
        return ImageContent(data=base64.b64encode(place.read_bytes()).decode("ascii"), mime_type="image/png")


def _jpeg(pixels: NDArray[np.uint8], size: tuple[int, int]) -> str:
    """A frame `[R, R, 3]` in the shape of its video, as a JPEG in base64."""
    content = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS).save(content, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(content.getvalue()).decode("ascii")


def _answer(values: dict[str, Any], pictures: list[ContentBlock] | None = None) -> CallToolResult:
    """Values as structured content, and as JSON for assistants that read text only."""
    text = TextContent(text=json.dumps(values, ensure_ascii=False, allow_nan=False))
    return CallToolResult(content=[text, *(pictures or ())], structured_content=values)


def _failed(message: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=printable(message))], is_error=True)
