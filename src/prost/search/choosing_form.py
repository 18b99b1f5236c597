"""Which form of the vision tower encodes for a library: the fastest that keeps the ranking on this machine.

A library holds prototypes of one class of precision. So long as it has no clips its class is open, and the fastest form
decides; afterwards only forms of its class are taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prost.errors import FormRefused, LibraryError, VideoError
from prost.model.encoding import PrecisionClass, VideoEncoder
from prost.model.forms import FORMS, Form, form_named, form_of_class, make_encoder
from prost.model.matching import VideoPrototypes
from prost.model.retrieval_model import RetrievalModel
from prost.search.encode import PrototypeModel
from prost.search.reading import windows_of
from prost.search.records import ClipSettings
from prost.search.store import Store
from prost.video.files import SeenFile
from prost.video.fit import square_places
from prost.video.isolation import IsolatedDecoder

if TYPE_CHECKING:
    from prost.evaluation.form_gate import FormReport

AUTO = "auto"
# The measurement takes as long as a hundred or two hundred clips of a ViT-B/16, and it can save nearly half of the time
# of all clips, so that from here on it pays in the first run already.
MEASURED_FROM_CLIPS = 500
# Clips whose ranking is compared, and rounds of timing, where the user waits for it.
PROBE_CLIPS, ROUNDS = 40, 3
# Files that are opened to estimate the number of clips.
SAMPLED_FILES = 16


def expect_form(form: str) -> None:
    """Check the name of a form, also where nothing will be encoded.

    Raises:
        UsageError: there is no such form.
    """
    if form != AUTO:
        form_named(form)


def encoder_for(
    store: Store,
    model: PrototypeModel,
    files: Sequence[SeenFile],
    *,
    form: str = AUTO,
    class_is_open: bool = False,
    announce: Callable[[str], None] | None = None,
) -> VideoEncoder[VideoPrototypes]:
    """Make the encoder for some files; the class of a library without clips becomes that of the form.

    Args:
        store: the library; the caller holds its writer's lock.
        model: what encodes.
        files: what will be encoded.
        form: name of a form, or `auto`.
        class_is_open: whether a library without clips may get another class of precision.
        announce: told in one line when the forms are measured, which takes minutes, and when the form that was
            measured to be the fastest cannot be made now, so that plain torch encodes.

    Raises:
        UsageError: there is no such form.
        LibraryError: the form is of another class of precision than the library.
        FormRefused: the form named cannot be made here, or computes something else than torch.
    """
    is_open = class_is_open and not store.clips().count_rows()
    made_in = store.description.precision
    if form == AUTO:
        chosen = _choose(store, model, files, None if is_open else made_in, announce)
    else:
        chosen = _form_for(store, form, is_open)
    try:
        encoder = encoder_of(chosen, model)
    except FormRefused as refusal:
        plain = form_of_class(made_in)
        if form != AUTO or chosen == plain:
            raise
        if announce is not None:
            announce(f"{refusal.arrived}; the form {plain.name} is used instead")
        chosen, encoder = plain, encoder_of(plain, model)
    if is_open:
        store.set_precision(chosen.precision)
    return encoder


def form_elsewhere(store: Store, form: str = AUTO, *, class_is_open: bool = False) -> Form:
    """The form in which other machines encode; the class of a library without clips becomes that of the form.

    `auto` takes plain torch, since what was measured on this machine says nothing about others.

    Args:
        store: the library; the caller holds its writer's lock.
        form: name of a form, or `auto`.
        class_is_open: as for `encoder_for`.

    Raises:
        UsageError: there is no such form.
        LibraryError: the form is of another class of precision than the library.
    """
    if form == AUTO:
        return form_of_class(store.description.precision)
    is_open = class_is_open and not store.clips().count_rows()
    chosen = _form_for(store, form, is_open)
    if is_open:
        store.set_precision(chosen.precision)
    return chosen


def _form_for(store: Store, form: str, is_open: bool) -> Form:
    """The form of a name, whose class must be the library's unless that is open."""
    chosen, made_in = form_named(form), store.description.precision
    if not is_open and chosen.precision != made_in:
        raise LibraryError(
            f"{store.root} holds prototypes computed in {made_in}, and the form {form} computes in "
            f"{chosen.precision}",
            ", ".join(each.name for each in FORMS if each.precision == made_in),
            "--form auto, or index into a new library",
        )
    return chosen


