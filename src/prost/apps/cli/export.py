"""`prost export`: hits and prototypes for other programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from prost.apps.cli.output import print_json, print_line, progress, say
from prost.apps.cli.search import NOTHING_FOUND, statement_of
from prost.errors import UsageError, VideoError, one_of
from prost.printable import counted

if TYPE_CHECKING:
    from prost.export.clips import CutClip
    from prost.search.hits import Hit, Moment, SearchResult

Method = Literal["auto", "copy", "encode"]

# What has an effect only together with one of these outputs.
OF_HITS = ("--hits", "--timeline", "--clips")
NEEDED = {
    "--rate": ("--timeline",),
    "--margin": ("--timeline", "--clips"),
    "--method": ("--clips",),
    "--tolerance": ("--clips",),
    "--limit": OF_HITS,
    "--moments": OF_HITS,
    "--model": OF_HITS,
    "--device": OF_HITS,
    "--object-phrase-weight": OF_HITS,
    "query": OF_HITS,
}


def export(
    context: typer.Context,
    library: LibraryOption,
    query: Annotated[
        str | None, typer.Argument(help="A sentence that describes what should be seen.", show_default=False)
    ] = None,
    hits_file: Annotated[
        Path | None,
        typer.Option("--hits", help="Write the hits: a name that ends in .json, .csv or .parquet."),
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option(
            "--timeline",
            help="Write the moments as a timeline: a name that ends in .otio, .edl or .fcpxml (.otio and .edl "
            "need the extra `timeline`).",
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option("--clips", metavar="FOLDER", help="Cut the moments out as MP4 files in this folder."),
    ] = None,
    prototypes: Annotated[
        Path | None,
        typer.Option(
            "--prototypes",
            help="Write the prototypes of the library's clips: a name that ends in .parquet, .npz or "
            ".safetensors. Needs no sentence.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Largest number of hits.")] = 10,
    moments: Annotated[int, typer.Option("--moments", min=1, help="Largest number of moments of a hit.")] = 1,
    where: Annotated[
        str | None,
        typer.Option("--where", help="Only the videos for which this SQL expression is true."),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", min=0, help="Seconds to add before and after each moment.")
    ] = 0.0,
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="How clips are cut: copy the packets, encode the frames, or auto: copy where a keyframe lies near "
            "enough.",
        ),
    ] = "auto",
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", min=0, help="Seconds that a clip of copied packets may be longer at each end."
        ),
    ] = 0.5,
    rate: Annotated[
        float | None,
        typer.Option("--rate", show_default="that of the first hit", help="Frames a second of the timeline."),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    object_phrase_weight: ObjectPhraseWeightOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write hits, clips, timelines and prototypes for other programs."""
    of_a_query = [output for output in (hits_file, timeline, clips) if output is not None]
    if not of_a_query and prototypes is None:
        raise UsageError("nothing to export", "--hits, --timeline, --clips or --prototypes")
    if of_a_query and not query:
        raise UsageError(
            "an export of hits without a sentence", 'a sentence, as in: prost export "a dog" --hits a.csv'
        )
    _expect_effect(context)
    _check(hits_file, timeline, clips, prototypes, rate, force)
    hits: SearchResult | None = None
    if of_a_query and query:
        overrides = overrides_of(object_phrase_weight=object_phrase_weight)
        with open_library(library, model, device, **overrides) as opened:
            hits = opened.search(query, limit=limit, where=where, per_video=moments)
        _check_found(hits, timeline, clips, force)
        for note in hits.notes:
            say(f"note: {note}")
        if statement := statement_of(hits):
            say(statement)
        if not hits:
            say(NOTHING_FOUND)
    done: dict[str, Any] = {}
    failed = 0
    if prototypes is not None:
        from prost.export.prototypes import write_prototypes

        count = write_prototypes(prototypes, library, where=where, force=force)
        done["prototypes"] = {"output": str(prototypes), "clips": count}
        say(f"wrote the prototypes of {counted(count, 'clip')} to {prototypes}")
    if hits is not None and query:
        if hits_file is not None:
            from prost.export.tables import write_hits

            write_hits(hits_file, hits, query=query, force=force)
            done["hits"] = {"output": str(hits_file), "hits": len(hits)}
            say(f"wrote {counted(len(hits), 'hit')} to {hits_file}")
        if timeline is not None:
            from prost.export.timelines import write_timeline

            count = write_timeline(timeline, hits, title=query, rate=rate, margin=margin, force=force)
            done["timeline"] = {"output": str(timeline), "moments": count}
            say(f"wrote {counted(count, 'moment')} to {timeline}")
        if clips is not None:
            cut, failures = _cut(hits, clips, margin, method, tolerance, force)
            failed = len(failures)
            done["clips"] = [clip.as_dict() for clip in cut]
            done["failed"] = [{"path": path, "reason": reason} for path, reason in failures]
            for clip in cut:
                how = "packets copied" if clip.method == "copy" else "encoded"
                if not as_json:
                    print_line(f"{clip.output}  ({clip.start:.2f} to {clip.end:.2f} s of {clip.path}, {how})")
    if as_json:
        print_json(done)
    if failed:
        raise typer.Exit(1)


