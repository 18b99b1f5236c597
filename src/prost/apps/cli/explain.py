"""`prost explain`: why a video fits a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prost.apps.cli.options import (
    DeviceOption,
    JsonOption,
    LibraryOption,
    ModelOption,
    load_library_model,
    load_named_model,
)
from prost.apps.cli.output import print_json, print_line, print_table, probability_text, say

if TYPE_CHECKING:
    from prost.model.evidence import Evidence

# Pixels of a frame's side in the figure.
PICTURE_SIDE = 320


def explain(
    query: Annotated[str, typer.Argument(help="The sentence.")],
    video: Annotated[Path, typer.Option("--video", help="The video; its clip that fits best is explained.")],
    library: LibraryOption,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure", help="Write a figure: a name that ends in .png, .svg or .html (needs matplotlib)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell why a video fits a sentence: which frames, words and regions its score comes from.

    Without --model, the model of the library is used. The video need not be in the library.
    """
    from prost.search.explaining import explain_file
    from prost.search.finding import absolute_paths
    from prost.search.library import Library, query_notes
    from prost.search.records import ClipSettings

    if figure is not None:
        from prost.explain.figure import expect_figure

        expect_figure(figure)  # before the video is decoded
    if model is None:
        with Library(library) as opened:
            clips = opened.description.clips
        loaded = load_library_model(library, None, device)
    else:
        loaded = load_named_model(model, device)
        clips = ClipSettings.default(loaded.config)
    evidence = explain_file(loaded, query, video, clips)
    for note in query_notes(loaded, query):
        say(f"note: {note}")
    if figure is not None:
        _write_figure(figure, evidence, video)
    if as_json:
        print_json({"video": absolute_paths(video)[0], **evidence.to_dict()})
    else:
        _print(evidence, video)


def _write_figure(figure: Path, evidence: Evidence, video: Path) -> None:
    from prost.explain.figure import write_figure
    from prost.search.explaining import pictures_of

    write_figure(figure, evidence, pictures_of(evidence, video, PICTURE_SIDE), title=video.name)
    say(f"wrote {figure}")


def _print(evidence: Evidence, video: Path) -> None:
    print_line(
        f"{video.name}, {evidence.times[0]:.1f} to {evidence.times[-1]:.1f} s: score {evidence.score:.3f} = "
        f"event-sentence {evidence.event_sentence:.3f} + {evidence.object_phrase_weight:g} x object-phrase "
        f"{evidence.object_phrase:.3f}"
    )
    if evidence.joint_score is not None:
        print_line(
            f"joint score {probability_text(evidence.joint_score)}: the probability that clip and sentence belong "
            "together, which orders hits; it is not split"
        )
    print_table(
        [">slot", ">best frame", "phrase", ">cosine", ">share of the score"],
        [
            [
                str(slot.slot),
                f"{slot.time:.1f} s",
                evidence.phrase_words(slot),
                f"{slot.cosine:.3f}",
                f"{slot.share:.3f}",
            ]
            for slot in evidence.slots
        ],
        "Object slots",
    )
    lost = [
        [word.text, f"{value:+.3f}"]
        for word, value in zip(evidence.words, evidence.without, strict=True)
        if word.text and value == value
    ]
    if lost:
        print_table(["word", ">score lost without it"], lost, "Words")
    if evidence.events is not None:
        rows = [
            [
                f"{event + 1}{' (best)' if event == evidence.winner else ''}",
                f"{cosine:.3f}",
                *(f"{100 * part:.0f}%" for part in curve),
            ]
            for event, (cosine, curve) in enumerate(zip(evidence.event_cosines, evidence.events, strict=True))
        ]
        print_table(
            ["event", ">cosine", *(f">{time:.1f} s" for time in evidence.times)],
            rows,
            "Attention of the events to the frames",
        )
        if evidence.events_coincide and len(rows) > 1:
            say("note: the events of this model are equal for this clip, so their curves are, too")
