"""Is the evidence true? Heat against the boxes of drawn things, event curves against the times of drawn events.

Each query describes one event of a Toybox scene that shows several. Four questions:

- pointing: is the hottest patch for the name of the thing inside the box of the thing?
- event time: is the frame with most attention of the winning event within the time of the event?
- deletion: how fast does the score fall when patches are covered, the hottest first?
- insertion: how fast does it rise when patches are uncovered, the hottest first?

The last two are areas under a curve (Petsiuk et al. 2018, RISE): of the score, from that of an empty clip (0) to that
of the whole clip (1), over the fraction of patches. Each stands beside what chance gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prost.data.toybox import Scene, describe_event, render, scene_stream, visible_boxes
from prost.data.toybox.grammar import KIND_WORDS
from prost.errors import UsageError
from prost.evaluation.bootstrap import confidence_interval
from prost.evaluation.machine import describe_machine
from prost.evaluation.metrics import Metric
from prost.model.encoding import VideoEncoder, encode_text
from prost.model.evidence import Evidence, explain_clip
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.retrieval_model import RetrievalModel
from prost.progress import Advance
from prost.search.moments import relevance
from prost.video.sampling import sample_times

SPLIT, STREAM = "test", 103
# Fractions of the patches that are covered or uncovered.
FRACTIONS = np.linspace(0.0, 1.0, 11)
SHARE = Metric(lambda values: values.mean(axis=-1), higher_is_better=True)

Model = RetrievalModel[TextPrototypes, VideoPrototypes]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class EvidenceReport:
    """Figures of one model; fractions from 0 to 1. An interval holds the true value in 95 of 100 cases.

    Attributes:
        model: its name.
        queries: how many there were.
        pointing_accuracy: fraction of queries whose hottest patch is inside the box.
        pointing_interval: of it.
        pointing_chance: mean fraction of the picture that the box takes.
        event_time_accuracy: fraction of queries whose event curve is highest within the event.
        event_time_interval: of it.
        event_time_chance: mean fraction of the frames within the event.
        moment_time_accuracy: the same for the relevance curve that moments are cut from.
        deletion: area under the curve of deletion; lower is better.
        deletion_chance: the same where patches are covered in random order.
        insertion: area under the curve of insertion; higher is better.
        insertion_chance: the same where patches are uncovered in random order.
        events_coincide: fraction of queries in whose clip all events are one.
        machine: that measured it.
    """

    model: str
    queries: int
    pointing_accuracy: float
    pointing_interval: tuple[float, float]
    pointing_chance: float
    event_time_accuracy: float
    event_time_interval: tuple[float, float]
    event_time_chance: float
    moment_time_accuracy: float
    deletion: float
    deletion_chance: float
    insertion: float
    insertion_chance: float
    events_coincide: float
    machine: dict[str, str | int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Query:
    """One query and the clip that it is about.

    Attributes:
        text: the sentence.
        name: words of the thing that it names.
        frames: uint8 `[L, R, R, 3]`.
        times: of the frames `[L]`, seconds.
        boxes: of the thing in each frame, as fractions of the frame; None where it cannot be seen.
        within: which frames lie within the event `[L]`.
    """

    text: str
    name: str
    frames: NDArray[np.uint8]
    times: NDArray[np.float64]
    boxes: Sequence[Box | None]
    within: NDArray[np.bool_]


def measure_evidence(model: Model, queries: int, advance: Advance) -> EvidenceReport:
    """Compare the evidence of a model with what was drawn.

    Args:
        model: one that tells what its patches and words add to the score.
        queries: how many; one for each scene.
        advance: called after each query.

    Raises:
        UsageError: the model does not tell.
    """
    pointed, box_shares, timed, time_shares, moments, coincide = [], [], [], [], [], []
    areas: list[list[float]] = []
    for done, query in enumerate(itertools.islice(_queries(model), queries), 1):
        evidence = explain_clip(model, query.text, query.frames, query.times)
        if evidence.word_heat is None or evidence.events is None:
            raise UsageError(f"{model.config.name} does not tell what its patches add", "a ProST")
        pointed.append(_points_at(query, evidence))
        box_shares.append(np.mean([_area(box) for box in query.boxes]))
        timed.append(query.within[evidence.events[evidence.winner].argmax()])
        moments.append(query.within[_relevance(model, query, evidence).argmax()])
        time_shares.append(query.within.mean())
        coincide.append(evidence.events_coincide)
        areas.append(_areas(model, query, evidence, np.random.default_rng(done)))
        advance(done, queries, "explaining")
    deletion, deletion_chance, insertion, insertion_chance = np.mean(areas, axis=0).tolist()
    return EvidenceReport(
        model=model.config.name,
        queries=queries,
        pointing_accuracy=float(np.mean(pointed)),
        pointing_interval=_interval(pointed),
        pointing_chance=float(np.mean(box_shares)),
        event_time_accuracy=float(np.mean(timed)),
        event_time_interval=_interval(timed),
        event_time_chance=float(np.mean(time_shares)),
        moment_time_accuracy=float(np.mean(moments)),
        deletion=deletion,
        deletion_chance=deletion_chance,
        insertion=insertion,
        insertion_chance=insertion_chance,
        events_coincide=float(np.mean(coincide)),
        machine=describe_machine(),
    )


def table(report: EvidenceReport) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for people."""

    def interval(bounds: tuple[float, float]) -> str:
        return f"{100 * bounds[0]:.1f} - {100 * bounds[1]:.1f}"

    return ["measure", ">value", ">95% interval", ">chance", "better"], [
        ["pointing accuracy, %", f"{100 * report.pointing_accuracy:.1f}", interval(report.pointing_interval),
         f"{100 * report.pointing_chance:.1f}", "higher"],
        ["event-time accuracy, %", f"{100 * report.event_time_accuracy:.1f}", interval(report.event_time_interval),
         f"{100 * report.event_time_chance:.1f}", "higher"],
        ["relevance-curve time accuracy, %", f"{100 * report.moment_time_accuracy:.1f}", "",
         f"{100 * report.event_time_chance:.1f}", "higher"],
        ["deletion, area", f"{report.deletion:.3f}", "", f"{report.deletion_chance:.3f}", "lower"],
        ["insertion, area", f"{report.insertion:.3f}", "", f"{report.insertion_chance:.3f}", "higher"],
        ["clips whose events are one, %", f"{100 * report.events_coincide:.1f}", "", "", "lower"],
    ]  # fmt: skip


