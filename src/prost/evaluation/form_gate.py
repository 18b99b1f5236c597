"""The gate of forms: how fast each form of the vision tower is on this machine, and whether it keeps the ranking.

Drawn clips and sentences are the probe. Every form encodes the same clips as float32 in torch does, and its scores are
compared with those of float32.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prost.data.toybox import describe, render, scene_stream
from prost.errors import FormRefused, UsageError
from prost.model.encoding import PrecisionClass, VideoEncoder, encode_text, join
from prost.model.forms import FORMS, make_encoder
from prost.model.retrieval_model import RetrievalModel
from prost.progress import Advance
from prost.video.sampling import sample_times

# Drawn scenes of the test split that no other measurement uses.
SPLIT, CLIP_STREAM, SENTENCE_STREAM = "test", 77, 78
SENTENCES = 50
BEST = 10
# A form passes if it keeps at least this share of the ten best clips of all sentences,
EQUAL_TOP10 = 0.99
# and changes no score by more than this: a form of the class fp32 by rounding only, another by less than what separates
# neighbours in a ranking.
LARGEST_CHANGE: dict[PrecisionClass, float] = {"fp32": 1e-4, "bf16": 0.02, "int8": 0.02}
# Clips whose float32 scores differ by less than this part of the sentence's standard deviation count as tied.
TIE = 0.01
# Speed is measured with as many clips as float32 encodes in about this time, and no more than this.
TIMED_SECONDS = 2.0
MOST_TIMED_CLIPS = 8
# A form that takes so many times as long as float32 is timed only twice. One time is not enough, because the form may
# then be compiling its code for batches of this size.
HOPELESS = 3.0
# A form must be so much faster than float32 to be judged where only faster ones are.
FASTER = 1.1


@dataclass(frozen=True, kw_only=True)
class FormReport:
    """How a form did.

    Attributes:
        name: of the form.
        precision: class of its prototypes.
        clips_per_s: clips that it encodes in a second.
        ratio_to_float32: median over the rounds of the time of float32 in torch, divided by its own.
        equal_top10: share of the ten best clips of float32 that are among its ten best, over all sentences.
        largest_change: of the score of a sentence and a clip.
        passed: whether it keeps the ranking.
        setup_s: seconds until it could encode, in each process.
        failure: why it could not be measured, or was not judged; empty if it was.
    """

    name: str
    precision: PrecisionClass
    clips_per_s: float | None = None
    ratio_to_float32: float | None = None
    equal_top10: float | None = None
    largest_change: float | None = None
    passed: bool = False
    setup_s: float = 0.0
    failure: str = ""


def measure_forms(
    model: RetrievalModel[Any, Any],
    *,
    clips: int,
    rounds: int,
    progress: Advance,
    only_faster: bool = False,
) -> list[FormReport]:
    """Measure all forms; those of equal speed differ by chance, so all are timed in turns, the hopeless ones twice.

    Args:
        model: on the CPU, in eval mode.
        clips: to draw, more than ten; the ranking is that of these clips.
        rounds: times that each form is timed; twice at most, if it took more than `HOPELESS` times as long as float32
            both times.
        progress: called after each step.
        only_faster: judge no form that is not clearly faster than float32 in torch.

    Returns:
        a report for each of `FORMS`, in their order.

    Raises:
        UsageError: the model is on a GPU or has no vocabulary, or there are too few clips.
    """
    if model.device.type != "cpu":
        raise UsageError(f"a model on {model.device}", "a model on the CPU: the forms are for it")
    if clips <= BEST:
        raise UsageError(f"{clips} clips", f"more than {BEST}, so that the ranking can change")
    with torch.inference_mode():
        text = encode_text(model, _sentences())
    frames = _drawn(model, clips)
    timed = frames[: _timed_clips(model, frames)]
    steps, total = itertools.count(1), len(FORMS) * (rounds + 2)
    encoders: dict[str, VideoEncoder[Any]] = {}
    failures: dict[str, str] = {}
    setup: dict[str, float] = {}
    for form in FORMS:
        started = time.perf_counter()
        try:
            encoders[form.name] = make_encoder(form, model)
        except FormRefused as error:
            failures[form.name] = error.arrived
        setup[form.name] = time.perf_counter() - started
        progress(next(steps), total, form.name)
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(rounds):
        for name, encoder in encoders.items():
            if _hopeless(times[name], times[FORMS[0].name]):
                progress(next(steps), total, name)
                continue
            started = time.perf_counter()
            encoder.encode(timed)
            times[name].append(time.perf_counter() - started)
            progress(next(steps), total, name)
    fp32_times = times[FORMS[0].name]
    expected: NDArray[np.float32] | None = None
    reports = []
    for form in FORMS:
        if form.name in failures:
            reports.append(FormReport(name=form.name, precision=form.precision, failure=failures[form.name]))
            continue
        ratio = statistics.median(
            before / after for before, after in zip(fp32_times, times[form.name], strict=False)
        )
        report = FormReport(
            name=form.name,
            precision=form.precision,
            clips_per_s=len(timed) / statistics.median(times[form.name]),
            ratio_to_float32=ratio,
            setup_s=round(setup[form.name], 2),
        )
        if only_faster and expected is not None and ratio < FASTER:
            reports.append(
                replace(report, failure="not faster than float32, so its ranking was not compared")
            )
        else:
            scores = _scores(model, encoders[form.name], text, frames)
            expected = scores if expected is None else expected
            reports.append(judged(report, expected, scores))
        progress(next(steps), total, form.name)
    return reports


def judged(report: FormReport, expected: NDArray[np.float32], found: NDArray[np.float32]) -> FormReport:
    """A report with what a form changes, and whether it passes.

    Args:
        report: of its speed.
        expected: scores `[T, V]` of float32.
        found: scores `[T, V]` of the form.
    """
    equal, change = equal_top10(expected, found), float(np.abs(found - expected).max())
    return replace(
        report,
        equal_top10=equal,
        # A score that is no number cannot be stored as JSON.
        largest_change=change if np.isfinite(change) else None,
        # A score that is no number compares as false.
        passed=equal >= EQUAL_TOP10 and change <= LARGEST_CHANGE[report.precision],
    )


def equal_top10(expected: NDArray[np.floating], found: NDArray[np.floating]) -> float:
    """Share of the ten best clips of each sentence that another computation finds, too.

    A clip that it finds instead counts as equal if it is tied with the tenth: if its expected score is lower by less
    than `TIE` standard deviations of the sentence's expected scores.

    Args:
        expected: scores `[T, V]`.
        found: scores `[T, V]` of the other computation.

    >>> expected = np.arange(40.0).reshape(1, 40)
    >>> equal_top10(expected, expected), equal_top10(expected, -expected)
    (1.0, 0.0)
    """
    chosen = np.argsort(-found, axis=1, kind="stable")[:, :BEST]
    tenth = np.sort(expected, axis=1)[:, -BEST, None] - TIE * expected.std(axis=1, keepdims=True)
    return float((np.take_along_axis(expected, chosen, axis=1) >= tenth).mean())


def _hopeless(times: list[float], fp32_times: list[float]) -> bool:
    """Whether a form was far slower than float32 at least twice."""
    return len(times) > 1 and min(times) > HOPELESS * min(fp32_times)


def _scores(
    model: RetrievalModel[Any, Any], encoder: VideoEncoder[Any], text: Any, frames: NDArray[np.uint8]
) -> NDArray[np.float32]:
    batches = np.split(frames, range(encoder.batch_clips, len(frames), encoder.batch_clips))
    video = join(list(encoder.stream(batches)))
    with torch.inference_mode():
        return model.match(text, video).total.numpy()


def _timed_clips(model: RetrievalModel[Any, Any], frames: NDArray[np.uint8]) -> int:
    encoder = VideoEncoder(model)
    encoder.encode(frames[:1])  # the first call makes buffers
    started = time.perf_counter()
    encoder.encode(frames[:1])
    return max(1, min(MOST_TIMED_CLIPS, int(TIMED_SECONDS / (time.perf_counter() - started))))


def _sentences() -> list[str]:
    rng = np.random.default_rng(SENTENCE_STREAM)
    scenes = itertools.islice(scene_stream(SPLIT, SENTENCE_STREAM), SENTENCES)
    return [describe(scene, rng).text for scene in scenes]


def _drawn(model: RetrievalModel[Any, Any], clips: int) -> NDArray[np.uint8]:
    """Clips `[V, L, R, R, 3]` of drawn scenes."""
    config = model.config
    scenes = itertools.islice(scene_stream(SPLIT, CLIP_STREAM), clips)
    return np.stack(
        [
            render(scene, sample_times(0.0, scene.duration, config.frames), config.image_size)
            for scene in scenes
        ]
    )


def form_table(reports: Sequence[FormReport]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for people."""
    rows = []
    for form in reports:
        numbers = (
            (form.clips_per_s, ".2f"),
            (form.ratio_to_float32, ".2f"),
            (form.equal_top10, ".3f"),
            (form.largest_change, ".1e"),
        )
        cells = ["" if number is None else format(number, shown) for number, shown in numbers]
        rows.append([form.name, *cells, form.failure or ("yes" if form.passed else "no")])
    return ["form", ">clips/s", ">times fp32", ">equal top 10", ">largest change", "keeps the ranking"], rows
