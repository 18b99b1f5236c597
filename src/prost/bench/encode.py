"""What do other forms of the vision tower gain on this machine, and do they keep the ranking?

Every form encodes the same drawn clips, in turns with float32 in torch, and its scores are compared with those of
float32.
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prost.bench.real import SPLIT, held_out_captions
from prost.data.toybox.render import render
from prost.data.toybox.sampling import scene_stream
from prost.errors import UsageError
from prost.evaluation.machine import describe_machine
from prost.model.encoding import VideoEncoder, encode_text, join
from prost.model.forms import FORMS, Form
from prost.model.retrieval_model import RetrievalModel
from prost.progress import Advance
from prost.video.sampling import sample_times

# Random stream of the clips, apart from those of other benchmarks.
STREAM = 77
SENTENCES = 50
BEST = 10
# A form passes if it keeps at least this share of the ten best clips of all sentences,
EQUAL_TOP10 = 0.99
# and changes no score by more: a form in float32 by rounding only, another by less than what people can tell apart.
LARGEST_CHANGE = 0.02
ROUNDING = 1e-4
# Clips whose float32 scores differ by less than this part of the sentence's standard deviation count as tied.
TIE = 0.01


@dataclass(frozen=True, kw_only=True)
class FormReport:
    """How a form did.

    Attributes:
        name: of the form.
        clips_per_s: clips that it encodes in a second.
        ratio_to_float32: median over the rounds of the time of float32 in torch, divided by its own.
        equal_top10: share of the ten best clips of float32 that are among its ten best, over all sentences.
        largest_change: of the score of a sentence and a clip.
        passed: whether it keeps the ranking.
        failure: why it could not be measured; empty if it was.
    """

    name: str
    clips_per_s: float | None = None
    ratio_to_float32: float | None = None
    equal_top10: float | None = None
    largest_change: float | None = None
    passed: bool = False
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class EncodeReport:
    """The forms on one machine.

    Attributes:
        machine: see `describe_machine`.
        model: its name.
        clips: number of drawn clips.
        rounds: times that each form encoded them.
        forms: float32 in torch first.
    """

    machine: dict[str, str | int]
    model: str
    clips: int
    rounds: int
    forms: list[FormReport]

    def to_dict(self) -> dict[str, Any]:
        """As it is written to a file."""
        return asdict(self)


def measure_encode(
    model: RetrievalModel[Any, Any], clips: int, rounds: int, progress: Advance
) -> EncodeReport:
    """Measure all forms.

    Args:
        model: on the CPU, in eval mode.
        clips: to draw and to encode, more than ten.
        rounds: times that each form encodes them, all forms in turns.
        progress: called after each form of a round.

    Raises:
        UsageError: the model is on a GPU, or there are too few clips.
    """
    if model.device.type != "cpu":
        raise UsageError(f"a model on {model.device}", "a model on the CPU: the forms are for it")
    if clips <= BEST:
        raise UsageError(f"{clips} clips", f"more than {BEST}, so that the ranking can change")
    frames = _drawn(model, clips)
    with torch.inference_mode():
        text = encode_text(model, held_out_captions(SENTENCES))
    encoders: dict[str, VideoEncoder[Any]] = {}
    failures: dict[str, str] = {}
    for form in FORMS:
        if not form.installed:
            failures[form.name] = f"needs {' and '.join(form.needs)}"
            continue
        try:
            encoders[form.name] = form.encoder(model)
            encoders[form.name].encode(frames[:1])
        except Exception as error:  # a graph that a library cannot run: each raises errors of its own
            encoders.pop(form.name, None)
            failures[form.name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    times: dict[str, list[float]] = {name: [] for name in encoders}
    scores: dict[str, NDArray[np.float32]] = {}
    steps = itertools.count(1)
    for _ in range(rounds):
        for name, encoder in encoders.items():
            started = time.perf_counter()
            video = join(
                list(encoder.stream(np.split(frames, range(encoder.batch_clips, clips, encoder.batch_clips))))
            )
            times[name].append(time.perf_counter() - started)
            with torch.inference_mode():
                scores[name] = model.match(text, video).total.numpy()
            progress(next(steps), rounds * len(encoders), name)
    return EncodeReport(
        machine=describe_machine(),
        model=model.config.name,
        clips=clips,
        rounds=rounds,
        forms=[
            FormReport(name=form.name, failure=failures[form.name])
            if form.name in failures
            else _report(
                form, clips, times[FORMS[0].name], times[form.name], scores[FORMS[0].name], scores[form.name]
            )
            for form in FORMS
        ],
    )


def table(report: EncodeReport) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for people."""
    rows = []
    for form in report.forms:
        if form.clips_per_s is None:
            rows.append([form.name, "", "", "", "", f"not measured: {form.failure}"])
            continue
        rows.append(
            [
                form.name,
                f"{form.clips_per_s:.2f}",
                f"{form.ratio_to_float32:.2f}",
                f"{form.equal_top10:.3f}",
                f"{form.largest_change:.1e}",
                "yes" if form.passed else "no",
            ]
        )
    return ["form", ">clips/s", ">times fp32", ">equal top 10", ">largest change", "keeps the ranking"], rows


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


def _report(
    form: Form,
    clips: int,
    float32_times: list[float],
    times: list[float],
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
) -> FormReport:
    equal, change = equal_top10(expected, found), float(np.abs(found - expected).max())
    bound = ROUNDING if form.keeps_fp32 else LARGEST_CHANGE
    return FormReport(
        name=form.name,
        clips_per_s=clips / statistics.median(times),
        ratio_to_float32=statistics.median(
            before / after for before, after in zip(float32_times, times, strict=True)
        ),
        equal_top10=equal,
        largest_change=change,
        # A score that is not a number compares as false.
        passed=equal >= EQUAL_TOP10 and change <= bound,
    )


def _drawn(model: RetrievalModel[Any, Any], clips: int) -> NDArray[np.uint8]:
    """Clips `[V, L, R, R, 3]` of drawn scenes."""
    config = model.config
    scenes = itertools.islice(scene_stream(SPLIT, STREAM), clips)
    return np.stack(
        [
            render(scene, sample_times(0.0, scene.duration, config.frames), config.image_size)
            for scene in scenes
        ]
    )
