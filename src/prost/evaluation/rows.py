"""From score matrices to the rows of a report: every score, direction and post-processing, with intervals.

The path is the same for every model and every benchmark. Its input are matrices of captions and videos, and which
video each caption belongs to.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from prost.errors import UsageError
from prost.evaluation.bootstrap import confidence_intervals
from prost.evaluation.hubness import hubness
from prost.evaluation.metrics import METRICS, Ranks, Scores, text_to_video_ranks, video_to_text_ranks
from prost.evaluation.post_processing import (
    TRANSDUCTIVE,
    Assignment,
    PostProcessed,
    hungarian,
    inverted_softmax,
    nnn,
    qb_norm,
    sinkhorn,
)

Direction = Literal["text_to_video", "video_to_text_clip4clip", "video_to_text_strict"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
JOINT = "joint"
SCORES = ("sum", "event_sentence", "object_phrase", JOINT)
# No post-processing.
PLAIN = "none"
METHODS = tuple(TRANSDUCTIVE)
NNN_DEPTH = 128
# Cells of the largest assignment that is computed: 2**28 float64 are 2 GiB.
LARGEST_ASSIGNMENT = 2**28
# An assignment gives no rank to a query whose item it missed: a rank beyond every column of a table.
NOT_FIRST = np.inf


@dataclass(frozen=True, kw_only=True)
class RankingPlan:
    """Which rows are made of score matrices.

    Attributes:
        methods: names of `METHODS`, in the order of the rows; plain rows are always made.
        directions: the directions to rank.
        samples: number of times that the bootstrap draws the videos.
        seed: of the bootstrap.
        temperature: of the inverted softmax, on the scale of cosines; None for the model's own.
        temperature_source: where it comes from, in words, for the table.
    """

    methods: tuple[str, ...] = METHODS
    directions: tuple[Direction, ...] = DIRECTIONS
    samples: int = 2000
    seed: int = 0
    temperature: float | None = None
    temperature_source: str = "the model's own"

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                near = difflib.get_close_matches(method, METHODS, n=1, cutoff=0.0)
                raise UsageError(f"unknown post-processing {method!r}", ", ".join(METHODS), repr(near[0]))

    @property
    def needs_bank(self) -> bool:
        """Whether any method needs earlier queries."""
        return not all(TRANSDUCTIVE[method] for method in self.methods)


@dataclass(frozen=True, eq=False, kw_only=True)
class Bank:
    """Scores of earlier queries, from the training split, for the methods that need some.

    Attributes:
        captions: for each score, the bank's captions against the gallery's videos `[N, V]`; empty where there are none.
        videos: for each score, the bank's videos against the gallery's captions `[N, C]`; empty where there are none.
    """

    captions: Mapping[str, Scores] = field(default_factory=dict)
    videos: Mapping[str, Scores] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """One row of a report.

    Attributes:
        score: a name of `SCORES`.
        direction: text to video, or video to text in one of two kinds, which must not be compared.
        post_processing: a name of `METHODS`, or "none".
        parameters: the parameters of the method.
        values: the columns; an assignment has only R@1.
        intervals: 95% bootstrap over videos, for the same columns.
        ranks: rank of each query `[Q]`.
        videos: the video that each query belongs to `[Q]`, which the bootstrap draws: the long video where the gallery
            holds clips of long ones.
        gallery: number of items that each query was ranked against.
        hubness: of the videos, or of single captions, see `evaluation.hubness`; None for an assignment, which gives no
            second place, for sets of captions, and in a report that was made before it was measured.
    """

    score: str
    direction: Direction
    post_processing: str
    parameters: Mapping[str, float]
    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    ranks: Ranks
    videos: NDArray[np.int64]
    gallery: int
    hubness: float | None = None

    @property
    def key(self) -> str:
        """Unique in a report."""
        return f"{self.score}/{self.direction}/{self.post_processing}"

    @property
    def transductive(self) -> bool:
        """Whether the method needs all test queries at once, which no search has."""
        return TRANSDUCTIVE.get(self.post_processing, False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the ranks."""
        return {
            "score": self.score,
            "direction": self.direction,
            "post_processing": self.post_processing,
            "transductive": self.transductive,
            "parameters": dict(self.parameters),
            "queries": len(self.ranks),
            "gallery": self.gallery,
            "hubness": self.hubness,
            **self.values,
            "intervals": {name: [round(bound, 3) for bound in pair] for name, pair in self.intervals.items()},
        }