def encoder_of_class(model: PrototypeModel, precision: PrecisionClass) -> VideoEncoder[VideoPrototypes]:
    """An encoder whose prototypes are of a class of precision, on any device."""
    return encoder_of(form_of_class(precision), model)


def encoder_of(form: Form, model: PrototypeModel) -> VideoEncoder[VideoPrototypes]:
    """The encoder of a form.

    Raises:
        FormRefused: it cannot be made of the model here.
    """
    if isinstance(model, RetrievalModel):
        return make_encoder(form, model)
    if form in (form_of_class("fp32"), form_of_class("bf16")):
        return VideoEncoder(model, precision="bf16" if form.precision == "bf16" else "fp32")
    raise FormRefused(f"the form {form.name} cannot be made of a {type(model).__name__}")


def _choose(
    store: Store,
    model: PrototypeModel,
    files: Sequence[SeenFile],
    made_in: PrecisionClass | None,
    announce: Callable[[str], None] | None,
) -> Form:
    """The form with which the files are done first, among those that keep the ranking; None opens the class."""
    usual = form_of_class(made_in or store.description.precision)
    if not isinstance(model, RetrievalModel) or model.device.type != "cpu" or model.tokenizer is None:
        return usual
    from prost.evaluation.known_forms import (
        recall_forms,
    )  # imports what draws the probe, which a search does without

    reports = recall_forms(model)
    clips = estimated_clips(files, store.description.clips) if files else 0
    if reports is None and clips >= MEASURED_FROM_CLIPS:
        reports = _measure(model, announce)
    passed = [report for report in reports or [] if report.passed and not form_named(report.name).missing]
    if not passed:
        return usual
    wanted = made_in or max(passed, key=_clips_per_s).precision
    return min(
        (form_named(report.name) for report in passed if report.precision == wanted),
        key=lambda form: _seconds(next(report for report in passed if report.name == form.name), clips),
        default=usual,
    )


def _clips_per_s(report: FormReport) -> float:
    return report.clips_per_s or 0.0


def _seconds(report: FormReport, clips: int) -> float:
    """Seconds until a form has encoded some clips."""
    return report.setup_s + clips / max(_clips_per_s(report), 1e-9)


def _measure(model: RetrievalModel[Any, Any], announce: Callable[[str], None] | None) -> list[FormReport]:
    from prost.evaluation.form_gate import measure_forms
    from prost.evaluation.known_forms import remember_forms

    if announce is not None:
        announce(
            f"measuring once which form of {model.config.name} encodes fastest on this processor and keeps the "
            f"ranking: about {_expected_minutes(model):.0f} minutes; --form fp32 leaves it out"
        )
    reports = measure_forms(
        model, clips=PROBE_CLIPS, rounds=ROUNDS, progress=lambda *at: None, only_faster=True
    )
    remember_forms(model, reports)
    return reports


def _expected_minutes(model: RetrievalModel[Any, Any]) -> float:
    """Minutes of a measurement: the probe in float32 and in a form or two, and what it takes to make the forms."""
    config = model.config
    clip = np.zeros((1, config.frames, config.image_size, config.image_size, 3), dtype=np.uint8)
    clip[0] += np.arange(config.frames, dtype=np.uint8)[:, None, None, None]  # equal frames would pass once
    started = time.perf_counter()
    VideoEncoder(model).encode(clip)
    return max(1.0, (60 + 3 * PROBE_CLIPS * (time.perf_counter() - started)) / 60)


def estimated_clips(files: Sequence[SeenFile], settings: ClipSettings) -> int:
    """About how many clips some files have: as many each as a few of them have on average."""
    sampled = files[:: max(1, len(files) // SAMPLED_FILES)][:SAMPLED_FILES]
    counts = []
    with IsolatedDecoder() as decoder:
        for file in sampled:
            try:
                info = decoder.probe(file.path)
                squares = square_places(info.width, info.height, settings.fit)
                counts.append(len(windows_of(info, settings)) * len(squares))
            except VideoError:
                counts.append(0)
    return round(sum(counts) / len(counts) * len(files)) if counts else 0
