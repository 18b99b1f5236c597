"""Evidence as a figure (the supplement's Figure 1): frames with heat, event curves, words, and how the score adds up.

Needs matplotlib, which the extra `plot` installs.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from prost.data.writing import written_whole
from prost.errors import UsageError, install_extra
from prost.export.outputs import expect_figure_name
from prost.model.evidence import Evidence
from prost.page.heat import CAVEAT, strongest_heat, veil
from prost.page.rendering import render
from prost.printable import printable
from prost.video.sampling import evenly

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRAMES_SHOWN = 12
COLUMNS = 6
PAPER, INK, QUIET, LINE = "#faf8f4", "#23211d", "#6b665d", "#e4dfd5"
EVENT, OBJECT = "#0f766e", "#b45309"
EVENT_COLOURS = ("#0f766e", "#7c3aed", "#be185d", "#1d4ed8", "#4d7c0f", "#9f1239")
FORMS = (".png", ".svg", ".html")


def expect_figure(path: Path) -> None:
    """Check that the name of a figure says its form.

    Raises:
        UsageError: another ending.
    """
    expect_figure_name(path, FORMS)


def write_figure(
    path: str | os.PathLike[str], evidence: Evidence, pictures: NDArray[np.uint8], *, title: str = ""
) -> None:
    """Write evidence as a picture or a page; the ending of the name decides: `.png`, `.svg` or `.html`.

    Args:
        path: the file to write.
        evidence: of `Library.explain` or `explain_file`.
        pictures: the frames of the clip in any size `[L, S, S, 3]`, cut as the model saw them.
        title: second line of the figure, such as the name of the file.

    Raises:
        UsageError: another ending, or matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    expect_figure(path)
    figure = draw(evidence, pictures, title)
    if path.suffix.lower() == ".png":
        content = _rendered(figure, "png")
    elif path.suffix.lower() == ".svg":
        content = _rendered(figure, "svg")
    else:
        content = _page(evidence, _rendered(figure, "svg").decode("utf-8"), title).encode("utf-8")
    with written_whole(path) as place:
        place.write_bytes(content)