def make_rows(
    scores: Mapping[str, Scores],
    video_of_caption: NDArray[np.int64],
    temperature: float,
    bank: Bank | None = None,
    plan: RankingPlan | None = None,
    source_of_video: NDArray[np.int64] | None = None,
) -> list[Row]:
    """Rank every score in every direction, without and with every possible post-processing.

    A method that needs a bank is left out where the direction has none, and so is an assignment that does not fit into
    memory: `left_out` says which and why. The joint scorer judges only the best videos of a text, so its rows are from
    text to video and without post-processing.

    Args:
        scores: for each name of `SCORES` that the model has, captions in rows `[C, V]`.
        video_of_caption: the video of each caption `[C]`; every video has at least one.
        temperature: of the inverted softmax, on the scale of the scores.
        bank: scores of earlier queries.
        plan: which rows to make; all when None.
        source_of_video: see `EvaluationSet`.

    Raises:
        BadScores: NaN, infinity, or shapes that do not fit.
    """
    bank, plan = bank or Bank(), plan or RankingPlan()
    rows = []
    for name, matrix in scores.items():
        for direction in plan.directions:
            if name == JOINT and direction != "text_to_video":
                continue
            processed = _processed(
                matrix,
                video_of_caption,
                direction,
                _bank_of(bank, name, direction),
                () if name == JOINT else plan.methods,
                temperature,
            )
            for method, result in processed:
                ranks, videos, gallery = _ranks(result, matrix, video_of_caption, direction)
                if source_of_video is not None:
                    videos = source_of_video[videos]
                columns = ["R@1"] if isinstance(result, Assignment) else list(METRICS)
                intervals = confidence_intervals(
                    ranks, columns, samples=plan.samples, seed=plan.seed, videos=videos
                )
                rows.append(
                    Row(
                        score=name,
                        direction=direction,
                        post_processing=method,
                        parameters={} if result is None else result.parameters,
                        values={column: float(METRICS[column].of(ranks)) for column in columns},
                        intervals=dict(zip(columns, intervals, strict=True)),
                        ranks=ranks,
                        videos=videos,
                        gallery=gallery,
                        hubness=_hubness(result, matrix, direction),
                    )
                )
    return rows


def left_out(captions: int, bank: Bank, plan: RankingPlan) -> list[str]:
    """Say which post-processing `make_rows` leaves out for C captions, and why."""
    notes = []
    needing = " and ".join(method for method in plan.methods if not TRANSDUCTIVE[method])
    if needing and not bank.captions and "text_to_video" in plan.directions:
        notes.append(f"{needing} left out for text to video: no bank of training captions")
    if needing and not bank.videos and set(plan.directions) - {"text_to_video"}:
        notes.append(f"{needing} left out for video to text: no bank of training videos")
    if "hungarian" in plan.methods and captions**2 > LARGEST_ASSIGNMENT:
        notes.append(f"hungarian left out: an assignment of {captions:,} captions does not fit into memory")
    return notes


def _bank_of(bank: Bank, score: str, direction: Direction) -> Scores | None:
    return (bank.captions if direction == "text_to_video" else bank.videos).get(score)


def _processed(
    scores: Scores,
    owner: NDArray[np.int64],
    direction: Direction,
    bank: Scores | None,
    methods: tuple[str, ...],
    temperature: float,
) -> Iterator[tuple[str, PostProcessed | Assignment | None]]:
    """None for the plain scores, then the result of each method on scores with the direction's queries in rows."""
    yield PLAIN, None
    to_video = direction == "text_to_video"
    queries = scores if to_video else scores.T
    makers: dict[str, Callable[[], PostProcessed | Assignment]] = {
        "inverted_softmax": lambda: inverted_softmax(queries, temperature),
        "sinkhorn": lambda: sinkhorn(queries),
    }
    if bank is not None:
        makers["qb_norm"] = lambda: qb_norm(queries, bank)
        makers["nnn"] = lambda: nnn(queries, bank, k=min(NNN_DEPTH, len(bank)))
    if len(owner) ** 2 <= LARGEST_ASSIGNMENT:
        # A video has as many places as captions; a caption has one place.
        places = np.bincount(owner, minlength=scores.shape[1]) if to_video else None
        makers["hungarian"] = lambda: hungarian(queries, places)
    for method in methods:
        if method in makers:
            yield method, makers[method]()


def _hubness(result: PostProcessed | Assignment | None, scores: Scores, direction: Direction) -> float | None:
    if isinstance(result, Assignment) or direction == "video_to_text_clip4clip":
        return None
    if result is not None:
        return hubness(result.scores)
    return hubness(scores if direction == "text_to_video" else scores.T)


def _ranks(
    result: PostProcessed | Assignment | None, scores: Scores, owner: NDArray[np.int64], direction: Direction
) -> tuple[Ranks, NDArray[np.int64], int]:
    """Ranks of the direction's queries, the video of each, and the size of the gallery."""
    to_video = direction == "text_to_video"
    captioned = np.unique(owner)
    videos = owner if to_video else captioned
    gallery = {
        "text_to_video": scores.shape[1],
        "video_to_text_clip4clip": len(captioned),
        "video_to_text_strict": len(owner),
    }[direction]
    if isinstance(result, Assignment):
        chosen = result.videos if to_video else result.videos[captioned]
        # In video to text, captions were assigned: any caption of the video is right.
        right = chosen == owner if to_video else (chosen >= 0) & (owner[chosen] == captioned)
        return np.where(right, 1.0, NOT_FIRST), videos, gallery
    if result is not None:
        scores = result.scores if to_video else result.scores.T
    if to_video:
        return text_to_video_ranks(scores, owner), videos, gallery
    kind: Literal["strict", "clip4clip"] = "strict" if direction == "video_to_text_strict" else "clip4clip"
    return video_to_text_ranks(scores, owner, kind), videos, gallery