def _queries(model: Model) -> Iterator[_Query]:
    """One query for each scene of the stream, about an event drawn by lot; endless."""
    rng = np.random.default_rng(STREAM)
    for scene in scene_stream(SPLIT, STREAM):
        event = scene.events[int(rng.integers(len(scene.events)))]
        caption = describe_event(scene, scene.events.index(event), rng).text
        times = sample_times(0.0, scene.duration, model.config.frames)
        boxes = [visible_boxes(scene, time)[event.thing] for time in times]
        within = (times >= event.start) & (times <= event.end)
        if not within.any() or not any(boxes):
            continue  # too short for any sampled frame, or never seen
        yield _Query(
            text=caption,
            name=_name(scene, event.thing, caption),
            frames=render(scene, times, model.config.image_size),
            times=times,
            boxes=boxes,
            within=within,
        )


def _name(scene: Scene, thing: int, caption: str) -> str:
    """The longest word or words for the thing's kind that the caption uses."""
    return max((words for words in KIND_WORDS[scene.objects[thing].kind] if words in caption), key=len)


def _points_at(query: _Query, evidence: Evidence) -> bool:
    """Whether the hottest patch for the name lies in the box of what it names."""
    assert evidence.word_heat is not None
    named = [
        place for place, word in enumerate(evidence.words) if word.text and word.text in query.name.split()
    ]
    heat = evidence.word_heat[named].sum(axis=0)  # [L, G, G]
    frame, row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    box = query.boxes[int(frame)]
    x, y = (column + 0.5) / heat.shape[2], (row + 0.5) / heat.shape[1]
    return box is not None and bool(box[0] <= x <= box[2] and box[1] <= y <= box[3])


def _area(box: Box | None) -> float:
    if box is None:
        return 0.0
    left, top, right, bottom = np.clip(box, 0.0, 1.0)
    return float((right - left) * (bottom - top))


def _relevance(model: Model, query: _Query, evidence: Evidence) -> NDArray[np.float64]:
    text = encode_text(model, [query.text])
    video = VideoEncoder(model).encode(query.frames[None])
    assert video.event_attention is not None
    attention = video.event_attention[0, evidence.winner]
    return relevance(text.phrase[0].numpy(), video.object[0].numpy(), attention.numpy())


def _areas(model: Model, query: _Query, evidence: Evidence, rng: np.random.Generator) -> list[float]:
    """Areas of deletion and deletion by chance, insertion and insertion by chance."""
    assert evidence.heat is not None
    hottest = (-evidence.heat).argsort(axis=None, kind="stable")
    chance = rng.permutation(hottest.size)
    clips = [
        covered(query.frames, shown, evidence.heat.shape[1])
        for order in (hottest, chance)
        for shown in (*_shown(order, kept=False), *_shown(order, kept=True))
    ]
    text = encode_text(model, [query.text])
    with torch.inference_mode():
        scores = model.match(text, VideoEncoder(model).encode(np.stack(clips))).total[0].numpy()
    count = len(FRACTIONS)
    empty, whole = scores[count - 1], scores[0]  # everything covered, nothing covered
    relative = ((scores - empty) / (whole - empty)).reshape(4, count)
    by_area = np.trapezoid(relative, FRACTIONS, axis=1)
    return [float(by_area[place]) for place in (0, 2, 1, 3)]


def _shown(order: NDArray[np.intp], *, kept: bool) -> Iterator[NDArray[np.bool_]]:
    """Which patches are shown as more and more of them are covered; or uncovered, if `kept`."""
    for fraction in FRACTIONS:
        shown = np.full(order.size, not kept)
        shown[order[: round(fraction * order.size)]] = kept
        yield shown


def covered(frames: NDArray[np.uint8], shown: NDArray[np.bool_], grid: int) -> NDArray[np.uint8]:
    """Frames with some patches painted in the mean colour of the clip.

    Args:
        frames: `[L, R, R, 3]`.
        shown: which patches stay `[L * G * G]`.
        grid: G.
    """
    size = frames.shape[1] // grid
    mask = shown.reshape(len(frames), grid, grid).repeat(size, axis=1).repeat(size, axis=2)
    mean = frames.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    return np.where(mask[..., None], frames, mean)


def _interval(values: Sequence[bool | np.bool_]) -> tuple[float, float]:
    low, high = confidence_interval(np.asarray(values, dtype=np.float64), SHARE)
    return float(low), float(high)