def _expect_effect(context: typer.Context) -> None:
    """Refuse what was given and would have no effect on the outputs that were asked for."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if (source := context.get_parameter_source(parameter.name or "")) is not None
        and source.name == "COMMANDLINE"
    ]
    for option in given:
        needed = NEEDED.get(option, ())
        if needed and not set(needed) & set(given):
            shown = option if option.startswith("-") else "the sentence"
            raise UsageError(f"{shown} without {one_of(needed)}", "both or neither", f"leave out {shown}")


def _check(
    hits_file: Path | None,
    timeline: Path | None,
    clips: Path | None,
    prototypes: Path | None,
    rate: float | None,
    force: bool,
) -> None:
    """Refuse outputs that cannot be written, before any work."""
    from prost.export import prototypes as of_prototypes
    from prost.export import tables, timelines
    from prost.export.outputs import expect_free, suffix_of

    for output, known in (
        (hits_file, tables.SUFFIXES),
        (prototypes, of_prototypes.SUFFIXES),
    ):
        if output is not None:
            suffix_of(output, known)
            expect_free(output, force)
    if timeline is not None:
        timelines.expect_timeline(timeline, rate)
        expect_free(timeline, force)
    if clips is not None:
        _expect_folder(clips)
    _expect_different([path for path in (hits_file, timeline, clips, prototypes) if path is not None])


def _expect_folder(folder: Path) -> None:
    """Check that a folder is there or can be made."""
    lowest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not lowest.is_dir():
        raise UsageError(f"{lowest} is a file", "a folder for the clips")


def _expect_different(outputs: Sequence[Path]) -> None:
    """Check that no output would replace another one."""
    seen: set[Path] = set()
    for output in outputs:
        if output.resolve() in seen:
            raise UsageError(f"{output} is named twice", "a place of its own for each output")
        seen.add(output.resolve())


def _check_found(hits: SearchResult, timeline: Path | None, clips: Path | None, force: bool) -> None:
    """Refuse outputs of these hits that cannot be written, before any is."""
    from prost.export.outputs import expect_free

    if timeline is not None and not hits:
        raise UsageError(
            f"a timeline without moments: {NOTHING_FOUND}", "one hit or more", "another sentence or --where"
        )
    if clips is not None and clips.is_dir():
        for _, _, output in _clips_of(hits, clips):
            expect_free(output, force)


def _clips_of(hits: SearchResult, folder: Path) -> list[tuple[Hit, Moment, Path]]:
    """All moments, and the file for each of them."""
    from prost.export.clips import clip_name

    return [
        (hit, moment, folder / clip_name(rank, hit, moment))
        for rank, hit in enumerate(hits, 1)
        for moment in hit.moments
    ]


def _cut(
    hits: SearchResult, folder: Path, margin: float, method: str, tolerance: float, force: bool
) -> tuple[list[CutClip], list[tuple[str, str]]]:
    """Cut all moments; a video that cannot be cut is told and does not stop the others."""
    from prost.export.clips import cut_moment

    wanted = _clips_of(hits, folder)
    if wanted:
        folder.mkdir(parents=True, exist_ok=True)
    cut: list[CutClip] = []
    failures: list[tuple[str, str]] = []
    with progress("cutting", "clips") as show:
        for done, (hit, moment, output) in enumerate(wanted, 1):
            try:
                cut.append(
                    cut_moment(
                        hit, moment, output, margin=margin, method=method, tolerance=tolerance, force=force
                    )
                )
            except VideoError as error:
                failures.append((hit.path, error.reason))
                say(_not_cut(hit.path, error))
            show(done, len(wanted), output.name)
    return cut, failures


def _not_cut(path: str, error: VideoError) -> str:
    """Why a moment was not cut, and what to try where another method can cut it."""
    from prost.export.cutting import NO_KEYFRAME

    detail = f" ({error.detail})" if error.detail else ""
    other_way = "; try: --method auto, or a larger --tolerance" if error.reason == NO_KEYFRAME else ""
    return f"not cut: {path}: {error.reason}{detail}{other_way}"
