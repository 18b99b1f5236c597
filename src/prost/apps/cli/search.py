"""`prost search`: finds moments that fit a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from prost.apps.cli.options import (
    DeviceOption,
    JsonOption,
    LibraryOption,
    ModelOption,
    ObjectPhraseWeightOption,
    open_library,
    overrides_of,
)
from prost.apps.cli.output import print_json, print_line, print_table, probability_text, say

if TYPE_CHECKING:
    from prost.search.hits import Hit, SearchResult


# Characters of a cue that are printed.
LONGEST_WORDS = 60
NOTHING_FOUND = "nothing was found"

Coarse = Literal["scan", "index", "exact"]


def search(
    query: Annotated[str, typer.Argument(help="A sentence that describes what should be seen.")],
    library: LibraryOption,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    object_phrase_weight: ObjectPhraseWeightOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Largest number of hits.")] = 10,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            help='Search only the videos for which this SQL expression is true, such as "duration < 60".',
        ),
    ] = None,
    coarse: Annotated[
        Coarse | None,
        typer.Option(
            "--coarse",
            show_default="scan from a few thousand clips on, otherwise exact",
            help="How the clips that are scored exactly are chosen: by the codes of all clips (scan), by an index "
            "(index), or all clips (exact).",
        ),
    ] = None,
    all_duplicates: Annotated[
        bool,
        typer.Option(
            "--all", help="Also list files that show the film of a better hit (another size or codec)."
        ),
    ] = False,
    joint: Annotated[
        bool,
        typer.Option(
            "--joint/--no-joint",
            help="Let the model's joint scorer, if it has one, order the best videos; otherwise their scores do.",
        ),
    ] = True,
    words: Annotated[
        bool, typer.Option("--words", help="Search only the words of subtitle files and text tracks.")
    ] = False,
    open_best: Annotated[
        bool, typer.Option("--open", help="Play the best moment in a video player (mpv, vlc or ffplay).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find the moments that a sentence describes."""
    overrides = overrides_of(object_phrase_weight=object_phrase_weight)
    with open_library(library, model, device, **overrides) as opened:
        hits = opened.search(
            query,
            limit=limit,
            where=where,
            coarse=coarse,
            all_duplicates=all_duplicates,
            joint=joint,
            sources=("words",) if words else ("picture", "words"),
        )
    for note in hits.notes:
        say(f"note: {note}")
    if as_json:
        print_json([hit.as_dict() for hit in hits])
    else:
        if statement := statement_of(hits):
            print_line(statement)
        print_hits(hits, every_file=all_duplicates)
    if open_best and hits:
        from prost.export.playing import play

        say(play(hits[0].path, hits[0].start))


def statement_of(hits: SearchResult) -> str:
    """Whether anything fits, and in how many hits words were found; empty where nothing is known to compare with."""
    if hits.confidence is None:
        return ""
    spoken = sum(bool(hit.words) for hit in hits)
    return hits.confidence.statement + (f" Words were found in {spoken} of the hits." if spoken else "")


def print_hits(hits: Sequence[Hit], title: str = "", *, every_file: bool = False) -> None:
    """Print hits as a table.

    Args:
        hits: the best one first.
        title: of the table.
        every_file: whether files with the same content get a line each, below their hit.
    """
    if not hits:
        say(NOTHING_FOUND)
        return
    with_words = any(hit.words for hit in hits)
    judged = any(hit.joint_score is not None for hit in hits)
    rows = []
    for rank, hit in enumerate(hits, 1):
        values = [
            f"{hit.start:.1f} - {hit.end:.1f} s",
            *(["" if hit.joint_score is None else probability_text(hit.joint_score)] if judged else []),
            f"{hit.score:.3f}",
            f"{hit.event_sentence:.3f}",
            f"{hit.object_phrase:.3f}",
            *([_spoken(hit)] if with_words else []),
        ]
        copies = hit.copies if every_file else ()
        rows.append([str(rank), hit.path + _remarks(hit, told=len(copies)), *values])
        rows += [["", f"{path}  (the same content)", *([""] * len(values))] for path in copies]
    columns = [
        *(">", "video", ">moment"),
        *([">joint score"] if judged else []),
        *(">score", ">event-sentence", ">object-phrase"),
        *(["words"] if with_words else []),
    ]
    print_table(columns, rows, title)


def _spoken(hit: Hit) -> str:
    """The words that fit best, and when they are shown."""
    if not hit.words:
        return ""
    cue = hit.words[0]
    text = cue.text if len(cue.text) <= LONGEST_WORDS else f"{cue.text[:LONGEST_WORDS]}..."
    return f"“{text}” at {cue.start:.1f} s"


def _remarks(hit: Hit, told: int) -> str:
    """What a person should know about a hit's file, to stand behind its path; `told` of its copies have own lines."""
    others = len(hit.copies) + len(hit.near_duplicates) - told
    remarks = [*(["the file is gone"] if hit.missing else []), *([f"{others} more of it"] if others else [])]
    return f"  ({', '.join(remarks)})" if remarks else ""