def draw(evidence: Evidence, pictures: NDArray[np.uint8], title: str = "") -> Figure:
    """Draw evidence; for the arguments see `write_figure`.

    Raises:
        UsageError: matplotlib is not installed, or another number of pictures than frames.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "a figure needs matplotlib, which is not installed", suggestion=install_extra("plot")
        ) from None
    if len(pictures) != len(evidence.times):
        raise UsageError(f"{len(pictures)} pictures for {len(evidence.times)} frames", "one for each frame")
    shown = evenly(len(pictures), FRAMES_SHOWN)
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(12, 2.05 * rows + 4.9), facecolor=PAPER, dpi=110)
    # Inches from the top: the titles, the frames, the curves, the score.
    height = figure.get_figheight()
    frames, middle, bottom = np.asarray(figure.subfigures(3, 1, height_ratios=[2.05 * rows + 1.1, 2.5, 1.3]))
    for part in (frames, middle, bottom):
        part.set_facecolor("none")
    figure.text(
        0.03,
        1 - 0.3 / height,
        f"“{_text(evidence.query)}”",
        size=15,
        style="italic",
        family="serif",
        color=INK,
        va="center",
    )
    summary = (
        f"score {evidence.score:.3f} = event-sentence {evidence.event_sentence:.3f} + "
        f"{evidence.object_phrase_weight:g} × object-phrase {evidence.object_phrase:.3f}"
    )
    figure.text(
        0.03,
        1 - 0.58 / height,
        f"{_text(title)}   {summary}" if title else summary,
        size=9.5,
        color=QUIET,
        va="center",
    )
    grid = frames.subplots(
        rows,
        COLUMNS,
        squeeze=False,
        gridspec_kw={
            "left": 0.03,
            "right": 0.97,
            "bottom": 0.02,
            "top": 1 - 1.1 / (2.05 * rows + 1.1),
            "wspace": 0.04,
            "hspace": 0.14,
        },
    )
    _draw_frames(list(grid.flat), evidence, pictures, shown)
    curves, words = middle.subplots(
        1,
        2,
        gridspec_kw={
            "left": 0.06,
            "right": 0.97,
            "bottom": 0.2,
            "top": 0.86,
            "wspace": 0.16,
            "width_ratios": [3, 2],
        },
    )
    _draw_curves(curves, evidence)
    _draw_words(words, evidence)
    split = bottom.subplots(1, 1, gridspec_kw={"left": 0.03, "right": 0.97, "bottom": 0.3, "top": 0.72})
    _draw_score(split, evidence)
    if evidence.heat is not None:
        figure.text(0.03, 0.1 / height, CAVEAT, size=8, color=QUIET, va="bottom")
    return figure


def _draw_frames(
    places: Sequence[Axes], evidence: Evidence, pictures: NDArray[np.uint8], shown: Sequence[int]
) -> None:
    won = np.bincount([slot.frame for slot in evidence.slots], minlength=len(evidence.times))
    strongest = 0.0 if evidence.heat is None else strongest_heat(evidence.heat)
    for place in places:
        place.axis("off")
    for place, frame in zip(places, shown, strict=False):
        picture = pictures[frame]
        place.imshow(picture, interpolation="antialiased")
        if evidence.heat is not None:
            place.imshow(veil(evidence.heat[frame], strongest, len(picture)), interpolation="antialiased")
        place.set_title(f"{evidence.times[frame]:.1f} s", size=8.5, color=QUIET, loc="left", pad=3)
        if won[frame]:
            slots = f"best for {won[frame]} slot{'s' if won[frame] > 1 else ''}"
            place.set_title(slots, size=8.5, color=OBJECT, loc="right", pad=3)


def _draw_curves(axes: Axes, evidence: Evidence) -> None:
    _style(axes, "attention of the events over the frames")
    axes.set_xlabel("seconds", size=8.5, color=QUIET)
    if evidence.events is None:
        axes.text(
            0.5, 0.5, "this model has no event curves", transform=axes.transAxes, ha="center", color=QUIET
        )
        return
    for event, curve in enumerate(evidence.events):
        won = event == evidence.winner
        label = f"event {event + 1}, cosine {evidence.event_cosines[event]:.3f}{' (best)' if won else ''}"
        axes.plot(
            evidence.times,
            curve,
            color=EVENT_COLOURS[event % len(EVENT_COLOURS)],
            lw=2.4 if won else 1.3,
            alpha=1.0 if won else 0.6,
            marker="o",
            ms=3.5 if won else 2,
            label=label,
        )
    axes.axhline(1 / len(evidence.times), color=LINE, lw=1, zorder=0)
    axes.set_ylim(0, max(2 / len(evidence.times), 1.15 * float(evidence.events.max())))
    title = (
        "the events of this model are equal, so their curves coincide"
        if evidence.events_coincide and len(evidence.events) > 1
        else None
    )
    axes.legend(fontsize=8, frameon=False, loc="best", title=title, title_fontsize=8)


def _draw_words(axes: Axes, evidence: Evidence) -> None:
    _style(axes, "score that is lost without a word")
    rows = [
        (word.text, float(lost))
        for word, lost in zip(evidence.words, evidence.without, strict=True)
        if word.text and not np.isnan(lost)
    ]
    if not rows:
        axes.text(0.5, 0.5, "there is only one word", transform=axes.transAxes, ha="center", color=QUIET)
        return
    lost = [value for _, value in rows]
    places = range(len(rows))
    axes.bar(places, lost, color=[OBJECT if value > 0 else LINE for value in lost], width=0.7)
    axes.set_xticks(places, [_text(word) for word, _ in rows], rotation=40, ha="right", size=8.5)
    axes.axhline(0, color=QUIET, lw=0.8)


def _draw_score(axes: Axes, evidence: Evidence) -> None:
    """Parts of the score side by side: the event, then the slots by what their phrases are about."""
    axes.axis("off")
    axes.set_title("how the score adds up", size=9.5, color=INK, loc="left")
    groups = evidence.by_phrase()
    parts = [("the whole sentence", evidence.event_sentence, EVENT, 1.0)]
    for place, group in enumerate(groups):
        times = f" × {len(group.slots)}" if len(group.slots) > 1 else ""
        label = f"{group.words or 'other'}{times}"
        parts.append((label, group.share, OBJECT, 1.0 - 0.6 * place / max(1, len(groups))))
    left, total = 0.0, sum(max(0.0, value) for _, value, _, _ in parts)
    for label, value, colour, opacity in parts:
        if value <= 0:
            continue
        axes.barh(0, value, left=left, color=colour, alpha=opacity, height=0.8, edgecolor=PAPER, lw=1.5)
        if value > 0.06 * total:
            room = max(4, int(150 * value / total))
            axes.text(
                left + value / 2,
                0,
                _shortened(label, room),
                ha="center",
                va="center",
                size=8,
                color="white",
                clip_on=True,
            )
            axes.text(left + value / 2, -0.62, f"{value:.3f}", ha="center", va="top", size=8, color=QUIET)
        left += value
    axes.set_xlim(0, max(left, 1e-6))
    axes.set_ylim(-0.9, 0.5)


def _style(axes: Axes, title: str) -> None:
    axes.set_facecolor("none")
    axes.set_title(title, size=9.5, color=INK, loc="left")
    axes.tick_params(labelsize=8.5, colors=QUIET, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(LINE)


def _text(text: str) -> str:
    """A text as matplotlib prints it as it is: no mathematics between dollar signs."""
    return printable(text).replace("$", r"\$")


def _shortened(text: str, most: int) -> str:
    text = _text(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _rendered(figure: Figure, form: str) -> bytes:
    from matplotlib import rc_context

    content = io.BytesIO()
    # Text stays text in SVG, and the same evidence gives the same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "prost"}):
        figure.savefig(content, format=form, metadata={"Date": None} if form == "svg" else {"Software": None})
    return content.getvalue()


def _page(evidence: Evidence, svg: str, title: str) -> str:
    return render("figure.html", evidence=evidence, title=title, figure=Markup(svg[svg.index("<svg") :]))
