"""Failures of an evaluation as a page (the paper supplement's Figure 2): one HTML file that needs no other.

Each failure shows the sentence, the true video framed red, and the wrong ones that came first framed blue. For models
with prototypes it also shows what the first video has that was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prost.data.clip_sets import ClipFrames
from prost.data.writing import written_whole
from prost.evaluation.failures import Failure, RankedVideo, worst_failures
from prost.evaluation.report import EvaluationReport
from prost.evaluation.sets import EvaluationSet
from prost.model.dual_encoder import DualEncoder
from prost.model.evidence import Evidence, SlotEvidence, explain_clip
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel
from prost.page.cards import Picture
from prost.page.heat import strongest_heat, veil
from prost.page.rendering import render
from prost.page.results import FRAME_SIDE, FRAMES_SHOWN, data_uri
from prost.video.sampling import evenly

PHRASES_SHOWN = 3
# Words that add less than this fraction of the score to either video are summed up in one row.
LEAST_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class ShownVideo:
    """A video of a failure.

    Attributes:
        kind: `true` or `won`.
        place: what it is in the ranking, in words.
        name: its id.
        ranked: rank and scores.
        own: its own caption, if another one than that of the failure.
        twin: whether it is the order-swapped twin of the true video.
        film: frames in order; empty where there are none.
        unplayable: why there are none.
        address: of the file, relative to the page; empty for a video that is drawn.
        start: of the first frame, seconds; `end` of the last one.
    """

    kind: str
    place: str
    name: str
    ranked: RankedVideo
    own: str
    twin: bool
    film: tuple[Picture, ...]
    unplayable: str
    address: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class FoundPhrase:
    """A phrase and the frame of the first video where it was found.

    Attributes:
        words: of the phrase; empty where the model does not tell.
        picture: the frame; pale except where the phrase was found, if the model tells.
        time: of the frame, seconds.
        slots: number of object slots that chose phrases of these words.
        share: what they add to the score.
    """

    words: str
    picture: Picture
    time: float
    slots: int
    share: float


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """A part of the score in the first and in the true video.

    Attributes:
        label: what was asked for.
        kind: `event`, `object`, `word`, `rest` or `total`.
        first: the part of the first video's score.
        true: the part of the true video's score.
    """

    label: str
    kind: str
    first: float
    true: float

    @property
    def ahead(self) -> str:
        """How much more of it the first video has, as it is printed."""
        return f"{self.first - self.true:+.3f}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True, kw_only=True)
class FoundParts:
    """What the first video has that was asked for.

    Attributes:
        phrases: those that add most to its score.
        rows: the parts of both scores; the last row is their sum.
    """

    phrases: tuple[FoundPhrase, ...]
    rows: tuple[ScoreRow, ...]

    @property
    def largest(self) -> float:
        """The largest part of either score; 1 is the full length of a bar."""
        return max(max(row.first, row.true) for row in self.rows[:-1])


def write_failures(
    page: str | os.PathLike[str],
    model: RetrievalModel[Any, Any],
    report: EvaluationReport,
    data: EvaluationSet,
    *,
    most: int,
) -> int:
    """Write the worst failures of an evaluation as one HTML file; see `worst_failures`.

    Videos that cannot be read any more say so in their place.

    Args:
        page: the file to write.
        model: the model that was evaluated.
        report: of `evaluate_set`.
        data: the set that it is about.
        most: largest number of failures.

    Returns:
        the number of failures that are shown.

    Raises:
        UsageError: a report that was read from files has no scores.
        StorageError: the file cannot be written.
    """
    page = Path(page)
    scores = report.score_matrices()
    failures = worst_failures(scores, data.video_of_caption, most)
    failed = int(np.count_nonzero(report.row().ranks > 1))
    explained = model if isinstance(model, ProST | DualEncoder) else None
    html = render(
        "failures.html",
        setting=report.setting,
        failed=failed,
        shown_failures=len(failures),
        failures=list(_shown(failures, explained, data, model.config.frames, page.parent)),
        explains=explained is not None,
    )
    with written_whole(page) as partial:
        partial.write_text(html, encoding="utf-8")
    return len(failures)


def _shown(
    failures: Sequence[Failure],
    model: ProST | DualEncoder | None,
    data: EvaluationSet,
    frames: int,
    folder: Path,
) -> Iterator[dict[str, Any]]:
    """What the template needs of each failure. Clips are read in one go, one failure at a time."""
    places = [ranked.video for failure in failures for ranked in (failure.true, *failure.winners)]
    pictures = data.clips.read(places, frames=frames, size=FRAME_SIDE)
    seen: Iterator[ClipFrames] = iter(())
    if model is not None:
        both = [video for failure in failures for video in (failure.winners[0].video, failure.true.video)]
        seen = data.clips.read(both, frames=frames, size=model.config.image_size)
    for failure in failures:
        videos = (failure.true, *failure.winners)
        read = [next(pictures) for _ in videos]
        found = None
        if model is not None:
            found = _found(model, data.captions[failure.caption], next(seen), next(seen), read[1])
        yield {
            "caption": data.captions[failure.caption],
            "failure": failure,
            "videos": [
                _video(ranked, clip, failure, data, folder) for ranked, clip in zip(videos, read, strict=True)
            ],
            "found": found,
        }


def _video(
    ranked: RankedVideo, clip: ClipFrames, failure: Failure, data: EvaluationSet, folder: Path
) -> ShownVideo:
    is_true = ranked.video == failure.true.video
    own = data.captions[int(np.argmax(data.video_of_caption == ranked.video))]
    name = data.videos[ranked.video]
    film: tuple[Picture, ...] = ()
    start = end = 0.0
    if clip.pixels is not None and clip.times is not None:
        shown = evenly(len(clip.times), FRAMES_SHOWN)
        film = tuple(
            Picture(address=data_uri(clip.pixels[frame]), alt=f"{name} at {clip.times[frame]:.1f} seconds")
            for frame in shown
        )
        start, end = float(clip.times[0]), float(clip.times[-1])
    return ShownVideo(
        kind="true" if is_true else "won",
        place="the true video" if is_true else "came first" if ranked.rank == 1 else "came before it",
        name=name,
        ranked=ranked,
        own="" if is_true or own == data.captions[failure.caption] else own,
        twin=bool(data.twin) and data.twin[failure.true.video] == ranked.video,
        film=film,
        unplayable="" if clip.failure is None else clip.failure.reason,
        # Percent-encoded bytes, so that names that are not UTF-8 still lead to their file.
        address="" if clip.path is None else quote(os.fsencode(os.path.relpath(clip.path, folder))),
        start=start,
        end=end,
    )


def _found(
    model: ProST | DualEncoder, caption: str, first: ClipFrames, true: ClipFrames, pictures: ClipFrames
) -> FoundParts | None:
    """What the first video has that was asked for; None where one of the two videos cannot be read."""
    if first.pixels is None or first.times is None or true.pixels is None or true.times is None:
        return None
    if pictures.pixels is None:
        return None
    of_first = explain_clip(model, caption, first.pixels, first.times)
    of_true = explain_clip(model, caption, true.pixels, true.times)
    return FoundParts(phrases=_phrases(of_first, pictures.pixels), rows=(*_rows(of_first, of_true),))


def _phrases(evidence: Evidence, pictures: NDArray[np.uint8]) -> tuple[FoundPhrase, ...]:
    """The phrases that add most to the score, and where in the first video they were found."""
    phrases = []
    for group in evidence.by_phrase()[:PHRASES_SHOWN]:
        best = group.best
        said = f"“{group.words}”" if group.words else "the sentence"
        phrases.append(
            FoundPhrase(
                words=group.words,
                picture=Picture(
                    address=data_uri(_lit(evidence, best, pictures[best.frame])),
                    alt=f"the frame at {best.time:.1f} seconds, where {said} was found",
                ),
                time=best.time,
                slots=len(group.slots),
                share=group.share,
            )
        )
    return tuple(phrases)


def _lit(evidence: Evidence, slot: SlotEvidence, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame that is pale except where a slot's phrase was found; unchanged where the model does not tell."""
    if evidence.phrase_heat is None:
        return picture
    heat = evidence.phrase_heat[slot.phrase]
    cover = Image.fromarray(veil(heat[slot.frame], strongest_heat(heat), len(picture)), "RGBA")
    return np.asarray(Image.alpha_composite(Image.fromarray(picture).convert("RGBA"), cover).convert("RGB"))


def _rows(first: Evidence, true: Evidence) -> list[ScoreRow]:
    """The parts of both scores: the event, the words or the slots, and their sum."""

    def row(label: str, kind: str, first: float, true: float) -> ScoreRow:
        return ScoreRow(label=label, kind=kind, first=float(first), true=float(true))

    rows = [row("event-sentence", "event", first.event_sentence, true.event_sentence)]
    of_first, of_true = first.word_shares(), true.word_shares()
    if of_first is None or of_true is None:
        weight = first.object_phrase_weight
        label = f"{weight:g} × object-phrase"
        rows.append(row(label, "object", weight * first.object_phrase, weight * true.object_phrase))
    else:
        spoken = np.array([bool(word.text) for word in first.words])
        named = spoken & (np.maximum(of_first, of_true) >= LEAST_SHARE * first.score)
        rows += [
            row(first.words[place].text, "word", of_first[place], of_true[place])
            for place in np.flatnonzero(named)
        ]
        for label, words in (("other words", spoken & ~named), ("start and end", ~spoken)):
            rows.append(row(label, "rest", of_first[words].sum(), of_true[words].sum()))
    return [*rows, row("score", "total", first.score, true.score)]
